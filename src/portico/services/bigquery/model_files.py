"""Files of models in Cloud Storage: what CREATE MODEL imports, and what EXPORT MODEL and extract jobs make."""

from __future__ import annotations

import contextlib
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portico.errors import InvalidArgument, Unimplemented
from portico.services.bigquery import shapes
from portico.services.call import Call
from portico.services.standard.sources import Source, gcs_of, pin
from portico.warehouse.client import FOLDER

_PATH = re.compile(r"""\bMODEL_PATH\s*=\s*(?:r|R)?("|')(gs://[^"'\n]+)\1""", re.IGNORECASE)
_EXPORT = re.compile(r"\bEXPORT\s+MODEL\b", re.IGNORECASE)
_URI = "uri"  # the file of an export's folder that says where the others go
_ENDINGS = (".onnx", ".json", ".ubj", ".bst", ".model", ".xgb", ".tflite")
_SAVED_MODEL = "saved_model.pb"  # in the folder of a SavedModel of TensorFlow's


@contextlib.contextmanager
def imported(call: Call, holder: str, text: str) -> Iterator[dict[str, str]]:
    """The files that MODEL_PATH names in a query's text, by their gs:// names; they stay as they are meanwhile.

    One that is not there has an empty name.

    Raises:
        InvalidArgument: a name with wildcards names several models.
    """
    uris = list(dict.fromkeys(uri for _, uri in _PATH.findall(text)))
    if not uris:
        yield {}
        return
    gcs = gcs_of(call.rooms)
    folder = tempfile.mkdtemp(dir=call.rooms.home / FOLDER)
    try:
        files = {}
        for number, uri in enumerate(uris):
            try:
                # BigQuery's * does not stop at a /.
                found = pin(gcs, [re.sub(r"\*+", "**", uri)], holder, "MODEL_PATH")
            except InvalidArgument:
                files[uri] = ""
            else:
                if any(one.uri.endswith(f"/{_SAVED_MODEL}") for one in found):
                    files[uri] = str(_packed(call, uri, found, Path(folder) / str(number)))
                else:
                    files[uri] = str(_one(uri, found).path(call.rooms.home))
        yield files
    finally:
        gcs.unpin(holder)
        shutil.rmtree(folder, ignore_errors=True)


def _packed(call: Call, uri: str, found: list[Source], target: Path) -> Path:
    """A SavedModel's folder as one file, a tar.

    Raises:
        InvalidArgument: there are several, or an object's name is no file's within it.
    """
    roots = [one.uri.removesuffix(_SAVED_MODEL) for one in found if one.uri.endswith(f"/{_SAVED_MODEL}")]
    if len(roots) > 1:
        raise InvalidArgument(
            f"MODEL_PATH {uri} names {len(roots)} SavedModels; name the folder of one", reason="invalidQuery"
        )
    with tarfile.open(target, "w") as packed:
        for one in found:
            inside = one.uri.removeprefix(roots[0])
            if inside == one.uri or inside.endswith("/"):
                continue
            if {"", ".", ".."} & set(inside.split("/")):
                raise InvalidArgument(f"MODEL_PATH: {one.uri} is no file of a model", reason="invalidQuery")
            packed.add(one.path(call.rooms.home), inside)
    return target


def _one(uri: str, found: list[Source]) -> Source:
    models = [one for one in found if one.uri.lower().endswith(_ENDINGS)]
    for chosen in (found, models):
        if len(chosen) == 1:
            return chosen[0]
    raise InvalidArgument(
        f"MODEL_PATH {uri} names {len(found)} objects; name one file, with an ending of {', '.join(_ENDINGS)}",
        reason="invalidQuery",
    )


@contextlib.contextmanager
def exported(call: Call, text: str) -> Iterator[str]:
    """The folder for what EXPORT MODEL in a query's text writes; in the end its files are objects.

    Raises:
        NotFound: there is no such bucket.
    """
    if not _EXPORT.search(text):
        yield ""
        return
    with tempfile.TemporaryDirectory(dir=call.rooms.home / FOLDER) as folder:
        try:
            yield folder
        finally:  # what a script exported before it failed is exported
            for below in sorted(Path(folder).iterdir()):
                _upload(call, below)


def _upload(call: Call, folder: Path) -> int:
    """How many objects it made."""
    count = 0
    if not (folder / _URI).exists():
        return count
    uri = (folder / _URI).read_text().rstrip("/*")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != _URI:
            gcs_of(call.rooms).write(f"{uri}/{name}", path)
            count += 1
    return count


def check(asked: dict[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: an extract job of a model names a trial by no number. Unimplemented: it asks for a format that
            Portico does not write.
    """
    form = str(asked.get("destinationFormat") or "")
    if form and form != "ML_XGBOOST_BOOSTER":
        raise Unimplemented(
            f"Models are not exported as {form}; leave destinationFormat away, and the file is ONNX, XGBoost's or JSON."
        )
    _trial(asked)


def _trial(asked: dict[str, Any]) -> int | None:
    said = (asked.get("modelExtractOptions") or {}).get("trialId")
    if said is None:
        return None
    try:
        return int(said) or None
    except (TypeError, ValueError):
        raise InvalidArgument(
            f"modelExtractOptions.trialId must be a number, and is {said!r}", reason="invalid"
        ) from None


def extract(call: Call, asked: dict[str, Any], project: str, uri: str) -> int:
    """Makes a model's files objects below `uri`; returns how many there are."""
    model = asked["sourceModel"]
    with tempfile.TemporaryDirectory(dir=call.rooms.home / FOLDER) as folder:
        shapes.ask(
            call,
            "export_model",
            project=model.get("projectId") or project,
            dataset=str(model.get("datasetId", "")),
            name=str(model.get("modelId", "")),
            uri=uri,
            folder=folder,
            trial=_trial(asked),
            form=str(asked.get("destinationFormat") or ""),
        )
        return sum(_upload(call, below) for below in Path(folder).iterdir())
