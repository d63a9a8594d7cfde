"""Schedules: what runs again and again, as a cron line says, in domain time. So far they make model monitoring jobs.

Starting a job takes a moment, so runs never wait for each other: maxConcurrentRunCount and allowQueueing, which bound
the starting, have nothing to hold back.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339, rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, NotFound, PorticoError, Unimplemented
from portico.services.aiplatform import cron
from portico.services.aiplatform.monitoring import model_monitoring_jobs
from portico.services.aiplatform.monitoring import monitor_spec as spec
from portico.services.aiplatform.monitoring.model_monitors import MONITORS
from portico.services.call import Call, Rooms, implements
from portico.services.standard.collection import Collection, check_common, register
from portico.services.standard.names import check_same_location
from portico.store import domain_clock, jobs, resources
from portico.store.resources import Private, Resource


class SchedulePrivate(Private):
    """`next` is the moment of the next run, in domain time; kept in a pause."""

    next: float = 0.0


class ScheduleCollection(Collection):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        """The runs after now go by the changed schedule."""
        now, body = domain_clock.now(connection, call.rooms.clock), resource.body
        if before is None:
            body |= {"startedRunCount": "0", "state": "ACTIVE"}
            body.setdefault("startTime", rfc3339(now))
        elif before["state"] == "COMPLETED":
            raise FailedPrecondition(f"{resource.name} has completed; make a new one.")
        _check(connection, resource.parent, body)
        _plan(body, SchedulePrivate.of(resource), now)


SCHEDULES = ScheduleCollection(
    "projects.locations.schedules",
    "Schedule",
    output_only=frozenset(
        {"state", "startedRunCount", "nextRunTime", "lastPauseTime", "lastResumeTime", "catchUp",
         "lastScheduledRunResponse"}
    ),
    has_etag=False,
)  # fmt: skip
register(SCHEDULES, "create", "get", "list", "patch", "delete")


log = logging.getLogger(__name__)

_REQUEST = "createModelMonitoringJobRequest"
_OTHERS = ("createPipelineJobRequest", "createNotebookExecutionJobRequest")
_SHORTEST = 60.0  # seconds between two runs
_MOST = 24  # runs of a schedule that are made at once in the wall clock's time


@implements("aiplatform", SCHEDULES.method("pause"))
def pause(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        schedule = SCHEDULES.require(connection, call.name)
        if schedule.body["state"] != "ACTIVE":
            raise FailedPrecondition(f"{schedule.name} is not active: its state is {schedule.body['state']}.")
        now = domain_clock.now(connection, call.rooms.clock)
        schedule.body |= {"state": "PAUSED", "lastPauseTime": rfc3339(now)}
        schedule.body.pop("nextRunTime", None)
        resources.update(connection, schedule, call.rooms.clock.now())
    return {}


@implements("aiplatform", SCHEDULES.method("resume"))
def resume(call: Call) -> dict[str, Any]:
    """Goes on with the first run after now; with catchUp, with the first that the pause held back."""
    with call.rooms.database.write() as connection:
        schedule = SCHEDULES.require(connection, call.name)
        body, private = schedule.body, SchedulePrivate.of(schedule)
        catch_up = bool(call.body.get("catchUp"))
        if body["state"] != "PAUSED":
            raise FailedPrecondition(f"{schedule.name} is not paused: its state is {body['state']}.")
        now = domain_clock.now(connection, call.rooms.clock)
        body |= {"state": "ACTIVE", "lastResumeTime": rfc3339(now), "catchUp": catch_up}
        if catch_up:
            body["nextRunTime"] = rfc3339(private.next)
        else:
            _plan(body, private, now)
        resources.update(connection, schedule, call.rooms.clock.now())
    return {}


def _plan(body: dict[str, Any], private: SchedulePrivate, now: float) -> None:
    """Sets the first run after `now`; a schedule that has none left is completed."""
    after = max(now, parse_rfc3339(body["startTime"]))
    found = cron.parse(body["cron"]).next_after(after)
    end, most = body.get("endTime"), int(body.get("maxRunCount") or 0)
    over = (
        found is None
        or (end and found >= parse_rfc3339(end))
        or (most and int(body["startedRunCount"]) >= most)
    )
    if over:
        body["state"] = "COMPLETED"
        body.pop("nextRunTime", None)
        return
    private.next = found or 0.0
    if body["state"] == "ACTIVE":
        body["nextRunTime"] = rfc3339(private.next)


def _check(connection: Connection, parent: str, body: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: naming the field. Unimplemented: a schedule of something else.
    """
    for other in _OTHERS:
        if other in body:
            raise Unimplemented(
                f"Schedules with a {other} are not built in Portico yet; those with a {_REQUEST} are."
            )
    request = body.get(_REQUEST)
    if not request:
        raise InvalidArgument(f"{_REQUEST} is missing: what the schedule is to make.", field=_REQUEST)
    try:
        cron.parse(body.get("cron", ""))
    except ValueError as error:
        raise InvalidArgument(f"cron: {error}.", field="cron") from None
    for count in ("maxRunCount", "maxConcurrentRunCount"):
        if int(body.get(count) or 1) < 1:
            raise InvalidArgument(f"{count} must be above 0.", field=count)
    start, end = body["startTime"], body.get("endTime")
    if end and parse_rfc3339(end) <= parse_rfc3339(start):
        raise InvalidArgument("endTime is not after startTime.", field="endTime")
    if request.get("modelMonitoringJobId"):
        raise InvalidArgument(
            "A schedule makes many jobs, which can't have one id.", field=f"{_REQUEST}.modelMonitoringJobId"
        )
    check_same_location(parent, request.get("parent", ""), f"{_REQUEST}.parent")
    try:
        monitor = MONITORS.require(connection, request["parent"])
    except NotFound as error:
        raise InvalidArgument(error.message, field=f"{_REQUEST}.parent") from None
    told = request.get("modelMonitoringJob") or {}
    check_common(told)
    spec.spec_of(connection, monitor, told.get("modelMonitoringSpec") or {},
                 f"{_REQUEST}.modelMonitoringJob.modelMonitoringSpec")  # fmt: skip


