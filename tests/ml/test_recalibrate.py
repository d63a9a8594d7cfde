"""Scores that went wrong in a known way come right again; what is right stays; and a `Link` does the same."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from portico.ml.errors import DataError
from portico.ml.learn.links import Link
from portico.ml.measure.recalibrate import Recalibration, fit_recalibration


def two(seed: int, rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and margins that are its log-odds."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(-1, 1.5, rows)
    return (rng.random(rows) < expit(margins)).astype(float), margins


def three(seed: int, rows: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    margins = rng.normal(0, 1.5, (rows, 3))
    drawn = (rng.random(rows)[:, None] > softmax(margins, axis=1).cumsum(axis=1)).sum(axis=1)
    return drawn.astype(float), margins


def both(positive: np.ndarray) -> np.ndarray:
    return np.stack([1 - positive, positive], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_two_classes_come_right_again(seed: int) -> None:
    truth, margins = two(seed)
    wrong = both(expit(2.5 * margins + 1))  # too sure of itself, and of the positives
    found = fit_recalibration(truth, wrong)
    assert found.scale == pytest.approx(0.4, rel=0.2) and found.shift[0] == pytest.approx(-0.4, abs=0.2)
    later, their = two(seed + 100)
    wrong = both(expit(2.5 * their + 1))
    right = found.apply(wrong)
    assert log_loss(later, right) < log_loss(later, wrong)
    assert (np.argsort(right[:, 1]) == np.argsort(wrong[:, 1])).all(), "the ranking stays"


@pytest.mark.parametrize("seed", range(5))
def test_more_classes_come_right_again(seed: int) -> None:
    truth, margins = three(seed)
    found = fit_recalibration(truth, softmax(2 * margins + [0.8, 0, -0.8], axis=1))
    assert found.scale == pytest.approx(0.5, rel=0.15)
    assert np.array(found.shift) == pytest.approx(np.array([-0.4, 0, 0.4]), abs=0.15)
    later, their = three(seed + 100)
    wrong = softmax(2 * their + [0.8, 0, -0.8], axis=1)
    assert log_loss(later, found.apply(wrong)) == pytest.approx(
        log_loss(later, softmax(their, axis=1)), abs=0.01
    )


def test_it_is_platts_sigmoid() -> None:
    """With many rows Platt's targets are the labels, and the fit is logistic regression on the log-odds."""
    truth, margins = two(3, 20_000)
    found = fit_recalibration(truth, both(expit(0.5 * margins)))
    plain = LogisticRegression(C=1e9, tol=1e-8).fit(0.5 * margins[:, None], truth)
    assert found.scale == pytest.approx(plain.coef_[0, 0], rel=2e-3)
    assert found.shift[0] == pytest.approx(plain.intercept_[0], abs=2e-3)


def test_right_scores_stay_about_as_they_are() -> None:
    scales, shifts = [], []
    for seed in range(50):
        truth, margins = two(seed, 500)
        found = fit_recalibration(truth, both(expit(margins)))
        scales.append(found.scale)
        shifts.append(found.shift[0])
    assert np.mean(scales) == pytest.approx(1, abs=0.05) and np.mean(shifts) == pytest.approx(0, abs=0.05)


def test_perfect_and_useless_scores_keep_a_finite_scale_above_zero() -> None:
    truth = np.repeat([0.0, 1.0], 50)
    perfect = fit_recalibration(truth, both(truth))
    assert 0 < perfect.scale < 20 and np.isfinite(perfect.apply(both(truth))).all()
    backwards = fit_recalibration(truth, both(0.8 - 0.6 * truth))
    assert backwards.scale > 0
    assert backwards.apply(both(0.8 - 0.6 * truth))[:, 1] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
def test_a_link_does_the_same(kind: str) -> None:
    """scale * margins + shift through the model's link is `apply` on the link's scores."""
    link = Link(kind)
    if kind == "sigmoid":
        truth, margins = two(0)
        margins = 1.7 * margins[:, None] - 0.5
    else:
        truth, margins = three(0)
        margins = 1.7 * margins + [0.3, -1, 4]
    scores = link.answer(margins)
    found = fit_recalibration(truth, scores)
    expected = found.apply(scores)
    assert link.answer(found.scale * margins + np.array(found.shift)) == pytest.approx(expected, abs=1e-12)
    assert np.abs(expected - scores).max() > 0.05
    assert Recalibration.from_json(found.to_json()) == found
    assert expected.sum(axis=1) == pytest.approx(1)


def test_what_does_not_fit_is_said() -> None:
    truth, margins = two(0, 100)
    scores = both(expit(margins))
    with pytest.raises(DataError, match="too few"):
        fit_recalibration(truth[:10], scores[:10])
    with pytest.raises(DataError, match="one class"):
        fit_recalibration(np.zeros(100), scores)
    with pytest.raises(DataError, match="not one of the model's"):
        fit_recalibration(truth + 1, scores)
    with pytest.raises(DataError, match="shape"):
        fit_recalibration(truth, scores[:, 1])
