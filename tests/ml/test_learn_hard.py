"""Data that libraries refuse: a model comes out of what can be learned from, and words of what can't."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from portico.ml.errors import DataError
from portico.ml.learn import members
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.split import SplitSpec
from portico.ml.learn.task import Fitted
from portico.ml.learn.train import TrainedModel, train
from portico.services.aiplatform.training.automl import _evaluate
from portico.services.registry.trained import model_body

N = 200
A = np.random.default_rng(0).normal(size=N)
PART = (["training"] * 8 + ["validation", "test"]) * (N // 10)
BY_PART = SplitSpec("predefined", "part")
OBJECTIVES: list[tuple[str, dict[str, float]]] = [
    ("maximize-au-roc", {}),
    ("maximize-au-prc", {}),
    ("minimize-log-loss", {}),
    ("maximize-recall-at-precision", {"precision_value": 0.5}),
    ("maximize-precision-at-recall", {"recall_value": 0.5}),
]


def with_rows(values: list[Any], **rows: Any) -> list[Any]:
    """`values` with others at some rows, as `row17=…`."""
    return [rows.get(f"row{row}", value) for row, value in enumerate(values)]


def fit(y: Any, kind: str = "classification", **options: Any) -> tuple[TrainedModel, dict[str, Any]]:
    """The model and its evaluation; `x` is a further feature, `part` the split."""
    columns = {"a": A, "y": y, "part": PART}
    if "x" in options:
        columns["x"] = options.pop("x")
    table = pa.table(columns)
    spec = TrainSpec(kind, "y", split=BY_PART, budget_seconds=0.5, threads=1, **options)  # type: ignore[arg-type]
    trained = train(table, spec)
    evaluation, slices = _evaluate(table, spec, trained)
    json.dumps([evaluation, slices, model_body(trained), trained.leaderboard], allow_nan=False)
    return trained, evaluation


THREE = [str(1 + row % 3) for row in range(N)]


@pytest.mark.parametrize("row", [9, 8, 0])  # only in the test, in the validation, in the training rows
def test_a_class_that_one_part_alone_has_is_one_of_the_model(row: int) -> None:
    trained, evaluation = fit(with_rows(THREE, **{f"row{row}": "rare"}))
    assert trained.model.labels == ["1", "2", "3", "rare"]
    scores = np.array(trained.model.predict_instances([{"a": 0.1}])[0]["scores"])
    assert np.isfinite(scores).all() and scores.sum() == pytest.approx(1)
    assert scores[3] < 0.1
    assert evaluation["metadata"].get("classesWithoutTestRows", []) == ([] if row == 9 else ["rare"])
    assert {"catboost", "lightgbm"} & {entry["name"] for entry in trained.leaderboard}


@pytest.mark.parametrize(("objective", "options"), OBJECTIVES)
@pytest.mark.parametrize("row", [9, 8, 0])
def test_one_row_of_the_second_class(row: int, objective: str, options: dict[str, float]) -> None:
    trained, evaluation = fit(
        with_rows(["no"] * N, **{f"row{row}": "yes"}), optimization_objective=objective, **options
    )
    assert trained.model.labels == ["no", "yes"]
    metrics, metadata = evaluation["metrics"], evaluation["metadata"]
    if row == 9:
        assert {"auRoc", "auPrc"} <= metrics.keys() and "baseline" in metadata
        return
    assert not {"auRoc", "auPrc"} & metrics.keys() and metrics["logLoss"] < 0.5
    assert "All test rows are of the class 'no'" in metadata["notComputed"]["auRoc"]
    if objective == "minimize-log-loss":
        assert "baseline" in metadata
    else:
        assert "can't be computed" in metadata["notComputed"]["baseline"]


@pytest.mark.parametrize(
    ("y", "options", "row", "message"),
    [
        ([5.0] * N, {}, None, "holds only 5; there is nothing to learn"),
        (with_rows(A.tolist(), row17=float("inf")), {}, 17, "holds inf"),
        (with_rows(A.tolist(), row17=1e300), {}, 17, r"holds 1e\+300. Rescale it"),
        (A, {"x": with_rows(A.tolist(), row18=float("-inf"))}, 18, "'x' holds -inf; numbers must be finite"),
        (
            A,
            {"x": with_rows([str(a) for a in A], row19="1e999")},
            19,
            "'x' holds '1e999'; numbers must be finite",
        ),
    ],
)
def test_a_bad_value_is_named_with_its_column_and_row(
    y: Any, options: dict[str, Any], row: int | None, message: str
) -> None:
    with pytest.raises(DataError, match=message) as raised:
        fit(y, "regression", **options)
    assert raised.value.row == row
    assert raised.value.field == ("x" if options else "y")


@pytest.mark.parametrize("scale", [1e-40, 1e40, 2.0**62])
def test_targets_that_float32_cannot_hold_are_learned(scale: float) -> None:
    y = scale * (1 + 1e-6 * np.sign(A)) if scale == 2.0**62 else scale * A
    trained, _ = fit(y, "regression")
    made = trained.test_predictions.values
    assert made is not None
    assert np.corrcoef(made / scale, trained.test_true / scale)[0, 1] > 0.8
    [row] = trained.model.predict_instances([{"a": 0.5}])
    table = trained.model.predict_table(pa.table({"a": [0.5]}))
    assert row == table.instance(0)
    assert row["lower_bound"] <= row["value"] <= row["upper_bound"]
    assert trained.validation_loss < np.std(y)


def test_a_target_that_is_constant_where_it_is_learned() -> None:
    y = [5.0 if part == "training" else 5.0 + row for row, part in enumerate(PART)]
    trained, _ = fit(y, "regression")
    assert trained.test_predictions.values is not None and np.isfinite(trained.test_predictions.values).all()


def test_one_cell_that_varies_and_a_learner_that_drops_out() -> None:
    table = pa.table({"a": with_rows([1.0] * N, row0=2.0), "y": A})
    trained = train(table, TrainSpec("regression", "y", budget_seconds=0.5))
    assert "constant or ignored" in trained.dropped_learners["catboost in the space identity"]
    assert "catboost" not in {entry["name"] for entry in trained.leaderboard}


class Broken:
    def fit(self, *_: Any) -> Fitted:
        raise RuntimeError("it does not like the moon")


def test_where_all_learners_drop_out_the_reasons_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "_LEARNERS", dict.fromkeys(members._LEARNERS, Broken()))
    with pytest.raises(DataError, match=r"no learner can learn from these data \(lightgbm: it does not like"):
        fit(THREE)


def test_tiny_weights_and_times_beyond_the_calendar() -> None:
    table = pa.table({"a": A, "y": THREE, "w": [1e-300] * N})
    assert train(table, TrainSpec("classification", "y", weight_column="w", budget_seconds=0.5)).leaderboard
    far = pa.array([9 * 10**18 + row for row in range(N)]).cast(pa.timestamp("us"))
    _, evaluation = fit(THREE, x=far)
    assert "None of the test rows can be read" in evaluation["metadata"]["note"]
