"""A run as it is kept: a context of ML Metadata, so that Vertex's `aiplatform.ExperimentRun` is the same one, with what
MLflow knows beyond that beside it. A run that Vertex's client made is a run here too."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import AlreadyExists, InvalidArgument, NotFound
from portico.services.call import Call, Rooms
from portico.services.mlflow import experiments
from portico.services.mlflow.experiments import milliseconds, shown_pairs, slug, store_of
from portico.services.registry import metadata
from portico.store import resources
from portico.store.resources import Private, Resource
from portico.store.run_metrics import Logged

NAME_TAG = "mlflow.runName"
_LONGEST_ID = 55  # characters of a run's own part; an experiment's has at most 63
_SHOWN = 128  # characters of a display name
# MLflow's states as Vertex AI calls them.
STATES = {
    "RUNNING": "RUNNING",
    "SCHEDULED": "NEW",
    "FINISHED": "COMPLETE",
    "FAILED": "FAILED",
    "KILLED": "CANCELLED",
}
_STATUSES = {state: status for status, state in STATES.items()} | {"CACHED": "FINISHED"}
_INTEGER = re.compile(r"-?\d{1,15}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,15}\.?\d{0,17}(?:[eE][-+]?\d{1,2})?", re.ASCII)


class RunPrivate(Private):
    """What MLflow knows of a run.

    `experiment` is a full name; "" where Vertex's client made the run, whose state and times are then its context's.
    `number` is the run's in the table of values, of which it has had `count`; `series` are the metrics that go by
    steps. `metrics` has of each the newest value (a number, or NaN and its like in words), its time and its step.
    Times are milliseconds since the epoch.
    """

    experiment: str = ""
    number: int = 0
    count: int = 0
    name: str = ""
    user: str = ""
    status: str = ""
    start: int = 0
    end: int = 0
    deleted: bool = False
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, tuple[float | str, int, int]] = {}
    series: list[str] = []
    datasets: list[dict[str, Any]] = []
    models_in: list[str] = []
    models_out: list[tuple[str, int]] = []


def require(connection: Connection, call: Call, given: Any, *, active: bool = False) -> Resource:
    """The run of that id.

    Raises:
        NotFound: there is none. InvalidArgument: it is deleted, and an `active` one is asked for.
    """
    found = resources.get(connection, f"{store_of(call)}/contexts/{given}") if given else None
    if found is None or not is_run(found):
        raise NotFound(f"There is no run with the id {given!r}.")
    if active and RunPrivate.of(found).deleted:
        raise InvalidArgument(
            f"The run {given} must be in the 'active' state; it is in 'deleted'. Restore it first."
        )
    return found


@contextlib.contextmanager
def changing(call: Call, *, active: bool = True) -> Iterator[Resource]:
    """The run that a request names, which is written when it was changed.

    Raises:
        NotFound, InvalidArgument: as `require`.
    """
    with call.rooms.database.write() as connection:
        run = require(connection, call, asked_id(call.body), active=active)
        yield run
        write(connection, run, call.rooms)


def is_run(context: Resource) -> bool:
    return context.kind == metadata.CONTEXT_KIND and context.body.get("schemaTitle") == metadata.RUN


def asked_id(asked: Mapping[str, Any]) -> str:
    """Older clients call it run_uuid."""
    return str(asked.get("run_id") or asked.get("run_uuid") or "")


def id_of(run: Resource) -> str:
    return run.name.rpartition("/")[2]


def experiment_of(run: Resource) -> str:
    """The full name of the experiment of a run."""
    return RunPrivate.of(run).experiment or next(iter(run.body.get("parentContexts") or []), "")


def add(connection: Connection, call: Call, experiment: Resource, name: str, private: RunPrivate) -> Resource:
    """A new run, with an id that says what it is."""
    prefix = experiment.name
    own = slug(name, _LONGEST_ID) or f"run-{call.rooms.ids.token()[:8]}"
    facts = {"_params": {}, "_metrics": {}, "_state": STATES[private.status]}
    for made in (own, f"{own[: _LONGEST_ID - 9]}-{call.rooms.ids.token()[:8]}"):
        run = metadata.add_context(
            connection,
            f"{prefix}-{made}",
            name[:_SHOWN],
            metadata.RUN,
            facts,
            call.rooms.clock.now(),
            parents=[experiment.name],
            private=private,
        )
        if run is not None:
            return run
    raise AlreadyExists(f"There are too many runs with the name {name!r}; choose another.")


def write(connection: Connection, run: Resource, rooms: Rooms) -> None:
    """Writes a changed run, with what Vertex's client shows of it."""
    kept, facts = RunPrivate.of(run), facts_of(run)
    if kept.experiment:
        facts["_state"] = STATES[kept.status]
        run.body["displayName"] = kept.name[:_SHOWN]
        run.body["parentContexts"] = [] if kept.deleted else [kept.experiment]
    facts["_params"] = {**pairs(facts, "_params"), **{key: typed(text) for key, text in kept.params.items()}}
    facts["_metrics"] = {
        **pairs(facts, "_metrics"),
        **{key: value for key, (value, _, _) in kept.metrics.items() if not isinstance(value, str)},
    }
    resources.update(connection, run, rooms.clock.now())


