"""Estimates without labels: right where only the inputs changed, wrong as known where the concept did."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics

from portico.ml.errors import DataError
from portico.ml.measure.estimate import (
    CLASSIFIED,
    Estimated,
    Estimator,
    estimated,
    fit_estimator,
    score_estimates,
)
from portico.ml.measure.estimate_loss import LOSSES
from portico.ml.measure.performance import measure

HOURS = np.arange(5000) * 3600.0


def both(positive: np.ndarray) -> np.ndarray:
    return np.stack([1 - positive, positive], axis=1)


def classified(rng: np.random.Generator, rows: int, shift: float = 0, concept: float = 0):
    """Truth and scores that are too sure; `shift` moves the inputs, `concept` the truth given them."""
    margins = rng.normal(-0.5, 1.2, rows) + shift
    truth = (rng.random(rows) < expit(margins + concept)).astype(float)
    return truth, both(expit(1.7 * margins + 0.2))


def regressed(rng: np.random.Generator, rows: int, shift: float = 0, concept: float = 0):
    """Truth, answers and features; where the first feature is high, the noise is large and the model wrong."""
    features = rng.normal(0, 1, (rows, 6))
    features[:, 0] += shift
    features[rng.random(rows) < 0.1, 3] = np.nan
    answers = 20 + 5 * features[:, 0] + 2 * features[:, 1]
    spread = 1 + 2 * expit(2 * features[:, 0])
    truth = answers + spread * rng.normal(0, 1, rows) + 2 * (features[:, 0] > 1) + concept
    return truth, answers, features


@pytest.mark.parametrize("metric", CLASSIFIED)
def test_perfectly_calibrated_it_is_scikit_learns(metric: str) -> None:
    rng = np.random.default_rng(1)
    margins = rng.normal(-0.5, 1.5, 200_000)
    scores = both(expit(margins))
    truth = (rng.random(len(margins)) < expit(margins)).astype(float)
    chosen = scores[:, 1] >= 0.5
    theirs = {
        "accuracy": lambda: metrics.accuracy_score(truth, chosen),
        "precision": lambda: metrics.precision_score(truth, chosen),
        "recall": lambda: metrics.recall_score(truth, chosen),
        "f1Score": lambda: metrics.f1_score(truth, chosen),
        "falsePositiveRate": lambda: 1 - metrics.recall_score(truth, chosen, pos_label=0),
        "logLoss": lambda: metrics.log_loss(truth, scores),
        "auRoc": lambda: metrics.roc_auc_score(truth, scores[:, 1]),
        "auPrc": lambda: metrics.average_precision_score(truth, scores[:, 1]),
    }[metric]()
    found = estimated(metric, scores, scores, np.arange(200_000.0))
    assert found.value == pytest.approx(theirs, abs=0.005)
    with_the_truth = estimated(metric, scores[:500], both(truth[:500]), HOURS[:500])
    real = measure(metric, truth[:500], scores[:500], HOURS[:500])
    assert with_the_truth.value == pytest.approx(real.value, rel=1e-9)


@pytest.mark.parametrize("metric", LOSSES)
def test_of_the_true_losses_it_is_the_metric(metric: str) -> None:
    truth, answers, _ = regressed(np.random.default_rng(0), 400)
    found = estimated(metric, answers, LOSSES[metric](truth, answers).astype(float), HOURS[:400])
    assert found.value == pytest.approx(measure(metric, truth, answers, HOURS[:400]).value)


@pytest.mark.parametrize("metric", CLASSIFIED)
def test_a_classifier_whose_inputs_moved(metric: str) -> None:
    """Over many seeds: the estimates follow the truth, and 95% intervals hold it about as often as they say."""
    estimates, truths, before = [], [], []
    slow = metric.startswith("au")
    for seed in range(15 if slow else 50):
        rng = np.random.default_rng(seed)
        truth, scores = classified(rng, 3000)
        fitted = fit_estimator("classification", metric, truth, scores)
        later, new = classified(rng, 500, shift=1)
        found = estimated(metric, new, fitted.expected(new), HOURS[:500], fitted.error(500))
        estimates.append(found)
        truths.append(measure(metric, later, new, HOURS[:500]).value)
        before.append(measure(metric, truth, scores, HOURS[:3000]).value)
    scored = score_estimates(estimates, truths)
    assert scored.covered is not None and scored.covered >= (0.73 if slow else 0.84)
    assert np.mean([e.value for e in estimates]) == pytest.approx(np.mean(truths), rel=0.03)
    moved = abs(np.mean(before) - np.mean(truths))
    wide = np.mean([e.interval[1] - e.interval[0] for e in estimates if e.interval])
    assert wide < 10 * np.std(truths), "an interval that holds anything says nothing"
    if moved > 0.05:
        assert scored.error < moved


@pytest.mark.parametrize("metric", LOSSES)
def test_a_regression_whose_inputs_moved(metric: str) -> None:
    estimates, truths, before = [], [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth, answers, features = regressed(rng, 2500)
        fitted = fit_estimator("regression", metric, truth, answers, features)
        later, new, given = regressed(rng, 500, shift=0.8)
        found = estimated(metric, new, fitted.expected(new, given), HOURS[:500], fitted.error(500))
        estimates.append(found)
        truths.append(measure(metric, later, new, HOURS[:500]).value)
        before.append(measure(metric, truth, answers, HOURS[:2500]).value)
    scored = score_estimates(estimates, truths)
    assert scored.covered is not None and scored.covered >= 0.8
    assert np.mean([e.value for e in estimates]) == pytest.approx(np.mean(truths), rel=0.06)
    moved = abs(np.mean(before) - np.mean(truths))
    assert scored.error < (0.5 if moved > 3 * np.std(truths) else 1) * moved


def test_errors_that_follow_each_other_widen_the_interval() -> None:
    """Truths that are high or low together for a day: the labels' chance is that of days, not of rows."""
    hit = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        features = rng.normal(0, 1, (3000, 3))
        day = np.repeat(rng.normal(0, 1, 125), 24)
        truth = 10 * features[:, 0] + np.exp(0.5 * day) * rng.normal(0, 1, 3000)
        fitted = fit_estimator(
            "regression", "meanAbsoluteError", truth[:2500], 10 * features[:2500, 0], features[:2500]
        )
        new = 10 * features[2500:, 0]
        found = estimated(
            "meanAbsoluteError", new, fitted.expected(new, features[2500:]), HOURS[:500], fitted.error(500)
        )
        real = np.abs(truth[2500:] - new).mean()
        assert found.interval is not None
        hit += found.interval[0] <= real <= found.interval[1]
    assert hit >= 17


