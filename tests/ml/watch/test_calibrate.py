"""Thresholds beside the rates that they state: false alarms of data without a change, and finds of data with one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import orjson
import pyarrow as pa
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from portico.ml.watch.bins import FeatureBins, Window, count, fit_bins
from portico.ml.watch.calibrate import DISTANCES, RATE, Null, calibrate, distance_threshold
from portico.ml.watch.distances import score
from portico.ml.watch.shares import SHARES, share_threshold

WINDOWS = 12  # of a seed


def rows(generator: np.random.Generator, count: int, width: int, dependence: float) -> np.ndarray:
    """(count, width) normal numbers, each column a first-order autoregression."""
    noise = generator.normal(size=(count, width))
    noise[0] /= np.sqrt(1 - dependence**2)
    return np.asarray(lfilter([np.sqrt(1 - dependence**2)], [1, -dependence], noise, axis=0))


def table(cells: np.ndarray, generator: np.random.Generator, missing: float = 0.02) -> pa.Table:
    """Two thirds of the columns as numbers, some of them missing; the others as categories."""
    numeric = -(-cells.shape[1] * 2 // 3)
    cells = cells.copy()
    words = np.array(list("abcdef"))[np.searchsorted([-1.5, -0.5, 0.5, 1.5, 2.2], cells[:, numeric:])]
    cells[:, :numeric][generator.random((len(cells), numeric)) < missing] = np.nan
    made: dict[str, np.ndarray] = {f"x{i}": cells[:, i] for i in range(numeric)}
    return pa.table(made | {f"c{i}": words[:, i] for i in range(words.shape[1])})


def binned(training: pa.Table) -> tuple[list[FeatureBins], dict[str, Null]]:
    kinds = {name: "numeric" if name[0] == "x" else "categorical" for name in training.column_names}
    bins = fit_bins(training, kinds)
    return bins, calibrate(training, bins)


def alarms(
    now: Window, before: Window, bins: list[FeatureBins], nulls: dict[str, Null], against: str
) -> tuple[set[str], set[str]]:
    """The features whose distance is above its threshold, and "feature share" for the shares that are."""
    far, many = set(), set()
    for found in score(now, before, bins):
        null, counts, old = nulls[found.name], now[found.name], before[found.name]
        threshold = distance_threshold(null, counts.present, old.present, against, len(bins))
        if threshold is not None and found.distance > threshold:
            far.add(found.name)
        for share in SHARES:
            seen = None if against == "training" else (old.missing if share == "missing" else 0, old.rows)
            rate = RATE * (1 - DISTANCES)
            limit = share_threshold(null.shares, share, counts.rows, len(SHARES) * len(bins), rate, seen)
            if getattr(found, share) > limit:
                many.add(f"{found.name} {share}")
    return far, many


@pytest.mark.parametrize(
    ("training", "window", "width", "dependence", "seeds"),
    [
        (3000, 60, 1, 0.0, 25),
        (3000, 400, 12, 0.0, 15),
        (12_000, 1000, 6, 0.0, 10),
        (3000, 400, 12, 0.8, 15),
        (12_000, 1000, 6, 0.95, 10),
        (3000, 1500, 3, 0.8, 15),
    ],
)
def test_false_alarms_are_as_rare_as_stated(training, window, width, dependence, seeds):
    false = {"training": [0, 0], "window": [0, 0]}
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        cells = rows(generator, training + (WINDOWS + 1) * window, width, dependence)
        data = table(cells, generator)
        bins, nulls = binned(data.slice(0, training))
        reference = count(data.slice(0, training), bins)
        counted = [count(data.slice(training + i * window, window), bins) for i in range(WINDOWS + 1)]
        for before, now in pairwise(counted):
            for against, old in (("training", reference), ("window", before)):
                far, many = alarms(now, old, bins, nulls, against)
                false[against][0] += bool(far)
                false[against][1] += bool(far or many)
    total = seeds * WINDOWS
    # Three times the stated rate, as windows of one seed share their thresholds, and the chance of so few windows.
    most = binom.isf(1e-3, total, 3 * RATE)
    assert all(found <= most for pair in false.values() for found in pair), false


def changed(how: str, data: pa.Table, generator: np.random.Generator) -> pa.Table:
    """`data` with a change of the column x0 or c0."""
    name = "c0" if "category" in how else "x0"
    cells = np.array(data[name].to_pylist(), object if name == "c0" else float)
    if how == "shift":
        cells += 0.5
    elif how == "scale":
        cells *= 1.6
    elif how == "a new category":
        cells[generator.random(len(cells)) < 0.05] = "z"
    elif how == "a category's share":
        cells[(cells == "c") & (generator.random(len(cells)) < 0.5)] = "d"
    elif how == "missing":
        cells[generator.random(len(cells)) < 0.1] = np.nan
    elif how == "out of range":
        cells[generator.random(len(cells)) < 0.05] = 40.0
    elif how == "a wrong type":
        words = [str(cell) if generator.random() > 0.05 else "word" for cell in cells]
        return data.set_column(data.column_names.index(name), name, pa.array(words))
    return data.set_column(
        data.column_names.index(name), name, pa.array(cells.tolist(), data[name].type, from_pandas=True)
    )


@pytest.mark.parametrize("dependence", [0.0, 0.6])
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("shift", "x0"),
        ("scale", "x0"),
        ("a category's share", "c0"),
        ("a new category", "c0 new"),
        ("missing", "x0 missing"),
        ("out of range", "x0 new"),
        ("a wrong type", "x0 invalid"),
    ],
)
def test_changes_are_found(how, expected, dependence):
    found = []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        data = table(rows(generator, 10_000, 9, dependence), generator)
        bins, nulls = binned(data.slice(0, 8000))
        reference, before = count(data.slice(0, 8000), bins), count(data.slice(8000, 1000), bins)
        now = count(changed(how, data.slice(9000), generator), bins)
        for against, old in (("training", reference), ("window", before)):
            found.append(expected in set.union(*alarms(now, old, bins, nulls, against)))
    assert np.mean(found) >= 0.9, found


def thresholds(data: pa.Table, sizes: list[int], choose: Callable[[int], tuple]) -> list[float]:
    (feature,), nulls = binned(data)
    return [distance_threshold(nulls[feature.name], *choose(size), 1) for size in sizes]


def test_a_threshold_depends_on_the_rows_and_on_their_dependence():
    generator = np.random.default_rng(0)
    plain = pa.table({"x": rows(generator, 8000, 1, 0)[:, 0]})
    bound = pa.table({"x": rows(generator, 8000, 1, 0.9)[:, 0]})
    sizes = [20, 100, 500, 3000]
    against_training = thresholds(plain, sizes, lambda size: (size, 8000, "training"))
    assert against_training == sorted(against_training, reverse=True)
    against_window = thresholds(plain, sizes, lambda size: (size, size, "window"))
    assert all(w > t for w, t in zip(against_window[1:], against_training[1:], strict=True))
    (between,) = thresholds(plain, [100], lambda size: (size, 3000, "window"))
    assert against_window[3] < between < against_window[1]
    tied = thresholds(bound, sizes, lambda size: (size, 8000, "training"))
    assert all(b > 1.5 * p for b, p in zip(tied[1:], against_training[1:], strict=True))


def test_what_calibration_cannot_say():
    few = pa.table({"x": [1.0, 2.0, 3.0]})
    (feature,), nulls = binned(few)
    assert distance_threshold(nulls[feature.name], 100, 3, "training", 1) is None
    empty = pa.table({"x": pa.nulls(1000, pa.float64()), "c": pa.nulls(1000, pa.string())})
    _, nulls = binned(empty)
    assert distance_threshold(nulls["x"], 100, 1000, "training", 1) is None
    assert share_threshold(nulls["c"].shares, "missing", 100, 1, 0.01) == pytest.approx(1, abs=0.05)


def test_a_constant_may_change_in_a_row_but_not_in_many():
    constant = pa.table({"x": [5.0] * 4000, "c": ["a"] * 4000})
    bins, nulls = binned(constant)
    reference = count(constant, bins)
    one = count(pa.table({"x": [5.0] * 999 + [7.0], "c": ["a"] * 999 + ["b"]}), bins)
    many = count(pa.table({"x": [5.0] * 960 + [7.0] * 40, "c": ["a"] * 960 + ["b"] * 40}), bins)
    assert alarms(one, reference, bins, nulls, "training") == (set(), set())
    assert alarms(many, reference, bins, nulls, "training") == ({"x", "c"}, {"x new", "c new"})


def test_a_null_travels_as_json():
    generator = np.random.default_rng(0)
    _, nulls = binned(table(rows(generator, 2000, 4, 0.5), generator))
    for null in nulls.values():
        assert Null.from_json(orjson.loads(orjson.dumps(null.to_json()))) == null
