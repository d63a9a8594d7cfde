"""ARIMA_PLUS and ARIMA_PLUS_XREG through the official client: the journey of Google's tutorials, on rented bikes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import connected

DAYS, LATER = 1000, 40


def rentals() -> pd.DataFrame:
    """Two stations' days: a wandering level, a week, a year, Christmas, rain; three days are missing."""
    random = np.random.default_rng(7)
    parts = []
    for station, level in (("Hill", 300), ("Quay", 150)):
        day = pd.date_range("2019-01-01", periods=DAYS + LATER)
        count = np.arange(len(day))
        noise = np.zeros(len(day))
        for t in range(1, len(day)):
            noise[t] = 0.5 * noise[t - 1] + random.normal(0, 4)
        rain = random.random(len(day)) < 0.3
        trips = (
            level
            + np.array([0, 9, 9, 9, 0, -15, -12])[count % 7]
            - 40 * np.cos(2 * np.pi * count / 365.25)
            + noise
        )
        trips = trips - 60 * ((day.month == 12) & (day.day == 25)) - 30 * rain
        frame = pd.DataFrame({"station": station, "day": day.date, "trips": trips.round().astype(int)})
        frame["sky"] = np.where(rain, "rain", "clear")
        parts.append(frame.drop(index=[100, 101, 500]))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("bikes")
    made.load_table_from_dataframe(rentals(), "bikes.trips").result()
    return made


SINCE = f"DATE '{date(2019, 1, 1) + pd.Timedelta(days=DAYS)}'"


@pytest.fixture(scope="module")
def hill(client: bigquery.Client) -> str:
    client.query(
        f"""CREATE OR REPLACE MODEL bikes.hill
        OPTIONS(MODEL_TYPE='ARIMA', TIME_SERIES_TIMESTAMP_COL='day', TIME_SERIES_DATA_COL='trips', HORIZON=60,
                AUTO_ARIMA=TRUE, DATA_FREQUENCY='AUTO_FREQUENCY', HOLIDAY_REGION='US', DECOMPOSE_TIME_SERIES=TRUE)
        AS SELECT day, trips FROM bikes.trips WHERE station = 'Hill' AND day < {SINCE}"""
    ).result()
    return "bikes.hill"


@pytest.fixture(scope="module")
def stations(client: bigquery.Client) -> str:
    client.query(
        f"""CREATE OR REPLACE MODEL bikes.stations
        OPTIONS(model_type='ARIMA_PLUS', time_series_timestamp_col='day', time_series_data_col='trips',
                time_series_id_col=['station'], hierarchical_time_series_cols=['station'], horizon=10)
        AS SELECT station, day, SUM(trips) AS trips FROM bikes.trips WHERE day < {SINCE} GROUP BY station, day"""
    ).result()
    return "bikes.stations"


def rows(client: bigquery.Client, text: str) -> list[dict[str, Any]]:
    return [dict(row) for row in client.query(text).result()]


def test_a_forecast_beats_the_last_week(client: bigquery.Client, hill: str) -> None:
    job = client.query(
        f"""SELECT f.*, t.trips, w.trips AS week_before
        FROM ML.FORECAST(MODEL {hill}, STRUCT(28 AS horizon, 0.9 AS confidence_level)) AS f
        JOIN bikes.trips AS t ON t.day = DATE(f.forecast_timestamp) AND t.station = 'Hill'
        JOIN bikes.trips AS w
          ON w.day = DATE_ADD({SINCE}, INTERVAL MOD(DATE_DIFF(t.day, {SINCE}, DAY), 7) - 7 DAY) 
            AND w.station = 'Hill'"""
    )
    found = list(job.result())
    assert len(found) == 28
    kinds = {field.name: field.field_type for field in job.result().schema}
    assert kinds["forecast_timestamp"] == "TIMESTAMP" and kinds["forecast_value"] == "FLOAT"
    error = np.mean([abs(row.forecast_value - row.trips) for row in found])
    assert error < np.mean([abs(row.week_before - row.trips) for row in found])
    inside = [
        row.prediction_interval_lower_bound < row.trips < row.prediction_interval_upper_bound for row in found
    ]
    assert np.mean(inside) > 0.7 and {row.confidence_level for row in found} == {0.9}


