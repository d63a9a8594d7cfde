"""Metrics of labelled rows, against scikit-learn, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from portico.ml.errors import DataError
from portico.ml.measure import performance
from portico.ml.measure.evaluate import evaluate_classification
from portico.ml.measure.performance import compare, higher_is_better, intervals, measure, metrics_of

RNG = np.random.default_rng(7)
TIMES = np.arange(600) * 3600.0
TRUTH = RNG.gamma(2, 50, 600)
VALUES = TRUTH * RNG.normal(1, 0.2, 600)
CLASSES = (RNG.random(600) < 0.3).astype(float)
POSITIVE = np.clip(0.3 + 0.4 * CLASSES + RNG.normal(0, 0.2, 600), 0.01, 0.99)
SCORES = np.stack([1 - POSITIVE, POSITIVE], axis=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meanAbsoluteError", metrics.mean_absolute_error(TRUTH, VALUES)),
        ("rootMeanSquaredError", metrics.root_mean_squared_error(TRUTH, VALUES)),
        ("rootMeanSquaredLogError", metrics.root_mean_squared_log_error(TRUTH, np.maximum(VALUES, 0))),
        ("meanAbsolutePercentageError", 100 * metrics.mean_absolute_percentage_error(TRUTH, VALUES)),
        (
            "weightedAbsolutePercentageError",
            100 * metrics.mean_absolute_error(TRUTH, VALUES) / TRUTH.mean(),
        ),
    ],
)
def test_regression_as_scikit_learn(name: str, expected: float) -> None:
    found = measure(name, TRUTH, VALUES, TIMES)
    assert found.value == pytest.approx(expected)
    assert found.interval is not None and found.interval[0] < found.value < found.interval[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("logLoss", metrics.log_loss(CLASSES, SCORES)),
        ("accuracy", metrics.accuracy_score(CLASSES, POSITIVE >= 0.5)),
        ("auRoc", metrics.roc_auc_score(CLASSES, POSITIVE)),
        ("auPrc", metrics.average_precision_score(CLASSES, POSITIVE)),
        ("precision", metrics.precision_score(CLASSES, POSITIVE >= 0.5)),
        ("recall", metrics.recall_score(CLASSES, POSITIVE >= 0.5)),
        ("f1Score", metrics.f1_score(CLASSES, POSITIVE >= 0.5)),
    ],
)
def test_classification_as_scikit_learn(name: str, expected: float) -> None:
    found = measure(name, CLASSES, SCORES, TIMES)
    assert found.value == pytest.approx(expected, rel=0.02 if name == "auPrc" else 1e-9)
    assert found.interval is not None and found.interval[0] <= found.value <= found.interval[1]


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Errors that stay alike for a day: 95% intervals of their mean, over 200 seeds."""
    hit = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        days = np.repeat(rng.exponential(10, 30), 24) * rng.random(720)
        found = measure("meanAbsoluteError", np.zeros(720), days, TIMES[0] + np.arange(720) * 3600.0)
        assert found.interval is not None
        hit += found.interval[0] <= 5.0 <= found.interval[1]
    assert 0.86 <= hit / 200 <= 0.99


def test_the_better_model_is_found_and_only_then() -> None:
    worse = TRUTH * RNG.normal(1, 0.4, 600)
    better = compare("meanAbsoluteError", TRUTH, VALUES, worse, TIMES)
    assert better.supported and better.gain > 0
    assert not compare("meanAbsoluteError", TRUTH, worse, VALUES, TIMES).supported
    same = compare("meanAbsoluteError", TRUTH, VALUES, VALUES, TIMES)
    assert not same.supported and same.gain == 0
    high = compare("auRoc", CLASSES, SCORES, SCORES[::-1], TIMES)
    assert higher_is_better("auRoc") and high.supported and high.gain > 0


def test_what_does_not_fit_is_said() -> None:
    assert "auRoc" in metrics_of("classification") and "auRoc" not in metrics_of("regression")
    with pytest.raises(DataError, match="no metric"):
        measure("mae", TRUTH, VALUES, TIMES)
    with pytest.raises(DataError, match="classification"):
        measure("logLoss", TRUTH, VALUES, TIMES)
    with pytest.raises(DataError, match="no labelled rows"):
        measure("meanAbsoluteError", TRUTH[:0], VALUES[:0], TIMES[:0])


def test_intervals_of_every_metric_that_fits() -> None:

    rng = np.random.default_rng(3)
    chance = rng.uniform(0, 1, 500)
    truth = (rng.uniform(0, 1, 500) < chance).astype(float)
    scores = np.stack([1 - chance, chance], axis=1)
    found = intervals(truth, scores)
    assert set(found) == set(metrics_of("classification"))
    for name, (low, high) in found.items():
        if name not in ("auRoc", "auPrc"):
            assert low <= measure(name, truth, scores, np.zeros(500)).value <= high
    three = np.column_stack([scores / 2, np.full(500, 0.5)])
    assert set(intervals(truth, three)) == {"logLoss", "accuracy", "auRoc", "auPrc"}
    assert set(intervals(chance + 1, chance + 1.1, np.arange(500.0))) == set(metrics_of("regression"))
    assert intervals(np.zeros(0), np.zeros(0)) == {}


@pytest.mark.parametrize("classes", [2, 3])
def test_an_evaluations_areas_lie_in_their_intervals(classes: int) -> None:
    """With one class in ten rows, where the area of that class alone is far from that of all pairs."""
    rng = np.random.default_rng(7)
    truth = np.where(rng.uniform(size=800) < 0.1, 1, 0) + (classes - 2) * (rng.uniform(size=800) < 0.1)
    raw = rng.uniform(size=(800, classes)) + 0.3 * (truth[:, None] == np.arange(classes))
    scores = raw / raw.sum(axis=1, keepdims=True)
    metrics = evaluate_classification(truth, scores, [str(n) for n in range(classes)])
    found = intervals(truth.astype(float), scores)
    for name in ("auRoc", "auPrc"):
        low, high = found[name]
        assert low < metrics[name] < high
        assert high - low < 0.1


def test_copies_of_a_row_are_no_evidence() -> None:
    """Of 400 rows 390 say the same: the interval is that of eleven, and of one there is none."""
    rng = np.random.default_rng(3)
    times = np.arange(400) * 3600.0
    truth, first, second = np.full(400, 100.0), np.full(400, 99.0), np.full(400, 80.0)
    truth[:10] += rng.normal(0, 60, 10)
    repeated = np.where(np.arange(400) < 10, -1, 0)
    plain = performance.compare("meanAbsoluteError", truth, first, second, times)
    told = performance.compare("meanAbsoluteError", truth, first, second, times, repeated=repeated)
    assert plain.supported and plain.gain == told.gain
    assert told.interval is not None and plain.interval is not None
    assert told.interval[1] - told.interval[0] > 3 * (plain.interval[1] - plain.interval[0])
    alone = performance.compare("meanAbsoluteError", truth, first, second, times, repeated=np.zeros(400, int))
    assert alone.interval is None and not alone.supported
