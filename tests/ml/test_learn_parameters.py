"""Every objective, split and parameter of a training is acted on, and what cannot be is said."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from portico.ml.errors import DataError, TrainingStopped
from portico.ml.learn.budget import Budget
from portico.ml.learn.forest import steps
from portico.ml.learn.members import MOST_STEPS
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.split import SplitSpec
from portico.ml.learn.train import TrainedModel, train
from portico.ml.learn.transform import ColumnSpec


def rows(count: int = 800) -> pa.Table:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, count))
    value = 3 * a + np.sin(3 * b) + generator.normal(scale=0.3, size=count)
    return pa.table(
        {
            "a": a,
            "b": b,
            "c": generator.choice(["x", "y", "z"], count),
            "value": value,
            "size": np.exp(value / 2),
            "yes": np.where(value > 0.5, "1", "0"),
            "kind": np.digitize(value, [-1, 1]),
            "weight": generator.uniform(0, 2, count),
            "part": generator.choice(["training", "VALIDATION", "TEST"], count, p=[0.7, 0.15, 0.15]),
            "when": [f"2020-01-01 {n // 60 % 24:02d}:{n % 60:02d}:00" for n in range(count)],
        }
    )


INPUTS = [ColumnSpec("a"), ColumnSpec("b"), ColumnSpec("c")]


def fit(target: str, prediction_type: str = "regression", **options: object) -> TrainedModel:
    defaults = {"columns": INPUTS, "budget_seconds": 1, "threads": 1}
    return train(rows(), TrainSpec(prediction_type, target, **(defaults | options)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("minimize-log-loss", {}),
        ("maximize-au-roc", {}),
        ("maximize-au-prc", {}),
        ("maximize-precision-at-recall", {"recall_value": 0.8}),
        ("maximize-recall-at-precision", {"precision_value": 0.8}),
    ],
)
def test_objectives_of_two_classes(objective: str, options: dict[str, float]) -> None:
    trained = fit("yes", "classification", optimization_objective=objective, **options)
    assert trained.model.manifest.objective == objective
    assert trained.model.labels == ["0", "1"]
    assert trained.test_predictions.scores is not None
    assert (trained.test_predictions.scores.argmax(axis=1) == trained.test_true).mean() > 0.8


@pytest.mark.parametrize(
    ("objective", "target"),
    [
        ("minimize-rmse", "value"),
        ("minimize-mae", "value"),
        ("minimize-rmsle", "size"),
        ("minimize-rmse", "size"),
    ],
)
def test_objectives_of_regressions(objective: str, target: str) -> None:
    trained = fit(target, optimization_objective=objective)
    assert trained.test_predictions.values is not None
    made, true = trained.test_predictions.values, trained.test_true
    assert np.corrcoef(np.log1p(np.maximum(made, 0)), np.log1p(np.maximum(true, 0)))[0, 1] > 0.8
    if objective == "minimize-rmsle":
        assert trained.model.manifest.link["spaces"] == ["log"]


def test_predefined_split_and_weights() -> None:
    trained = fit("value", split=SplitSpec("predefined", "part"), weight_column="weight")
    part = np.array(rows()["part"].to_pylist())
    assert set(part[trained.split.test]) == {"TEST"}
    assert set(part[trained.split.validation]) == {"VALIDATION"}
    assert trained.test_weights.tolist() == rows()["weight"].to_numpy()[trained.split.test].tolist()


def test_weights_decide_what_is_learned() -> None:
    table = pa.table({"x": [0.0] * 200, "z": list(range(200)), "y": [0.0, 1.0] * 100, "w": [1, 9] * 100})
    spec = TrainSpec("regression", "y", columns=[ColumnSpec("z")], weight_column="w", budget_seconds=3)
    made = train(table, spec).model.predict_table(table)
    assert made.values is not None
    assert made.values.mean() > 0.75


def test_rows_without_a_target_or_a_weight_are_counted() -> None:
    table = pa.table(
        {"x": range(100), "y": [None] * 10 + [float(n % 7) for n in range(90)], "w": [1] * 95 + [0] * 5}
    )
    trained = train(table, TrainSpec("regression", "y", weight_column="w", budget_seconds=3))
    assert trained.dropped_rows == 15
    used = np.concatenate([trained.split.training, trained.split.validation, trained.split.test])
    assert used.min() == 10 and used.max() == 94
    assert trained.model.features == ["x"]


def test_the_budget_is_kept_and_progress_told() -> None:
    told: list[float] = []
    spec = TrainSpec("regression", "value", columns=INPUTS, budget_seconds=6, disable_early_stopping=True)
    trained = train(rows(), spec, progress=lambda fraction, message: told.append(fraction))
    assert 0.75 < trained.seconds / 6 < 1.05
    assert told == sorted(told) and told[0] >= 0 and told[-1] <= 1
    assert len(trained.leaderboard) > 1
    assert 0 < steps(trained.model.texts()[1]) <= 1.25 * MOST_STEPS  # a row is answered soon
    assert sum(entry["weight"] for entry in trained.leaderboard) == pytest.approx(1)
    assert {"name", "params", "loss", "seconds", "weight", "iterations"} <= trained.leaderboard[0].keys()


def test_a_plateau_ends_training_early_and_nothing_is_cut_short() -> None:
    table = pa.table({"x": range(100), "y": [float(n % 2) for n in range(100)]})
    trained = train(table, TrainSpec("regression", "y", columns=[ColumnSpec("x")], budget_seconds=60))
    assert trained.seconds < 45
    assert trained.cut_short == ""


def test_a_budget_that_ends_before_the_plateau_is_said() -> None:
    trained = fit("value", budget_seconds=0.2)
    assert "budget of 0.2 node seconds ended before the model stopped improving" in trained.cut_short
    assert trained.leaderboard[0]["cutShort"] is True


def test_counted_iterations_give_the_same_model_again() -> None:
    one, again = fit("value", budget_seconds=1), fit("value", budget_seconds=1)
    assert one.leaderboard == again.leaderboard
    assert one.iterations == again.iterations > 0
    assert np.array_equal(one.test_predictions.values, again.test_predictions.values)


class Clocks:
    """A process that gets `share` of each second on a machine of two cores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
        self.now, self.share = 0.0, share
        monkeypatch.delenv("PORTICO_ITERATIONS_A_NODE_SECOND", raising=False)
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("time.process_time", lambda: 1.5 * self.share * self.now)
        monkeypatch.setattr("time.thread_time", lambda: self.share * self.now)


