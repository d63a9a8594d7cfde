"""A monitoring job that fails is tried again, later each time: no loop of failures, and no job lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from portico.errors import FailedPrecondition
from portico.services.aiplatform import monitoring_run
from portico.services.aiplatform.monitoring_run import Monitoring


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
            failing._attempt("reading", job(), 1000.0 + clock.ticks)
    assert 10 <= failing.tried <= 20  # 5, 10, 20 … and then every 300 s
    assert failing._waits["job", "reading"].seconds == monitoring_run._LONGEST


def test_a_job_that_was_changed_and_an_advance_of_the_clock_are_tried_at_once(clock: Clock) -> None:
    failing = Failing(clock)
    for _ in range(3):
        failing._attempt("reading", job(), 1000.0)
    assert failing.tried == 1
    failing._attempt("reading", job("b"), 1000.0)
    assert failing.tried == 2
    failing._attempt("reading", job("b"), 1001.0)  # no tick has passed: somebody advanced it
    assert failing.tried == 3