def test_a_changed_concept_is_not_seen() -> None:
    """As known: the inputs are as ever, so is the estimate; the truth is not."""
    rng = np.random.default_rng(5)
    truth, scores = classified(rng, 4000)
    fitted = fit_estimator("classification", "accuracy", truth, scores)
    later, new = classified(rng, 500, concept=2.5)
    found = estimated("accuracy", new, fitted.expected(new), HOURS[:500], fitted.error(500))
    real = measure("accuracy", later, new, HOURS[:500]).value
    assert found.interval is not None and real < found.interval[0]
    truth, answers, features = regressed(rng, 3000)
    regression = fit_estimator("regression", "meanAbsoluteError", truth, answers, features)
    later, new, given = regressed(rng, 500, concept=8)
    found = estimated(
        "meanAbsoluteError", new, regression.expected(new, given), HOURS[:500], regression.error(500)
    )
    assert found.interval is not None and np.abs(later - new).mean() > 2 * found.interval[1]


def test_more_classes_and_few_rows() -> None:
    rng = np.random.default_rng(2)
    off = []
    for rows in (300, 4000):
        margins = rng.normal(0, 1.5, (rows + 5000, 3))
        truth = (rng.random(len(margins))[:, None] > softmax(margins, axis=1).cumsum(axis=1)).sum(
            axis=1
        ) * 1.0
        scores = softmax(2 * margins, axis=1)
        fitted = fit_estimator("classification", "accuracy", truth[:rows], scores[:rows])
        assert (fitted.calibrator is not None) and (fitted.calibrator.sigmoid is not None) == (rows < 1000)
        expected = fitted.expected(scores[rows:])
        assert expected.sum(axis=1) == pytest.approx(1)
        found = estimated("accuracy", scores[rows:], expected, HOURS, fitted.error(5000))
        off.append(abs(found.value - np.mean(np.argmax(scores[rows:], axis=1) == truth[rows:])))
    assert max(off) < 0.05 and off[1] < 0.02


def test_it_is_kept_as_json_and_is_the_same_again() -> None:
    rng = np.random.default_rng(3)
    for rows in (400, 2000):
        truth, scores = classified(rng, rows)
        fitted = fit_estimator("classification", "f1Score", truth, scores)
        again = Estimator.from_json(json.loads(json.dumps(fitted.to_json())))
        assert (again.expected(scores) == fitted.expected(scores)).all() and again.error(9) == fitted.error(9)
    truth, answers, features = regressed(rng, 400)
    made = [
        fit_estimator("regression", "weightedAbsolutePercentageError", truth, answers, features)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    again = Estimator.from_json(json.loads(json.dumps(made[0].to_json())))
    assert (again.expected(answers, features) == made[0].expected(answers, features)).all()


def test_scores_of_past_estimates_by_hand() -> None:
    past = [Estimated("accuracy", 0.8, (0.7, 0.9), 10), Estimated("accuracy", 0.6, None, 1)]
    found = score_estimates(past, [0.95, 0.5])
    assert found.error == pytest.approx(0.125) and found.covered == 0 and found.windows == 2
    assert past[0].to_json()["estimated"] is True
    with pytest.raises(DataError):
        score_estimates(past, [1.0])


def test_what_cannot_be_estimated_is_said() -> None:
    truth, scores = classified(np.random.default_rng(0), 300)
    with pytest.raises(DataError, match="demographicParityDifference of a classification can't be estimated"):
        fit_estimator("classification", "demographicParityDifference", truth, scores)
    with pytest.raises(DataError, match="can't be estimated"):
        fit_estimator("regression", "accuracy", truth, scores[:, 1])
    with pytest.raises(DataError, match="not those of a regression"):
        fit_estimator("regression", "meanAbsoluteError", truth, scores)
    with pytest.raises(DataError, match="too few"):
        fit_estimator("classification", "accuracy", truth[:100], scores[:100])
    with pytest.raises(DataError, match="features of shape"):
        fit_estimator("regression", "meanAbsoluteError", truth, scores[:, 1], np.zeros((2, 2)))
    with pytest.raises(DataError, match="cannot estimate"):
        estimated("accuracy", scores, scores[:3], HOURS[:300])
    with pytest.raises(DataError, match="can't be estimated"):
        estimated("p99Latency", scores, scores, HOURS[:300])