def test_the_parts_of_a_value(client: bigquery.Client, hill: str) -> None:
    [total] = rows(
        client,
        f"""SELECT COUNT(*) AS n, MAX(ABS(time_series_data - (trend + seasonal_period_yearly + seasonal_period_weekly
          + holiday_effect + IFNULL(spikes_and_dips, 0) + IFNULL(step_changes, 0) + IFNULL(residual, 0)))) AS off,
          COUNTIF(time_series_type = 'forecast') AS ahead, COUNT(seasonal_period_daily) AS daily
        FROM ML.EXPLAIN_FORECAST(MODEL {hill}, STRUCT(60 AS horizon, 0.8 AS confidence_level))""",
    )
    assert total["n"] == DAYS + 60 and total["ahead"] == 60 and total["off"] < 1e-6 and total["daily"] == 0
    [day] = rows(
        client,
        f"""SELECT holiday_effect_Christmas AS felt, time_series_data FROM ML.EXPLAIN_FORECAST(MODEL {hill})
        WHERE time_series_timestamp = TIMESTAMP '2020-12-25'""",
    )
    assert day["felt"] == pytest.approx(-60, abs=25)
    [filled] = rows(
        client,
        f"""SELECT time_series_data FROM ML.EXPLAIN_FORECAST(MODEL {hill})
        WHERE DATE(time_series_timestamp) = DATE_ADD(DATE '2019-01-01', INTERVAL 500 DAY)""",
    )
    near = rows(
        client,
        """SELECT AVG(trips) AS mean FROM bikes.trips WHERE station = 'Hill'
        AND ABS(DATE_DIFF(day, DATE_ADD(DATE '2019-01-01', INTERVAL 500 DAY), DAY)) = 1""",
    )
    assert filled["time_series_data"] == pytest.approx(near[0]["mean"])
    info = rows(client, f"SELECT * FROM ML.HOLIDAY_INFO(MODEL {hill}) WHERE holiday_name = 'Thanksgiving'")
    assert info[0] == {
        "region": "US",
        "holiday_name": "Thanksgiving",
        "primary_date": date(2018, 11, 22),
        "preholiday_days": 3,
        "postholiday_days": 5,
    }


def test_evaluations(client: bigquery.Client, hill: str) -> None:
    query = f"(SELECT day, trips FROM bikes.trips WHERE station = 'Hill' AND day >= {SINCE})"
    [metrics] = rows(client, f"SELECT * FROM ML.EVALUATE(MODEL {hill}, {query}, STRUCT(7 AS horizon))")
    assert list(metrics) == [
        "mean_absolute_error",
        "mean_squared_error",
        "root_mean_squared_error",
        "mean_absolute_percentage_error",
        "symmetric_mean_absolute_percentage_error",
        "mean_absolute_scaled_error",
    ]
    each = rows(
        client,
        f"SELECT * FROM ML.EVALUATE(MODEL {hill}, {query}, STRUCT(FALSE AS perform_aggregation, 7 AS horizon))",
    )
    assert len(each) == LATER
    errors = [row["absolute_error"] for row in each if row["absolute_error"] is not None]
    assert len(errors) == 7 and np.mean(errors) == pytest.approx(metrics["mean_absolute_error"])
    every = rows(client, f"SELECT * FROM ML.ARIMA_EVALUATE(MODEL {hill})")
    [best] = rows(
        client, f"SELECT * FROM ML.ARIMA_EVALUATE(MODEL {hill}, STRUCT(FALSE AS show_all_candidate_models))"
    )
    assert len(every) in (6, 12) and best["AIC"] == min(row["AIC"] for row in every if row["AIC"] is not None)
    assert best["seasonal_periods"] == ["WEEKLY", "YEARLY"] and best["has_holiday_effect"]
    [same] = rows(client, f"SELECT * FROM ML.EVALUATE(MODEL {hill})")
    assert same["variance"] == best["variance"]
    [found] = rows(client, f"SELECT * FROM ML.ARIMA_COEFFICIENTS(MODEL {hill})")
    assert len(found["ar_coefficients"]) == best["non_seasonal_p"]
    assert rows(client, f"SELECT training_run, iteration FROM ML.TRAINING_INFO(MODEL {hill})") == [
        {"training_run": 0, "iteration": 0}
    ]


