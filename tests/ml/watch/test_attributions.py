"""Attribution scores: their formula, how often chance is called a change, and how often a change is found."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from portico.ml.watch.attributions import Attributions, distance_threshold, measure
from portico.ml.watch.calibrate import RATE

WEIGHTS = np.array([3.0, 2.0, 1.0, 0.5])


def attributions(
    seed: int, count: int, dependence: float = 0.0, scale: float = 1.0
) -> list[dict[str, float]]:
    """Of a linear model on normal features, the first of which has another `scale`."""
    noise = np.random.default_rng(seed).normal(size=(count + 200, len(WEIGHTS)))
    cells = lfilter([np.sqrt(1 - dependence**2)], [1, -dependence], noise, axis=0)[200:] * WEIGHTS
    cells[:, 0] *= scale
    return [dict(zip("abcd", row, strict=True)) for row in cells.tolist()]


def above(now: Attributions, before: Attributions, baseline: Attributions) -> set[str]:
    return {
        name
        for name in now.scores
        if abs(now.scores[name] - before.scores[name])
        > distance_threshold(name, now, before, baseline, len(now.scores), RATE)
    }


def test_scores_are_shares_of_the_mean_absolute_values():
    found = measure([{"a": 1.0, "b": -3.0}, {"a": -2.0, "b": 2.0}])
    assert found is not None and found.scores == pytest.approx({"a": 3 / 8, "b": 5 / 8})
    assert measure([]) is None and measure([{"a": 0.0}]) is None
    assert Attributions.from_json(orjson.loads(orjson.dumps(found.to_json()))) == found


@pytest.mark.parametrize("dependence", [0.0, 0.8])
def test_false_alarms_are_as_rare_as_stated(dependence):
    false = [0, 0]
    total = 120
    for seed in range(total):
        training = measure(attributions(3 * seed, 4000, dependence)[::10])
        first = measure(attributions(3 * seed + 1, 200, dependence))
        second = measure(attributions(3 * seed + 2, 200, dependence))
        assert training and first and second
        false[0] += bool(above(first, training, training))
        false[1] += bool(above(second, first, training))
    assert max(false) <= binom.isf(1e-3, total, 3 * RATE), false


def test_a_changed_importance_is_found():
    found = []
    for seed in range(20):
        training = measure(attributions(2 * seed, 400))
        now = measure(attributions(2 * seed + 1, 200, scale=0.5))
        assert training and now
        found.append("a" in above(now, training, training))
    assert np.mean(found) >= 0.9
