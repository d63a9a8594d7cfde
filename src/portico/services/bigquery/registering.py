"""MODEL_REGISTRY = 'VERTEX_AI': what CREATE MODEL made is a model of Vertex AI too, and can be deployed."""

from __future__ import annotations

import re
import shutil
from typing import Any

from portico.errors import InvalidArgument
from portico.services.bigquery import shapes
from portico.services.call import Call
from portico.services.registry import model_store
from portico.services.registry.model_store import VersionPrivate
from portico.store import resources
from portico.warehouse.client import FOLDER
from portico.warehouse.client import MODELS as FILES

_LOCATION = "us-central1"  # where models of the multi-region US are registered
_ID = re.compile(r"[a-z0-9]([a-z0-9_-]{0,126}[a-z0-9])?")
_FORMATS = ("jsonl", "csv", "parquet")


def register(call: Call, made: list[dict[str, Any]]) -> None:
    """Registers models that a job made, each as a new version where there is a model of its id.

    Raises:
        InvalidArgument: an id is none that Vertex AI allows. The model is kept in BigQuery all the same.
    """
    for one in made:
        _register(call, one)


def _register(call: Call, made: dict[str, Any]) -> None:
    project, dataset, name = made["place"]
    if not _ID.fullmatch(made["id"]):
        raise InvalidArgument(
            f"VERTEX_AI_MODEL_ID {made['id']!r} must be lower-case letters, digits, - and _, at most 128",
            reason="invalidQuery",
        )
    rooms, parent = call.rooms, f"projects/{project}/locations/{_LOCATION}"
    artifact = f"bqml-{made['folder']}"
    shutil.copytree(rooms.home / FOLDER / FILES / made["folder"], model_store.folder(rooms.home, artifact))
    body = {
        "displayName": made["id"],
        "modelSourceInfo": {"sourceType": "BQML"},
        "metadata": {"bigqueryModel": f"bq://{project}.{dataset}.{name}"},
        "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES", "AUTOMATIC_RESOURCES"],
        "supportedInputStorageFormats": list(_FORMATS),
        "supportedOutputStorageFormats": list(_FORMATS),
    }
    place = {"project": project, "dataset": dataset, "name": name}
    shown = shapes.ask(call, "model", **place)
    with rooms.database.write() as connection:
        new = resources.get(connection, f"{parent}/models/{made['id']}") is None
        version = model_store.add_version(
            connection, parent, made["id"], body, VersionPrivate(artifact=artifact, format="bqml"),
            rooms.clock.now(), new=new, aliases=list(made["aliases"]), make_default=True,
        )  # fmt: skip
    shown["trainingRuns"][0] |= {
        "vertexAiModelId": made["id"],
        "vertexAiModelVersion": version.body["versionId"],
    }
    shapes.ask(call, "update_model", **place, body=shown)
