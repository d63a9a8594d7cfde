"""The objectives' losses against scikit-learn, bounds, and what a blend picks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from portico.ml.errors import DataError
from portico.ml.learn import objectives
from portico.ml.learn.blend import blend
from portico.ml.learn.bounds import fit_bounds
from portico.ml.learn.budget import Budget
from portico.ml.learn.links import Link, spaces_for
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.task import Rows, Task


@settings(deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_ranking_metrics_are_scikit_learns(seed: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    y = np.append(generator.integers(0, 2, 40), [0, 1]).astype(float)
    score = generator.normal(size=42) + y
    score = np.round(score) if ties else score
    weights = generator.uniform(0.1, 3, 42)
    assert objectives.au_roc(y, score, weights) == pytest.approx(
        metrics.roc_auc_score(y, score, sample_weight=weights)
    )
    assert objectives.au_prc(y, score, weights) == pytest.approx(
        metrics.average_precision_score(y, score, sample_weight=weights)
    )
    precision, recall, _ = metrics.precision_recall_curve(y, score, sample_weight=weights)
    level = generator.uniform(0.1, 0.9)
    assert objectives.precision_at_recall(y, score, weights, level) == pytest.approx(
        precision[:-1][recall[:-1] >= level].max()
    )
    reached = recall[:-1][precision[:-1] >= level]
    assert objectives.recall_at_precision(y, score, weights, level) == pytest.approx(
        reached.max() if len(reached) else 0.0
    )


def test_log_loss_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([1, 1, 1], 50)
    y, weights = generator.integers(0, 3, 50).astype(float), generator.uniform(0, 1, 50)
    expected = metrics.log_loss(y, probabilities, sample_weight=weights, labels=[0, 1, 2])
    assert objectives.log_loss(y, probabilities, weights) == pytest.approx(expected)


def test_regression_losses() -> None:
    spec = TrainSpec("regression", "y")
    y, made, weights = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, 1.0])
    assert objectives.loss_of("minimize-mae", spec)(y, made, weights) == pytest.approx(1.0)
    assert objectives.loss_of("minimize-rmse", spec)(y, made, weights) == pytest.approx(np.sqrt(1.5))
    assert objectives.loss_of("minimize-rmsle", spec)(y, y, weights) == 0


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (TrainSpec("ranking", "y"), "predictionType"),  # type: ignore[arg-type]
        (TrainSpec("regression", "y", optimization_objective="minimize-log-loss"), "optimizationObjective"),
        (
            TrainSpec("classification", "y", optimization_objective="maximize-precision-at-recall"),
            "optimizationObjectiveRecallValue",
        ),
        (
            TrainSpec(
                "classification",
                "y",
                optimization_objective="maximize-recall-at-precision",
                precision_value=2,
            ),
            "optimizationObjectivePrecisionValue",
        ),
        (TrainSpec("regression", "y", budget_seconds=0), "trainBudgetMilliNodeHours"),
    ],
)
def test_impossible_parameters_are_named(spec: TrainSpec, field: str) -> None:
    with pytest.raises(DataError) as caught:
        spec.check()
    assert caught.value.field == field


def test_googles_default_objectives() -> None:
    assert objectives.objective_of(TrainSpec("classification", "y"), 2) == "maximize-au-roc"
    assert objectives.objective_of(TrainSpec("classification", "y"), 5) == "minimize-log-loss"
    assert objectives.objective_of(TrainSpec("regression", "y"), 0) == "minimize-rmse"
    with pytest.raises(DataError, match="for two classes"):
        objectives.objective_of(TrainSpec("classification", "y", optimization_objective="maximize-au-roc"), 3)


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_an_answer_does_not_depend_on_the_rows_beside_it(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for link, width in (
        (Link("sigmoid"), 1),
        (Link("softmax"), 11),
        (Link("mixture", ["identity", "log", "sqrt", "exp"], [0.1, 0.2, 0.3, 0.4]), 4),
    ):
        margins = generator.normal(scale=5, size=(37, width))
        together = link.answer(margins)
        for row in range(37):
            assert link.answer(margins[row : row + 1])[0].tobytes() == together[row].tobytes()
            assert link.answer_row(margins[row].tolist()) == np.atleast_1d(together[row]).tolist()


def test_bounds_cover_new_rows_also_where_the_noise_grows() -> None:
    generator = np.random.default_rng(0)
    predicted = generator.uniform(0, 10, 20_000)
    true = predicted + generator.normal(size=20_000) * (0.1 + predicted)
    bounds = fit_bounds(predicted[:4000], true[:4000])
    lower, upper = bounds.around(predicted[4000:])
    assert [bounds.around_one(value) for value in predicted[4000:4500].tolist()] == list(
        zip(lower[:500].tolist(), upper[:500].tolist(), strict=True)
    )
    inside = (lower <= true[4000:]) & (true[4000:] <= upper)
    assert 0.94 < inside.mean() < 0.97
    assert 0.92 < inside[predicted[4000:] > 9].mean() < 0.98
    assert (upper - lower)[predicted[4000:] < 1].mean() < 0.3 * (upper - lower)[predicted[4000:] > 9].mean()


def test_spaces_are_offered_for_long_tails_only() -> None:
    generator = np.random.default_rng(0)
    assert spaces_for(generator.normal(size=1000), "minimize-rmse") == ["identity"]
    assert spaces_for(generator.uniform(size=1000), "minimize-rmse") == ["identity"]
    assert spaces_for(np.exp(generator.normal(size=1000)), "minimize-rmse") == [
        "identity",
        "log",
        "sqrt",
        "exp",
    ]
    assert spaces_for(np.exp(generator.normal(size=1000)), "minimize-mae") == ["identity", "log", "sqrt"]
    assert spaces_for(generator.uniform(size=1000), "minimize-rmsle") == ["log"]


def test_a_blend_is_better_than_its_parts_and_leaves_out_noise() -> None:
    generator = np.random.default_rng(0)
    y = generator.normal(size=500) + 20
    margins = [(y + generator.normal(size=500))[:, None] for _ in range(3)]
    margins += [
        np.sqrt(margins[0]) + generator.normal(scale=0.1, size=(500, 1)),
        generator.normal(size=(500, 1)),
    ]
    spec = TrainSpec("regression", "y")
    loss = objectives.loss_of("minimize-rmse", spec)
    task = Task("minimize-rmse", 0, [], loss, 0, 1, Budget(1, 1), lambda: False)
    rows = Rows(np.zeros((500, 1)), y, np.ones(500))
    made = blend(task, rows, margins, ["identity"] * 3 + ["sqrt", "identity"], 6)
    assert made.loss < 0.8
    assert 4 not in made.weights
    assert sum(made.link.weights) == pytest.approx(1)
    assert made.loss == pytest.approx(loss(y, made.output(), rows.weights))