@pytest.mark.parametrize(("share", "wall"), [(1.0, 7.0), (0.25, 28.0), (0.01, 70.0)])
def test_node_seconds_are_what_the_machine_gave(
    monkeypatch: pytest.MonkeyPatch, share: float, wall: float
) -> None:
    clocks = Clocks(monkeypatch, share)
    budget = Budget(7.0, threads=2)
    while budget.remaining() > 0:
        clocks.now += 0.5
    assert clocks.now == wall
    assert budget.bound_by_wall == (share == 0.01)
    assert budget.node_seconds() == pytest.approx(share * wall)


def test_training_can_be_stopped() -> None:
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    with pytest.raises(TrainingStopped):
        train(rows(), TrainSpec("regression", "value", budget_seconds=30), should_stop=should_stop)


def test_the_same_seed_gives_the_same_split_and_manifest_says_it() -> None:
    first, again = fit("value", seed=7), fit("value", seed=7)
    assert np.array_equal(first.split.test, again.split.test)
    assert first.model.manifest.seed == 7
    assert first.model.manifest.versions["lightgbm"]


def test_labels_keep_their_text() -> None:
    assert fit("kind", "classification").model.labels == ["0", "1", "2"]
    table = pa.table({"x": range(60), "y": ["10", "9", "No"] * 20})
    spec = TrainSpec("classification", "y", budget_seconds=3)
    assert train(table, spec).model.labels == ["9", "10", "No"]


def wish(**options: object) -> TrainSpec:
    return TrainSpec(**({"prediction_type": "regression", "target": "y"} | options))  # type: ignore[arg-type]


TWENTY = range(20)


@pytest.mark.parametrize(
    ("table", "spec", "says", "field"),
    [
        ({"x": TWENTY}, wish(), "'y' is not in the data", "y"),
        ({"x": TWENTY, "y": [None] * 20}, wish(), "empty in every row", "y"),
        ({"x": TWENTY, "y": ["1"] * 19 + ["a"]}, wish(), "it holds 'a'", "y"),
        ({"x": TWENTY, "y": ["a"] * 20}, wish(prediction_type="classification"), "holds only 'a'", "y"),
        ({"x": range(600), "y": range(600)}, wish(prediction_type="classification"), "600 distinct", "y"),
        ({"x": TWENTY, "y": [-1] * 20}, wish(optimization_objective="minimize-rmsle"), "at least 0", "y"),
        ({"x": TWENTY, "y": TWENTY, "w": ["a"] * 20}, wish(weight_column="w"), "0 to 10000", "w"),
        ({"x": TWENTY, "y": TWENTY, "w": [0] * 20}, wish(weight_column="w"), "weight above 0", "w"),
        ({"x": range(5), "y": range(5)}, wish(), "too few", "trainingFraction"),
        ({"x": [1] * 20, "y": TWENTY}, wish(), "no column can be used", "transformations"),
        ({"x": TWENTY, "y": TWENTY}, wish(columns=[ColumnSpec("q")]), "'q' is not in the data", "q"),
        (
            {"x": TWENTY, "y": TWENTY},
            wish(columns=[ColumnSpec("x"), ColumnSpec("y")]),
            "target column 'y' cannot be specified in transformations",
            "transformations",
        ),
        (
            {"x": TWENTY, "y": TWENTY},
            wish(columns=[ColumnSpec("y", "numeric")]),
            "no column can be used",
            "transformations",
        ),
    ],
)
def test_unusable_data_and_parameters_are_named(
    table: dict[str, object], spec: TrainSpec, says: str, field: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        train(pa.table(table), spec)
    assert caught.value.field == field
