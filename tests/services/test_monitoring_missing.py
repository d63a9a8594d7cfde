"""Monitoring where something is missing: what failed is tried again later each time, what is empty is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from portico.errors import FailedPrecondition
from portico.services.aiplatform.monitoring import deployment_run as monitoring_run
from portico.services.aiplatform.monitoring import words as monitoring_words
from portico.services.aiplatform.monitoring.baseline import Baseline, Part
from portico.services.aiplatform.monitoring.deployment_run import Monitoring
from portico.services.aiplatform.monitoring.window import Counted, body_of


class Clock:
    def __init__(self) -> None:
        self.ticks = 0.0

    def monotonic(self) -> float:
        return self.ticks


class Failing(Monitoring):
    """Counts the attempts; each fails."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(SimpleNamespace(clock=clock, database=None), None, lambda: None)  # type: ignore[arg-type]
        self.tried = 0

    def _prepare(self, job: Any) -> None:
        self.tried += 1
        raise FailedPrecondition("The training data can't be read.")

    def _failed(self, job: Any, error: Any) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


def job(objectives: str = "a") -> Any:
    body = {"modelDeploymentMonitoringObjectiveConfigs": [{"deployedModelId": objectives}], "endpoint": "e"}
    return SimpleNamespace(name="job", create_time=0.0, body=body)


def test_failures_back_off(clock: Clock) -> None:
    failing = Failing(clock)
    for second in range(3600):
        for half in (0.0, 0.5):  # the watcher looks twice a second
            clock.ticks = second + half
            failing._attempt("reading", job(), 1000.0 + clock.ticks, None)
    assert 10 <= failing.tried <= 20  # 5, 10, 20 … and then every 300 s
    assert failing._waits["job", "reading"].seconds == monitoring_run._LONGEST


def test_a_job_that_was_changed_and_an_advance_of_the_clock_are_tried_at_once(clock: Clock) -> None:
    failing = Failing(clock)
    for _ in range(3):
        failing._attempt("reading", job(), 1000.0, 1000.0)
    assert failing.tried == 1
    failing._attempt("reading", job("b"), 1000.0, 1000.0)
    assert failing.tried == 2
    failing._attempt("reading", job("b"), 1001.0, 1001.0)
    assert failing.tried == 3


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
    [line] = monitoring_words.lines(window, {}, Baseline())
    assert line == "attributions can't be compared: the model can explain no row"
