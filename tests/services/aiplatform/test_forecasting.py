"""AutoML forecasting, from a table of monthly sales to the forecast of the next months, by the official client."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, timedelta

import numpy as np
import pytest
from tests.services.aiplatform.test_reruns import rerun
from tests.services.bigquery.test_bigquery import connected

from portico.client.api import Client

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


@pytest.fixture(scope="module")
def kept():
    """The names of what several tests use."""
    return {}


@pytest.fixture
def dataset(aiplatform, module_bucket, kept):
    if "dataset" in kept:
        return aiplatform.TimeSeriesDataset(kept["dataset"])
    module_bucket.blob("sales.csv").upload_from_string(as_csv(make_rows()), content_type="text/csv")
    made = aiplatform.TimeSeriesDataset.create(
        display_name="sales", gcs_source=f"gs://{module_bucket.name}/sales.csv"
    )
    kept["dataset"] = made.resource_name
    return made


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


@pytest.fixture(scope="module")
def bigquery(portico):
    return connected(portico)


@pytest.fixture(autouse=True)
def here(portico, monkeypatch):
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", portico.url)


@pytest.fixture(scope="module")
def dataset_of_tables(bigquery):
    made = bigquery.create_dataset("forecasts")
    return f"{made.project}.{made.dataset_id}"


@pytest.fixture
def trained(aiplatform, bigquery, dataset_of_tables, kept):
    """A model of quantiles, from a table of BigQuery and with splits that it says itself."""
    if "model" in kept:
        return aiplatform.Model(kept["model"])
    rows = make_rows()
    for row in rows:
        row["part"] = (
            "TRAIN" if row["month"] < "2021-03" else "VALIDATE" if row["month"] < "2021-08" else "TEST"
        )
    bigquery.load_table_from_json(rows, f"{dataset_of_tables}.sales").result()
    dataset = aiplatform.TimeSeriesDataset.create(
        display_name="sales", bq_source=f"bq://{dataset_of_tables}.sales"
    )
    job = aiplatform.TemporalFusionTransformerForecastingTrainingJob(
        display_name="sales", optimization_objective="minimize-quantile-loss"
    )
    model = job.run(
        dataset=dataset,
        quantiles=[0.1, 0.5, 0.9],
        predefined_split_column_name="part",
        export_evaluated_data_items=True,
        export_evaluated_data_items_bigquery_destination_uri=f"{dataset_of_tables}.evaluated",
        export_evaluated_data_items_override_destination=True,
        **ROLES,
    )
    assert job.evaluated_data_items_bigquery_uri == f"bq://{dataset_of_tables}.evaluated"
    kept |= {"model": model.resource_name, "training": job.resource_name}
    return model


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


def test_a_forecasting_model_is_not_deployed(aiplatform, trained):
    from google.api_core import exceptions

    with pytest.raises(exceptions.BadRequest, match="not compatible with endpoint deployment or online"):
        trained.deploy(machine_type="n1-standard-4")


def test_what_a_forecast_cannot_take_is_refused(portico, trained, bucket):
    from google.api_core import exceptions
    from google.cloud import aiplatform_v1

    bucket.blob("next.csv").upload_from_string(as_csv(make_rows(51, ahead=3)))
    client = aiplatform_v1.JobServiceClient(client_options={"api_endpoint": portico.url}, transport="rest")
    job = {
        "display_name": "next",
        "model": trained.resource_name,
        "input_config": {"instances_format": "csv", "gcs_source": {"uris": [f"gs://{bucket.name}/next.csv"]}},
        "output_config": {
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": f"gs://{bucket.name}/out"},
        },
        "instance_config": {"excluded_fields": ["promo"]},
    }
    with pytest.raises(exceptions.BadRequest, match="not for forecasting models"):
        client.create_batch_prediction_job(
            parent=trained.resource_name.partition("/models")[0], batch_prediction_job=job
        )


def test_quantiles_come_from_a_table_and_go_to_one(bigquery, dataset_of_tables, trained):
    """Whose columns Google names predicted_TARGET.value, .quantile_values and .quantile_predictions."""
    metadata = trained.to_dict()["metadata"]
    assert "Temporal fusion transformer" in metadata["trained"] and metadata["trainedInPlaceOf"]
    [evaluation] = trained.list_model_evaluations()
    quantiles = evaluation.metrics["quantileMetrics"]
    assert [one["quantile"] for one in quantiles] == [0.1, 0.5, 0.9]
    assert quantiles[1]["scaledPinballLoss"] == pytest.approx(evaluation.metrics["meanAbsoluteError"] / 2)

    future = make_rows(48 + HORIZON + 1, ahead=HORIZON + 1)
    bigquery.load_table_from_json(
        [{**row, "sales": row["sales"] or None} for row in future], f"{dataset_of_tables}.future"
    ).result()
    job = trained.batch_predict(
        job_display_name="next",
        bigquery_source=f"bq://{dataset_of_tables}.future",
        instances_format="bigquery",
        bigquery_destination_prefix=f"bq://{dataset_of_tables}",
        predictions_format="bigquery",
        generate_explanation=True,
    )
    assert (job.completion_stats.successful_count, job.completion_stats.failed_count) == (4 * HORIZON, 4)
    table = job.output_info.bigquery_output_table
    rows = list(
        bigquery.query(
            "SELECT store, month, predicted_sales.value, predicted_sales.quantile_values AS levels, "
            "predicted_sales.quantile_predictions AS spread, explanation "
            f"FROM `{dataset_of_tables}.{table}` ORDER BY store, month"
        ).result()
    )
    assert len(rows) == 4 * HORIZON
    for row in rows:
        assert row.levels == [0.1, 0.5, 0.9]
        assert row.spread == sorted(row.spread) and row.spread[1] == row.value
        [told] = row.explanation["attributions"]
        parts = told["featureAttributions"]
        assert {"sales", "month", "promo", "store", "visitors", "region"} == set(parts)
        assert told["baselineOutputValue"] + sum(parts.values()) == pytest.approx(row.value)
    errors = list(
        bigquery.query(
            f"SELECT errors FROM `{dataset_of_tables}.{table.replace('predictions', 'errors', 1)}`"
        ).result()
    )
    assert len(errors) == 4
    assert "4 steps after the last known 'sales' of its series" in errors[0].errors["message"]


def test_a_forecasting_training_is_repeated_by_its_plan(portico, trained, kept):
    client = Client(portico.url, project="test-project")
    found = rerun(client, kept["training"])
    client.close()
    assert found["identical"] is True, found
    assert "forecast.json" in {one["name"] for one in found["files"]}


def test_days_with_holidays_and_files_of_other_kinds(aiplatform, module_bucket):
    """JSON lines in, CSV out; holidays that are not known here are told."""
    first = date(2023, 11, 1)
    rows = [
        {"day": (first + timedelta(days=day)).isoformat(), "shop": shop, "sold": (day % 7 + 1) * (shop + 1)}
        for shop in range(3)
        for day in range(70)
    ]
    module_bucket.blob("days.jsonl").upload_from_string("\n".join(json.dumps(row) for row in rows))
    dataset = aiplatform.TimeSeriesDataset.create(
        display_name="days", gcs_source=f"gs://{module_bucket.name}/days.jsonl"
    )
    job = aiplatform.AutoMLForecastingTrainingJob(
        display_name="days", column_specs={"day": "timestamp"}, optimization_objective="minimize-mae"
    )
    model = job.run(
        dataset=dataset,
        target_column="sold",
        time_column="day",
        time_series_identifier_column="shop",
        unavailable_at_forecast_columns=["sold"],
        available_at_forecast_columns=["day"],
        forecast_horizon=7,
        context_window=14,
        data_granularity_unit="day",
        data_granularity_count=1,
        training_fraction_split=0.7,
        validation_fraction_split=0.15,
        test_fraction_split=0.15,
        window_stride_length=2,
        holiday_regions=["US", "FR"],
        enable_probabilistic_inference=True,
        quantiles=[0.25, 0.75],
        budget_milli_node_hours=1,
    )
    told = model.to_dict()["metadata"]
    assert any("holidays of FR are not known here" in note for note in told["notes"])
    assert (
        told["trained"] == "Of each series: what it was a season before, as it is."
    )  # nothing learned is better
    for row in rows:
        row["sold"] = None if row["day"] >= "2024-01-03" else row["sold"]
    module_bucket.blob("next.jsonl").upload_from_string("\n".join(json.dumps(row) for row in rows))
    predicted = model.batch_predict(
        job_display_name="next",
        gcs_source=f"gs://{module_bucket.name}/next.jsonl",
        instances_format="jsonl",
        gcs_destination_prefix=f"gs://{module_bucket.name}/days",
        predictions_format="csv",
    )
    [text] = results(module_bucket, predicted)
    lines = list(csv.DictReader(io.StringIO(text.decode())))
    assert len(lines) == 3 * 7
    for line in lines:
        day = date.fromisoformat(line["day"])
        true = ((day - first).days % 7 + 1) * (int(line["shop"]) + 1)
        assert float(line["predicted_sold"]) == pytest.approx(true, rel=0.1)
        assert json.loads(line["predicted_sold_quantile_values"]) == [0.25, 0.75]
        low, high = json.loads(line["predicted_sold_quantile_predictions"])
        assert low <= high


def test_the_test_windows_are_exported(bigquery, dataset_of_tables, trained):
    [told] = bigquery.query(
        "SELECT COUNT(*) AS windows, COUNT(DISTINCT month) AS months, COUNTIF(part != 'TEST') AS others, "
        "COUNTIF(predicted_on_month >= TIMESTAMP(month)) AS late, COUNTIF(predicted_sales.value IS NULL) AS none "
        f"FROM `{dataset_of_tables}.evaluated`"
    ).result()
    assert tuple(told.values()) == (4 * 5 * HORIZON, 5, 0, 0, 0)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"forecast_horizon": 0}, "forecastHorizon is 0; it must be at least 1"),
        ({"data_granularity_unit": "fortnight"}, "must be one of minute, hour, day, week, month, year"),
        ({"data_granularity_count": 2}, "for month it must be 1"),
        ({"target_column": "profit"}, "no column 'profit'"),
        ({"available_at_forecast_columns": ["month", "visitors"]}, "'visitors' is in both"),
        ({"available_at_forecast_columns": ["month", "weather"]}, "no column 'weather'"),
        ({"quantiles": [0.5]}, "quantiles are for minimize-quantile-loss"),
        ({"holiday_regions": ["US"]}, "holidayRegions are for daily data"),
        ({"validation_options": "hope"}, "must be fail-pipeline or ignore-validation"),
    ],
)
def test_a_forecast_that_cannot_be_is_refused_at_once(aiplatform, dataset, asked, words):
    from google.api_core import exceptions

    job = aiplatform.AutoMLForecastingTrainingJob(display_name="wrong")
    with pytest.raises(exceptions.BadRequest, match=words):
        job.run(dataset=dataset, **{**ROLES, **asked})


def test_sums_over_stores_and_months_count(aiplatform, dataset):
    job = aiplatform.AutoMLForecastingTrainingJob(display_name="tree")
    model = job.run(
        dataset=dataset,
        hierarchy_group_columns=["region"],
        hierarchy_group_total_weight=10,
        hierarchy_temporal_total_weight=1,
        **ROLES,
    )
    assert "of their sums" in model.to_dict()["metadata"]["trained"]
    [evaluation] = model.list_model_evaluations()
    sums = evaluation.to_dict()["metadata"]["sums"]
    assert set(sums) == {"group", "temporal"}
    single = evaluation.metrics["weightedAbsolutePercentageError"]
    assert sums["group"]["weightedAbsolutePercentageError"] <= single


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"hierarchy_group_columns": ["region"]}, "no sum has a weight: set groupTotalWeight"),
        (
            {"hierarchy_group_columns": ["promo"], "hierarchy_group_total_weight": 1},
            "'promo', which is no attribute",
        ),
        ({"hierarchy_temporal_total_weight": -1}, "temporalTotalWeight is -1; it can't be negative"),
    ],
)
def test_a_hierarchy_that_cannot_be_is_refused(aiplatform, dataset, asked, words):
    from google.api_core import exceptions

    job = aiplatform.AutoMLForecastingTrainingJob(display_name="tree")
    with pytest.raises(exceptions.BadRequest, match=words):
        job.run(dataset=dataset, **{**ROLES, **asked})


def test_windows_that_begin_in_a_gap_are_exported(aiplatform, bigquery, dataset_of_tables):
    """A shop that is closed on Sundays is forecast from Sundays, too."""
    first = date(2024, 1, 1)
    rows = [
        {
            "day": (first + timedelta(days=day)).isoformat(),
            "shop": f"s{shop}",
            "sold": (day % 7 + 1.0) * (shop + 1),
        }
        for shop in range(2)
        for day in range(70)
        if day % 7 < 6
    ]
    bigquery.load_table_from_json(rows, f"{dataset_of_tables}.closed").result()
    data = aiplatform.TimeSeriesDataset.create(
        display_name="closed", bq_source=f"bq://{dataset_of_tables}.closed"
    )
    job = aiplatform.AutoMLForecastingTrainingJob(display_name="closed")
    job.run(
        dataset=data,
        target_column="sold",
        time_column="day",
        time_series_identifier_column="shop",
        unavailable_at_forecast_columns=["sold"],
        available_at_forecast_columns=["day"],
        forecast_horizon=2,
        context_window=7,
        data_granularity_unit="day",
        data_granularity_count=1,
        budget_milli_node_hours=1,
        export_evaluated_data_items=True,
    )
    table = job.evaluated_data_items_bigquery_uri.removeprefix("bq://").replace(":", ".")
    [told] = bigquery.query(
        "SELECT COUNTIF(EXTRACT(DAYOFWEEK FROM predicted_on_day) = 1) AS sundays, "
        f"COUNTIF(DATE_DIFF(day, DATE(predicted_on_day), DAY) NOT IN (1, 2)) AS others FROM `{table}`"
    ).result()
    assert told.sundays > 0 and told.others == 0


def test_rows_of_the_same_month_fail_the_training_or_are_told(aiplatform, module_bucket):
    rows = make_rows(30)
    module_bucket.blob("twice.csv").upload_from_string(as_csv([*rows, rows[5]]), content_type="text/csv")
    dataset = aiplatform.TimeSeriesDataset.create(
        display_name="twice", gcs_source=f"gs://{module_bucket.name}/twice.csv"
    )
    job = aiplatform.AutoMLForecastingTrainingJob(display_name="twice")
    with pytest.raises(RuntimeError, match="several rows for the month of 2018-06-01"):
        job.run(dataset=dataset, **ROLES)
    job = aiplatform.AutoMLForecastingTrainingJob(display_name="twice")
    job.run(dataset=dataset, validation_options="ignore-validation", **ROLES)
    told = job.to_dict()["trainingTaskMetadata"]["notes"]
    assert any("1 rows stand for the same step" in note for note in told)
