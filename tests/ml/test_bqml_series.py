"""ARIMA_PLUS on tables: each part of the pipeline finds what was put into a series, and the answers are Google's."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from portico.ml.bqml import kinds, options
from portico.ml.bqml.series import anomalies, calendar, cleaning, forecasting, holidays, measures, model
from portico.ml.bqml.series.calendar import DAY, HOUR
from portico.ml.errors import DataError

OPTIONS = {"time_series_timestamp_col": "day", "time_series_data_col": "sold"}
START = date(2019, 1, 1)


def table(values: Any, start: date = START, **columns: Any) -> pa.Table:
    days = [start + timedelta(n) for n in range(len(values))]
    return pa.table({"day": pa.array(days), "sold": pa.array(values), **columns})


def shop(count: int = 1200, seed: int = 0) -> np.ndarray:
    """A level that wanders, a week, and a year."""
    random = np.random.default_rng(seed)
    day = np.arange(count)
    week = np.array([0, 5, 10, 0, -5, -10, 0])[day % 7]
    noise = np.zeros(count)
    for t in range(1, count):
        noise[t] = 0.5 * noise[t - 1] + random.normal(0, 3)
    return 200 + week + 30 * np.sin(2 * np.pi * day / 365.25) + noise


def fit(
    kind: str, rows: pa.Table, given: dict[str, Any], custom: pa.Table | None = None
) -> model.TimeSeriesModel:
    return model.fit(kind, rows, options.read(kinds.kind(kind).OPTIONS, given, kind), custom)


def train(values: Any, **given: Any) -> model.TimeSeriesModel:
    return fit("ARIMA_PLUS", table(values), {**OPTIONS, **given})


def only(trained: model.TimeSeriesModel) -> model.Series:
    series = trained.entries[0].series
    assert series is not None
    return series


# Time


def us(*moments: datetime) -> np.ndarray:
    return np.array([int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000 for moment in moments])


def at(*steps: int, unit: int) -> np.ndarray:
    return us(datetime(2020, 1, 1)) + np.array(steps) * unit


@pytest.mark.parametrize(
    ("times", "frequency", "every"),
    [
        (at(0, 5, 10, 20, unit=HOUR // 60), "PER_MINUTE", 5),
        (at(0, 1, 2, 4, 5, unit=HOUR), "HOURLY", 1),
        (at(0, 1, 2, 5, 6, 7, unit=DAY), "DAILY", 1),
        (at(0, 7, 14, 21, unit=DAY), "WEEKLY", 1),
        (us(*(datetime(2020, month, 1) for month in range(1, 8))), "MONTHLY", 1),
        (us(*(datetime(2020 + n // 4, n % 4 * 3 + 1, 1) for n in range(8))), "QUARTERLY", 1),
        (us(*(datetime(2010 + n, 1, 1) for n in range(8))), "YEARLY", 1),
    ],
)
def test_the_frequency_is_inferred(times: np.ndarray, frequency: str, every: int) -> None:
    grid, values = calendar.even(times, np.arange(len(times), dtype=float), "AUTO_FREQUENCY")
    assert (grid.frequency, grid.every) == (frequency, every)
    assert set(times) <= set(grid.at(np.arange(len(values))).tolist())


def test_gaps_are_interpolated_and_equal_times_averaged() -> None:
    days = [date(2020, 1, 1), date(2020, 1, 2), date(2020, 1, 2), date(2020, 1, 5), date(2020, 1, 6)]
    data = pa.table({"day": pa.array(days), "sold": pa.array([10, 20, 30, 55, None], pa.int64())})
    explained = forecasting.explain(fit("ARIMA_PLUS", data, OPTIONS), horizon=1).to_pydict()
    assert explained["time_series_data"][:4] == pytest.approx([10, 25, 35, 45])
    assert explained["time_series_timestamp"][3] == datetime(2020, 1, 4, tzinfo=UTC)
    assert explained["time_series_type"] == ["history"] * 5 + ["forecast"]


def test_clocks_that_are_not_exact() -> None:
    hours = at(*range(48), unit=HOUR) + np.random.default_rng(0).integers(-30, 30, 48) * 1_000_000
    grid, values = calendar.even(hours, np.arange(48.0), "AUTO_FREQUENCY")
    assert grid.frequency == "HOURLY" and values.tolist() == list(range(48))


def test_month_ends_stay_month_ends() -> None:
    ends = us(datetime(2020, 2, 29), datetime(2020, 3, 31), datetime(2020, 4, 30), datetime(2020, 5, 31))
    grid, values = calendar.even(ends, np.arange(4.0), "AUTO_FREQUENCY")
    assert np.isfinite(values).all()
    assert grid.at(np.array([9, 12])).tolist() == us(datetime(2020, 11, 30), datetime(2021, 2, 28)).tolist()


def test_a_coarser_frequency_than_the_data_is_refused_and_a_finer_one_is_filled() -> None:
    with pytest.raises(
        DataError, match=r"no less than the interval unit specified by data_frequency .WEEKLY"
    ):
        train(shop(100), data_frequency="WEEKLY")
    assert only(train(np.arange(30.0), data_frequency="HOURLY")).count == 29 * 24 + 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (table([1.0, 2.0]), "at least 3"),
        (table([None, None, None, None]).set_column(1, "sold", pa.nulls(4, pa.float64())), "at least 3"),
        (table([]), "no rows"),
        (table(["a", "b", "c"]), "must be INT64, NUMERIC, BIGNUMERIC or FLOAT64"),
        (table([1, 2, 3]).drop_columns(["day"]), "'day' is not in the input data"),
        (pa.table({"day": [1, 2, 3], "sold": [1, 2, 3]}), "must be TIMESTAMP, DATE or DATETIME"),
        (pa.table({"day": pa.array([None, START, START]), "sold": [1, 2, 3]}), "1 NULLs"),
        (
            pa.table({"day": pa.array(range(9), pa.timestamp("us")), "sold": range(9)}),
            "less than a minute apart",
        ),
        (
            pa.table(
                {"day": [date(1, 1, 1), date(1, 1, 2), date(1, 1, 3), date(9000, 1, 1)], "sold": range(4)}
            ),
            "limit",
        ),
    ],
)
def test_data_that_is_no_time_series(data: pa.Table, words: str) -> None:
    with pytest.raises(DataError, match=words):
        fit("ARIMA_PLUS", data, OPTIONS)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"horizon": 0}, "HORIZON must be from 1 to 10000"),
        ({"seasons": 1}, "SEASONS is not supported"),
        ({"auto_arima": False}, "NON_SEASONAL_ORDER is needed"),
        ({"non_seasonal_order": (1, 1, 1)}, "only when AUTO_ARIMA is FALSE"),
        ({"auto_arima": False, "non_seasonal_order": (6, 1, 1)}, "p and q from 0 to 5"),
        (
            {"auto_arima": False, "non_seasonal_order": (1, 0, 1), "include_drift": True},
            "only when the non-seasonal d",
        ),
        ({"auto_arima_min_order": 3, "auto_arima_max_order": 3}, "must be less than"),
        ({"data_frequency": "FORTNIGHTLY"}, "DATA_FREQUENCY is .* must be one of"),
        ({"holiday_region": "Atlantis"}, "is no holiday region"),
        ({"holiday_region": ["US", "DE"]}, "'DE' is not built"),
        ({"seasonalities": ["AUTO", "DAILY"]}, "only alone"),
        ({"min_time_series_length": 30}, "needs TIME_SERIES_LENGTH_FRACTION"),
        ({"time_series_length_fraction": 0.5, "max_time_series_length": 30}, "cannot be used with"),
        ({"forecast_limit_lower_bound": 3, "forecast_limit_upper_bound": 2}, "must be greater"),
        ({"hierarchical_time_series_cols": ["shop"]}, "not in TIME_SERIES_ID_COL"),
        ({"time_series_id_col": "sold"}, "must be different columns"),
        ({"clean_spikes_and_dips": "yes"}, "must be TRUE or FALSE"),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        train(np.arange(30.0), **given)


# The pipeline's parts


def test_seasons_are_found_and_go_on() -> None:
    values = shop()
    trained = train(values[:-60])
    assert [season.name for season in only(trained).seasons] == ["WEEKLY", "YEARLY"]
    week = only(trained).seasons[0].history[-7:]
    day = np.arange(len(values))[-67:-60] % 7
    assert week == pytest.approx(np.array([0, 5, 10, 0, -5, -10, 0])[day], abs=1.5)
    ahead = only(trained).ahead(trained.holidays, 60)
    assert np.abs(ahead.value - values[-60:]).mean() < 5
    assert np.mean(np.abs(values[-60:] - ahead.value) < 1.96 * ahead.errors) > 0.8


def test_seasonalities_are_as_asked() -> None:
    def names(**given: Any) -> list[str]:
        found = measures.arima_evaluate(train(shop(900), **given), show_all_candidate_models=False)
        return found.column("seasonal_periods")[0].as_py()

    assert names(seasonalities=["NO_SEASONALITY"]) == ["NO_SEASONALITY"]
    assert names(seasonalities=["DAILY", "WEEKLY", "MONTHLY", "QUARTERLY"]) == [
        "WEEKLY",
        "MONTHLY",
        "QUARTERLY",
    ]
    random = np.random.default_rng(1)
    assert [season.name for season in only(train(random.normal(size=900))).seasons] == []


def test_hours_of_a_day_a_week_and_a_year() -> None:
    hour = np.arange(24 * 740)
    values = (
        50
        + 10 * np.sin(2 * np.pi * hour / 24)
        + 5 * (hour // 24 % 7 < 2)
        + 8 * np.sin(2 * np.pi * hour / 8766)
    )
    values = values + np.random.default_rng(0).normal(0, 1, len(hour))
    times = pa.array(us(datetime(2020, 1, 1)) + hour * HOUR).cast(pa.timestamp("us", "UTC"))
    data = pa.table({"day": times, "sold": values})
    trained = fit("ARIMA_PLUS", data.slice(0, len(hour) - 168), {**OPTIONS, "max_time_series_length": 1000})
    assert [season.name for season in only(trained).seasons] == ["DAILY", "WEEKLY", "YEARLY"]
    assert np.abs(only(trained).ahead((), 168).value - values[-168:]).mean() < 1.5


def test_the_29th_of_february_has_no_slot_of_its_own() -> None:
    grid = calendar.Grid("DAILY", int(us(datetime(2019, 1, 1))[0]))
    found = calendar.cycle("YEARLY", grid, grid.at(np.arange(365 * 2 + 1)))
    assert found is not None
    slots, regular, length = found
    assert length == 365 and regular.sum() == 730 and slots[regular].tolist() == list(range(365)) * 2
    assert not regular[365 + 59] and slots[365 + 59] == 58


def test_spikes_and_steps_are_found() -> None:
    random = np.random.default_rng(5)
    values = 100 + random.normal(0, 2, 400)
    values[250:] += 25
    values[[60, 333]] += [40, -40]
    odd, steps = cleaning.outliers(values, spikes=True, steps=True)
    assert np.flatnonzero(odd).tolist() == [60, 333]
    assert set(np.flatnonzero(np.diff(steps)).tolist()) == {249} and steps[0] == pytest.approx(-25, abs=1.5)
    assert steps[-1] == 0
    odd, steps = cleaning.outliers(values, spikes=False, steps=False)
    assert not odd.any() and not steps.any()


@pytest.mark.parametrize("seed", range(6))
def test_a_random_walk_has_neither(seed: int) -> None:
    walk = np.cumsum(np.random.default_rng(seed).normal(size=600))
    odd, steps = cleaning.outliers(walk, spikes=True, steps=True)
    assert not odd.any() and not steps.any()


def test_holidays_by_rule_are_those_of_googles_table() -> None:
    found = {holiday.name: holiday for holiday in holidays.built_in(["US"], range(2022, 2024))}
    expected = {
        "Thanksgiving": ((2022, 11, 24), (2023, 11, 23), 3, 5),
        "EasterMonday": ((2022, 4, 18), (2023, 4, 10), 8, 1),
        "MothersDay": ((2022, 5, 8), (2023, 5, 14), 6, 1),
        "DaylightSavingStart": ((2022, 3, 13), (2023, 3, 12), 1, 1),
        "DaylightSavingEnd": ((2022, 11, 6), (2023, 11, 5), 1, 1),
        "LaborDay": ((2022, 9, 5), (2023, 9, 4), 1, 1),
        "MemorialDay": ((2022, 5, 30), (2023, 5, 29), 1, 1),
        "MLKDay": ((2022, 1, 17), (2023, 1, 16), 1, 1),
        "PresidentDay": ((2022, 2, 21), (2023, 2, 20), 1, 1),
        "Christmas": ((2022, 12, 25), (2023, 12, 25), 10, 1),
    }
    for name, (*days, before, after) in expected.items():
        assert found[name].days == tuple(date(*day) for day in days)
        assert (found[name].before, found[name].after) == (before, after)


def christmas(count: int = 1500) -> np.ndarray:
    """As `shop`, and 60 less on Christmas and the day before."""
    values = shop(count)
    for n in range(count):
        day = START + timedelta(n)
        values[n] -= 60 * ((day.month, day.day) in ((12, 24), (12, 25)))
    return values


def test_a_holiday_effect_is_found_and_forecast() -> None:
    values = christmas()
    trained = train(values, holiday_region="US", horizon=400)
    explained = forecasting.explain(trained, horizon=365).to_pandas().set_index("time_series_timestamp")
    for day in ("2021-12-25", "2022-12-24", "2023-12-25"):
        assert explained.holiday_effect_Christmas[day] == pytest.approx(-60, abs=12)
        assert explained.holiday_effect[day] == pytest.approx(explained.holiday_effect_Christmas[day])
    assert abs(explained.holiday_effect["2021-08-10"]) == 0
    info = measures.holiday_info(trained).to_pylist()
    assert {"region": "US", "holiday_name": "Christmas", "primary_date": date(2023, 12, 25)}.items() <= next(
        row.items() for row in info if row["primary_date"] == date(2023, 12, 25)
    )
    assert measures.arima_evaluate(trained).column("has_holiday_effect")[0].as_py() is True
    # Less than a year: nothing is modelled, and nothing is said to be.
    assert measures.holiday_info(train(values[:300], holiday_region="US")).num_rows == 0


def own_holidays(*days: date, **columns: Any) -> pa.Table:
    rows = {"region": ["US"] * len(days), "holiday_name": ["Fair"] * len(days), "primary_date": list(days)}
    return pa.table({**rows, **columns})


def test_custom_holidays() -> None:
    values = shop(1100)
    fairs = [date(2019, 6, 15), date(2020, 6, 7), date(2021, 6, 6), date(2022, 6, 5)]
    for fair in fairs[:3]:
        values[(fair - START).days] += 80
    trained = fit("ARIMA_PLUS", table(values), OPTIONS, own_holidays(*fairs))
    explained = forecasting.explain(trained, horizon=300).to_pandas().set_index("time_series_timestamp")
    assert explained.holiday_effect_Fair["2022-06-05"] == pytest.approx(80, abs=10)
    assert explained.holiday_effect_Fair["2022-06-04"] == 0
    assert [row["primary_date"] for row in measures.holiday_info(trained).to_pylist()] == fairs


@pytest.mark.parametrize(
    ("table_", "words"),
    [
        (own_holidays(START).drop_columns(["region"]), "must have a column region"),
        (own_holidays(START, preholiday_days=[0]), "1 day or more"),
        (own_holidays(START, preholiday_days=[30], postholiday_days=[30]), "30 in all"),
        (own_holidays(START, START + timedelta(1)), "overlap"),
        (own_holidays(START, date(2020, 1, 1), preholiday_days=[1, 2]), "different windows"),
        (own_holidays(START).set_column(1, "holiday_name", [["a b"]]), "is no column name"),
    ],
)
def test_custom_holidays_that_cannot_be(table_: pa.Table, words: str) -> None:
    with pytest.raises(DataError, match=words):
        holidays.custom(table_)


def test_a_custom_holiday_replaces_the_regions_own() -> None:
    regular = holidays.built_in(["US"], range(2020, 2023))
    own = holidays.custom(
        pa.table(
            {
                "region": ["US"],
                "holiday_name": ["Halloween"],
                "primary_date": [date(2021, 10, 30)],
                "preholiday_days": [5],
            }
        )
    )
    merged = {holiday.name: holiday for holiday in holidays.merged(regular, own)}
    assert len(merged) == len(regular)
    assert merged["Halloween"].days == (date(2020, 10, 31), date(2021, 10, 30), date(2022, 10, 31))
    assert merged["Halloween"].before == 5


# Answers


def test_a_forecasts_columns_and_intervals() -> None:
    trained = train(shop(400), horizon=10)
    found = forecasting.forecast(trained)
    assert found.schema.names == [
        "forecast_timestamp",
        "forecast_value",
        "standard_error",
        "confidence_level",
        "prediction_interval_lower_bound",
        "prediction_interval_upper_bound",
        "confidence_interval_lower_bound",
        "confidence_interval_upper_bound",
    ]
    assert found.schema.types == [pa.timestamp("us", "UTC")] + [pa.float64()] * 7
    assert found.column(0).to_pylist() == [datetime(2020, 2, 5 + n, tzinfo=UTC) for n in range(3)]
    row = forecasting.forecast(trained, horizon=10, confidence_level=0.8).to_pylist()[9]
    width = row["prediction_interval_upper_bound"] - row["forecast_value"]
    assert width == pytest.approx(1.2815516 * row["standard_error"], rel=1e-6)
    for asked in ({"horizon": 11}, {"horizon": 0}, {"confidence_level": 1.0}):
        with pytest.raises(DataError):
            forecasting.forecast(trained, **asked)
    with pytest.raises(DataError, match="takes no input data"):
        forecasting.forecast(trained, future=table([1.0]))


def test_the_parts_sum_to_the_value() -> None:
    values = christmas(1300)
    values[700] += 90
    values[900:] += 40
    trained = train(values, holiday_region="US", trend_smoothing_window_size=7)
    found = forecasting.explain(trained, horizon=300).to_pandas()
    parts = found.filter(
        regex="^(trend|seasonal_.*|holiday_effect|spikes_and_dips|step_changes|residual)$"
    ).fillna(0)
    assert parts.sum(axis=1).to_numpy() == pytest.approx(found.time_series_data.to_numpy(), abs=1e-8)
    history = found[found.time_series_type == "history"]
    assert history.time_series_data.to_numpy() == pytest.approx(values)
    assert history.spikes_and_dips[700] > 60 and history.step_changes[0] == pytest.approx(-40, abs=12)
    assert history.confidence_level.isna().all() and history.standard_error.nunique() == 1
    ahead = found[found.time_series_type == "forecast"]
    assert ahead.residual.isna().all() and (ahead.time_series_data == ahead.time_series_adjusted_data).all()
    plain = train(values, holiday_region="US")
    assert forecasting.forecast(plain).equals(forecasting.forecast(trained))  # smoothing is for the eye only


def test_evaluation_is_by_the_formulas() -> None:
    values = shop(500)
    trained = train(values[:450])
    data = table(values)
    metrics = measures.evaluate(trained, data, horizon=20).to_pylist()[0]
    mean = forecasting.forecast(trained, horizon=20).column("forecast_value").to_numpy()
    actual = values[450:470]
    errors = np.abs(actual - mean)
    assert metrics == pytest.approx(
        {
            "mean_absolute_error": errors.mean(),
            "mean_squared_error": (errors**2).mean(),
            "root_mean_squared_error": np.sqrt((errors**2).mean()),
            "mean_absolute_percentage_error": (errors / actual).mean(),
            "symmetric_mean_absolute_percentage_error": (2 * errors / (actual + mean)).mean(),
            "mean_absolute_scaled_error": errors.mean() / np.abs(np.diff(values[:450])).mean(),
        }
    )
    rows = measures.evaluate(trained, data, horizon=20, perform_aggregation=False)
    assert rows.schema.names == [
        "day",
        "sold",
        "forecasted_sold",
        "lower_bound",
        "upper_bound",
        "absolute_error",
        "absolute_percentage_error",
    ]
    assert rows.num_rows == 500 and rows.column("forecasted_sold").null_count == 480
    with pytest.raises(DataError, match="no row at a time point that the model forecasts"):
        measures.evaluate(trained, table(values[:450]))


def test_candidates_and_coefficients() -> None:
    trained = train(shop(300))
    every = measures.arima_evaluate(trained)
    assert every.num_rows in (6, 12) and every.column("AIC").to_pylist() == sorted(
        every.column("AIC").to_pylist()
    )
    best = measures.arima_evaluate(trained, show_all_candidate_models=False).to_pylist()
    assert best == every.slice(0, 1).to_pylist()
    fixed = train(
        shop(300), auto_arima=False, non_seasonal_order={"p": 2, "d": 1, "q": 1}, include_drift=True
    )
    row = measures.coefficients(fixed).to_pylist()[0]
    assert len(row["ar_coefficients"]) == 2 and len(row["ma_coefficients"]) == 1
    assert measures.evaluate_training(fixed).to_pylist()[0]["has_drift"] is True


def test_anomalies() -> None:
    values = shop(500)
    values[200] += 60
    trained = train(values[:450])
    found = anomalies.detect_history(trained, anomaly_prob_threshold=0.9999).to_pandas()
    assert found.day[found.is_anomaly].dt.strftime("%F").tolist() == [str(START + timedelta(200))]
    assert list(found) == ["day", "sold", "is_anomaly", "lower_bound", "upper_bound", "anomaly_probability"]
    new = table([values[450], values[451] + 80, 5.0], START + timedelta(450), mood=["a", "b", "c"])
    new = pa.concat_tables([new, table([1.0], date(1999, 1, 1), mood=["d"])])
    rows = anomalies.detect_new(trained, new).to_pylist()
    assert [row["is_anomaly"] for row in rows] == [False, True, True, None]
    assert [row["mood"] for row in rows] == list("abcd") and rows[3]["lower_bound"] is None
    assert rows[1]["anomaly_probability"] > 0.99 > rows[0]["anomaly_probability"]
    with pytest.raises(DataError, match="anomaly_prob_threshold"):
        anomalies.detect_history(trained, anomaly_prob_threshold=1.0)
    bare = train(values, decompose_time_series=False)
    for asked in (lambda: anomalies.detect_history(bare), lambda: forecasting.explain(bare)):
        with pytest.raises(DataError, match="DECOMPOSE_TIME_SERIES"):
            asked()


def test_limits_keep_forecasts_inside() -> None:
    random = np.random.default_rng(2)
    values = np.exp(np.cumsum(random.normal(0, 0.05, 400)) - 2)
    values[100] = -1  # beyond the limit: not modelled
    for limits in ({"lower": 0.0}, {"upper": 5.0}, {"lower": 0.0, "upper": 5.0}):
        named = {f"forecast_limit_{end}_bound": bound for end, bound in limits.items()}
        trained = train(values, **named)
        found = forecasting.forecast(trained, horizon=300, confidence_level=0.99).to_pandas()
        if "lower" in limits:
            assert found.prediction_interval_lower_bound.min() > 0
        if "upper" in limits:
            assert found.prediction_interval_upper_bound.max() <= 5
        assert (found.standard_error > 0).all()
        with pytest.raises(DataError, match="EXPLAIN_FORECAST is not supported"):
            forecasting.explain(trained)
        assert anomalies.detect_history(trained).num_rows == 400


def test_length_options_bound_the_trend_only() -> None:
    values = shop(800)
    trained = train(values, max_time_series_length=50)
    assert only(trained).count == 800 and [s.name for s in only(trained).seasons] == ["WEEKLY", "YEARLY"]
    shorter = train(values, time_series_length_fraction=0.25, min_time_series_length=30)
    assert only(shorter).arima != only(train(values)).arima


# Many series


def many(series: int, count: int) -> pa.Table:
    parts = [
        table(
            shop(count, seed) * (1 + seed),
            city=pa.array([["Rome", "Oslo"][seed % 2]] * count),
            shop=pa.array([seed] * count, pa.int64()),
        )
        for seed in range(series)
    ]
    return pa.concat_tables(parts)


def test_fifty_series(capsys: pytest.CaptureFixture[str]) -> None:
    from time import perf_counter

    data = many(50, 40)
    before = perf_counter()
    trained = fit("ARIMA_PLUS", data, {**OPTIONS, "time_series_id_col": "shop", "auto_arima_max_order": 1})
    with capsys.disabled():
        print(f"\n50 series of 40 days: {perf_counter() - before:.1f} s")
    found = forecasting.forecast(trained)
    assert found.num_rows == 150 and found.schema.field(0).type == pa.int64()
    assert found.column("shop").to_pylist() == [n for n in range(50) for _ in range(3)]
    assert measures.arima_evaluate(trained).num_rows == 50


def test_a_series_that_cannot_be_fitted_says_why() -> None:
    data = pa.concat_tables([many(2, 60), many(3, 2).slice(4)])
    trained = fit("ARIMA_PLUS", data, {**OPTIONS, "time_series_id_col": ["city", "shop"]})
    rows = measures.arima_evaluate(trained).to_pylist()
    assert [(row["city"], row["shop"]) for row in rows] == [("Oslo", 1), ("Rome", 0), ("Rome", 2)]
    assert "at least 3" in rows[2]["error_message"] and rows[2]["non_seasonal_p"] is None
    assert set(forecasting.forecast(trained).column("shop").to_pylist()) == {0, 1}
    with pytest.raises(DataError, match="None of the 3 time series can be fitted"):
        fit("ARIMA_PLUS", many(3, 2), {**OPTIONS, "time_series_id_col": "shop"})
    with pytest.raises(DataError, match="AUTO_ARIMA must be TRUE"):
        fit("ARIMA_PLUS", data, {**OPTIONS, "time_series_id_col": "shop", "auto_arima": False})


def test_a_hierarchy_sums_from_below() -> None:
    ids = ["city", "shop"]
    given = {**OPTIONS, "time_series_id_col": ids, "hierarchical_time_series_cols": ids}
    data = many(4, 200)
    trained = fit("ARIMA_PLUS", data.filter(pa.compute.less(data["day"], pa.scalar(date(2019, 7, 1)))), given)
    found = forecasting.forecast(trained).to_pandas()
    assert len(found) == 3 * (4 + 2 + 1)
    shops = found[found.shop.notna()]
    by_city = shops.groupby(["city", "forecast_timestamp"]).forecast_value.sum()
    cities = (
        found[found.shop.isna() & found.city.notna()].set_index(["city", "forecast_timestamp"]).forecast_value
    )
    assert cities.sort_index().to_numpy() == pytest.approx(by_city.sort_index().to_numpy())
    total = found[found.shop.isna() & found.city.isna()].set_index("forecast_timestamp").forecast_value
    assert total.to_numpy() == pytest.approx(
        shops.groupby("forecast_timestamp").forecast_value.sum().to_numpy()
    )
    explained = forecasting.explain(trained).to_pandas()
    city = explained[explained.shop.isna() & (explained.city == "Rome")]
    assert len(city) == 181 + 3
    parts = city.filter(regex="^(trend|seasonal_.*|spikes_and_dips|step_changes|residual)$").fillna(0)
    assert parts.sum(axis=1).to_numpy() == pytest.approx(city.time_series_data.to_numpy(), abs=1e-8)
    sold = data.to_pandas().query("city == 'Rome'").groupby("day").sold.sum().iloc[:181]
    assert city.time_series_data.to_numpy()[:181] == pytest.approx(sold.to_numpy())
    summed = found[found.shop.isna() & (found.city == "Rome")]
    for name in ("standard_error", "prediction_interval_lower_bound"):
        assert city[name].to_numpy()[181:] == pytest.approx(summed[name].to_numpy())
    measured = measures.evaluate(trained, data, horizon=10)
    assert measured.num_rows == 7 and measured.column("mean_absolute_error").null_count == 0
    part = data.filter(pa.compute.not_equal(data["shop"], 3))  # Oslo lacks a shop: no sum of it can be judged
    assert measures.evaluate(trained, part, horizon=10).num_rows == 3 + 1
    for aggregated in (True, False):  # a dry run asks with no rows
        assert measures.evaluate(trained, data.slice(0, 0), perform_aggregation=aggregated).num_rows == 0
    assert anomalies.detect_new(trained, data.slice(0, 0)).num_rows == 0


def test_null_is_an_id_like_any_other() -> None:
    data = many(2, 60)
    data = data.set_column(3, "shop", pa.array([None] * 60 + [7] * 60, pa.int64()))
    trained = fit("ARIMA_PLUS", data.filter(pa.compute.less(data["day"], pa.scalar(date(2019, 2, 20)))), {
        **OPTIONS, "time_series_id_col": "shop",
    })  # fmt: skip
    assert set(forecasting.forecast(trained).column("shop").to_pylist()) == {None, 7}
    rows = measures.evaluate(trained, data, perform_aggregation=False).to_pylist()
    assert sum(row["shop"] is None and row["absolute_error"] is not None for row in rows) == 10


# Regressors


def weather(count: int = 700) -> pa.Table:
    random = np.random.default_rng(4)
    warm = random.normal(15, 5, count)
    rain = random.random(count) < 0.3
    sold = shop(count) + 4 * warm - 25 * rain
    return table(sold, warm=warm, sky=pa.array(np.where(rain, "rain", "blue")), note=pa.array([1] * count))


def test_regressors_have_their_weights() -> None:
    data = weather()
    trained = fit("ARIMA_PLUS_XREG", data.slice(0, 660), {**OPTIONS, "horizon": 60})
    rows = {row["processed_input"]: row for row in measures.coefficients(trained).to_pylist()}
    assert list(rows) == ["warm", "sky", "note", "__INTERCEPT__"]
    assert rows["warm"]["weight"] == pytest.approx(4, abs=0.15) and rows["note"]["weight"] == 0
    categories = {one["category"]: one["weight"] for one in rows["sky"]["category_weights"]}
    assert categories == {"blue": 0, "rain": pytest.approx(-25, abs=1.5)} and rows["sky"]["weight"] is None
    future = data.slice(660).drop_columns(["sold"])
    found = forecasting.forecast(trained, horizon=60, future=future)
    assert found.num_rows == 40  # as far as the features go
    actual = data.column("sold").to_numpy()[660:]
    error = np.abs(found.column("forecast_value").to_numpy() - actual).mean()
    blind = fit("ARIMA_PLUS", data.slice(0, 660), OPTIONS)
    assert error < 0.5 * np.abs(forecasting.forecast(blind, horizon=40).column(1).to_numpy() - actual).mean()
    explained = forecasting.explain(trained, horizon=20, future=future).to_pandas()
    parts = explained.filter(
        regex="^(trend|seasonal_.*|holiday_effect|spikes_and_dips|step_changes|residual|attribution_.*)$"
    ).fillna(0)
    assert parts.sum(axis=1).to_numpy() == pytest.approx(explained.time_series_data.to_numpy(), abs=1e-8)
    measured = measures.evaluate(trained, data, horizon=20)
    assert "mean_absolute_scaled_error" not in measured.column_names
    assert anomalies.detect_new(trained, data.slice(660)).column("is_anomaly").null_count == 0
    assert anomalies.detect_history(trained).num_rows == 660


def test_regressors_that_cannot_be() -> None:
    with pytest.raises(DataError, match="needs at least one feature"):
        fit("ARIMA_PLUS_XREG", table(shop(50)), OPTIONS)
    with pytest.raises(DataError, match="'when' is date"):
        fit("ARIMA_PLUS_XREG", table(shop(3), when=pa.array([START] * 3)), OPTIONS)
    with pytest.raises(
        DataError, match="FORECAST_LIMIT_LOWER_BOUND is not supported for model type ARIMA_PLUS_XREG"
    ):
        fit("ARIMA_PLUS_XREG", weather(50), {**OPTIONS, "forecast_limit_lower_bound": 0.0})
    trained = fit("ARIMA_PLUS_XREG", weather(100), OPTIONS)
    with pytest.raises(DataError, match=r"requires three parameters in ML\.FORECAST"):
        forecasting.forecast(trained)
    with pytest.raises(DataError, match="'sky' is not in the input data"):
        forecasting.forecast(trained, future=table([1.0], START + timedelta(100), warm=[1.0]))
    with pytest.raises(DataError, match="no row at a time point that can be forecast"):
        forecasting.forecast(trained, future=weather(50))


# Files


@pytest.mark.parametrize("kind", ["ARIMA_PLUS", "ARIMA_PLUS_XREG"])
def test_a_model_survives_as_json_and_arrays(kind: str) -> None:
    data = weather(500) if kind == "ARIMA_PLUS_XREG" else table(christmas(500))
    trained = fit(kind, data, {**OPTIONS, "holiday_region": ["US", "GLOBAL"]})
    state, arrays = trained.to_state()
    again = model.TimeSeriesModel.from_state(json.loads(json.dumps(state, allow_nan=False)), arrays)
    future = {"future": weather(510).slice(500)} if kind == "ARIMA_PLUS_XREG" else {}
    assert forecasting.explain(again, **future).equals(forecasting.explain(trained, **future))
    for answer in (
        measures.arima_evaluate,
        measures.coefficients,
        measures.holiday_info,
        anomalies.detect_history,
    ):
        assert answer(again).equals(answer(trained))


# Real series


def quarters(years: np.ndarray, quarter: np.ndarray) -> list[date]:
    return [date(int(year), int(number) * 3 - 2, 1) for year, number in zip(years, quarter, strict=True)]


@pytest.mark.slow
def test_intervals_cover_what_they_say() -> None:
    inside = []
    for seed in range(40):
        values = shop(528, seed)
        found = forecasting.forecast(train(values[:500]), horizon=28).to_pandas()
        low, high = found.prediction_interval_lower_bound, found.prediction_interval_upper_bound
        inside.append(((low < values[500:]) & (values[500:] < high)).mean())
    assert 0.92 < np.mean(inside) < 0.98


@pytest.mark.slow
def test_better_than_the_last_week_of_rented_bikes(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo's bikes by the day: eight weeks ahead, from each of five ends of the history."""
    import pandas as pd

    from portico.sandbox import samples

    bikes = pd.read_csv(samples.path("bikes"))
    by_day = bikes.groupby("date")["count"].sum()
    values = by_day.to_numpy(float)
    data = pa.table({"day": pa.array([date.fromisoformat(day) for day in by_day.index]), "sold": values})
    horizon = 56
    for left_out in (0, 100, 200, 400, 800):
        known = len(values) - left_out - horizon
        trained = fit("ARIMA_PLUS", data.slice(0, known), {**OPTIONS, "holiday_region": "US"})
        found = forecasting.forecast(trained, horizon=horizon).column("forecast_value").to_numpy()
        actual = values[known : known + horizon]
        error = np.abs(found - actual).mean()
        naive = np.abs(values[known - 7 + np.arange(horizon) % 7] - actual).mean()
        with capsys.disabled():
            print(f"\n{known} days: mean absolute error {error:.0f}, of the last week {naive:.0f}")
        assert error < 0.95 * naive