def test_anomalies(client: bigquery.Client, hill: str) -> None:
    history = rows(
        client, f"SELECT * FROM ML.DETECT_ANOMALIES(MODEL {hill}, STRUCT(0.8 AS anomaly_prob_threshold))"
    )
    assert len(history) == DAYS and history[0]["day"] == datetime(2019, 1, 1, tzinfo=UTC)
    flagged = np.mean([row["is_anomaly"] for row in history])
    assert 0.05 < flagged < 0.4
    new = rows(
        client,
        f"""SELECT * FROM ML.DETECT_ANOMALIES(MODEL {hill}, STRUCT(0.95 AS anomaly_prob_threshold),
          (SELECT {SINCE} AS day, 900 AS trips, 'parade' AS why
           UNION ALL SELECT DATE '1999-01-01', 1, 'long ago')) ORDER BY day""",
    )
    assert [row["is_anomaly"] for row in new] == [None, True]
    assert list(new[1]) == [
        "day", "trips", "is_anomaly", "lower_bound", "upper_bound", "anomaly_probability", "why",
    ]  # fmt: skip


def test_many_series_and_their_sum(client: bigquery.Client, stations: str) -> None:
    found = rows(client, f"SELECT * FROM ML.FORECAST(MODEL {stations}, STRUCT(5 AS horizon))")
    by_station: dict[Any, list[float]] = {}
    for row in found:
        by_station.setdefault(row["station"], []).append(row["forecast_value"])
    assert {name: len(values) for name, values in by_station.items()} == {"Hill": 5, "Quay": 5, None: 5}
    assert by_station[None] == pytest.approx(np.add(by_station["Hill"], by_station["Quay"]))
    evaluated = rows(client, f"SELECT station, AIC FROM ML.ARIMA_EVALUATE(MODEL {stations})")
    assert [row["station"] for row in evaluated] == ["Hill", "Quay"]


def test_a_series_too_short_is_left_out_and_said(client: bigquery.Client) -> None:
    job = client.query(
        f"""CREATE MODEL bikes.some {TRAINED}, time_series_id_col='station', horizon=5) AS
        SELECT station, day, trips FROM bikes.trips WHERE station = 'Hill' AND day < '2019-03-01'
        UNION ALL SELECT 'Pier', DATE '2019-01-01', 3"""
    )
    job.result()
    assert "Pier" in job.errors[0]["message"] and "at least 3" in job.errors[0]["message"]
    told = rows(client, "SELECT station, error_message FROM ML.ARIMA_EVALUATE(MODEL bikes.some)")
    assert [(row["station"], bool(row["error_message"])) for row in told] == [("Hill", False), ("Pier", True)]


def test_regressors(client: bigquery.Client) -> None:
    client.query(
        f"""CREATE OR REPLACE MODEL bikes.sky
        OPTIONS(model_type='ARIMA_PLUS_XREG', time_series_timestamp_col='day', time_series_data_col='trips',
                time_series_id_col='station', horizon={LATER}, auto_arima_max_order=1)
        AS SELECT station, day, trips, sky FROM bikes.trips WHERE day < {SINCE}"""
    ).result()
    weights = rows(
        client,
        """SELECT station, c.category, c.weight
        FROM ML.ARIMA_COEFFICIENTS(MODEL bikes.sky), UNNEST(category_weights) AS c WHERE c.category = 'rain'""",
    )
    assert [row["station"] for row in weights] == ["Hill", "Quay"]
    assert all(row["weight"] == pytest.approx(-30, abs=3) for row in weights)
    future = f"(SELECT * FROM bikes.trips WHERE day >= {SINCE})"
    found = rows(client, f"SELECT * FROM ML.FORECAST(MODEL bikes.sky, STRUCT({LATER} AS horizon), {future})")
    assert len(found) == 2 * LATER
    [off] = rows(
        client,
        f"""SELECT MAX(ABS(time_series_data - (trend + seasonal_period_weekly + IFNULL(seasonal_period_yearly, 0)
          + IFNULL(spikes_and_dips, 0) + IFNULL(step_changes, 0) + IFNULL(residual, 0) + attribution_sky
          + attribution___INTERCEPT__))) AS most
        FROM ML.EXPLAIN_FORECAST(MODEL bikes.sky, STRUCT(20 AS horizon), {future})""",
    )
    assert off["most"] < 1e-6
    measured = rows(client, f"SELECT * FROM ML.EVALUATE(MODEL bikes.sky, {future})")
    assert len(measured) == 2 and measured[0]["mean_absolute_error"] < 15
    info = rows(client, "SELECT * FROM ML.FEATURE_INFO(MODEL bikes.sky)")
    assert [row["input"] for row in info] == ["trips", "sky"]


