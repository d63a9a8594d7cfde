"""Trials of a study: asked for, measured, and ended by whoever runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, InvalidArgument
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform.vizier import measurements, space
from portico.services.aiplatform.vizier.studies import STUDIES, StudyPrivate
from portico.services.call import Call, implements
from portico.services.standard import operations
from portico.services.standard.collection import Collection, Made, register
from portico.store import operations as store_operations
from portico.store import resources
from portico.store.jobs import Job
from portico.store.operations import Operation
from portico.store.resources import Resource

_ENDED = ("SUCCEEDED", "INFEASIBLE")
_PATIENCE = 2.0  # seconds in which an operation is usually done, and for which its answer waits
_SUGGESTIONS = 1000  # of one request


@dataclass(frozen=True)
class Trials(Collection):
    def making(self, call: Call, name: str) -> Made:
        """The study numbers its trials: what the caller measured already may end one at once."""
        return lambda connection: (_made(call, connection), None)

    def complete(self, connection: Connection, shown: Sequence[dict[str, Any]]) -> None:
        for one in shown:  # a Trial has other times
            one.pop("createTime", None)
            one.pop("updateTime", None)


TRIALS = Trials("projects.locations.studies.trials", "Trial", has_etag=False)
register(TRIALS, "create", "get", "list", "delete")


def shown(connection: Connection, trial: Resource) -> dict[str, Any]:
    """A trial as clients see it."""
    made = TRIALS.render(trial)
    TRIALS.complete(connection, [made])
    return made


def of_study(connection: Connection, study: str) -> list[Resource]:
    """Its trials by id."""
    found = resources.listed(connection, TRIALS.kind, study)
    return sorted(found, key=lambda trial: int(trial.body["id"]))


def insert(
    connection: Connection, study: Resource, parameters: list[dict[str, Any]], now: float, **more: Any
) -> Resource:
    """The next trial of `study`, of which what changes is the caller's to write."""
    private = StudyPrivate.of(study)
    private.trials += 1
    number = str(private.trials)
    made = resources.insert(
        connection, name=f"{study.name}/trials/{number}", kind=TRIALS.kind, parent=study.name, now=now,
        body={"id": number, "parameters": parameters, "startTime": rfc3339(now), **more},
    )  # fmt: skip
    assert made is not None
    return made


def _made(call: Call, connection: Connection) -> Resource:
    now, body = call.rooms.clock.now(), call.body
    study = STUDIES.require(connection, str(call.params["parent"]))
    spec = study.body["studySpec"]
    parameters = space.read(spec["parameters"], body.get("parameters") or [], "trial.parameters")
    made = insert(connection, study, parameters, now, state="REQUESTED")
    for number, one in enumerate(body.get("measurements") or []):
        measurements.check(one, spec, f"trial.measurements[{number}]", whole=False)
        made.body["measurements"] = measurements.added(made.body.get("measurements") or [], one)
    if body.get("finalMeasurement"):
        measurements.check(body["finalMeasurement"], spec, "trial.finalMeasurement", whole=True)
        made.body["finalMeasurement"] = body["finalMeasurement"]
    if body.get("state") == "INFEASIBLE" or body.get("infeasibleReason"):
        end(made.body, spec, now, body.get("infeasibleReason", ""))
    elif body.get("state") == "SUCCEEDED" or body.get("finalMeasurement"):
        end(made.body, spec, now)
    resources.update(connection, made, now)
    resources.note(connection, study)
    return made


def end(trial: dict[str, Any], spec: dict[str, Any], now: float, infeasible: str | None = None) -> None:
    """Ends a trial: INFEASIBLE for that reason, or with its final measurement, chosen where it has none.

    Raises:
        FailedPrecondition: nothing was measured.
    """
    if infeasible is None:
        final = trial.get("finalMeasurement") or measurements.final(trial.get("measurements") or [], spec)
        if final is None:
            names = ", ".join(metric["metricId"] for metric in spec["metrics"])
            raise FailedPrecondition(
                f"The trial has no measurement of {names}: give a finalMeasurement, or say trialInfeasible."
            )
        trial |= {"state": "SUCCEEDED", "finalMeasurement": final}
    else:
        trial |= {"state": "INFEASIBLE", "infeasibleReason": infeasible}
    trial["endTime"] = rfc3339(now)


@implements("aiplatform", TRIALS.method("addTrialMeasurement"))
def add_measurement(call: Call) -> dict[str, Any]:
    now = call.rooms.clock.now()
    with call.rooms.database.write() as connection:
        trial, spec = _open(call, connection, "trialName")
        new = dict(call.body["measurement"])
        measurements.check(new, spec, "measurement", whole=False)
        new.setdefault("elapsedDuration", f"{max(0.0, now - trial.create_time):.6f}s")
        trial.body["measurements"] = measurements.added(trial.body.get("measurements") or [], new)
        resources.update(connection, trial, now)
        return shown(connection, trial)


