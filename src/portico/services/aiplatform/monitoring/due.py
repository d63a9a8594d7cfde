"""When a model deployment monitoring job takes its turn: its training data were not read yet, or a window is due."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339
from portico.services.aiplatform.monitoring import model_deployment_monitoring_jobs as jobs
from portico.services.standard.standing import State
from portico.store import domain_clock, resources
from portico.store.resources import Resource

_SLACK = 5.0  # seconds beyond an interval that a plan may lie ahead


class WindowsDue:
    """A `Standing`: what failed rests, unless it could succeed now: the job was changed, or the domain clock
    advanced."""

    kind = jobs.KIND

    def __init__(self) -> None:
        self._told: dict[str, bytes] = {}

    def due(self, connection: Connection, now: float, states: Mapping[str, State]) -> Iterable[str]:
        told: dict[str, bytes] = {}
        for job in resources.listed(connection, jobs.JOBS.kind):
            if job.body["state"] == "JOB_STATE_PAUSED":
                continue
            state = states.get(job.name, "ready")
            if state in ("waits", "turn") or not (unread(job) or is_due(job, now) or strayed(job, now)):
                told[job.name] = self._told.get(job.name, b"")
                continue
            told[job.name] = _told(job, now, domain_clock.simulated(connection))
            if state == "ready" or told[job.name] != self._told.get(job.name):
                yield job.name
        self._told = told


def unread(job: Resource) -> list[dict[str, Any]]:
    """The objective configs whose training data have not been read yet."""
    known = jobs.JobPrivate.of(job).baselines
    return [config for config in job.body[jobs.OBJECTIVES] if config["deployedModelId"] not in known]


def is_due(job: Resource, now: float) -> bool:
    return _ahead(job, now) <= 0


def strayed(job: Resource, now: float) -> bool:
    """Whether the next run lies further ahead than an interval: it was planned while the clock was ahead."""
    ahead = _ahead(job, now)
    return math.isfinite(ahead) and ahead > jobs.schedule_of(job.body)[0] + _SLACK


def _ahead(job: Resource, now: float) -> float:
    """Seconds until the next run; infinite where none is planned."""
    if job.body["state"] == "JOB_STATE_PAUSED" or not jobs.JobPrivate.of(job).baselines:
        return math.inf
    return parse_rfc3339(job.body["nextScheduleTime"]) - now


def _told(job: Resource, now: float, simulated: float | None) -> bytes:
    """What decides whether a job that failed could succeed now."""
    window = job.body["nextScheduleTime"] if is_due(job, now) else ""
    return orjson.dumps([job.create_time, job.body[jobs.OBJECTIVES], job.body["endpoint"], simulated, window])
