"""The wall clock jumps ahead by a year and back: what follows it runs again in its interval, and nothing is removed
early or kept for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portico.clock import parse_rfc3339, rfc3339
from portico.host.retention import Steady
from portico.ids import RandomIds
from portico.services.aiplatform import schedules
from portico.services.aiplatform.monitoring.deployment_run import Windows
from portico.services.aiplatform.monitoring.due import WindowsDue
from portico.services.aiplatform.monitoring.model_deployment_monitoring_jobs import JOBS, JobPrivate
from portico.services.aiplatform.schedules import SCHEDULES, SchedulePrivate, Schedules
from portico.store import domain_clock, home, resources  # noqa: F401
from portico.store.database import Database
from portico.store.objects import files as objects_files
from portico.store.objects import uploads as objects_uploads
from portico.store.objects.sweep import forget_uploads
from portico.store.resources import Private
from portico.store.segments import Segments

NOON, HOUR, DAY, YEAR = parse_rfc3339("2026-05-04T12:00:00Z"), 3600.0, 86400.0, 365 * 86400.0
PLACE = "projects/p/locations/l"


class Jumping:
    """The wall clock is `ahead` of what the monotonic clock says."""

    def __init__(self) -> None:
        self.ticks = self.ahead = 0.0

    def now(self) -> float:
        return NOON + self.ticks + self.ahead

    def monotonic(self) -> float:
        return self.ticks

    def go(self, seconds: float, look: Any) -> None:
        """Goes on by `seconds`; whoever follows the clock looks every ten minutes."""
        end = self.ticks + seconds
        while self.ticks < end:
            self.ticks = min(end, self.ticks + 600.0)
            look()


@pytest.fixture
def rooms(tmp_path: Any) -> Iterator[Any]:
    home.begin(tmp_path, 1.0)
    database = Database(tmp_path)
    database.create_tables()
    yield SimpleNamespace(
        home=tmp_path,
        database=database,
        clock=Jumping(),
        ids=RandomIds(),
        queue=SimpleNamespace(wake=lambda: None),
    )
    database.close()


class Runs:
    """What a schedule runs here: `started` says when, `going` which schedule's go on."""

    request = "createModelMonitoringJobRequest"
    kind = "those"
    bounded = True

    def __init__(self, rooms: Any) -> None:
        self._rooms = rooms
        self.started: list[float] = []
        self.due: list[float] = []
        self.going: list[str] = []

    def prepared(self, rooms: Any, connection: Any, request: Any) -> None:
        pass

    def start(self, rooms: Any, connection: Any, prepared: Any, schedule: Any, due: float) -> str:
        self.started.append(self._rooms.clock.ticks)
        self.due.append(due - NOON)
        return str(schedule.name)

    def origin(self, job: Any) -> str:
        return str(job.origin)


def insert(rooms: Any, name: str, kind: str, body: dict[str, Any], private: Private) -> str:
    with rooms.database.write() as connection:
        resources.insert(connection, name=name, kind=kind, parent=PLACE, body=body, now=NOON, private=private)
    return name


def body_of(rooms: Any, name: str) -> dict[str, Any]:
    with rooms.database.read() as connection:
        found = resources.get(connection, name)
    assert found is not None
    return found.body


@pytest.mark.parametrize(("line", "every"), [("30 * * * *", HOUR), ("0 6 * * *", DAY)])
def test_a_schedule_runs_in_its_interval_again(rooms, monkeypatch, line, every):
    started: list[float] = []
    runs = Runs(rooms)
    monkeypatch.setattr(schedules, "_RUNS", (runs,))
    started = runs.started
    body = {
        "cron": line, "state": "ACTIVE", "startedRunCount": "0", "startTime": rfc3339(NOON),
        runs.request: {"a": 1},
    }  # fmt: skip
    private = SchedulePrivate()
    schedules._plan(body, private, NOON)
    name = insert(rooms, f"{PLACE}/schedules/1", SCHEDULES.kind, body, private)
    following = Schedules(rooms)
    rooms.clock.go(3 * every, following.run_due)
    assert len(started) == 3
    rooms.clock.ahead = YEAR
    following.run_due()
    assert len(started) <= 3 + schedules._MOST  # not the thousands of a year
    rooms.clock.ahead = 0.0
    started.clear()
    rooms.clock.go(3 * every, following.run_due)
    assert len(started) == 3
    assert parse_rfc3339(body_of(rooms, name)["nextRunTime"]) <= rooms.clock.now() + every
    # A clock that goes back a little makes no run again.
    rooms.clock.go(every - 600.0, following.run_due)
    while len(started) < 4:
        rooms.clock.go(600.0, following.run_due)
    rooms.clock.ahead = -every / 2
    rooms.clock.go(every / 2, following.run_due)
    assert len(started) == 4