class Schedules:
    """Belongs to the scheduler's process."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._database = rooms.database

    def run_due(self) -> bool:
        """Starts every run that was due up to now, in domain time; whether no job of a schedule is under way."""
        with self._database.read() as connection:
            simulated = domain_clock.simulated(connection)
            now = self._rooms.clock.now() if simulated is None else simulated
            found = [
                s
                for s in resources.listed(connection, SCHEDULES.kind)
                if _is_due(s, now) or _strayed(s.body, now)
            ]
            if not found:
                return _idle(connection)
        for schedule in found:
            try:
                every = simulated is not None or schedule.body.get("catchUp")
                self._run_all(schedule.name, now, None if every else _MOST)
            except Exception:
                log.exception("%s can't be run", schedule.name)
        self._rooms.queue.wake()
        with self._database.read() as connection:
            return _idle(connection)

    def _run_all(self, name: str, now: float, most: int | None) -> None:
        """The runs that are due, at most `most`: where it is more, the wall clock jumped ahead or the machine slept."""
        for count in itertools.count(1):
            if not self._run(name, now, skip=count == most):
                return

    def _run(self, name: str, now: float, skip: bool) -> bool:
        """The next run, where it is due: its job and the schedule's progress in one transaction. With `skip` the next
        one is the first after `now`."""
        with self._database.write() as connection:
            schedule = resources.get(connection, name)
            if schedule is not None and _strayed(schedule.body, now):
                _plan(schedule.body, SchedulePrivate.of(schedule), now)
                resources.update(connection, schedule, self._rooms.clock.now())
            if schedule is None or not _is_due(schedule, now):
                return False
            body, due = schedule.body, parse_rfc3339(schedule.body["nextRunTime"])
            try:
                answer = _start(self._rooms, connection, schedule, due)
                body["startedRunCount"] = str(int(body["startedRunCount"]) + 1)
            except PorticoError as error:
                answer = error.message
            body["lastScheduledRunResponse"] = {"scheduledRunTime": rfc3339(due), "runResponse": answer}
            _plan(body, SchedulePrivate.of(schedule), now if skip else due)
            resources.update(connection, schedule, self._rooms.clock.now())
        return True


def _idle(connection: Connection) -> bool:
    return not any(job.payload["schedule"] for job in jobs.active(connection, model_monitoring_jobs.JOB_KIND))


def _is_due(schedule: Resource, now: float) -> bool:
    body = schedule.body
    return body["state"] == "ACTIVE" and parse_rfc3339(body["nextRunTime"]) <= now


def _strayed(body: Mapping[str, Any], now: float) -> bool:
    """Whether a run would come before the next one: it was planned while the clock was ahead of what it shows now. A
    clock that went back a little makes no run again."""
    if body["state"] != "ACTIVE" or (planned := parse_rfc3339(body["nextRunTime"])) <= now + _SHORTEST:
        return False
    found = cron.parse(body["cron"]).next_after(max(now, parse_rfc3339(body["startTime"])))
    last = (body.get("lastScheduledRunResponse") or {}).get("scheduledRunTime")
    return found is not None and found < planned and rfc3339(found) != last


def _start(rooms: Rooms, connection: Connection, schedule: Resource, due: float) -> str:
    """Starts the run that was due at `due`; returns its job's name."""
    request = schedule.body[_REQUEST]
    monitor = MONITORS.require(connection, request["parent"])
    told, job_id = request.get("modelMonitoringJob") or {}, rooms.ids.number()
    return model_monitoring_jobs.start(rooms, connection, monitor, job_id, told, due, schedule.name).name
