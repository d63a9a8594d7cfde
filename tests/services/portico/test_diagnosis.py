"""What an alert says of a window, from predictions and labels as the log has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from portico.services.portico.alerts import diagnosis
from portico.services.portico.joining import Outcome
from portico.store.labels import Label

KINDS = {"age": "numeric", "city": "categorical", "t": "timestamp", "note": "text"}
Answer = Callable[[np.random.Generator, float, float], tuple[Any, Any]]


def outcomes(
    seed: int, rows: int, answer: Answer, older: float = 0.0, off: float = 0.0, start: int = 0
) -> list[Outcome]:
    """Predictions an hour apart; `older` moves the ages, `off` the truth in one city."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(start, start + rows):
        age, city = float(rng.normal(40 + older, 10)), str(rng.choice(["Bern", "Lyon", "Oslo"]))
        instance = {"age": age, "city": city if number % 20 else None, "t": "now", "note": ["x"]}
        truth, response = answer(rng, age, off if city == "Oslo" else 0.0)
        outcome = Outcome(
            number * 3600.0, number, 0, "", "1", "m", "1", json.dumps(instance), json.dumps(response), 0.1
        )
        outcome.label = Label(f"id:{number}:0", truth, outcome.time, outcome.time)
        made.append(outcome)
    return made


def price(rng: np.random.Generator, age: float, off: float) -> tuple[Any, Any]:
    return 2 * age + off + float(rng.normal(0, 5)), {"value": 2 * age, "lower_bound": 0, "upper_bound": 99}


def buys(rng: np.random.Generator, age: float, off: float) -> tuple[Any, Any]:
    chance = 1 / (1 + np.exp(-(age - 40) / 8))
    scores = [1 - float(chance), float(chance)]
    return "yes" if rng.random() < chance else "no", {"classes": ["no", "yes"], "scores": scores}


def test_a_regression_that_is_wrong_in_one_city() -> None:
    found = diagnosis(outcomes(1, 800, price), outcomes(2, 200, price, off=20, start=800), KINDS)
    assert "concept drift" in found["kind"] and found["sure"] > 0.7
    assert found["slices"][0]["slice"] == "city=Oslo" and "city=Oslo" in found["lookFirst"]
    assert found["slices"][0]["loss"] > 2 * found["slices"][0]["lossBefore"]
    assert {one["feature"] for one in found["contributors"]} == {"age", "city"}
    json.dumps(found, allow_nan=False)


def test_a_classifier_whose_callers_grew_older() -> None:
    found = diagnosis(outcomes(3, 800, buys), outcomes(4, 200, buys, older=12, start=800), KINDS)
    assert "covariate drift" in found["kind"] and "concept" not in found["kind"]
    assert found["contributors"][0]["feature"] == "age" and found["contributors"][0]["distance"] > 0.1
    assert "Look first at age" in found["lookFirst"]


def test_what_cannot_be_read_is_left_out() -> None:
    before, now = outcomes(5, 300, price), outcomes(6, 100, price, off=40, start=300)
    for row in now[:30]:
        row.label = Label(row.caller_id, "?", 0, 0)
    assert diagnosis(before, now, KINDS)["kind"] == diagnosis(before, now[30:], KINDS)["kind"]
    assert diagnosis(before, now[:70], KINDS) == {} == diagnosis([], [], KINDS), "too few are left"
    plain = outcomes(7, 300, lambda *a: (price(*a)[0], [price(*a)[1]["value"]]))
    assert diagnosis(plain[:200], plain[200:], KINDS)["kind"]
    assert diagnosis(before, outcomes(8, 100, buys, start=300), KINDS) == {}, "of another model"
