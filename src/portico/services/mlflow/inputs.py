"""What went into a run and came out of it: data sets, and logged models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from portico.errors import InvalidArgument
from portico.services.call import Call, implements
from portico.services.mlflow import experiments, run_rows, runs
from portico.services.mlflow.run_search import CONTEXT_TAG, of_experiment

_HISTORY = "mlflow.log-model.history"
_MOST = 1000  # of a run
_MOST_EXPERIMENTS = 20
_LONGEST = {
    "name": 500,
    "digest": 36,
    "source_type": 36,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
}


@implements("mlflow", "runs.logInputs")
def log_inputs(call: Call) -> dict[str, Any]:
    given = [_dataset(one) for one in call.body.get("datasets") or []]
    models = [str(one.get("model_id", "")) for one in call.body.get("models") or []]
    with run_rows.changing(call) as run:
        kept = runs.adopted(run)
        there = {_key(one): one for one in kept.datasets}
        kept.datasets = list((there | {_key(one): one for one in given}).values())
        kept.models_in = list(dict.fromkeys([*kept.models_in, *models]))
        _check_count(len(kept.datasets) + len(kept.models_in))
    return {}


@implements("mlflow", "runs.logOutputs")
def log_outputs(call: Call) -> dict[str, Any]:
    made = [
        (str(one.get("model_id", "")), int(one.get("step") or 0)) for one in call.body.get("models") or []
    ]
    with run_rows.changing(call) as run:
        kept = runs.adopted(run)
        kept.models_out = list(dict.fromkeys([*kept.models_out, *made]))
        _check_count(len(kept.models_out))
    return {}


@implements("mlflow", "runs.logModel")
def log_model(call: Call) -> dict[str, Any]:
    """What older clients tell of a model among a run's artifacts: it is kept in a tag."""
    told = _json(str(call.body.get("model_json") or ""))
    if not isinstance(told, dict):
        raise InvalidArgument("model_json is no JSON object.", field="model_json")
    with run_rows.changing(call) as run:
        tags = runs.adopted(run).tags
        held = _json(tags.get(_HISTORY, "[]"))  # anybody may have set it
        tags[_HISTORY] = orjson.dumps([*(held if isinstance(held, list) else []), told][-_MOST:]).decode()
    return {}


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _check_count(count: int) -> None:
    if count > _MOST:
        raise InvalidArgument(f"The run would have {count:,} of them; at most {_MOST:,} are kept.")


def _dataset(given: Mapping[str, Any]) -> dict[str, Any]:
    """A DatasetInput.

    Raises:
        InvalidArgument: something of it is missing or too long.
    """
    held = given.get("dataset") or {}
    for key in ("name", "digest", "source_type", "source"):
        if not held.get(key):
            raise InvalidArgument(f"A data set needs a {key}.", field=f"datasets.dataset.{key}")
    for key, most in _LONGEST.items():
        if len(held.get(key) or "") > most:
            raise InvalidArgument(
                f"The {key} of the data set {held['name'][:80]!r} has more than {most:,} characters.",
                field=f"datasets.dataset.{key}",
            )
    return {"dataset": held, "tags": experiments.shown_pairs(experiments.tags_of(given.get("tags")))}


def _key(given: Mapping[str, Any]) -> tuple[str, str]:
    return given["dataset"]["name"], given["dataset"]["digest"]


@implements("mlflow", "experiments.searchDatasets")
def search_datasets(call: Call) -> dict[str, Any]:
    """Which data the runs of some experiments used."""
    given = list(dict.fromkeys(call.body.get("experiment_ids") or []))
    if len(given) > _MOST_EXPERIMENTS:
        raise InvalidArgument(
            f"experiment_ids has {len(given)}; at most {_MOST_EXPERIMENTS} are searched at once.",
            field="experiment_ids",
        )
    found: dict[tuple[str, ...], None] = {}
    with call.rooms.database.read() as connection:
        for one in given:
            for run in of_experiment(connection, experiments.context_name(call, one)):
                kept = run_rows.RunPrivate.of(run)
                for of in [] if kept.deleted else kept.datasets:
                    contexts = [tag["value"] for tag in of["tags"] if tag["key"] == CONTEXT_TAG] or [""]
                    found |= {(one, *_key(of), context): None for context in contexts}
    return {
        "dataset_summaries": [
            {
                "experiment_id": one,
                "name": name,
                "digest": digest,
                **({"context": context} if context else {}),
            }
            for one, name, digest, context in found
        ]
    }