@implements("aiplatform", TRIALS.method("complete"))
def complete(call: Call) -> dict[str, Any]:
    now, body = call.rooms.clock.now(), call.body
    with call.rooms.database.write() as connection:
        trial, spec = _open(call, connection, "name")
        if body.get("infeasibleReason") and not body.get("trialInfeasible"):
            raise InvalidArgument("An infeasibleReason needs trialInfeasible.", field="infeasibleReason")
        if body.get("trialInfeasible"):
            end(trial.body, spec, now, body.get("infeasibleReason", ""))
        else:
            if body.get("finalMeasurement"):
                measurements.check(body["finalMeasurement"], spec, "finalMeasurement", whole=True)
                trial.body["finalMeasurement"] = body["finalMeasurement"]
            end(trial.body, spec, now)
        resources.update(connection, trial, now)
        return shown(connection, trial)


@implements("aiplatform", TRIALS.method("stop"))
def stop(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        trial, _ = _open(call, connection, "name")
        trial.body["state"] = "STOPPING"
        resources.update(connection, trial, call.rooms.clock.now())
        return shown(connection, trial)


@implements("aiplatform", TRIALS.method("listOptimalTrials"))
def list_optimal(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        study = STUDIES.require(connection, str(call.params["parent"]))
        found = {one.name: one for one in of_study(connection, study.name)}
        ended = [{"name": one.name, **one.body} for one in found.values()]
        best = measurements.optimal(ended, study.body["studySpec"])
        return {"optimalTrials": [shown(connection, found[one["name"]]) for one in best]} if best else {}


# --- what is computed: by a job, whose operation is usually done when it is answered ---


def _follow_suggesting(connection: Connection, job: Job, now: float) -> None:
    operations.follow(connection, job, now, "SuggestTrialsResponse", job.result)


def _follow_checking(connection: Connection, job: Job, now: float) -> None:
    operations.follow(connection, job, now, "CheckTrialEarlyStoppingStateResponse", job.result)


_RUN = "portico.services.aiplatform.vizier.run"
# In threads: somebody waits for it, and what computes as a process gives way to all else on the machine.
register_kind(JobKind("suggestTrials", f"{_RUN}:run_suggesting", _follow_suggesting, lane="thread"))
register_kind(JobKind("checkTrialEarlyStopping", f"{_RUN}:run_checking", _follow_checking, lane="thread"))


@implements("aiplatform", TRIALS.method("suggest"))
async def suggest(call: Call) -> dict[str, Any]:
    if not 1 <= call.body["suggestionCount"] <= _SUGGESTIONS:
        raise InvalidArgument(f"A suggestionCount is from 1 to {_SUGGESTIONS}.", field="suggestionCount")

    call.body.setdefault("clientId", "")  # who asks alone, as Study.suggest() does, needs no name

    def start() -> Operation:
        with call.rooms.database.write() as connection:
            study = STUDIES.require(connection, str(call.params["parent"]))
            for number, context in enumerate(call.body.get("contexts") or []):
                _check_context(study.body["studySpec"]["parameters"], context, f"contexts[{number}]")
            job = call.rooms.queue.add(connection, "suggestTrials", study.name, call.body, priority=10)
            return operations.start(
                call, connection, study.name, "SuggestTrialsMetadata", job=job, clientId=call.body["clientId"]
            )

    return await _soon(call, await asyncio.to_thread(start))


@implements("aiplatform", TRIALS.method("checkTrialEarlyStoppingState"))
async def check_early_stopping(call: Call) -> dict[str, Any]:
    def start() -> Operation:
        with call.rooms.database.write() as connection:
            trial = TRIALS.require(connection, str(call.params["trialName"]))
            job = call.rooms.queue.add(
                connection, "checkTrialEarlyStopping", trial.parent, {"trial": trial.name}, priority=10
            )
            return operations.start(
                call, connection, trial.name, "CheckTrialEarlyStoppingStateMetatdata", job=job,
                study=trial.parent, trial=trial.name,
            )  # fmt: skip

    return await _soon(call, await asyncio.to_thread(start))


async def _soon(call: Call, operation: Operation) -> dict[str, Any]:
    """The operation, done where its work takes no longer than usual."""
    call.rooms.queue.wake()
    await call.rooms.waiting(operations.ended).wait(operation.id, _PATIENCE)

    def read() -> dict[str, Any]:
        with call.rooms.database.read() as connection:
            return operations.render(store_operations.get(connection, operation.id) or operation)

    return await asyncio.to_thread(read)


def _open(call: Call, connection: Connection, parameter: str) -> tuple[Resource, dict[str, Any]]:
    """The trial that the call names, which has not ended, and the spec of its study."""
    trial = TRIALS.require(connection, str(call.params[parameter]))
    if trial.body["state"] in _ENDED:
        raise FailedPrecondition(f"{trial.name} has ended already ({trial.body['state']}).")
    return trial, STUDIES.require(connection, trial.parent).body["studySpec"]


def _check_context(specs: Sequence[space.Spec], context: dict[str, Any], field: str) -> None:
    known = {one["parameterId"]: one for one in space.every(specs)}
    for number, one in enumerate(context.get("parameters") or []):
        where = f"{field}.parameters[{number}]"
        if one.get("parameterId") not in known:
            raise InvalidArgument(f"The study has no parameter {one.get('parameterId', '')!r}.", field=where)
        space.value_in(known[one["parameterId"]], one.get("value"), where)