def facts_of(run: Resource) -> dict[str, Any]:
    """The metadata of its context, which anybody may have written."""
    facts = run.body.get("metadata")
    if not isinstance(facts, dict):
        facts = run.body["metadata"] = {}
    return facts


def pairs(facts: Mapping[str, Any], key: str) -> dict[str, Any]:
    held = facts.get(key)
    return held if isinstance(held, dict) else {}


def typed(text: str) -> Any:
    """A parameter as Vertex's client logs it: MLflow has only texts."""
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def newest(kept: RunPrivate, logged: Iterable[Logged]) -> None:
    """Lets a run show the values of the greatest steps."""
    for one in logged:
        held = kept.metrics.get(one.key)
        if held is None or (one.step, one.time, _rank(one.value)) >= (
            held[2],
            held[1],
            _rank(float(held[0])),
        ):
            kept.metrics[one.key] = (number(one.value), one.time, one.step)


def _rank(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def number(value: float) -> float | str:
    """As JSON has it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


# --- as MLflow shows it ---


def metrics_of(run: Resource) -> dict[str, tuple[float | str, int, int]]:
    """The newest value, time and step of each metric, with those that Vertex's client logged."""
    there = RunPrivate.of(run).metrics
    at = milliseconds(run.update_time)
    other = {
        key: (float(value), at, 0)
        for key, value in pairs(facts_of(run), "_metrics").items()
        if key not in there and isinstance(value, int | float) and not isinstance(value, bool)
    }
    return other | there


def params_of(run: Resource) -> dict[str, str]:
    there = RunPrivate.of(run).params
    other = {key: str(value) for key, value in pairs(facts_of(run), "_params").items() if key not in there}
    return other | there


def tags_of(run: Resource) -> dict[str, str]:
    kept = RunPrivate.of(run)
    return {NAME_TAG: name_of(run)} | kept.tags


def name_of(run: Resource) -> str:
    return RunPrivate.of(run).name or str(run.body.get("displayName") or id_of(run))


def info(run: Resource, experiment: Resource | None) -> dict[str, Any]:
    """A RunInfo; `experiment` is the run's, where it still exists."""
    kept = RunPrivate.of(run)
    own = id_of(run)
    state = str(facts_of(run).get("_state") or "RUNNING")
    shown = {
        "run_id": own,
        "run_uuid": own,
        "run_name": name_of(run),
        "experiment_id": experiments.wire_id(experiment_of(run)),
        "user_id": kept.user,
        "status": kept.status or _STATUSES.get(state, "RUNNING"),
        "start_time": kept.start or milliseconds(run.create_time),
        "lifecycle_stage": "deleted" if kept.deleted else "active",
    }
    if experiment is not None:
        shown["artifact_uri"] = f"{experiments.location(experiment)}/{own}/artifacts"
    end = kept.end or (0 if shown["status"] in ("RUNNING", "SCHEDULED") else milliseconds(run.update_time))
    return shown | ({"end_time": end} if end else {})


def render(run: Resource, experiment: Resource | None) -> dict[str, Any]:
    kept = RunPrivate.of(run)
    return {
        "info": info(run, experiment),
        "data": {
            "metrics": [
                {"key": key, "value": value, "timestamp": time, "step": step}
                for key, (value, time, step) in metrics_of(run).items()
            ],
            "params": shown_pairs(params_of(run)),
            "tags": shown_pairs(tags_of(run)),
        },
        "inputs": {
            "dataset_inputs": kept.datasets,
            "model_inputs": [{"model_id": one} for one in kept.models_in],
        },
        "outputs": {"model_outputs": [{"model_id": one, "step": step} for one, step in kept.models_out]},
    }


def shown(connection: Connection, runs: Sequence[Resource]) -> list[dict[str, Any]]:
    """Runs with what their experiments say of them."""
    names = {experiment_of(run) for run in runs} - {""}
    above = {one.name: one for one in resources.named(connection, names)}
    return [render(run, above.get(experiment_of(run))) for run in runs]
