"""What may open an episode without labels: an estimate, drift, a schedule. And drift that is only noted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from portico.ml.watch.bins import count, fit_bins
from portico.services.portico.steward import evidence as steward_evidence
from portico.services.portico.steward.decide import decide
from portico.services.portico.steward.decision import Decision
from portico.services.portico.steward.drift import DriftSeen, observed
from portico.services.portico.steward.evidence import Rows, nothing


def windows(rng: np.random.Generator, move: float, share: float) -> dict[str, Any]:
    """Facts of drift: of two features, a number that moves and a category whose share changes."""

    def table(rows: int, move: float, share: float) -> pa.Table:
        return pa.table(
            {"x": rng.normal(move, 1, rows), "c": rng.choice(["a", "b"], rows, p=[share, 1 - share])}
        )

    first = table(500, 0, 0.5)
    bins = fit_bins(first)
    now = count(table(500, move, share), bins)
    return {
        "bins": [one.to_json() for one in bins],
        "reference": {name: c.to_json() for name, c in count(first, bins).items()},
        "window": {name: c.to_json() for name, c in now.items()},
    }


def test_drift_is_what_chance_does_not_reach() -> None:
    rng = np.random.default_rng(3)
    rule = {"metric": "drift", "threshold": 0.0}
    false = sum(
        decide("drift", rule, windows(rng, 0, 0.5), nothing()).answer == "breached" for _ in range(200)
    )
    assert false <= 8, "1% is stated"
    for move, share, name in ((0.5, 0.5, "x"), (0, 0.75, "c")):
        for _ in range(20):
            found = decide("drift", rule, windows(rng, move, share), nothing())
            assert found.answer == "breached" and found.numbers["features"][0]["feature"] == name
    own = {"metric": "drift", "threshold": 0.9}
    assert decide("drift", own, windows(rng, 0.5, 0.5), nothing()).answer == "holds"


def test_a_schedule() -> None:
    rule = {"metric": "schedule", "every": 86400.0}
    assert decide("schedule", rule, {"since": 0.0, "now": 86399.0}, nothing()).answer == "holds"
    assert decide("schedule", rule, {"since": 0.0, "now": 86400.0}, nothing()).answer == "breached"


@pytest.mark.parametrize(("limit", "answer"), [(0.7, "holds"), (0.95, "breached")])
def test_an_estimate_of_a_classifier(limit: float, answer: str) -> None:
    positive = np.random.default_rng(4).uniform(0.7, 1, 400)
    scores = np.stack([1 - positive, positive], axis=1)
    rows = Rows(np.arange(400.0), np.zeros(400), {"champion": scores, "expected": scores})
    rule = {"metric": "accuracy", "labels": 400, "limit": limit, "certain": True}
    found = decide("estimate", rule, {"error": 0.01}, rows)
    assert found.answer == answer and found.numbers["estimated"]
    assert found.numbers["value"] == pytest.approx(positive.mean())


def seen(*names: str) -> DriftSeen:
    features = [{"feature": name, "distance": 0.5, "threshold": 0.1, "most": ""} for name in names]
    return DriftSeen({}, {}, nothing(), Decision("holds", ""), {"features": features}, [])


def test_drift_that_does_no_harm_is_noted_and_ends() -> None:
    notes, since = observed([], seen(), False, 0.0)
    assert notes == [] and since == ""
    notes, since = observed(notes, seen("x"), False, 86400.0)
    assert since == notes[0]["startTime"] == "1970-01-02T00:00:00.000000Z" and "let be" in notes[0]["message"]
    notes, since = observed(notes, None, False, 2 * 86400.0)
    assert since and "endTime" not in notes[0], "no new window: it goes on"
    notes, since = observed(notes, seen("x", "z"), False, 3 * 86400.0)
    assert notes[0]["features"] == ["x", "z"]
    notes, since = observed(notes, seen(), False, 4 * 86400.0)
    assert since == "" and notes[0]["endTime"] == "1970-01-05T00:00:00.000000Z" and not notes[0]["harm"]
    notes, _ = observed(notes, seen("x"), False, 5 * 86400.0)
    notes, _ = observed(notes, None, True, 6 * 86400.0)
    assert len(notes) == 2 and notes[0]["harm"] and "not acceptable" in notes[0]["message"]


def test_thresholds_are_kept_with_the_evidence(tmp_path: Any) -> None:
    from portico.ids import RandomIds

    rows = Rows(np.arange(3.0), np.zeros(3), {"champion": np.ones((3, 2)) / 2}, {}, {"champion": 0.2})
    kept = steward_evidence.read(tmp_path, steward_evidence.write(tmp_path, RandomIds(), rows))
    assert kept.thresholds == {"champion": 0.2} and kept.newest(2).thresholds == {"champion": 0.2}
