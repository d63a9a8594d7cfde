"""EXPORT MODEL: files for Cloud Storage, laid down where the service that asks takes them from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse.models import kept
from portico.warehouse.models.transforms import FILE

if TYPE_CHECKING:
    from portico.warehouse.engine import Warehouse

URI = "uri"  # the file that says where the others go


def target(options: dict[str, Any]) -> str:
    """The URI that OPTIONS (…) of EXPORT MODEL say.

    Raises:
        InvalidArgument: there is none, or there are other options.
    """
    for name in options:
        if name == "trial_id":
            raise Unimplemented("Option TRIAL_ID is not built in Portico: the best trial is exported.")
        if name not in (
            "uri",
            "add_serving_default_signature",
        ):  # SavedModels have that; none is exported
            raise InvalidArgument(f"EXPORT MODEL has no option {name.upper()}", reason="invalidQuery")
    uri = options.get("uri")
    if not isinstance(uri, str) or not uri.startswith("gs://"):
        raise InvalidArgument("EXPORT MODEL needs OPTIONS(URI = 'gs://…')", reason="invalidQuery")
    return uri


def lay(models: kept.Models, entry: kept.Entry, uri: str, folder: Path) -> None:
    """Writes a model's files into a new folder below `folder`, with the URI that they are for."""
    loaded = models.load(entry)
    with kept.said():
        files = loaded.model.exported()
    if loaded.transform is not None:
        files[FILE] = json.dumps(loaded.transform.json()).encode()
    below = folder / str(sum(1 for _ in folder.iterdir()))
    below.mkdir()
    for name, data in files.items():
        (below / name).write_bytes(data)
    (below / URI).write_text(uri)


def export(warehouse: Warehouse, project: str, dataset: str, name: str, uri: str, folder: str) -> None:
    with warehouse.reading() as cursor:
        entry = kept.require(cursor, project, dataset, name)
    lay(warehouse.models, entry, uri, Path(folder))
