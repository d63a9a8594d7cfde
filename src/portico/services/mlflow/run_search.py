"""Runs found: `runs/search`."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.services.call import Call, implements
from portico.services.mlflow import experiments, run_rows
from portico.services.mlflow.run_rows import RunPrivate
from portico.services.mlflow.search import Language, page
from portico.services.registry import metadata
from portico.store import lineage, resources
from portico.store.resources import Resource

CONTEXT_TAG = "mlflow.data.context"
_MOST_EXPERIMENTS = 1000


def _value(run: Resource, kind: str, key: str) -> Any:
    if kind == "metric":
        held = run_rows.metrics_of(run).get(key)
        return None if held is None else float(held[0])
    if kind == "param":
        return run_rows.params_of(run).get(key)
    if kind == "tag":
        return run_rows.tags_of(run).get(key)
    if kind == "dataset":
        return [_of_dataset(one, key) for one in RunPrivate.of(run).datasets]
    return run_rows.info(run, None).get(key)


def _of_dataset(given: dict[str, Any], key: str) -> str:
    if key == "context":
        return next((one["value"] for one in given.get("tags", []) if one["key"] == CONTEXT_TAG), "")
    return str(given["dataset"].get(key, ""))


_LANGUAGE = Language(
    attributes={
        **{
            key: key
            for key in ("run_id", "run_name", "experiment_id", "user_id", "status", "start_time", "end_time")
        },
        **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
        **dict.fromkeys(("created", "Created"), "start_time"),
        "artifact_uri": "artifact_uri",
    },
    value=_value,
    numbers=frozenset({"start_time", "end_time"}),
    kinds=frozenset({"metric", "param", "tag", "dataset"}),
)


@implements("mlflow", "runs.searchRuns")
def search(call: Call) -> dict[str, Any]:
    asked = call.body
    passes = _LANGUAGE.filter(str(asked.get("filter") or ""))
    given = list(dict.fromkeys(asked.get("experiment_ids") or []))
    if len(given) > _MOST_EXPERIMENTS:
        raise InvalidArgument(
            f"experiment_ids has {len(given):,}; at most {_MOST_EXPERIMENTS:,} are searched at once.",
            field="experiment_ids",
        )
    with call.rooms.database.read() as connection:
        found = [
            run
            for one in given
            for run in of_experiment(connection, experiments.context_name(call, one))
            if experiments.in_view(RunPrivate.of(run).deleted, asked.get("run_view_type")) and passes(run)
        ]
        # What started last comes first; ties by id.
        found.sort(key=lambda run: (-run_rows.info(run, None)["start_time"], run.name))
        some, more = page(_LANGUAGE.sorted(found, asked.get("order_by") or []), asked, 1000, 50_000)
        return {"runs": run_rows.shown(connection, some), **more}


def of_experiment(connection: Connection, experiment: str) -> list[Resource]:
    """All runs of the experiment of that full name."""
    among = lineage.other(experiment, "child")
    found = resources.listed(connection, metadata.CONTEXT_KIND, among=among)
    return [one for one in found if run_rows.is_run(one)]
