"""Metrics of slices, against `measure` on their rows; a worse one is found, and chance is not."""

from __future__ import annotations

import numpy as np
import pytest

from portico.ml.errors import DataError
from portico.ml.measure.performance import measure
from portico.ml.measure.performance_slices import measure_slices

TIMES = np.arange(1200) * 3600.0


def made(seed: int, worse: float = 1.0, rows: int = 1200) -> tuple[np.ndarray, np.ndarray, dict]:
    """Truth, answers, and slices of which the errors of color=red are `worse` times as large."""
    rng = np.random.default_rng(seed)
    color = rng.choice(["red", "green", "blue", "white"], rows, p=[0.2, 0.4, 0.38, 0.02])
    size = rng.choice([1, 2, 3], rows)
    truth = rng.gamma(2, 50, rows)
    off = rng.normal(0, 10, rows) * np.where(color == "red", worse, 1)
    return truth, truth + off, {"color": color.tolist(), "size": size.tolist()}


def test_each_slice_is_its_rows_metric() -> None:
    truth, output, slices = made(0)
    slices["color"][5] = None
    found = measure_slices("meanAbsoluteError", truth, output, TIMES, slices)
    judged = [one for one in found if one.measured]
    assert [one.value for one in found[len(judged) :]] == ["white", "(missing)"]
    assert {(one.name, one.value) for one in judged} == {
        ("color", "red"), ("color", "green"), ("color", "blue"), ("size", "1"), ("size", "2"), ("size", "3"),
    }  # fmt: skip
    assert [one.measured.value for one in judged] == sorted((o.measured.value for o in judged), reverse=True)
    for one in judged:
        inside = np.array([str(cell) == one.value for cell in slices[one.name]])
        assert one.measured == measure("meanAbsoluteError", truth[inside], output[inside], TIMES[inside])
        assert one.rest == pytest.approx(np.abs(output - truth)[~inside].mean()) and one.rows == inside.sum()
        assert one.to_json()["measured"]["interval"]


def test_the_worse_slice_is_found() -> None:
    hit, wrong = 0, 0
    for seed in range(30):
        truth, output, slices = made(seed, worse=1.6)
        flagged = {
            (o.name, o.value)
            for o in measure_slices("meanAbsoluteError", truth, output, TIMES, slices)
            if o.worse
        }
        hit += ("color", "red") in flagged
        wrong += bool(flagged - {("color", "red")})
    assert hit >= 27 and wrong <= 4


def test_chance_is_not_flagged() -> None:
    """At most 5% of the times any of six slices is, where all are alike; errors alike for a day too."""
    flagged = 0
    for seed in range(100):
        truth, output, slices = made(seed)
        day = np.repeat(np.random.default_rng(seed + 1000).uniform(0.5, 1.5, 50), 24)
        output = truth + (output - truth) * day
        flagged += any(o.worse for o in measure_slices("meanAbsoluteError", truth, output, TIMES, slices))
    assert flagged <= 11


def test_classifiers_and_metrics_that_are_better_high() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(["a", "b"], 600)
    truth = (rng.random(1200) < 0.4).astype(float)
    positive = np.clip(0.3 + 0.4 * truth * (group == "a") + rng.normal(0, 0.15, 1200), 0.01, 0.99)
    scores = np.stack([1 - positive, positive], axis=1)
    found = measure_slices("auRoc", truth, scores, TIMES, {"group": group.tolist()})
    assert [(o.value, o.worse) for o in found] == [("b", True), ("a", False)]
    whole = measure_slices("accuracy", truth, scores, TIMES, {"all": ["x"] * 1200})
    assert whole[0].rest is None and not whole[0].worse
    nothing = measure_slices("precision", truth, scores * 0 + [1, 0], TIMES, {"group": group.tolist()})
    assert not any(o.worse for o in nothing)


def test_what_does_not_fit_is_said() -> None:
    truth, output, slices = made(0)
    with pytest.raises(DataError, match="no metric"):
        measure_slices("mae", truth, output, TIMES, slices)
    with pytest.raises(DataError, match="'color' has 3 values for 1200 rows"):
        measure_slices("meanAbsoluteError", truth, output, TIMES, {"color": ["a", "b", "c"]})
