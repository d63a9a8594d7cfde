"""What serves a model that MLflow saved: read from its file MLmodel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portico.errors import PorticoError
from portico.services.call import Rooms
from portico.services.standard.sources import gcs_of

_MOST = 1 << 17  # bytes of an MLmodel
_VERSION = re.compile(r"(\d+)\.(\d+)")
_PREBUILT = "us-docker.pkg.dev/vertex-ai/prediction"
_OURS = "us-docker.pkg.dev/portico/prediction"


@dataclass(frozen=True, slots=True)
class Flavour:
    """The image that serves a model, "" where none does, and `names`: which of its files the image knows by another
    name."""

    image: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Served:
    """How one of MLflow's flavours is served: which key of it says the file and which the library's version, which
    image that is, and under what name it knows a file with one of these endings."""

    file: str
    version: str
    image: str
    known: Mapping[str, str]


_SERVED = {
    "xgboost": _Served(
        "data",
        "xgb_version",
        f"{_PREBUILT}/xgboost-cpu",
        {".ubj": "model.bst", ".xgb": "model.bst", ".json": "model.bst", ".pkl": "model.pkl"},
    ),
    "lightgbm": _Served(
        "data", "lgb_version", f"{_OURS}/lightgbm-cpu", {".lgb": "model.txt", ".txt": "model.txt"}
    ),
    "onnx": _Served("data", "onnx_version", f"{_OURS}/onnx-cpu", {".onnx": "model.onnx"}),
    "sklearn": _Served(
        "pickled_model",
        "sklearn_version",
        f"{_PREBUILT}/sklearn-cpu",
        {".pkl": "model.pkl", ".joblib": "model.joblib", ".skops": "model.skops"},
    ),
}


def of(rooms: Rooms, uri: str) -> Flavour | None:
    """What serves the model in a `gs://` folder; None where no file is in it."""
    gcs = gcs_of(rooms)
    try:
        if not gcs.under(uri):
            return None
        row = gcs.find(f"{uri}/MLmodel")
        if row.size > _MOST:
            return Flavour()
        with gcs.open(row) as file:
            return parse(file.read())
    except PorticoError:
        return Flavour() if _has_files(rooms, uri) else None


def _has_files(rooms: Rooms, uri: str) -> bool:
    try:
        return bool(gcs_of(rooms).under(uri))
    except PorticoError:
        return False


def parse(mlmodel: bytes) -> Flavour:
    """What serves a model with this MLmodel; it may be anything."""
    import yaml

    try:
        read = yaml.safe_load(mlmodel)
    except (yaml.YAMLError, ValueError, RecursionError):
        return Flavour()
    flavours = read.get("flavors") if isinstance(read, dict) else None
    for name, served in _SERVED.items():
        found = flavours.get(name) if isinstance(flavours, dict) else None
        if isinstance(found, dict) and (flavour := _flavour(served, found)):
            return flavour
    return Flavour()


def _flavour(served: _Served, found: Mapping[str, Any]) -> Flavour | None:
    file, told = found.get(served.file), found.get(served.version)
    version = _VERSION.match(str(told)) if isinstance(told, str | float) else None
    if not isinstance(file, str) or not version or "/" in file:
        return None
    known = next((name for ending, name in served.known.items() if file.endswith(ending)), "")
    if not known:
        return None
    names = {file: known} if file != known else {}
    return Flavour(f"{served.image}.{version[1]}-{version[2]}:latest", names)
