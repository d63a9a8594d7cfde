"""AutoML forecasting, from a table of monthly sales to the forecast of the next months, by the official client."""

from __future__ import annotations

import csv
import io
import json
from datetime import date

import numpy as np
import pytest

HORIZON, CONTEXT = 3, 12


def make_rows(months: int = 48, ahead: int = 0, seed: int = 0) -> list[dict[str, object]]:
    """Sales of four stores with a yearly cycle, growth and promotions; the last `ahead` months have none yet."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for store in range(4):
        size, phase, growth = 10.0 * 3**store, int(rng.integers(12)), float(rng.uniform(0.0, 0.01))
        for month in range(months):
            promo = int(rng.random() < 0.2)
            cycle = 1 + 0.3 * np.sin(2 * np.pi * (month + phase) / 12)
            sales = size * (1 + growth * month) * cycle * (1 + 0.2 * promo) * (1 + 0.02 * rng.normal())
            rows.append(
                {
                    "month": date(2018 + month // 12, month % 12 + 1, 1).isoformat(),
                    "store": f"s{store}",
                    "promo": promo,
                    "visitors": round(sales * 3),
                    "region": "north" if store % 2 else "south",
                    "sales": round(sales, 3) if month < months - ahead else "",
                }
            )
    return rows


def as_csv(rows: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture(scope="module")
def module_bucket(portico):
    import time

    from google.cloud import storage

    return storage.Client(project="test-project").create_bucket(f"forecast-{time.time_ns()}")


@pytest.fixture
def dataset(aiplatform, module_bucket):
    module_bucket.blob("sales.csv").upload_from_string(as_csv(make_rows()), content_type="text/csv")
    return aiplatform.TimeSeriesDataset.create(
        display_name="sales", gcs_source=f"gs://{module_bucket.name}/sales.csv"
    )


ROLES = {
    "target_column": "sales",
    "time_column": "month",
    "time_series_identifier_column": "store",
    "unavailable_at_forecast_columns": ["sales", "visitors"],
    "available_at_forecast_columns": ["month", "promo"],
    "time_series_attribute_columns": ["region"],
    "forecast_horizon": HORIZON,
    "context_window": CONTEXT,
    "data_granularity_unit": "month",
    "data_granularity_count": 1,
    "budget_milli_node_hours": 1,
}


def results(bucket, job) -> list[bytes]:
    prefix = job.output_info.gcs_output_directory.removeprefix(f"gs://{bucket.name}/")
    return [blob.download_as_bytes() for blob in bucket.list_blobs(prefix=prefix) if "results" in blob.name]


def test_sales_are_forecast(aiplatform, dataset, module_bucket):
    job = aiplatform.AutoMLForecastingTrainingJob(
        display_name="sales", optimization_objective="minimize-rmse"
    )
    model = job.run(dataset=dataset, model_display_name="sales", **ROLES)
    [evaluation] = model.list_model_evaluations()
    told = evaluation.to_dict()
    assert told["metricsSchemaUri"].endswith("forecasting_metrics_1.0.0.yaml")
    assert {
        "rootMeanSquaredError", "meanAbsoluteError", "meanAbsolutePercentageError", "rSquared",
        "rootMeanSquaredLogError", "rootMeanSquaredPercentageError", "weightedAbsolutePercentageError",
    } == set(evaluation.metrics)  # fmt: skip
    assert evaluation.metrics["weightedAbsolutePercentageError"] < 12
    assert told["metadata"]["baseline"]["bestBaseline"] == "seasonal naive (12 steps)"
    assert "seasonal naive" in told["metadata"]["baseline"]["sentence"]

    future = make_rows(48 + HORIZON, ahead=HORIZON)
    module_bucket.blob("future.csv").upload_from_string(as_csv(future), content_type="text/csv")
    predicted = model.batch_predict(
        job_display_name="next",
        gcs_source=f"gs://{module_bucket.name}/future.csv",
        instances_format="csv",
        gcs_destination_prefix=f"gs://{module_bucket.name}/out",
        predictions_format="jsonl",
    )
    lines = [json.loads(line) for text in results(module_bucket, predicted) for line in text.splitlines()]
    assert len(lines) == 4 * HORIZON
    truth = {(r["store"], r["month"]): r["sales"] for r in make_rows(48 + HORIZON)}
    for line in lines:
        instance = line["instance"]
        assert instance["sales"] is None and instance["month"] >= "2022"
        assert set(line["prediction"]) == {"value"}
        true = truth[instance["store"], instance["month"]]
        assert line["prediction"]["value"] == pytest.approx(true, rel=0.4)
