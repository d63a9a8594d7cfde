"""The trials of a tuning job: messages in its body, from their suggestion to their end."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from portico.clock import rfc3339
from portico.errors import FailedPrecondition
from portico.services.aiplatform.vizier import measurements
from portico.services.aiplatform.vizier import trials as vizier
from portico.store import jobs
from portico.store.jobs import Job

ENDED = ("SUCCEEDED", "INFEASIBLE")


def find(tuning: Mapping[str, Any], number: str) -> dict[str, Any]:
    """The trial with that id of a tuning job's body."""
    found: dict[str, Any] = next(one for one in tuning["trials"] if one["id"] == number)
    return found


def shown(trial: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A trial's parameters as its code is told them: a DISCRETE one's 64.0 as 64, which code reads as an int."""
    return [(one["parameterId"], _whole(one["value"])) for one in trial["parameters"]]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def job_spec(tuning: Mapping[str, Any], trial: Mapping[str, Any]) -> dict[str, Any]:
    """The CustomJobSpec of a trial: with its parameters as arguments, and a place of its own for what it writes."""
    made: dict[str, Any] = copy.deepcopy(tuning["trialJobSpec"])
    arguments = [f"--{name}={value}" for name, value in shown(trial)]
    for pool in filter(None, made["workerPoolSpecs"]):
        program = pool.get("pythonPackageSpec") or pool["containerSpec"]
        program["args"] = [*(program.get("args") or []), *arguments]
    if prefix := (made.get("baseOutputDirectory") or {}).get("outputUriPrefix"):
        made["baseOutputDirectory"] = {"outputUriPrefix": f"{prefix.rstrip('/')}/{trial['id']}"}
    return made


def follow(tuning: Mapping[str, Any], job: Job, now: float) -> None:
    """Lets a trial follow the job that runs it."""
    trial = find(tuning, job.payload["trial"])
    if trial["state"] in ENDED:
        return
    if job.state == "RUNNING" and trial["state"] == "REQUESTED":
        trial |= {"state": "ACTIVE", "startTime": rfc3339(now)}
    elif job.state == "SUCCEEDED":
        try:
            vizier.end(trial, tuning["studySpec"], now)
        except FailedPrecondition:
            vizier.end(trial, tuning["studySpec"], now, _unmeasured(tuning, trial))
    elif job.state in jobs.ENDED:
        reason = (job.error or {}).get("message") or "The trial was cancelled."
        vizier.end(trial, tuning["studySpec"], now, reason)


def _unmeasured(tuning: Mapping[str, Any], trial: Mapping[str, Any]) -> str:
    told = trial.get("measurements") or []
    names = [metric["metricId"] for metric in tuning["studySpec"]["metrics"]]
    missing = [name for name in names if all(measurements.value(one, name) is None for one in told)]
    return (
        f"The code ended without reporting a finite value of {', '.join(missing)}: report it with "
        "hypertune.HyperTune().report_hyperparameter_tuning_metric (package cloudml-hypertune)."
    )