def test_regressors_by_transform(client: bigquery.Client) -> None:
    client.query(
        f"""CREATE OR REPLACE MODEL bikes.wet
        TRANSFORM(day, trips, IF(sky = 'rain', 1, 0) AS wet)
        OPTIONS(model_type='ARIMA_PLUS_XREG', time_series_timestamp_col='day', time_series_data_col='trips', horizon=20)
        AS SELECT day, trips, sky FROM bikes.trips WHERE station = 'Quay' AND day < {SINCE}"""
    ).result()
    weights = rows(
        client, "SELECT * FROM ML.ARIMA_COEFFICIENTS(MODEL bikes.wet) WHERE processed_input = 'wet'"
    )
    assert weights[0]["weight"] == pytest.approx(-30, abs=3)
    future = f"(SELECT day, sky FROM bikes.trips WHERE station = 'Quay' AND day >= {SINCE})"
    assert (
        len(rows(client, f"SELECT * FROM ML.FORECAST(MODEL bikes.wet, STRUCT(20 AS horizon), {future})"))
        == 20
    )


def test_custom_holidays_and_an_order_of_ones_own(client: bigquery.Client) -> None:
    client.query(
        f"""CREATE OR REPLACE MODEL bikes.fair
        OPTIONS(model_type='ARIMA_PLUS', time_series_timestamp_col='day', time_series_data_col='trips',
                auto_arima=FALSE, non_seasonal_order=(1, 1, 1), horizon=30, forecast_limit_lower_bound=0)
        AS (
          training_data AS (SELECT day, trips FROM bikes.trips WHERE station = 'Quay' AND day < {SINCE}),
          custom_holiday AS (
            SELECT 'City' AS region, 'Fair' AS holiday_name, day AS primary_date, 2 AS preholiday_days,
              1 AS postholiday_days
            FROM UNNEST([DATE '2019-06-10', DATE '2020-06-12', DATE '2021-06-11']) AS day))"""
    ).result()
    info = rows(client, "SELECT * FROM ML.HOLIDAY_INFO(MODEL bikes.fair)")
    assert [(row["region"], row["holiday_name"], row["primary_date"].year) for row in info] == [
        ("City", "Fair", 2019),
        ("City", "Fair", 2020),
        ("City", "Fair", 2021),
    ]
    [only] = rows(client, "SELECT * FROM ML.ARIMA_EVALUATE(MODEL bikes.fair)")
    assert (only["non_seasonal_p"], only["non_seasonal_d"], only["non_seasonal_q"]) == (1, 1, 1)
    assert (
        min(row["forecast_value"] for row in rows(client, "SELECT * FROM ML.FORECAST(MODEL bikes.fair)")) > 0
    )


def test_the_api_shows_the_model(client: bigquery.Client, hill: str, stations: str) -> None:
    model = client.get_model(hill)
    assert model.model_type == "ARIMA_PLUS", "the new name of what CREATE MODEL called ARIMA"
    run = model.training_runs[0]
    options = run["trainingOptions"]
    assert options["timeSeriesTimestampColumn"] == "day" and options["holidayRegion"] == "US"
    infos = run["results"][0]["arimaResult"]["arimaModelInfo"]
    assert len(infos) in (6, 12) and infos[0]["seasonalPeriods"] == ["WEEKLY", "YEARLY"]
    many = client.get_model(stations).training_runs[0]
    assert many["trainingOptions"]["timeSeriesIdColumn"] == "station"
    single = many["evaluationMetrics"]["arimaForecastingMetrics"]["arimaSingleModelForecastingMetrics"]
    assert [one["timeSeriesId"] for one in single] == ["Hill", "Quay"]


