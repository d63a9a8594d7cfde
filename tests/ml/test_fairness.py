"""Fairness between groups, against fairlearn's own differences."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn import metrics

from portico.ml.errors import DataError
from portico.ml.measure.fairness import groups_of, measure_fairness

RNG = np.random.default_rng(3)
ROWS = 2000
SEX = RNG.choice(["Female", "Male"], ROWS).tolist()
RACE = RNG.choice(["A", "B", "C"], ROWS, p=[0.6, 0.39, 0.01]).tolist()
TRUTH = (RNG.random(ROWS) < 0.3).astype(float)
SCORES = np.clip(0.2 + 0.5 * TRUTH + 0.15 * (np.array(SEX) == "Male") + RNG.normal(0, 0.15, ROWS), 0, 1)
TIMES = np.arange(ROWS, dtype=float)


def test_gaps_as_fairlearn() -> None:
    found = measure_fairness(TRUTH, SCORES, groups_of({"sex": SEX}), TIMES)
    chosen = (SCORES >= 0.5).astype(int)
    for name, theirs in (
        ("demographicParityDifference", metrics.demographic_parity_difference),
        ("equalOpportunityDifference", metrics.equal_opportunity_difference),
        ("equalizedOddsDifference", metrics.equalized_odds_difference),
    ):
        gap = found.gaps[name]
        assert gap.value == pytest.approx(theirs(TRUTH, chosen, sensitive_features=SEX))
        assert (gap.high, gap.low) == ("sex=Male", "sex=Female")
        assert gap.interval is not None and gap.interval[0] < gap.value < gap.interval[1]
    female = found.groups["sex=Female"]
    inside = np.array(SEX) == "Female"
    assert female["rows"] == inside.sum()
    assert female["selectionRate"] == pytest.approx(chosen[inside].mean())
    assert female["positivePredictiveValue"] == pytest.approx(TRUTH[inside & (chosen == 1)].mean())
    assert female["calibrationError"] == pytest.approx(SCORES[inside].mean() - TRUTH[inside].mean())


def test_intersections_and_groups_too_small_to_judge() -> None:
    found = measure_fairness(TRUTH, SCORES, groups_of({"sex": SEX, "race": RACE}), TIMES, minimum=50)
    assert set(found.groups) == {f"sex={s}, race={r}" for s in ("Female", "Male") for r in "AB"}
    assert set(found.small) == {"sex=Female, race=C", "sex=Male, race=C"}
    assert sum(found.small.values()) == RACE.count("C")


def test_equal_groups_have_an_interval_that_holds_no_gap() -> None:
    fair = np.clip(0.2 + 0.5 * TRUTH + RNG.normal(0, 0.15, ROWS), 0, 1)
    gap = measure_fairness(TRUTH, fair, groups_of({"sex": SEX}), TIMES).gaps["demographicParityDifference"]
    assert gap.value < 0.06 and gap.interval is not None and gap.interval[0] < 0.01


def test_what_is_undefined_is_left_out() -> None:
    nobody = measure_fairness(np.zeros(200), np.zeros(200), ["g=1"] * 100 + ["g=2"] * 100, np.arange(200.0))
    assert (
        nobody.groups["g=1"]["truePositiveRate"] is None and "equalOpportunityDifference" not in nobody.gaps
    )
    assert nobody.gaps["demographicParityDifference"].value == 0
    assert measure_fairness(np.zeros(0), np.zeros(0), [], np.zeros(0)).gaps == {}
    with pytest.raises(DataError):
        measure_fairness(np.zeros(3), np.zeros(2), ["a"] * 3, np.zeros(3))
