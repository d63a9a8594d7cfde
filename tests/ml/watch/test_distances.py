"""Distances against SciPy and known answers, and what they say of data with and without changes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from portico.ml.watch import distances
from portico.ml.watch.bins import count, fit_bins
from portico.ml.watch.distances import FeatureScore, score


def scored(before: dict, now: dict, kinds: dict[str, str]) -> dict[str, FeatureScore]:
    training = pa.table(before)
    bins = fit_bins(training, kinds)
    return {s.name: s for s in score(count(pa.table(now), bins), count(training, bins), bins)}


def test_jensen_shannon_is_scipys_squared() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        p, q = generator.integers(0, 50, (2, 12)).astype(float)
        assert distances.jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-12)
    assert distances.jensen_shannon(np.array([1.0, 0]), np.array([0, 3.0])) == 1
    assert distances.jensen_shannon(np.zeros(2), np.array([0, 3.0])) == 0


def test_l_infinity_and_psi_by_hand() -> None:
    p, q = np.array([50.0, 30, 20]), np.array([40.0, 40, 20])
    assert distances.l_infinity(p, q) == pytest.approx(0.1)
    plain = 0.1 * np.log(0.5 / 0.4) + -0.1 * np.log(0.3 / 0.4)
    assert distances.psi(p * 1e6, q * 1e6) == pytest.approx(plain, rel=1e-4)
    assert np.isfinite(distances.psi(np.array([1.0, 0]), np.array([0.0, 1])))


def test_kolmogorov_smirnov_and_wasserstein_are_near_scipys() -> None:
    generator = np.random.default_rng(1)
    before, now = generator.normal(size=20_000), generator.normal(0.4, 1.3, 20_000)
    found = scored({"x": before}, {"x": now}, {"x": "numeric"})["x"]
    assert found.kolmogorov_smirnov == pytest.approx(ks_2samp(before, now).statistic, abs=0.02)
    low, high = np.quantile(before, [0.25, 0.75])
    inside = np.clip(now, before.min(), before.max())
    assert found.wasserstein == pytest.approx(wasserstein_distance(before, inside) / (high - low), rel=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_changes_are_seen_and_chance_is_not(seed: int) -> None:
    generator = np.random.default_rng(seed)
    kinds = {"x": "numeric", "c": "categorical"}
    before = {
        "x": generator.normal(size=8000),
        "c": generator.choice(["a", "b", "c"], 8000, p=[0.5, 0.3, 0.2]),
    }

    def now(shift: float = 0, scale: float = 1, p: tuple[float, ...] = (0.5, 0.3, 0.2)) -> dict:
        return {"x": generator.normal(shift, scale, 2000), "c": generator.choice(["a", "b", "c"], 2000, p=p)}

    same = scored(before, now(), kinds)
    assert same["x"].distance < 0.02 and same["c"].distance < 0.05
    assert scored(before, now(shift=0.7), kinds)["x"].distance > 0.06
    assert scored(before, now(scale=2), kinds)["x"].distance > 0.06
    moved = scored(before, now(p=(0.3, 0.3, 0.4)), kinds)["c"]
    assert moved.distance == pytest.approx(0.2, abs=0.04)
    assert moved.most.startswith(("a:", "c:"))


def test_a_new_category_and_missing_values_are_said() -> None:
    before = {"c": ["a"] * 60 + ["b"] * 40, "x": [1.0, 2.0] * 50}
    now = {"c": ["a"] * 40 + ["z"] * 60, "x": [1.0] * 50 + [None] * 30 + [99.0] * 20}
    found = scored(before, now, {"c": "categorical", "x": "numeric"})
    assert found["c"].distance == pytest.approx(0.6) and found["c"].new == 0.6
    assert found["c"].most == "z: 0.0% before, 60.0% now"
    assert (found["x"].missing, found["x"].missing_before, found["x"].new) == (0.3, 0, 0.2)


def test_an_empty_window_has_no_distance() -> None:
    found = scored({"x": [1.0, 2.0]}, {"x": pa.array([], pa.float64())}, {"x": "numeric"})["x"]
    assert (found.distance, found.psi, found.rows, found.most) == (0, 0, 0, "")
