"""Schedules: what runs again and again, as a cron line says, in domain time: pipeline jobs and model monitoring jobs.

A run of pipelines takes its time: of one schedule at most maxConcurrentActiveRunCount go on at once, or where that is
not said maxConcurrentRunCount. One that is due meanwhile is left out, with allowQueueing held back. Simulated time does
not pass a run by, so there none is left out. Starting a monitoring job takes a moment, and those wait for nothing.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339, rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, PorticoError, Unimplemented
from portico.services.aiplatform import cron
from portico.services.aiplatform.monitoring.scheduled import MonitoringRuns
from portico.services.aiplatform.pipelines.scheduled import PipelineRuns
from portico.services.call import Call, Rooms, implements
from portico.services.standard.collection import Collection, register
from portico.store import domain_clock, jobs, resources
from portico.store.jobs import Job
from portico.store.resources import Private, Resource


class Runs(Protocol):
    """What a schedule makes again and again.

    request: the field of the schedule that says what.
    kind: that of the durable jobs of its runs.
    bounded: whether a run takes long enough to be waited for.
    """

    request: str
    kind: str
    bounded: bool

    def check(self, rooms: Rooms, connection: Connection, parent: str, request: Mapping[str, Any]) -> None:
        """
        Raises:
            PorticoError: naming the field.
        """

    def prepared(self, rooms: Rooms, connection: Connection, request: Mapping[str, Any]) -> Any:
        """What can be done of a run's start before its transaction. Raises what is wrong."""

    def start(
        self, rooms: Rooms, connection: Connection, prepared: Any, schedule: Resource, due: float
    ) -> str:
        """Starts the run that was due at `due`; its job's name. Raises what is wrong."""

    def origin(self, job: Job) -> str:
        """The schedule whose run this is the durable job of; "" where it is none's."""


_RUNS: tuple[Runs, ...] = (PipelineRuns(), MonitoringRuns())


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
        _check(call.rooms, connection, resource.parent, body)
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

_UNBUILT = "createNotebookExecutionJobRequest"
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


def _check(rooms: Rooms, connection: Connection, parent: str, body: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: naming the field. Unimplemented: a schedule of something else.
    """
    if _UNBUILT in body:
        raise Unimplemented(f"Schedules with a {_UNBUILT} are not built in Portico yet.", field=_UNBUILT)
    given = [runs for runs in _RUNS if body.get(runs.request)]
    if len(given) != 1:
        names = " or ".join(runs.request for runs in _RUNS)
        raise InvalidArgument(
            f"Give one of {names}: what the schedule is to make.", field=names.partition(" ")[0]
        )
    try:
        cron.parse(body.get("cron", ""))
    except ValueError as error:
        raise InvalidArgument(f"cron: {error}.", field="cron") from None
    for count in ("maxRunCount", "maxConcurrentRunCount", "maxConcurrentActiveRunCount"):
        if int(body.get(count) or 1) < 1:
            raise InvalidArgument(f"{count} must be above 0.", field=count)
    start, end = body["startTime"], body.get("endTime")
    if end and parse_rfc3339(end) <= parse_rfc3339(start):
        raise InvalidArgument("endTime is not after startTime.", field="endTime")
    given[0].check(rooms, connection, parent, body[given[0].request])


def _runs_of(body: Mapping[str, Any]) -> Runs:
    return next(runs for runs in _RUNS if body.get(runs.request))


class Schedules:
    """Belongs to the scheduler's process."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._database = rooms.database

    def run_due(self, simulated: float | None = None) -> bool:
        """Starts every run that was due up to now, the `simulated` time where there is one; whether no job of a
        schedule is under way."""
        now = self._rooms.clock.now() if simulated is None else simulated
        with self._database.read() as connection:
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
                self._run_all(schedule.name, now, None if every else _MOST, simulated is not None)
            except Exception:
                log.exception("%s can't be run", schedule.name)
        self._rooms.queue.wake()
        with self._database.read() as connection:
            return _idle(connection)

    def _run_all(self, name: str, now: float, most: int | None, simulated: bool) -> None:
        """The runs that are due, at most `most`: where it is more, the wall clock jumped ahead or the machine slept."""
        for count in itertools.count(1):
            if not self._run(name, now, count == most, simulated):
                return

    def _run(self, name: str, now: float, skip: bool, simulated: bool) -> bool:
        """The next run, where it is due: its job and the schedule's progress in one transaction. With `skip` the next
        one is the first after `now`."""
        with self._database.read() as connection:
            schedule = resources.get(connection, name)
            if schedule is None:
                return False
            seen, runs = schedule.revision, _runs_of(schedule.body)
            full = _is_due(schedule, now) and _is_full(connection, runs, schedule)
            if full and (simulated or _queues(schedule.body)):
                return False
            prepared: Any = None
            if _is_due(schedule, now) and not full:
                try:
                    prepared = runs.prepared(self._rooms, connection, schedule.body[runs.request])
                except PorticoError as error:
                    prepared = error
        with self._database.write() as connection:
            schedule = resources.get(connection, name)
            if schedule is not None and schedule.revision != seen:
                return True  # it was changed meanwhile
            if schedule is not None and _strayed(schedule.body, now):
                _plan(schedule.body, SchedulePrivate.of(schedule), now)
                resources.update(connection, schedule, self._rooms.clock.now())
                return True
            if schedule is None or not _is_due(schedule, now):
                return False
            body, due = schedule.body, parse_rfc3339(schedule.body["nextRunTime"])
            if full:
                answer = (
                    f"Left out: as many runs of this schedule go on as may at once ({_most_active(body)})."
                )
            else:
                answer = self._started(connection, runs, schedule, prepared, due)
            body["lastScheduledRunResponse"] = {"scheduledRunTime": rfc3339(due), "runResponse": answer}
            _plan(body, SchedulePrivate.of(schedule), now if skip else due)
            resources.update(connection, schedule, self._rooms.clock.now())
        return True

    def _started(
        self, connection: Connection, runs: Runs, schedule: Resource, prepared: Any, due: float
    ) -> str:
        """The name of the job that was started, or why none was."""
        body = schedule.body
        try:
            if isinstance(prepared, PorticoError):
                raise prepared
            made = runs.start(self._rooms, connection, prepared, schedule, due)
        except PorticoError as error:
            return error.message
        body["startedRunCount"] = str(int(body["startedRunCount"]) + 1)
        return made


def _idle(connection: Connection) -> bool:
    by_kind = {runs.kind: runs for runs in _RUNS}
    return not any(by_kind[job.kind].origin(job) for job in jobs.active(connection, *by_kind))


def _is_full(connection: Connection, runs: Runs, schedule: Resource) -> bool:
    """Whether as many runs of a schedule go on as may."""
    if not runs.bounded:
        return False
    going = sum(runs.origin(job) == schedule.name for job in jobs.active(connection, runs.kind))
    return going >= _most_active(schedule.body)


def _queues(body: Mapping[str, Any]) -> bool:
    """Whether the next run waits where others go on: it may, or a pause held it back and it is caught up with."""
    missed = body.get("catchUp") and parse_rfc3339(body["nextRunTime"]) < parse_rfc3339(
        body["lastResumeTime"]
    )
    return bool(body.get("allowQueueing") or missed)


def _most_active(body: Mapping[str, Any]) -> int:
    return int(body.get("maxConcurrentActiveRunCount") or body.get("maxConcurrentRunCount") or 1)


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
