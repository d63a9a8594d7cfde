"""Sketches beside the exact answers: their errors, their sizes, and that they add up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from portico.ml.watch.bins import FeatureBins
from portico.ml.watch.sketches import merge_sketches, quantiles, sketch, top

NUMBER = [FeatureBins("x", "numeric")]
CATEGORY = [FeatureBins("c", "categorical")]
RANKS = (0.01, 0.25, 0.5, 0.75, 0.99, 0.999)


def heavy(seed: int, rows: int) -> np.ndarray:
    return np.random.default_rng(seed).pareto(0.5, rows)


def test_quantiles_of_heavy_tails_are_near_and_small():
    numbers = heavy(0, 300_000)
    made = sketch(pa.table({"x": numbers}), NUMBER)["x"]
    found = np.searchsorted(np.sort(numbers), quantiles(made, RANKS)) / len(numbers)
    assert np.abs(found - RANKS).max() < 0.01
    assert quantiles(made, (0, 1)) == [numbers.min(), numbers.max()]
    assert len(made.serialize()) < 64 * 1024


def test_the_most_frequent_of_many_categories_are_found_within_bounds():
    drawn = np.random.default_rng(1).zipf(1.3, 60_000)
    names = [f"customer {number} {'é' * 300}" for number in drawn.tolist()]
    made = sketch(pa.table({"c": names}), CATEGORY)["c"]
    assert len(made.serialize()) < 64 * 1024
    exact = Counter(drawn.tolist())
    error = made.epsilon * len(drawn)
    found = top(made, 5)
    assert [name.split()[1] for name, _ in found] == [str(number) for number, _ in exact.most_common(5)]
    for name, estimate in found:
        assert abs(estimate - exact[int(name.split()[1])]) <= error


def test_every_value_once_stays_small():
    made = sketch(pa.table({"c": [f"{i:0128d}" for i in range(50_000)]}), CATEGORY)["c"]
    assert len(made.serialize()) < 64 * 1024


@pytest.mark.parametrize("parts", [2, 7])
def test_parts_add_up(parts):
    numbers, names = heavy(2, 70_000), np.random.default_rng(2).zipf(1.5, 70_000).astype(str)
    whole = pa.table({"x": numbers, "c": names})
    bins = [*NUMBER, *CATEGORY]
    size = len(numbers) // parts
    made: dict = {}
    for part in range(parts):
        made = merge_sketches(made, sketch(whole.slice(part * size, size), bins))
    found = np.searchsorted(np.sort(numbers), quantiles(made["x"], RANKS)) / len(numbers)
    assert made["x"].n == len(numbers) and np.abs(found - RANKS).max() < 0.01
    exact = Counter(names.tolist())
    error = made["c"].epsilon * len(names)
    assert all(abs(times - exact[name]) <= error for name, times in top(made["c"], 20))


def test_what_is_no_value_is_left_out():
    table = pa.table({"x": ["1", "word", None, "inf", "3"], "c": ["a", None, "", "a", "1.0"]})
    made = sketch(
        table, [*NUMBER, *CATEGORY, FeatureBins("absent", "numeric"), FeatureBins("gone", "categorical")]
    )
    assert quantiles(made["x"], (0, 1)) == [1, 3] and made["x"].n == 2
    assert top(made["c"]) == [("a", 2), ("1", 1)]
    assert quantiles(made["absent"]) == [] and top(made["gone"]) == []