@pytest.mark.parametrize("queues", [False, True])
def test_runs_of_a_schedule_that_go_on_hold_back_the_next_or_leave_it_out(rooms, monkeypatch, queues):
    runs = Runs(rooms)
    monkeypatch.setattr(schedules, "_RUNS", (runs,))
    going = lambda *_: [SimpleNamespace(kind=runs.kind, origin=name) for name in runs.going]  # noqa: E731
    monkeypatch.setattr(schedules.jobs, "active", going)
    private = SchedulePrivate()
    body = {
        runs.request: {"a": 1}, "cron": "0 * * * *", "state": "ACTIVE", "startedRunCount": "0",
        "startTime": rfc3339(NOON), "maxConcurrentRunCount": "2", "allowQueueing": queues,
    }  # fmt: skip
    schedules._plan(body, private, NOON)
    name = insert(rooms, f"{PLACE}/schedules/1", SCHEDULES.kind, body, private)
    following = Schedules(rooms)
    rooms.clock.go(2 * HOUR, following.run_due)
    assert runs.due == [HOUR, 2 * HOUR]
    runs.going[:] = [name, f"{PLACE}/schedules/2", name]
    rooms.clock.go(2 * HOUR, following.run_due)
    assert runs.due == [HOUR, 2 * HOUR]
    shown = body_of(rooms, name)
    if queues:
        assert shown["nextRunTime"] == rfc3339(NOON + 3 * HOUR)  # behind schedule
    else:
        assert shown["nextRunTime"] == rfc3339(NOON + 5 * HOUR)
        assert shown["lastScheduledRunResponse"]["runResponse"].startswith("Left out")
    runs.going.pop()
    rooms.clock.go(600.0, following.run_due)
    assert runs.due[2:] == ([3 * HOUR, 4 * HOUR] if queues else [])
    rooms.clock.go(HOUR, following.run_due)
    assert runs.due[-1] == 5 * HOUR
    assert body_of(rooms, name)["startedRunCount"] == str(len(runs.due))


def test_a_monitoring_job_runs_in_its_interval_again(rooms, monkeypatch):
    runs: list[float] = []
    monkeypatch.setattr(Windows, "_window", lambda *_: runs.append(rooms.clock.ticks) or (None, None, []))
    name = insert(rooms, f"{PLACE}/modelDeploymentMonitoringJobs/1", JOBS.kind, {
        "endpoint": f"{PLACE}/endpoints/1", "state": "JOB_STATE_RUNNING", "displayName": "watched",
        "modelDeploymentMonitoringScheduleConfig": {"monitorInterval": "3600s"},
        "modelDeploymentMonitoringObjectiveConfigs": [{"deployedModelId": "1", "objectiveConfig": {}}],
        "nextScheduleTime": rfc3339(NOON + HOUR),
    }, JobPrivate(baselines={"1": "token"}))  # fmt: skip
    due = WindowsDue()
    windows = Windows(rooms, Segments(rooms.home, rooms.database, rooms.clock, rooms.ids))

    def look() -> None:
        with rooms.database.read() as connection:
            found = list(due.due(connection, rooms.clock.now(), {}))
        for one in found:
            windows.turn(one, rooms.clock.now())

    rooms.clock.go(3 * HOUR, look)
    assert len(runs) == 3
    rooms.clock.ahead = YEAR
    look()
    rooms.clock.ahead = 0.0
    runs.clear()
    rooms.clock.go(4 * HOUR, look)
    assert len(runs) >= 3
    assert parse_rfc3339(body_of(rooms, name)["nextScheduleTime"]) <= rooms.clock.now() + HOUR


def upload(rooms: Any) -> Path:
    """The file of a session that begins now."""
    file, fd = objects_files.create(rooms.home, rooms.ids)
    with open(fd, "wb") as out:
        out.write(b"half of it")
    with rooms.database.write() as connection:
        objects_uploads.start(connection, rooms.ids.token(), "b", "o", {}, rooms.clock.now(), file)
    return objects_files.path_of(rooms.home, file)


def test_an_unfinished_upload_neither_expires_early_nor_lives_for_ever(rooms):
    def look() -> None:
        if rooms.clock.ticks % HOUR == 0:
            forget_uploads(rooms.database, rooms.home, rooms.clock.now())

    file = upload(rooms)
    rooms.clock.go(DAY, look)
    rooms.clock.ahead = YEAR
    look()
    other = upload(rooms)  # begins while the clock is ahead
    rooms.clock.go(DAY, look)
    assert file.exists() and other.exists()
    rooms.clock.ahead = 0.0
    rooms.clock.go(4.5 * DAY, look)
    assert file.exists() and other.exists()
    rooms.clock.go(DAY, look)
    assert not file.exists() and other.exists()
    rooms.clock.go(DAY, look)
    assert not other.exists()
    with rooms.database.read() as connection:
        assert objects_uploads.of_bucket(connection, "b") == []


def test_nothing_goes_for_its_age_by_a_clock_that_jumped():
    clock = Jumping()
    steady = Steady(clock)
    clock.ticks = HOUR
    assert steady.now()
    clock.ahead = YEAR
    assert not steady.now()
    clock.ticks += HOUR
    clock.ahead = 0.0
    assert not steady.now()
    clock.ticks += DAY - 1
    assert not steady.now()
    clock.ticks += 2
    assert steady.now()
