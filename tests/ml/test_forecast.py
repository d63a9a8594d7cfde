"""Forecasting: windows and what is seen of them, objectives, and what cannot be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from portico.ml.errors import DataError
from portico.ml.forecast.hierarchy import hierarchy_of
from portico.ml.forecast.model import ForecastModel
from portico.ml.forecast.panel import read_panel
from portico.ml.forecast.spec import ForecastSpec
from portico.ml.forecast.train import TrainedForecast, train
from portico.ml.forecast.windows import History, Windows, naive, windows_of
from portico.ml.measure.evaluate_forecast import evaluate_forecast

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def days(count: int = 70, series: int = 3, ahead: int = 0, seed: int = 0) -> pa.Table:
    """Daily sales with a week's cycle, by series ten times as large as the one before; without the last `ahead`."""
    rng = np.random.default_rng(seed)
    rows = []
    for name in range(series):
        for day in range(count):
            size = 10.0**name * (1.0 + 0.5 * (day % 7 >= 5)) * (1 + 0.05 * rng.normal())
            known = size if day < count - ahead else None
            rows.append(
                {"day": BEGIN + timedelta(days=day), "shop": f"s{name}", "sold": known, "weight": 1.0 + name}
            )
    return pa.Table.from_pylist(rows)


def spec(**given: Any) -> ForecastSpec:
    asked = {"target": "sold", "time": "day", "series": "shop", "horizon": 3, "unit": "day", "context": 14}
    return ForecastSpec(**{**asked, "budget_seconds": 1.0, **given})


@pytest.fixture(scope="module")
def trained() -> TrainedForecast:
    return train(days(), spec())


def test_a_week_is_learned_for_series_of_all_sizes(trained: TrainedForecast, tmp_path: Path):
    tested = trained.tested
    error = np.abs(tested.predicted.values - tested.true) / tested.true
    assert error.mean() < 0.1
    assert (tested.origins < tested.times).all() and (tested.times - tested.origins <= 3 * 86_400).all()
    trained.model.save(tmp_path)
    future = days(73, ahead=3)
    found = ForecastModel.load(tmp_path).forecast(future)
    assert found.rows.tolist() == [70, 71, 72, 143, 144, 145, 216, 217, 218] and not found.bad
    again = trained.model.forecast(future)
    assert (found.values == again.values).all()


def test_a_forecast_sees_nothing_that_comes_after_its_origin(trained: TrainedForecast):
    """Neither what is known later nor other rows' order change it."""
    future = days(73, ahead=3)
    shuffled = future.take(pa.array(np.random.default_rng(1).permutation(future.num_rows)))
    one, other = trained.model.forecast(future), trained.model.forecast(shuffled)
    keys = [(table["shop"][row].as_py(), table["day"][row].as_py())
            for table, found in ((future, one), (shuffled, other)) for row in found.rows.tolist()]  # fmt: skip
    by_key = [dict(zip(keys[:9], one.values, strict=True)), dict(zip(keys[9:], other.values, strict=True))]
    assert by_key[0] == by_key[1]
    fewer = trained.model.forecast(future.slice(0, 71))
    assert fewer.values[0] == one.values[0]


def test_rows_that_are_not_forecast_are_told(trained: TrainedForecast):
    rows = days(76, series=2, ahead=6).to_pylist()
    rows[10]["sold"] = None  # a gap in the history
    rows[80]["day"] = None
    rows.append({**rows[76 + 20]})  # the second series has a day twice
    found = trained.model.forecast(pa.Table.from_pylist(rows))
    assert found.rows.tolist() == [70, 71, 72] and found.gaps == 1
    assert "4 steps after the last known 'sold'" in found.bad[73]
    assert "holds no time" in found.bad[80]
    assert "duplicate times" in found.bad[146]
    with pytest.raises(DataError, match="is empty in none"):
        trained.model.forecast(days())
    with pytest.raises(DataError, match="no column 'shop'"):
        trained.model.forecast(days().drop_columns(["shop"]))


