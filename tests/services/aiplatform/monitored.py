"""For tests of model monitors: data that did or did not move, and the official client's specs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import requests
from vertexai.resources.preview import ml_monitoring
from vertexai.resources.preview.ml_monitoring import spec

from portico.clock import parse_rfc3339

FIELDS = {"a": "float", "b": "float", "c": "categorical"}


@pytest.fixture
def advance(portico: Any) -> Any:
    """Moves the domain clock; when it returns, the jobs of schedules that were due have ended."""

    def go(seconds: int) -> float:
        url = f"{portico.url}/apis/portico/v1/clock:advance"
        answer = requests.post(url, json={"duration": f"{seconds}s"}, timeout=600)
        assert answer.status_code == 200, answer.text
        return parse_rfc3339(answer.json()["time"])

    return go


def early(advance: Any) -> float:
    """Some five minutes past an hour of the domain clock: the next does not come while a test runs."""
    return float(advance(int((300 - advance(1)) % 3600) + 1))


def schema(*, outputs: dict[str, str] | None = None, fields: dict[str, str] = FIELDS) -> Any:
    return spec.ModelMonitoringSchema(
        feature_fields=[spec.FieldSchema(name=n, data_type=t) for n, t in fields.items()],
        prediction_fields=[spec.FieldSchema(name=n, data_type=t) for n, t in (outputs or {}).items()] or None,
    )


def rows(seed: int, count: int, shift: float = 0.0, share: float = 0.5) -> list[dict[str, Any]]:
    """Normal `a` (shifted) and `b`, and `c`, which is "x" with the probability `share`, else "y"."""
    rng = np.random.default_rng(seed)
    cells = rng.normal(size=(count, 2)) + np.array([shift, 0.0])
    words = np.where(rng.random(count) < share, "x", "y")
    return [{"a": a, "b": b, "c": str(c)} for (a, b), c in zip(cells.tolist(), words, strict=True)]


def csv_of(table: list[dict[str, Any]]) -> str:
    names = list(table[0])
    return "\n".join([",".join(names), *(",".join(str(row[n]) for n in names) for row in table)]) + "\n"


def put(bucket: Any, name: str, text: str) -> Any:
    """Uploads a file; the input of a monitor that reads it."""
    bucket.blob(name).upload_from_string(text)
    form = name.rpartition(".")[2]
    return spec.MonitoringInput(gcs_uri=f"gs://{bucket.name}/{name}", data_format=form)


def drift(**options: Any) -> Any:
    options.setdefault("default_numeric_alert_threshold", 0.1)
    options.setdefault("default_categorical_alert_threshold", 0.1)
    return spec.TabularObjective(feature_drift_spec=spec.DataDriftSpec(**options))


def monitor(model: Any, baseline: Any = None, objective: Any = None, **options: Any) -> Any:
    options.setdefault("model_monitoring_schema", schema())
    return ml_monitoring.ModelMonitor.create(
        display_name="watched",
        model_name=model.resource_name,
        model_version_id=model.version_id,
        training_dataset=baseline,
        tabular_objective_spec=objective or drift(),
        **options,
    )


def points(monitor: Any, **filters: Any) -> dict[str, list[Any]]:
    """Statistics name -> data points, the newest first."""
    found = monitor.search_metrics(**filters)
    return {s.tabular_stats.stats_name: list(s.tabular_stats.data_points) for s in found}


def alerts(monitor: Any, **filters: Any) -> list[str]:
    return [alert.stats_name for alert in monitor.search_alerts(**filters)["model_monitoring_alerts"]]
