"""Monitoring where something is missing: what failed is tried again later each time, what is empty is told."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from portico.clock import SystemClock
from portico.ids import RandomIds
from portico.jobs.queue import Queue
from portico.services.aiplatform.monitoring import words as monitoring_words
from portico.services.aiplatform.monitoring.baseline import Baseline
from portico.services.aiplatform.monitoring.deployment_run import Windows
from portico.services.aiplatform.monitoring.due import WindowsDue
from portico.services.aiplatform.monitoring.engine import Part
from portico.services.aiplatform.monitoring.model_deployment_monitoring_jobs import JOBS, KIND
from portico.services.aiplatform.monitoring.window import Counted, body_of
from portico.services.call import Rooms
from portico.services.standard import standing
from portico.store import domain_clock, jobs, resources
from portico.store.database import Database
from portico.store.segments import Segments

PARENT = "projects/p/locations/us-central1"
JOB = f"{PARENT}/modelDeploymentMonitoringJobs/1"


class Clock(SystemClock):
    time = 1000.0

    def now(self) -> float:
        return self.time


class House:
    """A store with a monitoring job whose training data don't exist; `look` is what the scheduler's process does."""

    def __init__(self, home: Path) -> None:
        database = Database(home)
        database.create_tables()
        self.clock, ids = Clock(), RandomIds()
        fields: Any = None
        self.rooms = Rooms(home, database, self.clock, ids, Queue(home, self.clock, ids), fields)
        self.windows = Windows(self.rooms, Segments(home, database, self.clock, ids))
        self.windows_due = WindowsDue()
        self.turns: list[float] = []  # the time of each
        body = {
            "displayName": "watch", "endpoint": f"{PARENT}/endpoints/1", "state": "JOB_STATE_PENDING",
            "modelDeploymentMonitoringObjectiveConfigs": [self.objective("1")],
            "nextScheduleTime": "2100-01-01T00:00:00Z",
        }  # fmt: skip
        with database.write() as connection:
            resources.insert(connection, name=JOB, kind=JOBS.kind, parent=PARENT, body=body, now=0.0)

    def objective(self, deployed: str) -> dict[str, Any]:
        data = {"gcsSource": {"uris": ["gs://nowhere/nothing.csv"]}, "dataFormat": "csv", "targetField": "y"}
        return {"deployedModelId": deployed, "objectiveConfig": {"trainingDataset": data}}

    def look(self) -> None:
        """Lets the job take its turn, where that is due or its rest is over."""
        with self.rooms.database.write() as connection:
            jobs.wake(connection, jobs.due(connection, self.clock.time))
            now = domain_clock.now(connection, self.clock)
            states = standing.states(connection, KIND, self.clock.time)
            standing.turn(
                connection, self.rooms.queue, KIND, self.windows_due.due(connection, now, states), now
            )
            queued = list(jobs.in_state(connection, "QUEUED"))
        for job in queued:
            self.turns.append(self.clock.time)
            found = self.windows.turn(job.resource, job.payload["until"])
            with self.rooms.database.write() as connection:
                jobs.lease(connection, job, "test", self.clock.time, 60.0)
                if found is None:
                    jobs.end(connection, job, "SUCCEEDED", self.clock.time)
                else:
                    jobs.wait(connection, job, found.until)

    def resource(self) -> Any:
        with self.rooms.database.read() as connection:
            return resources.get(connection, JOB)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_what_failed_is_told_and_tried_again_later_each_time(house: House) -> None:
    for step in range(300):
        house.clock.time = 1000.0 + 5 * step
        house.look()
    pauses = [later - before for before, later in pairwise(house.turns)]
    assert pauses[:7] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0] and set(pauses[7:]) == {300.0}
    job = house.resource()
    assert job.body["state"] == "JOB_STATE_FAILED" and "nowhere" in job.body["error"]["message"]
    assert job.revision == 2  # it was told once
    with house.rooms.database.read() as connection:
        assert len(jobs.of_resource(connection, JOB)) == 1  # however often it has tried


def test_a_job_that_was_changed_and_an_advance_of_the_clock_are_tried_at_once(house: House) -> None:
    for _ in range(3):
        house.look()
    assert len(house.turns) == 1
    with house.rooms.database.write() as connection:
        job = resources.get(connection, JOB)
        assert job is not None
        job.body["modelDeploymentMonitoringObjectiveConfigs"] = [house.objective("2")]
        resources.update(connection, job, 0.0)
    for _ in range(3):
        house.look()
    assert len(house.turns) == 2
    for _ in range(2):
        with house.rooms.database.write() as connection:
            domain_clock.advance(connection, 2000.0)
        house.look()
    assert len(house.turns) == 3


def test_the_job_of_what_was_deleted_ends(house: House) -> None:
    house.look()
    with house.rooms.database.write() as connection:
        resources.delete(connection, JOB)
    house.clock.time += 10.0
    house.look()
    with house.rooms.database.read() as connection:
        assert [job.state for job in jobs.of_resource(connection, JOB)] == ["SUCCEEDED"]


def test_a_column_without_values_is_compared_with_what_training_had_of_it() -> None:
    columns = {"number": 1.5, "word": "x", "empty": None}
    training = pa.Table.from_pylist(
        [columns | {"number": float(n % 50), "word": "xy"[n % 2]} for n in range(2000)]
    )
    part = Part.of(training, None, True)
    baseline = Baseline(None, 2000, frozenset(training.column_names), part)

    def found(change: dict[str, Any]) -> set[str]:
        counted = Counted(baseline, 0.0, False)
        rows = [row | change for row in training.slice(0, 1000).to_pylist()]
        counted.add(rows, rows, [])
        body = body_of(counted, None, {"trainingPredictionSkewDetectionConfig": {}}, None)
        return {
            name for name, about in body["features"].items() if monitoring_words.anomalies_of(about["skew"])
        }

    assert found({}) == set()  # empty in training and now: it did not move
    assert found({"number": None, "word": None}) == {"number", "word"}
    assert found({"empty": 2.0}) == {"empty"}


def test_what_cannot_be_compared_counts_and_has_words() -> None:
    window = {"rows": 3, "features": {}, "incomparable": {"attributions": "the model can explain no row"}}
    assert monitoring_words.anomalies(window) == 1
    [line] = monitoring_words.lines(window, {})
    assert line == "attributions can't be compared: the model can explain no row"