def test_better_than_the_last_season_on_real_series() -> None:
    """CO2 by week, and the number of Americans at work by the quarter (from the Federal Reserve's labor figures)."""
    from statsmodels.datasets import co2, macrodata

    weekly = co2.load_pandas().data["co2"]
    figures = macrodata.load_pandas().data
    at_work = (figures["pop"] * (1 - figures["unemp"] / 100)).to_numpy()  # thousands, of the whole population
    cases = [
        ([day.date() for day in weekly.index], weekly.to_numpy(), 52, 104),
        (quarters(figures.year.to_numpy(), figures.quarter.to_numpy())[:-8], at_work[:-8], 4, 8),
    ]
    for days, values, season, horizon in cases:
        data = pa.table({"day": pa.array(days), "sold": pa.array(values, from_pandas=True)})
        trained = fit("ARIMA_PLUS", data.slice(0, len(days) - horizon), OPTIONS)
        found = forecasting.forecast(trained, horizon=horizon).column("forecast_value").to_numpy()
        naive = values[len(values) - horizon - season + np.arange(horizon) % season]
        actual = values[-horizon:]
        assert np.nanmean(np.abs(found - actual)) < 0.7 * np.nanmean(np.abs(naive - actual))


def test_a_process_that_serves_a_model_of_sql_does_without_what_it_does_not_need():
    import subprocess
    import sys

    asked = "import sys, portico.ml.bqml.serving\nprint(sorted({'pandas', 'sklearn', 'xgboost'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
