"""The fairness demo's mathematics, and the sentences it says of an episode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from portico.demos import mitigation
from portico.demos.mitigation import ODDS, PARITY, Made
from portico.demos.telling import verdict
from portico.ml.errors import DataError


def people(seed: int, count: int, unequal: float = 1.5) -> tuple[pd.DataFrame, Any]:
    """Whose truth hangs on `x`, and on the sex as much as `unequal` says."""
    random = np.random.default_rng(seed)
    sex = random.choice(["Female", "Male"], count, p=[0.4, 0.6])
    x = random.normal(size=count)
    lift = x + unequal * (sex == "Male")
    truth = (random.random(count) < 1 / (1 + np.exp(1 - 2 * lift))).astype(int)
    return pd.DataFrame({"sex": sex, "x": x, "word": random.choice(list("abc"), count)}), truth


@pytest.mark.parametrize("seed", range(5))
def test_under_the_weights_group_and_truth_are_independent(seed: int) -> None:
    rows, truth = people(seed, 500)
    plain = rows.assign(truth=truth).groupby("sex")["truth"].mean()
    assert abs(plain["Male"] - plain["Female"]) > 0.1
    weights = mitigation.reweighing(rows["sex"], truth)
    shares = [
        np.average(truth[rows["sex"] == sex], weights=weights[rows["sex"] == sex])
        for sex in ("Female", "Male")
    ]
    assert shares == pytest.approx([truth.mean()] * 2)
    assert weights.mean() == pytest.approx(1)
    groups = [weights[rows["sex"] == sex].sum() for sex in ("Female", "Male")]
    assert groups == pytest.approx([(rows["sex"] == sex).sum() for sex in ("Female", "Male")])


def test_a_tight_bound_narrows_the_gap_and_costs_accuracy() -> None:
    (learn, truth), (held, unseen) = people(1, 1500), people(2, 4000)
    made = mitigation.mitigate(learn, held, ["sex", "x", "word"], truth, "sex")
    rows = {
        (one.method, one.constraint, one.bound): mitigation.cost_row(
            one, unseen.astype(float), held["sex"].tolist(), made[0].decisions, 50
        )
        for one in made
    }
    free = rows["LightGBM", "", None]
    assert free["cost"] == 0 and free["gaps"][PARITY]["value"] > 0.2
    for constraint in (PARITY, ODDS):
        tight = rows["ExponentiatedGradient", constraint, min(mitigation.BOUNDS[constraint])]
        assert tight["gaps"][constraint]["value"] < 0.6 * free["gaps"][constraint]["value"]
    parity = rows["ExponentiatedGradient", PARITY, min(mitigation.BOUNDS[PARITY])]
    assert parity["costInterval"][0] > 0
    assert parity["accuracy"] == pytest.approx(free["accuracy"] - parity["cost"])
    loose = rows["ExponentiatedGradient", PARITY, max(mitigation.BOUNDS[PARITY])]
    assert parity["gaps"][PARITY]["value"] < loose["gaps"][PARITY]["value"]


def test_the_interval_of_a_cost_covers_it() -> None:
    covered, runs = 0, 500
    for seed in range(runs):
        random = np.random.default_rng(seed)
        truth = random.integers(0, 2, 800).astype(float)
        beside = np.where(random.random(800) < 0.85, truth, 1 - truth)
        dearer = np.where(random.random(800) < 0.05, 1 - beside, beside)
        # Of 5% that were turned round, 85% were right before and 15% wrong.
        _, (low, high) = mitigation.cost_of(dearer, beside, truth)
        covered += low <= 0.05 * 0.7 <= high
    assert 0.92 < covered / runs < 0.98


def test_a_groups_rates_are_those_of_the_fairness_measures_with_intervals_around() -> None:
    rows, truth = people(3, 2000)
    rows.loc[:19, "sex"] = "Other"
    scores = np.random.default_rng(0).random(2000)
    found = mitigation.rates_with_intervals(rows, truth.astype(float), scores, ["sex"], 50)
    measured = mitigation.fairness_of(rows, truth.astype(float), scores, ["sex"], 50)
    assert found.keys() == measured.groups.keys() == {"sex=Female", "sex=Male"}
    assert measured.small == {"sex=Other": 20}
    for group, row in found.items():
        for rate in mitigation.RATES:
            assert row[rate]["value"] == pytest.approx(measured.groups[group][rate])
            low, high = row[rate]["interval"]
            assert low < row[rate]["value"] < high
            share, count = row[rate]["value"], row[rate]["of"]
            assert high - low == pytest.approx(2 * 1.96 * (share * (1 - share) / count) ** 0.5, rel=0.1)


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError):
        mitigation.cost_row(Made("", "", None, np.ones(3)), np.ones(3), ["a"] * 2, np.ones(3), 50)


def gates(**passed: bool) -> dict[str, Any]:
    made = [{"gate": name.replace("_", " "), "passed": good} for name, good in passed.items()]
    return {"reason": "said", "decisions": [{"question": "gates", "numbers": {"gates": made}}]}


@pytest.mark.parametrize(
    ("episode", "words"),
    [
        ({"reason": "It was cancelled.", "decisions": []}, "It was cancelled."),
        (gates(better_than_the_champion=True, fairness=False), "only the fairness gate stopped it"),
        (gates(better_than_the_champion=True, fairness=True), "no gate had a reason to stop it"),
        (gates(better_than_the_champion=False, fairness=False), "by: better than the champion, fairness."),
    ],
)
def test_the_demo_says_what_happened_and_not_what_should_have(episode: dict[str, Any], words: str) -> None:
    assert words in verdict(episode)