def test_a_series_without_a_past_is_forecast_too(trained: TrainedForecast):
    new = pa.Table.from_pylist(
        [{"day": BEGIN + timedelta(days=n), "shop": "new", "sold": None, "weight": 1.0} for n in range(3)],
        schema=days().schema,
    )
    assert np.isfinite(trained.model.forecast(new).values).all()


@pytest.mark.parametrize(
    "objective",
    ["minimize-mae", "minimize-rmsle", "minimize-rmspe", "minimize-wape-mae", "minimize-mape"],
)
def test_each_objective_trains(objective: str):
    made = train(days(42), spec(objective=objective, budget_seconds=0.4, weight_column="weight"))
    error = np.abs(made.tested.predicted.values - made.tested.true) / made.tested.true
    assert error.mean() < 0.3
    assert made.candidates[0]["chosen"]


def test_quantiles_are_in_order_and_a_plan_repeats_them():
    asked = spec(objective="minimize-quantile-loss", quantiles=[0.9, 0.1], budget_seconds=0.5)
    made = train(days(42), asked)
    found = made.tested.predicted
    assert made.model.quantiles == [0.1, 0.9]
    assert (found.quantiles[:, 0] <= found.quantiles[:, 1]).all()
    again = train(days(42), asked, plan=made.plan).tested.predicted
    assert (again.values == found.values).all() and (again.quantiles == found.quantiles).all()


def test_without_a_context_one_window_a_row_is_learned():
    made = train(days(42), spec(context=0, budget_seconds=0.4))
    assert made.windows["training"] == made.rows["training"]
    assert any("contextWindow is 0" in note for note in made.notes)


def test_windows_are_chosen_as_asked():
    table = days(30, series=1)
    panel = read_panel(table, spec())
    every = windows_of(panel, np.arange(20), spec())
    assert set(every.step.tolist()) == {1, 2, 3} and every.origin.min() == 0
    made = train(table, spec(stride=5, budget_seconds=0.3))
    fewer = train(table, spec(most_windows=4, budget_seconds=0.3))
    assert 0 < made.windows["training"] < len(every) and 0 < fewer.windows["training"] <= 12
    marked = table.append_column("begin", pa.array([n % 4 == 0 for n in range(30)]))
    begins = train(marked, spec(window_column="begin", budget_seconds=0.3))
    assert 0 < begins.windows["training"] < len(every)


def test_the_naive_forecast_repeats_the_last_week_that_was_known():
    table = days(30, series=1)
    panel = read_panel(table, spec())
    numbers = np.arange(30.0)
    windows = Windows(np.array([20, 20, 3]), np.array([19, 10, 1]))
    found, name = naive(panel, windows, spec(), History(panel, numbers))
    assert found.tolist() == [13.0, 6.0, 1.0] and name == "seasonal naive (7 steps)"


@pytest.mark.parametrize(
    ("unit", "times"),
    [
        ("month", ["2024-01-31", "2024-02-01", "2024-04-15"]),
        ("year", ["2020", "2021", "2023"]),
        ("week", ["2024-01-03", "2024-01-10", "2024-01-24"]),
        ("hour", ["2024-01-01T00:59:00Z", "2024-01-01T01:00:00Z", "2024-01-01T03:30:00Z"]),
    ],
)
def test_steps_are_of_the_calendar(unit: str, times: list[str]):
    table = pa.table({"day": times, "shop": ["a"] * 3, "sold": [1.0, 2.0, 3.0]})
    panel = read_panel(table, spec(unit=unit))
    assert panel.row.tolist() == [0, 1, -1, 2]


