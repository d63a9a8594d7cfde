"""Money: by hand, against a plain search, and honest about what a threshold saves."""

from __future__ import annotations

import numpy as np
import pytest

from portico.ml.errors import DataError
from portico.ml.measure.cost import (
    CostRule,
    best_threshold,
    calibrated_threshold,
    cost,
    costs_of,
    error_rule,
    matrix_rule,
)

CLASSES = ["no", "yes"]
RULE = matrix_rule({"yes": {"no": 10, "yes": -2}, "no": {"yes": 1}}, CLASSES)


def made(seed: int, rows: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, calibrated scores, times."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(1, 4, rows)
    return (rng.random(rows) < scores).astype(float), scores, np.arange(rows) * 60.0


def both(scores: np.ndarray) -> np.ndarray:
    return np.stack([1 - scores, scores], axis=1)


def test_two_classes_by_hand() -> None:
    truth, scores = np.array([1.0, 1, 0, 0]), np.array([0.9, 0.2, 0.5, 0.1])
    found = cost(truth, both(scores), RULE, np.arange(4.0))
    assert found.total == -2 + 10 + 1 + 0 and found.value == 9 / 4 and found.rows == 4
    assert cost(truth, both(scores), RULE, np.arange(4.0), threshold=0.15).total == -2 - 2 + 1
    assert CostRule.from_json(RULE.to_json()) == RULE and found.to_json()["metric"] == "cost"


def test_more_classes_and_regressions_by_hand() -> None:
    rule = matrix_rule({"a": {"c": 5}, "b": {"a": 1}}, ["a", "b", "c"])
    scores = np.array([[0.2, 0.1, 0.7], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8]])
    assert costs_of(np.array([0.0, 1, 2]), scores, rule).tolist() == [5, 1, 0]
    rule = error_rule(over=2, under=3)
    assert costs_of(np.array([10.0, 10, 10]), np.array([12.0, 9, 10]), rule).tolist() == [4, 3, 0]
    assert CostRule.from_json(rule.to_json()) == rule


def test_the_interval_of_a_rows_cost_covers() -> None:
    hit = 0
    for seed in range(200):
        truth, scores, times = made(seed, 600)
        found = cost(truth, both(scores), RULE, times)
        # The expectation over the beta distribution of scores, by a large sample.
        assert found.interval is not None
        hit += found.interval[0] <= EXPECTED <= found.interval[1]
    assert 0.9 <= hit / 200 <= 0.99


_MANY = np.random.default_rng(99).beta(1, 4, 2_000_000)
EXPECTED = float(np.mean(np.where(_MANY >= 0.5, -2 * _MANY + (1 - _MANY), 10 * _MANY)))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("digits", [1, 8])
def test_no_threshold_is_cheaper(seed: int, digits: int) -> None:
    """Against all thresholds there are; of scores with many ties too."""
    truth, scores, times = made(seed, 200)
    scores = scores.round(digits)
    found = best_threshold(truth, scores, RULE, times)
    tried = [*np.unique(scores), -1.0, 2.0]
    best = min(costs_of(truth, both(scores), RULE, t).sum() for t in tried)
    assert costs_of(truth, both(scores), RULE, found.threshold).sum() == pytest.approx(best)


def test_calibrated_scores_need_elkans_threshold() -> None:
    assert calibrated_threshold(RULE) == pytest.approx(1 / 13)
    assert calibrated_threshold(matrix_rule({"yes": {"no": 1}, "no": {"yes": 1}}, CLASSES)) == 0.5
    assert calibrated_threshold(matrix_rule({"yes": {"no": 1}}, CLASSES)) is None
    truth, scores, times = made(0, 100_000)
    found = best_threshold(truth, scores, RULE, times)
    assert found.threshold == pytest.approx(1 / 13, abs=0.02) and found.calibrated == pytest.approx(1 / 13)


def test_equally_cheap_is_nearest_to_the_present() -> None:
    """What saves nothing moves nothing; else no farther than it must."""
    equal = matrix_rule({"yes": {"no": 1}, "no": {"yes": 1}}, CLASSES)
    truth, times = np.repeat([0.0, 1.0], 15), np.arange(30.0)
    scores = np.repeat([0.2, 0.8], 15)
    assert best_threshold(truth, scores, equal, times).threshold == 0.5
    found = best_threshold(truth, scores, equal, times, present=0.9)
    assert found.threshold == 0.5 and found.saving == pytest.approx(0.5)
    assert best_threshold(np.zeros(30), np.ones(30), equal, times).threshold > 1, "never"
    assert best_threshold(np.ones(30), np.zeros(30), equal, times).threshold == 0, "always"


def test_the_saving_is_not_optimistic() -> None:
    """Where no threshold saves anything, none is said to; where one does, the saving is what it will be."""
    equal = matrix_rule({"yes": {"no": 1}, "no": {"yes": 1}}, CLASSES)
    supported, cheap = 0, []
    for seed in range(100):
        truth, scores, times = made(seed, 300)
        nothing = best_threshold(truth, scores, equal, times)
        supported += nothing.supported
        assert nothing.saving <= nothing.present_cost.value
        found = best_threshold(truth, scores, RULE, times)
        cheap.append(found.saving)
        assert found.supported and found.saving_interval is not None
        assert found.saving == pytest.approx(found.present_cost.value - found.cost.value)
    assert supported <= 5
    # What the best threshold saves of a row in truth, which a threshold from 240 rows comes near and never beats.
    best = np.mean(np.where(_MANY >= 1 / 13, -2 * _MANY + (1 - _MANY), 10 * _MANY))
    assert 0.85 * (EXPECTED - best) <= np.mean(cheap) <= 1.02 * (EXPECTED - best)


def test_what_does_not_fit_is_said() -> None:
    truth, scores, times = made(0, 100)
    with pytest.raises(DataError, match="'maybe'; the classes are no, yes"):
        matrix_rule({"maybe": {"no": 1}}, CLASSES)
    with pytest.raises(DataError, match="nothing but zeros"):
        matrix_rule({"yes": {"no": 0}}, CLASSES)
    with pytest.raises(DataError, match="over and under"):
        cost(truth, scores, RULE, times)
    with pytest.raises(DataError, match="under is -1"):
        error_rule(1, -1)
    with pytest.raises(DataError, match="for 2 classes, the model has 3"):
        cost(truth, np.ones((100, 3)) / 3, RULE, times)
    with pytest.raises(DataError, match="two classes"):
        best_threshold(truth, scores, error_rule(1, 1), times)
    with pytest.raises(DataError, match="too few"):
        best_threshold(truth[:19], scores[:19], RULE, times[:19])
