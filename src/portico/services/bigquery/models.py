"""bigquery.models: get, list, patch, delete. They are made by CREATE MODEL."""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument, NotFound
from portico.services.bigquery import shapes
from portico.services.bigquery.pages import page
from portico.services.call import Call, implements

_CHANGED = ("description", "friendlyName", "labels", "expirationTime")
_LISTED = ("modelType", "creationTime", "lastModifiedTime", "labels")


@implements("bigquery", "models.get")
def get(call: Call) -> dict[str, Any]:
    return _json(call, _name(call), shapes.ask(call, "model", **_dataset(call), name=_name(call)))


@implements("bigquery", "models.list")
def list_(call: Call) -> dict[str, Any]:
    shown = []
    for one in shapes.ask(call, "models", **_dataset(call)):
        body = {key: one[key] for key in _LISTED if key in one}
        shown.append({"modelReference": _reference(call, one["name"]), **body})
    answer = page(call, "", "models", shown)
    return {key: answer[key] for key in ("models", "nextPageToken") if answer.get(key)}


@implements("bigquery", "models.patch")
def patch(call: Call) -> dict[str, Any]:
    before = shapes.ask(call, "model", **_dataset(call), name=_name(call))
    shapes.check_etag(call, before)
    settings = {key: value for key, value in call.body.items() if key in _CHANGED}
    if strange := [key for key in call.body if key not in (*_CHANGED, "modelReference", "etag", "location")]:
        raise InvalidArgument(f"models.patch can't change {strange[0]}", reason="invalid", field=strange[0])
    changed = shapes.patched(before, settings)
    body = shapes.ask(call, "update_model", **_dataset(call), name=_name(call), body=changed)
    return _json(call, _name(call), body)


@implements("bigquery", "models.delete")
def delete(call: Call) -> None:
    shapes.ask(call, "drop_model", **_dataset(call), name=_name(call))


def ml_statistics(call: Call, project: str, dataset: str, name: str) -> dict[str, Any]:
    """What the statistics of the job that made a model tell of its training; of trials without their measures. Nothing
    where the model is gone again."""
    try:
        body = shapes.ask(call, "model", project=project, dataset=dataset, name=name)
    except NotFound:
        return {}
    runs, trials = body.get("trainingRuns") or [{}], body.get("hparamTrials")
    shown: dict[str, Any] = {
        "modelType": body["modelType"],
        "trainingType": "HPARAM_TUNING" if trials else "SINGLE_TRAINING",
        "iterationResults": [] if trials else runs[0].get("results") or [],
    }
    if most := (runs[0].get("trainingOptions") or {}).get("maxIterations"):
        shown["maxIterations"] = str(most)
    if trials:
        shown["hparamTrials"] = [
            {key: value for key, value in one.items() if key != "evaluationMetrics"} for one in trials
        ]
    return shown


def _dataset(call: Call) -> dict[str, str]:
    return {"project": shapes.project(call), "dataset": str(call.params["datasetId"])}


def _name(call: Call) -> str:
    return str(call.params["modelId"])


def _reference(call: Call, name: str) -> dict[str, str]:
    dataset = shapes.dataset_reference(shapes.project(call), str(call.params["datasetId"]))
    return {**dataset, "modelId": name}


def _json(call: Call, name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"etag": shapes.etag(body), "modelReference": _reference(call, name), **body}
