"""Model monitors of v1beta1 by the official client: jobs compare real data, and what they found is searched."""

from __future__ import annotations

import pytest
from vertexai.resources.preview.ml_monitoring import model_monitors

from .monitored import alerts, csv_of, monitor, points, put, rows


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """The client looks every 5 s whether a job has ended."""
    monkeypatch.setattr(model_monitors, "_JOB_WAIT_TIME", 0.05)


@pytest.fixture(scope="module")
def data():
    return {
        "training": csv_of(rows(0, 4000)),
        "same": csv_of(rows(1, 2000)),
        "moved": csv_of(rows(2, 2000, shift=1.5, share=0.9)),
    }


def test_a_job_finds_what_moved_and_nothing_else(upload, bucket, data):
    watched = monitor(upload(), put(bucket, "training.csv", data["training"]))
    same = watched.run(target_dataset=put(bucket, "same.csv", data["same"]), sync=True)
    assert same.state.name == "JOB_STATE_SUCCEEDED"
    assert alerts(watched) == []
    moved = watched.run(target_dataset=put(bucket, "moved.csv", data["moved"]), sync=True)
    assert sorted(alerts(watched)) == ["a", "c"]
    found = points(watched)
    assert set(found) == {"a", "b", "c"}
    assert [point.has_anomaly for point in found["a"]] == [True, False]
    assert [point.model_monitoring_job for point in found["a"]] == [moved.resource_name, same.resource_name]
    assert {name: series[0].algorithm for name, series in found.items()} == {
        "a": "jensen_shannon_divergence",
        "b": "jensen_shannon_divergence",
        "c": "l_infinity",
    }
    assert found["c"][0].current_stats.distribution_value.distribution_deviation == pytest.approx(
        0.4, abs=0.05
    )
    watched.delete(force=True)