def test_data_that_cannot_be_are_refused_with_their_reason():
    table = days(30)
    with pytest.raises(DataError, match="check dataGranularity"):
        train(table, spec(unit="minute"))
    with pytest.raises(DataError, match="several rows for the month"):
        train(table, spec(unit="month"))
    with pytest.raises(DataError, match="holds 'many'"):
        train(table.set_column(2, "sold", pa.array(["many"] * 90)), spec())
    with pytest.raises(DataError, match="no window to train"):
        train(days(2), spec())
    with pytest.raises(DataError, match="holds only 5"):
        train(table.set_column(2, "sold", pa.array([5.0] * 90)), spec())
    with pytest.raises(DataError, match="needs values of at least 0"):
        train(table.set_column(2, "sold", pa.array([-5.0, 1.0] * 45)), spec(objective="minimize-rmsle"))


def test_metrics_are_googles():
    true, said = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0])
    made = evaluate_forecast(true, said, None, [0.5], said[:, None])
    assert made["rootMeanSquaredPercentageError"] == pytest.approx(100 * np.sqrt((1 + 0.25) / 3))
    assert made["weightedAbsolutePercentageError"] == pytest.approx(300 / 7)
    [quantile] = made["quantileMetrics"]
    assert quantile["scaledPinballLoss"] == pytest.approx(made["meanAbsoluteError"] / 2)
    assert quantile["observedQuantile"] == pytest.approx(1 / 3)
    zero = evaluate_forecast(np.zeros(2), np.ones(2))
    assert "weightedAbsolutePercentageError" not in zero and "rootMeanSquaredPercentageError" not in zero


def test_sums_over_series_and_steps_choose_the_model_too():
    """Of two candidates the one whose errors are smaller has errors that do not cancel out in sums."""
    table = pa.table(
        {
            "day": [f"2024-01-0{day}" for day in (1, 2, 3)] * 4,
            "store": [name for name in "abcd" for _ in range(3)],
            "kind": ["x"] * 6 + ["y"] * 6,
            "sold": [10.0] * 12,
        }
    )
    asked = ForecastSpec("sold", "day", "store", 2, "day", context=1, attributes=["kind"], group_columns=["kind"],
                         objective="minimize-mae", group_weight=1.0, temporal_weight=2.0)  # fmt: skip
    asked.check()
    panel = read_panel(table, asked)
    windows = windows_of(panel, np.flatnonzero(np.arange(12) % 3 > 0), asked)
    windows = windows.take(windows.origin % 3 == 0)  # one origin, two steps, four series
    true, rows = np.full(8, 10.0), np.arange(8)
    found = hierarchy_of(table, panel, windows, asked, true, np.ones(8))
    assert found is not None and set(found.sums) == {"group", "temporal"}
    assert found.added("group", true, rows).tolist() == [20.0] * 4  # two kinds, two days
    assert found.added("temporal", true, rows).tolist() == [20.0] * 4  # four stores
    cancels = np.where(panel.series[windows.target] % 2 == 0, 2.0, -2.0) * np.where(windows.step == 1, 1, -1)
    assert found.loss(true + cancels, rows, None) == 2.0
    assert found.loss(true + 1.0, rows, None) == 1.0 + 1 * 2.0 + 2 * 2.0
    assert hierarchy_of(table, panel, windows, spec(), true, np.ones(8)) is None


def test_a_gap_has_the_time_of_its_step():
    for unit, times, expected in (
        ("day", ["2024-01-01", "2024-01-03"], "2024-01-02"),
        ("month", ["2024-01-31", "2024-03-31"], "2024-02-28"),
        ("week", ["2024-01-01", "2024-01-15"], "2024-01-08"),
        ("year", ["2020-05-01", "2022-05-01"], "2021-05-01"),
    ):
        table = pa.table({"when": times, "who": ["a", "a"], "value": [1.0, 2.0]})
        panel = read_panel(table, ForecastSpec("value", "when", "who", 1, unit))
        assert datetime.fromtimestamp(panel.time[1], UTC).date().isoformat() == expected