TRAINED = "OPTIONS(model_type='ARIMA_PLUS', time_series_timestamp_col='day', time_series_data_col='trips'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"CREATE MODEL bikes.x {TRAINED}) AS SELECT day, trips FROM bikes.trips LIMIT 2", "at least 3"),
        (f"CREATE MODEL bikes.x {TRAINED}) AS SELECT 1 AS day, 2 AS trips", "TIMESTAMP, DATE or DATETIME"),
        (f"CREATE MODEL bikes.x {TRAINED}, horizon=0) AS SELECT day, trips FROM bikes.trips", "HORIZON"),
        (f"CREATE MODEL bikes.x {TRAINED}, depth=3) AS SELECT day, trips FROM bikes.trips", "DEPTH"),
        (
            f"CREATE MODEL bikes.x {TRAINED}, data_frequency='WEEKLY') AS SELECT day, trips FROM bikes.trips",
            "data_frequency .WEEKLY",
        ),
        (
            f"CREATE MODEL bikes.x {TRAINED}) AS (rows AS (SELECT 1 AS a))",
            "takes training_data and custom_holiday",
        ),
        (
            f"""CREATE MODEL bikes.x TRANSFORM(day, trips) {TRAINED}) AS (
              training_data AS (SELECT day, trips FROM bikes.trips WHERE station = 'Hill'),
              custom_holiday AS (SELECT 'A' AS region, 'B' AS holiday_name, DATE '2020-01-01' AS primary_date))""",
            "TRANSFORM can't be used together with custom_holiday",
        ),
        ("SELECT * FROM ML.FORECAST(MODEL bikes.hill, STRUCT(61 AS horizon))", "horizon"),
        ("SELECT * FROM ML.FORECAST(MODEL bikes.hill, STRUCT(3 AS steps))", "steps"),
        ("SELECT * FROM ML.PREDICT(MODEL bikes.hill, (SELECT 1 AS a))", "ARIMA_PLUS"),
        (
            "SELECT * FROM ML.FORECAST(MODEL bikes.hill, STRUCT(3 AS horizon), (SELECT 1 AS a))",
            "takes no input",
        ),
        (
            "SELECT * FROM ML.EVALUATE(MODEL bikes.hill, STRUCT(7 AS horizon))",
            "horizon of ML.EVALUATE needs a table",
        ),
        (
            "SELECT * FROM ML.EVALUATE(MODEL bikes.hill, (SELECT day, trips FROM bikes.trips WHERE station = 'Hill'), "
            "STRUCT(0.8 AS confidence_level))",
            "needs FALSE AS perform_aggregation",
        ),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, hill: str, text: str, said: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        client.query(text).result()


def test_a_region_without_a_table_is_refused_by_name(client: bigquery.Client) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="'DE' is not built"):
        client.query(
            f"CREATE MODEL bikes.x {TRAINED}, holiday_region='DE') AS SELECT day, trips FROM bikes.trips"
        ).result()


def test_a_dry_run_trains_nothing(client: bigquery.Client, hill: str) -> None:
    dry = bigquery.QueryJobConfig(dry_run=True)
    client.query(f"CREATE MODEL bikes.x {TRAINED}) AS SELECT day, trips FROM bikes.trips", job_config=dry)
    job = client.query(f"SELECT forecast_value FROM ML.FORECAST(MODEL {hill})", job_config=dry)
    assert [field.name for field in job.schema] == ["forecast_value"]
    query = "(SELECT day, trips FROM bikes.trips WHERE station = 'Hill')"
    client.query(f"SELECT * FROM ML.EVALUATE(MODEL {hill}, {query})", job_config=dry)
    with pytest.raises(exceptions.NotFound):
        client.get_model("bikes.x")
