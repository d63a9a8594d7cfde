"""EXPORT MODEL: files for Cloud Storage, laid down where the service that asks takes them from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.errors import InvalidArgument, Unimplemented
from portico.ml.bqml import tuning
from portico.warehouse.models import kept
from portico.warehouse.models.transforms import FILE

if TYPE_CHECKING:
    from portico.warehouse.engine import Warehouse

URI = "uri"  # the file that says where the others go


def target(options: dict[str, Any]) -> tuple[str, int | None]:
    """The URI and the trial that OPTIONS (…) of EXPORT MODEL say.

    Raises:
        InvalidArgument: there is none, or there are other options.
    """
    for name in options:
        # SavedModels have a serving signature; none is exported.
        if name not in ("uri", "trial_id", "add_serving_default_signature"):
            raise InvalidArgument(f"EXPORT MODEL has no option {name.upper()}", reason="invalidQuery")
    uri = options.get("uri")
    if not isinstance(uri, str) or not uri.startswith("gs://"):
        raise InvalidArgument("EXPORT MODEL needs OPTIONS(URI = 'gs://…')", reason="invalidQuery")
    trial = options.get("trial_id")
    if trial is not None and (isinstance(trial, bool) or not isinstance(trial, int)):
        raise InvalidArgument(f"Option TRIAL_ID must be an integer, and is {trial!r}", reason="invalidQuery")
    return uri, trial


def lay(
    models: kept.Models, entry: kept.Entry, uri: str, folder: Path, trial: int | None = None, form: str = ""
) -> None:
    """Writes a model's files into a new folder below `folder`, with the URI that they are for; those of a `trial`, or
    of the best. `form` is the format that was asked for.

    Raises:
        InvalidArgument: there is no such trial, or models of its type can't be exported. Unimplemented: it is exported
            in another format.
    """
    loaded = models.load(entry)
    with kept.said():
        files = tuning.chosen(loaded.model, trial).exported()
    if form and (form == "ML_XGBOOST_BOOSTER") != ("model.bst" in files):
        made = next((said for name, said in _FORMS.items() if name in files), "JSON")
        raise Unimplemented(
            f"A {loaded.model.model_type} model is not exported as {form}; leave destinationFormat away, and it is "
            f"{made}."
        )
    if loaded.transform is not None:
        files[FILE] = json.dumps(loaded.transform.json()).encode()
    below = folder / str(sum(1 for _ in folder.iterdir()))
    below.mkdir()
    for name, data in files.items():
        path = below / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    (below / URI).write_text(uri)


_FORMS = {"model.bst": "XGBoost's booster (ML_XGBOOST_BOOSTER)", "model.onnx": "ONNX"}


def export(
    warehouse: Warehouse,
    project: str,
    dataset: str,
    name: str,
    uri: str,
    folder: str,
    trial: int | None = None,
    form: str = "",
) -> None:
    with warehouse.reading() as cursor:
        entry = kept.require(cursor, project, dataset, name)
    lay(warehouse.models, entry, uri, Path(folder), trial, form)
