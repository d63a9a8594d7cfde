"""Logged models: what `log_model` makes, with parameters, tags and the metrics that were logged of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.mlflow import artifacts, experiments, run_rows, runs
from portico.services.mlflow.experiments import milliseconds, place_of
from portico.services.mlflow.run_rows import number
from portico.services.mlflow.search import Language, page
from portico.store import resources
from portico.store.resources import Resource
from portico.store.run_metrics import Logged

KIND = "mlflow:loggedModels"
_READY, _PENDING = "LOGGED_MODEL_READY", "LOGGED_MODEL_PENDING"
_MOST_METRICS = 10_000  # of a model
Datasets = frozenset[tuple[str, str]]
"""Names and digests of data sets; a digest may be "", for any."""


def name_of(call: Call, given: Any) -> str:
    return f"{place_of(call)}/loggedModels/{given}"


def require(connection: Connection, call: Call, given: Any) -> Resource:
    """
    Raises:
        NotFound: there is no logged model of that id.
    """
    found = resources.get(connection, name_of(call, given)) if given else None
    if found is None or found.kind != KIND:
        raise NotFound(f"There is no logged model with the id {given!r}.")
    return found


def artifact_uri(connection: Connection, model: Resource) -> str:
    """Where its files are; it may be of an experiment that is gone."""
    experiment = resources.get(connection, model.parent)
    own = model.name.rpartition("/")[2]
    root = (
        experiments.location(experiment)
        if experiment
        else f"mlflow-artifacts:/{experiments.wire_id(model.parent)}"
    )
    return f"{root}/models/{own}/artifacts"


def render(connection: Connection, model: Resource) -> dict[str, Any]:
    body = model.body
    given = {key: body[key] for key in ("name", "model_type", "source_run_id", "status") if body.get(key)}
    return {
        "info": {
            "model_id": model.name.rpartition("/")[2],
            "experiment_id": experiments.wire_id(model.parent),
            "creation_timestamp_ms": milliseconds(model.create_time),
            "last_updated_timestamp_ms": milliseconds(model.update_time),
            "artifact_uri": artifact_uri(connection, model),
            "tags": experiments.shown_pairs(body["tags"]),
            "registrations": body.get("registrations", []),
            **given,
        },
        "data": {"params": experiments.shown_pairs(body["params"]), "metrics": body.get("metrics", [])},
    }


@implements("mlflow", "logged-models.createLoggedModel")
def create(call: Call) -> dict[str, Any]:
    asked = call.body
    given = str(asked.get("experiment_id") or experiments.DEFAULT)
    own = f"m-{call.rooms.ids.token()}"
    body = {
        "name": str(asked.get("name") or f"model-{own[2:10]}"),
        "model_type": asked.get("model_type", ""),
        "source_run_id": asked.get("source_run_id", ""),
        "status": _PENDING,
        "params": runs.checked_params(asked.get("params")),
        "tags": runs.checked_tags(asked.get("tags")),
    }
    if any(c in body["name"] for c in "/:.%\"'"):
        raise InvalidArgument(
            f"A model's name has none of / : . % \" ', as {body['name']!r} has.", field="name"
        )
    experiments.ensure_default(call, given)
    with call.rooms.database.write() as connection:
        experiment = experiments.require(connection, call, given, active=True)
        made = resources.insert(
            connection,
            name=name_of(call, own),
            kind=KIND,
            parent=experiment.name,
            body=body,
            now=call.rooms.clock.now(),
        )
        assert made is not None  # the id is new
        return {"model": render(connection, made)}


@implements("mlflow", "logged-models.getLoggedModel")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return {"model": render(connection, require(connection, call, call.params["model_id"]))}


@implements("mlflow", "logged-models.deleteLoggedModel")
def delete(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        resources.delete(connection, require(connection, call, call.params["model_id"]).name)
    return {}


def _change(call: Call, changes: Mapping[str, Any]) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.params["model_id"])
        for key, value in changes.items():
            model.body[key] = {**model.body[key], **value} if isinstance(value, dict) else value
        resources.update(connection, model, call.rooms.clock.now())
        return {"model": render(connection, model)}


@implements("mlflow", "logged-models.finalizeLoggedModel")
def finalize(call: Call) -> dict[str, Any]:
    status = str(call.body.get("status") or "")
    if status not in (_READY, "LOGGED_MODEL_UPLOAD_FAILED"):
        raise InvalidArgument(
            f"status is {status!r}; a model ends as {_READY} or LOGGED_MODEL_UPLOAD_FAILED.", field="status"
        )
    return _change(call, {"status": status})


@implements("mlflow", "logged-models.setLoggedModelTags")
def set_tags(call: Call) -> dict[str, Any]:
    return _change(call, {"tags": runs.checked_tags(call.body.get("tags"))})


@implements("mlflow", "logged-models.logLoggedModelParams")
def log_params(call: Call) -> dict[str, Any]:
    _change(call, {"params": runs.checked_params(call.body.get("params"))})
    return {}


@implements("mlflow", "logged-models.deleteLoggedModelTag")
def delete_tag(call: Call) -> dict[str, Any]:
    key = call.params["tag_key"]
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.params["model_id"])
        if model.body["tags"].pop(key, None) is None:
            raise NotFound(f"The logged model has no tag {key!r}.")
        resources.update(connection, model, call.rooms.clock.now())
    return {}


@implements("mlflow", "logged-models.listLoggedModelArtifacts")
def list_artifacts(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        root = artifact_uri(connection, require(connection, call, call.params["model_id"]))
    files = artifacts.listed(call, root, str(call.params.get("artifact_directory_path") or ""))
    return {"root_uri": root, "files": files}


def note_metrics(
    connection: Connection, call: Call, run: Resource, metrics: Iterable[tuple[Mapping[str, Any], Logged]]
) -> None:
    """Lets logged models show the newest values that name them, by metric, data set and run.

    Raises:
        NotFound: a metric names a model that isn't there.
    """
    by_model: dict[str, list[dict[str, Any]]] = {}
    for asked, one in metrics:
        if not asked.get("model_id"):
            continue
        shown = {"key": one.key, "value": number(one.value), "timestamp": one.time, "step": one.step}
        shown |= {key: asked[key] for key in ("model_id", "dataset_name", "dataset_digest") if asked.get(key)}
        by_model.setdefault(asked["model_id"], []).append({**shown, "run_id": run_rows.id_of(run)})
    for model_id, several in by_model.items():
        model = require(connection, call, model_id)
        held = {_place(one): one for one in model.body.get("metrics", [])}
        for new in several:
            before = held.get(_place(new))
            if before is None or (new["step"], new["timestamp"]) >= (before["step"], before["timestamp"]):
                held[_place(new)] = new
        model.body["metrics"] = list(held.values())[-_MOST_METRICS:]
        resources.update(connection, model, call.rooms.clock.now())


def _place(metric: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(metric.get(key, "") for key in ("key", "dataset_name", "dataset_digest", "run_id"))


# --- search ---


def _value(datasets: Datasets, model: Resource, kind: str, key: str) -> Any:
    body = model.body
    if kind == "metric":
        held = [one for one in body.get("metrics", []) if one["key"] == key and _is_of(one, datasets)]
        newest = max(held, key=lambda one: (one["step"], one["timestamp"]), default=None)
        return None if newest is None else float(newest["value"])
    if kind in ("param", "tag"):
        return body[f"{kind}s"].get(key)
    own = {
        "model_id": model.name.rpartition("/")[2],
        "experiment_id": experiments.wire_id(model.parent),
        "creation_timestamp": milliseconds(model.create_time),
        "last_updated_timestamp": milliseconds(model.update_time),
        "status": body["status"].removeprefix("LOGGED_MODEL_"),
    }
    return own[key] if key in own else body.get(key) or None


def _is_of(metric: Mapping[str, Any], datasets: Datasets) -> bool:
    name, digest = metric.get("dataset_name", ""), metric.get("dataset_digest", "")
    return not datasets or (name, "") in datasets or (name, digest) in datasets


_LANGUAGE = Language(
    attributes={
        **{
            key: key
            for key in ("name", "model_id", "model_type", "status", "source_run_id", "experiment_id",
                        "creation_timestamp", "last_updated_timestamp")
        },
        **dict.fromkeys(("creation_time", "creation_timestamp_ms"), "creation_timestamp"),
        "last_updated_timestamp_ms": "last_updated_timestamp",
    },
    value=partial(_value, frozenset()),
    numbers=frozenset({"creation_timestamp", "last_updated_timestamp"}),
    kinds=frozenset({"metric", "param", "tag"}),
)  # fmt: skip


@implements("mlflow", "logged-models.searchLoggedModels")
def search(call: Call) -> dict[str, Any]:
    asked = call.body
    passes = _of_datasets(asked.get("datasets") or []).filter(str(asked.get("filter") or ""))
    with call.rooms.database.read() as connection:
        found = [
            model
            for given in dict.fromkeys(asked.get("experiment_ids") or [])
            for model in resources.listed(connection, KIND, experiments.context_name(call, given))
            if passes(model)
        ]
        found.sort(key=lambda model: -model.create_time)
        for order in reversed(asked.get("order_by") or []):
            language = _of_datasets([order] if order.get("dataset_name") else [])
            kind, key = language.named(str(order.get("field_name", "")))
            found = language.by(found, kind, key, descending=order.get("ascending") is False)
        some, more = page(found, asked, 50, 1000)
        return {"models": [render(connection, model) for model in some], **more}


def _of_datasets(given: Iterable[Mapping[str, Any]]) -> Language:
    """With the metrics of these data sets alone, where there are any."""
    named = frozenset(
        (str(one.get("dataset_name", "")), str(one.get("dataset_digest") or "")) for one in given
    )
    return replace(_LANGUAGE, value=partial(_value, named))
