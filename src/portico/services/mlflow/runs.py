"""Runs: made, changed, deleted and restored; their parameters and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.mlflow import experiments, run_rows
from portico.services.mlflow.experiments import milliseconds
from portico.services.mlflow.run_rows import NAME_TAG, RunPrivate, asked_id
from portico.store import resources
from portico.store.resources import Resource

_LONGEST_KEY = 250
_LONGEST_PARAM = 6000
_LONGEST_TAG = 8000


@implements("mlflow", "runs.createRun")
def create(call: Call) -> dict[str, Any]:
    given = str(call.body.get("experiment_id") or experiments.DEFAULT)
    tags = checked_tags(call.body.get("tags"))
    name = str(call.body.get("run_name") or tags.get(NAME_TAG) or f"run-{call.rooms.ids.token()[:8]}")
    if tags.setdefault(NAME_TAG, name) != name:
        raise InvalidArgument(
            f"run_name is {name!r} and the tag {NAME_TAG} is {tags[NAME_TAG]!r}; give one of them.",
            field="run_name",
        )
    experiments.ensure_default(call, given)
    start = int(call.body.get("start_time") or 0) or milliseconds(call.rooms.clock.now())
    with call.rooms.database.write() as connection:
        experiment = experiments.require(connection, call, given, active=True)
        private = RunPrivate(
            experiment=experiment.name,
            number=int(call.rooms.ids.number()),
            name=name,
            user=str(call.body.get("user_id") or ""),
            status="RUNNING",
            start=start,
            tags=tags,
        )
        made = run_rows.add(connection, call, experiment, name, private)
        return {"run": run_rows.render(made, experiment)}


@implements("mlflow", "runs.getRun")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        found = run_rows.require(connection, call, asked_id(call.params))
        return {"run": run_rows.shown(connection, [found])[0]}


@implements("mlflow", "runs.updateRun")
def update(call: Call) -> dict[str, Any]:
    status = str(call.body.get("status") or "")
    with call.rooms.database.write() as connection:
        run = run_rows.require(connection, call, asked_id(call.body), active=True)
        kept = adopted(run)
        if status in run_rows.STATES:
            kept.status = status
            if status in ("RUNNING", "SCHEDULED"):
                kept.end = 0  # it goes on
        if call.body.get("end_time"):
            kept.end = int(call.body["end_time"])
        if call.body.get("run_name"):
            kept.name = kept.tags[NAME_TAG] = str(call.body["run_name"])
        run_rows.write(connection, run, call.rooms)
        experiment = resources.get(connection, run_rows.experiment_of(run))
        return {"run_info": run_rows.info(run, experiment)}


def adopted(run: Resource) -> RunPrivate:
    """What MLflow knows of a run, which it is about to change: from now on that holds, whoever made the run."""
    kept = RunPrivate.of(run)
    if not kept.experiment:
        now = run_rows.info(run, None)
        kept.experiment, kept.name = run_rows.experiment_of(run), now["run_name"]
        kept.status, kept.start, kept.end = now["status"], now["start_time"], now.get("end_time", 0)
    return kept


@implements("mlflow", "runs.deleteRun")
def delete(call: Call) -> dict[str, Any]:
    return _set_deleted(call, True)


@implements("mlflow", "runs.restoreRun")
def restore(call: Call) -> dict[str, Any]:
    return _set_deleted(call, False)


def _set_deleted(call: Call, deleted: bool) -> dict[str, Any]:
    """A deleted run is kept, and is no run of its experiment for Vertex's client meanwhile."""
    with run_rows.changing(call, active=False) as run:
        adopted(run).deleted = deleted
    return {}


@implements("mlflow", "runs.setTag")
def set_tag(call: Call) -> dict[str, Any]:
    tags = checked_tags([call.body])
    with run_rows.changing(call) as run:
        put_tags(adopted(run), tags)
    return {}


@implements("mlflow", "runs.deleteTag")
def delete_tag(call: Call) -> dict[str, Any]:
    key = str(call.body.get("key", ""))
    with run_rows.changing(call) as run:
        if adopted(run).tags.pop(key, None) is None:
            raise NotFound(f"The run has no tag {key!r}.")
    return {}


@implements("mlflow", "runs.logParam")
def log_parameter(call: Call) -> dict[str, Any]:
    params = checked_params([call.body])
    with run_rows.changing(call) as run:
        put_params(run, params)
    return {}


def checked_tags(given: Any) -> dict[str, str]:
    """
    Raises:
        InvalidArgument: one has no key, or is too long.
    """
    return _checked(experiments.tags_of(given), "tag", _LONGEST_TAG)


def checked_params(given: Any) -> dict[str, str]:
    """
    Raises:
        InvalidArgument: one has no key, is too long, or is given twice, differently.
    """
    found = _checked(experiments.tags_of(given), "parameter", _LONGEST_PARAM)
    for one in given or []:
        if str(one.get("value", "")) != found[one["key"]]:
            raise InvalidArgument(
                f"The parameter {one['key']!r} is given twice, with two values.", field="params"
            )
    return found


def _checked(found: dict[str, str], what: str, longest: int) -> dict[str, str]:
    for key, value in found.items():
        if len(key) > _LONGEST_KEY or len(value) > longest:
            raise InvalidArgument(
                f"The {what} {key[:80]!r} is too long: its key has {len(key):,} of at most {_LONGEST_KEY} characters, "
                f"its value {len(value):,} of at most {longest:,}."
            )
    return found


def check_key(key: str) -> str:
    """The key of a metric.

    Raises:
        InvalidArgument: there is none, or it is too long.
    """
    if not key or len(key) > _LONGEST_KEY:
        raise InvalidArgument(f"A metric's key has 1 to {_LONGEST_KEY} characters.", field="key")
    return key


def put_params(run: Resource, params: Mapping[str, str]) -> None:
    """Adds parameters.

    Raises:
        InvalidArgument: one is there with another value.
    """
    there = run_rows.params_of(run)
    for key, value in params.items():
        if there.get(key, value) != value:
            raise InvalidArgument(
                f"Changing param values is not allowed. Param with key={key!r} was already logged with "
                f"value={there[key]!r} for run ID={run_rows.id_of(run)!r}. Attempted logging new value {value!r}."
            )
    adopted(run).params |= params


def put_tags(kept: RunPrivate, tags: Mapping[str, str]) -> None:
    kept.tags |= tags
    kept.name = tags.get(NAME_TAG) or kept.name


def runs_of(connection: Connection, call: Call, given: list[Any]) -> list[Resource]:
    """The runs of those ids.

    Raises:
        NotFound: one is missing.
    """
    return [run_rows.require(connection, call, one) for one in given]
