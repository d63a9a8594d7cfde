"""What is computed for a study, in the scheduler's process: which trials come next, and whether one is to stop."""

from __future__ import annotations

from typing import Any

from portico.clock import rfc3339
from portico.errors import NotFound
from portico.jobs.worker import Context
from portico.services.aiplatform.vizier import ending, stopping, suggesting, trials
from portico.services.aiplatform.vizier.studies import STUDIES, StudyPrivate
from portico.services.aiplatform.vizier.trials import TRIALS
from portico.store import resources
from portico.store.resources import Resource

_TOGETHER = (
    20  # suggestions that are stored at once: another client's coming between costs no more, nor does an end
)


def run_suggesting(context: Context) -> dict[str, Any]:
    """Job: a SuggestTrialsResponse. A client gets the trials that it has not ended again; then those that somebody made
    and nobody has; then new ones."""
    asked = context.job.payload
    client, count = asked["clientId"], asked["suggestionCount"]
    contexts = [
        {one["parameterId"]: one["value"] for one in told.get("parameters") or []}
        for told in asked.get("contexts") or [{}]
    ]
    begun = 0  # new ones
    while True:
        with context.database.read() as connection:
            study = STUDIES.require(connection, context.job.resource)
            there = trials.of_study(connection, study.name)
        seen, next_id = study.revision, StudyPrivate.of(study).trials + 1
        mine = [one for one in there if one.body["state"] == "ACTIVE" and one.body.get("clientId") == client]
        made = [one for one in there if one.body["state"] == "REQUESTED" and _fits(one.body, contexts)]
        known = [one.body for one in there]
        found: list[suggesting.Parameters] = []
        wanted = count - max(len(mine) + len(made), begun)
        for number in range(min(wanted, _TOGETHER)):
            if ending.is_over(study.body["studySpec"], known, study.create_time, context.clock.now()):
                break
            fixed = contexts[(begun + number) % len(contexts)]
            new = suggesting.suggest(study.name, study.body["studySpec"], known, next_id + number, fixed)
            if new is None:
                break
            found.append(new)
            known.append({"state": "ACTIVE", "parameters": new})
        now = context.clock.now()
        with context.database.write() as connection:
            study = STUDIES.require(connection, study.name)
            if study.revision != seen or StudyPrivate.of(study).trials + 1 != next_id:
                continue  # another client's came between: these might be the same
            taken = made[: max(0, count - len(mine))]
            if any(not _is_free(resources.get(connection, one.name)) for one in taken):
                continue
            for one in taken:
                one.body |= {"state": "ACTIVE", "clientId": client, "startTime": rfc3339(now)}
                resources.update(connection, one, now)
            added = [
                trials.insert(connection, study, parameters, now, state="ACTIVE", clientId=client)
                for parameters in found
            ]
            begun += len(added)
            if len(added) == _TOGETHER < wanted:
                resources.update(connection, study, now)
                continue
            if not (mine or taken or added):
                study.body["state"] = "COMPLETED"
            resources.update(connection, study, now)
            answer = [trials.shown(connection, one) for one in [*mine[:count], *taken, *added]]
            return {
                "trials": answer,
                "studyState": study.body["state"],
                "startTime": rfc3339(context.job.create_time),
                "endTime": rfc3339(now),
            }


def _is_free(trial: Resource | None) -> bool:
    return trial is not None and trial.body["state"] == "REQUESTED"


def _fits(trial: dict[str, Any], contexts: list[dict[str, Any]]) -> bool:
    told = {one["parameterId"]: one["value"] for one in trial["parameters"]}
    return any(all(told.get(name) == value for name, value in context.items()) for context in contexts)


def run_checking(context: Context) -> dict[str, Any]:
    """Job: a CheckTrialEarlyStoppingStateResponse. A trial that is to stop is STOPPING from then on."""
    name = context.job.payload["trial"]
    with context.database.read() as connection:
        study = STUDIES.require(connection, context.job.resource)
        there = trials.of_study(connection, study.name)
    trial = next((one for one in there if one.name == name), None)
    if trial is None:
        raise NotFound(f"The Trial {name!r} does not exist.")
    stop = stopping.should_stop(
        study.body["studySpec"], trial.body, [one.body for one in there if one.name != name]
    )
    if stop and trial.body["state"] == "ACTIVE":
        with context.database.write() as connection:
            trial = TRIALS.require(connection, name)
            if trial.body["state"] == "ACTIVE":
                trial.body["state"] = "STOPPING"
                resources.update(connection, trial, context.clock.now())
    return {"shouldStop": stop}
