"""Counts in bins fixed at training."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.ml.watch.bins import Counts, FeatureBins, count, fit_bins, merge


def test_numbers_are_counted_as_numpy_counts_them() -> None:
    generator = np.random.default_rng(0)
    training = generator.normal(size=5000)
    (bins,) = fit_bins(pa.table({"x": training}), {"x": "numeric"})
    now = generator.normal(0.3, 1.2, 4000)
    counts = count(pa.table({"x": now}), [bins])["x"]
    edges = np.array(bins.edges)
    assert counts.bins == np.histogram(now, edges)[0].tolist()
    assert (counts.under, counts.over) == ((now < edges[0]).sum(), (now > edges[-1]).sum())
    assert counts.rows == 4000
    shares = np.array(count(pa.table({"x": training}), [bins])["x"].bins) / 5000
    assert 20 <= len(shares) <= 40 and shares.max() < 0.06


def test_a_heavy_value_has_a_bin_of_its_own() -> None:
    training = np.concatenate([np.zeros(700), np.random.default_rng(0).uniform(-1, 1, 300)])
    (bins,) = fit_bins(pa.table({"x": training}), {"x": "numeric"})
    counts = count(pa.table({"x": [0.0] * 10 + [1e-9, -1e-9]}), [bins])["x"]
    assert sorted(counts.bins)[-1] == 10 and sum(counts.bins) == 12


def test_constant_and_empty_columns() -> None:
    table = pa.table({"c": [3.0, 3.0], "n": pa.array([None, None], pa.float64())})
    bins = fit_bins(table, {"c": "numeric", "n": "numeric"})
    window = count(pa.table({"c": [3.0, 4.0, 2.0], "n": [1.0, None, 2.0]}), bins)
    assert (window["c"].bins, window["c"].over, window["c"].under) == ([1], 1, 1)
    assert (window["n"].over, window["n"].missing) == (2, 1)


def test_values_mean_what_they_mean_to_the_model() -> None:
    training = pa.table({"n": [1, 2, 3, 4], "c": ["1", "2", "2", "x"]})
    bins = fit_bins(training, {"n": "numeric", "c": "categorical"})
    ways = [
        pa.table({"n": [1, 3], "c": [1, 2]}),
        pa.table({"n": [1.0, 3.0], "c": [1.0, 2.0]}),
        pa.table({"n": ["1", "3.0"], "c": ["1", "2"]}),
    ]
    first, *others = [count(table, bins) for table in ways]
    assert all(other == first for other in others)
    assert first["c"].new == {}


def test_what_is_in_no_bin() -> None:
    bins = fit_bins(pa.table({"n": [1.0, 2.0], "c": ["a", "b"]}), {"n": "numeric", "c": "categorical"})
    window = count(pa.table({"n": ["7", "word", None, ""], "c": ["a", "z", None, ""]}), bins)
    assert (window["n"].over, window["n"].invalid, window["n"].missing) == (1, 1, 2)
    assert (window["c"].bins, window["c"].new, window["c"].missing) == ([1, 0], {"z": 1}, 2)
    absent = count(pa.table({"n": [1.0]}), bins)
    assert absent["c"].missing == 1 and absent["c"].rows == 1


def test_bins_travel_as_json() -> None:
    bins = fit_bins(pa.table({"n": [1.0, 2.5], "c": ["a", "b"]}))
    assert [feature.kind for feature in bins] == ["numeric", "categorical"]
    assert [FeatureBins.from_json(feature.to_json()) for feature in bins] == bins
    window = count(pa.table({"n": [1.0, 9.0], "c": ["z", None]}), bins)
    assert {name: Counts.from_json(counts.to_json()) for name, counts in window.items()} == window


cells = st.tuples(
    st.one_of(st.none(), st.floats(-10, 10), st.integers(-3, 3)),
    st.sampled_from(["a", "b", "c", "d", None]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(cells, max_size=30), st.lists(cells, max_size=30))
def test_windows_add_up(one: list[tuple], other: list[tuple]) -> None:
    training = pa.table({"x": np.linspace(-5, 5, 50), "c": ["a", "b"] * 25})
    bins = fit_bins(training, {"x": "numeric", "c": "categorical"})

    def table(rows: list[tuple]) -> pa.Table:
        return pa.table(
            {
                "x": pa.array([r[0] for r in rows], pa.float64()),
                "c": pa.array([r[1] for r in rows], pa.string()),
            }
        )

    assert merge(count(table(one), bins), count(table(other), bins)) == count(table(one + other), bins)
