"""The steward's decisions as pure functions: breach, gates, shadow and canary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.ids import RandomIds
from portico.services.portico.steward import evidence as steward_evidence
from portico.services.portico.steward.decide import decide
from portico.services.portico.steward.evidence import Rows
from portico.services.portico.steward.promotion import pooled

RNG = np.random.default_rng(5)
HOURS = np.arange(400) * 3600.0
TRUTH = RNG.gamma(3, 40, 400)
GATE = {"metric": "meanAbsoluteError", "labels": 400, "margin": 0.0, "certain": True, "baseline": True}
FACTS = {"trainedUntil": -1.0, "bytes": 1000, "latencySeconds": 0.001, "signature": ""}


def rows(champion: float, challenger: float, **more: Any) -> Rows:
    """Both models' answers with so much noise, as a share of the truth."""
    made = Rows(HOURS, TRUTH)
    for name, noise in {"champion": champion, "challenger": challenger, **more}.items():
        made.outputs[name] = TRUTH * (1 + noise * RNG.normal(size=400))
    return made


def failed(decision: Any) -> set[str]:
    return {gate["gate"] for gate in decision.numbers["gates"] if not gate["passed"]}


def test_breach_by_a_limit_and_by_the_reference() -> None:
    rule = {"metric": "meanAbsoluteError", "labels": 400, "limit": 30.0}
    assert decide("breach", rule, {}, rows(0.1, 0)).answer == "holds"
    assert decide("breach", rule, {}, rows(0.5, 0)).answer == "breached"
    assert decide("breach", {**rule, "labels": 401}, {}, rows(0.5, 0)).answer == "waits"
    relative = {"metric": "meanAbsoluteError", "labels": 400, "timesReference": 1.25}
    assert decide("breach", relative, {"reference": 10.0}, rows(0.1, 0)).answer == "holds"
    assert decide("breach", relative, {"reference": 5.0}, rows(0.1, 0)).answer == "breached"


def test_certain_waits_for_the_whole_interval() -> None:
    found = rows(0.3, 0)
    value = decide("breach", {"metric": "meanAbsoluteError", "labels": 400, "limit": 0.0}, {}, found).numbers[
        "value"
    ]
    rule = {"metric": "meanAbsoluteError", "labels": 400, "limit": value * 0.99}
    assert decide("breach", rule, {}, found).answer == "breached"
    assert decide("breach", {**rule, "certain": True}, {}, found).answer == "holds"
    assert decide("breach", {**rule, "certain": True, "limit": value / 2}, {}, found).answer == "breached"


def test_a_latency_needs_no_labels() -> None:
    slow = Rows(HOURS, np.full(400, 0.2))
    rule = {"metric": "p99Latency", "labels": 400, "limit": 0.05}
    assert decide("breach", rule, {}, slow).answer == "breached"
    assert decide("breach", rule, {}, Rows(HOURS, np.full(400, 0.01))).answer == "holds"


@pytest.mark.parametrize(
    ("found", "rule", "facts", "gates"),
    [
        (rows(0.5, 0.1), {}, {}, set()),
        (rows(0.1, 0.5), {}, {}, {"better than the champion"}),
        (rows(0.3, 0.299), {}, {}, {"better than the champion"}),
        (rows(0.5, 0.45), {"margin": 0.3}, {}, {"better than the champion"}),
        (rows(0.5, 0.1, **{"baseline:mean": 0.01}), {}, {}, {"better than a simple answer"}),
        (rows(0.5, 0.1, **{"baseline:mean": 0.01}), {"baseline": False}, {}, set()),
        (rows(0.5, 0.1), {}, {"trainedUntil": 0.0}, {"unseen rows"}),
        (rows(0.5, 0.1), {"labels": 500}, {}, {"unseen rows"}),
        (rows(0.5, 0.1), {}, {"signature": "It asks for more."}, {"signature"}),
        (rows(0.5, 0.1), {"maxLatencySeconds": 0.0005}, {}, {"latency"}),
        (rows(0.5, 0.1), {"maxBytes": 10}, {}, {"size"}),
        (rows(0.5, 0.1), {"mustReach": 1.0}, {}, {"acceptable again"}),
    ],
)
def test_each_gate_stops_what_it_is_for(
    found: Rows, rule: dict[str, Any], facts: dict[str, Any], gates: set[str]
) -> None:
    decision = decide("gates", {**GATE, **rule}, {**FACTS, **facts}, found)
    assert failed(decision) == gates
    assert decision.answer == ("failed" if gates else "passed")
    assert all(f"Gate '{gate}' failed" in decision.reason for gate in gates)


def fair_rows(unfair: float) -> Rows:
    """A better challenger whose scores favour group "a" by so much."""
    truth = (RNG.random(400) < 0.4).astype(float)
    groups = ["g=a"] * 200 + ["g=b"] * 200
    order = RNG.permutation(400)
    truth, groups = truth[order], [groups[n] for n in order]
    favoured = np.array([1.0 if g == "g=a" else 0.0 for g in groups])

    def scores(skill: float, push: float) -> Any:
        positive = np.clip(0.3 + skill * truth + push * favoured + RNG.normal(0, 0.1, 400), 0.01, 0.99)
        return np.stack([1 - positive, positive], axis=1)

    outputs = {"champion": scores(0.15, 0.0), "challenger": scores(0.4, unfair)}
    return Rows(HOURS, truth, outputs, {"g": groups})


def test_a_better_but_less_fair_challenger_is_stopped() -> None:
    gate = {
        "metric": "equalizedOddsDifference",
        "attributes": "g",
        "limit": 0.1,
        "tolerance": 0.02,
        "minimumGroup": 50,
    }
    rule = {**GATE, "metric": "logLoss", "baseline": False, "fairness": [gate]}
    assert failed(decide("gates", rule, FACTS, fair_rows(0.0))) == set()
    stopped = decide("gates", rule, FACTS, fair_rows(0.25))
    assert failed(stopped) == {"fairness"} and "between g=a and g=b" in stopped.reason
    breach = {
        "metric": "equalizedOddsDifference",
        "labels": 400,
        "limit": 0.1,
        "attributes": "g",
        "minimumGroup": 50,
    }
    one = fair_rows(0.25)
    one.outputs["champion"] = one.outputs["challenger"]
    found = decide("breach", breach, {}, one)
    assert found.answer == "breached" and found.numbers["high"] == "g=a"
    assert decide("breach", {**breach, "minimumGroup": 300}, {}, one).answer == "waits"


def test_shadow_and_canary() -> None:
    rule = {"metric": "meanAbsoluteError", "labels": 400, "rollbackRatio": 1.2}
    assert decide("shadow", rule, {}, rows(0.3, 0.2)).answer == "go on"
    assert decide("canary", rule, {}, rows(0.3, 0.5)).answer == "roll back"
    assert decide("canary", rule, {}, rows(0.3, 0.31)).answer == "go on"
    few = rows(0.3, 0.2).newest(100)
    assert decide("canary", rule, {}, few).answer == "waits"
    early = rows(0.1, 0.9).newest(200)
    assert decide("canary", rule, {}, early).answer == "roll back"  # before all labels are there
    assert decide("shadow", {**rule, "labels": 0}, {}, few).answer == "go on"


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.01, 2),
    st.floats(0.01, 2),
    st.floats(0, 0.9),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_nothing_passes_with_a_failed_gate_and_evidence_replays(
    tmp_path_factory: Any,
    champion: float,
    challenger: float,
    margin: float,
    certain: bool,
    seen: bool,
    seed: int,
) -> None:
    """Whatever the numbers: passed means every gate passed; and written evidence gives the same decision."""
    rng = np.random.default_rng(seed)
    found = Rows(HOURS, TRUTH)
    found.outputs["champion"] = TRUTH * (1 + champion * rng.normal(size=400))
    found.outputs["challenger"] = TRUTH * (1 + challenger * rng.normal(size=400))
    rule = {**GATE, "margin": margin, "certain": certain}
    facts = {**FACTS, "trainedUntil": 3600.0 if seen else -1.0}
    decision = decide("gates", rule, facts, found)
    assert (decision.answer == "passed") == (not failed(decision))
    assert not (seen and decision.answer == "passed")
    better = (
        np.abs(found.outputs["challenger"] - TRUTH).mean() < np.abs(found.outputs["champion"] - TRUTH).mean()
    )
    assert better or decision.answer == "failed"
    home = tmp_path_factory.mktemp("evidence")
    again = steward_evidence.read(home, steward_evidence.write(home, RandomIds(), found))
    assert decide("gates", rule, facts, again) == decision


def test_evidence_of_a_classifier_with_groups_replays(tmp_path: Any) -> None:
    found = fair_rows(0.1)
    again = steward_evidence.read(tmp_path, steward_evidence.write(tmp_path, RandomIds(), found))
    assert again.groups == found.groups and (again.outputs["champion"] == found.outputs["champion"]).all()


def test_errors_and_saturation_are_counted_not_logged() -> None:
    rule = {"metric": "errorRate", "labels": 100, "limit": 0.01}
    nobody = steward_evidence.nothing()
    assert decide("breach", rule, {}, nobody).answer == "waits"
    found = decide("breach", rule, {"service": {"requests": 400, "errorRate": 0.02}}, nobody)
    assert found.answer == "breached" and "400 requests" in found.reason
    assert decide("breach", rule, {"service": {"requests": 400, "errorRate": 0.0}}, nobody).answer == "holds"


def test_costs_decide_as_any_metric() -> None:
    rng = np.random.default_rng(2)
    chance = rng.uniform(0, 1, 400)
    truth = (rng.uniform(0, 1, 400) < chance).astype(float)
    scores = np.stack([1 - chance, chance], axis=1)
    cost = {"matrix": [[0, 1], [10, 0]]}
    made = Rows(HOURS, truth, {"champion": scores, "challenger": scores}, {}, {"challenger": 0.09})
    breach = decide("breach", {"metric": "cost", "cost": cost, "labels": 400, "limit": 0.6}, {}, made)
    assert breach.answer == "breached" and breach.numbers["bestThreshold"] < 0.3
    gates = {**GATE, "metric": "cost", "cost": cost, "baseline": False}
    assert decide("gates", gates, FACTS, made).answer == "passed", (
        "the same scores, decided by a better threshold"
    )
    assert decide("gates", {**gates, "cost": {"matrix": [[0, 10], [1, 0]]}}, FACTS, made).answer == "failed"
    step = {"metric": "cost", "cost": cost, "labels": 400, "rollbackRatio": 1.2}
    assert decide("canary", step, {}, made).answer == "go on"
    worse = Rows(HOURS, truth, made.outputs, {}, {"challenger": 0.99})
    assert decide("canary", step, {}, worse).answer == "roll back"


def test_what_restores_fairness_may_be_a_little_worse() -> None:
    rng = np.random.default_rng(8)
    group = np.arange(400) % 2
    truth = (rng.uniform(0, 1, 400) < 0.5).astype(float)
    certain = np.where(truth == 1, 0.8, 0.2)
    unfair = np.where((group == 1) & (rng.uniform(0, 1, 400) < 0.5), 0.2, certain)
    fair = np.clip(certain + rng.normal(0, 0.02, 400), 0.01, 0.99)
    outputs = {name: np.stack([1 - p, p], axis=1) for name, p in (("champion", unfair), ("challenger", fair))}
    names = ["sex=a" if g else "sex=b" for g in group]
    made = Rows(HOURS, truth, outputs, {"sex": names})
    restores = {"metric": "equalOpportunityDifference", "attributes": "sex", "minimumGroup": 50, "limit": 0.1}
    rule = {**GATE, "metric": "accuracy", "baseline": False, "restores": restores, "tolerance": 0.02}
    assert decide("gates", rule, FACTS, made).answer == "passed"
    turned = Rows(
        HOURS, truth, {"champion": outputs["challenger"], "challenger": outputs["champion"]}, made.groups
    )
    assert {"fair again", "hardly worse than the champion"} <= failed(decide("gates", rule, FACTS, turned))


PROMOTION = {
    "metric": "meanAbsoluteError",
    "last": "canary 50%",
    "labels": 40,
    "certain": True,
    "tolerance": 0.0,
}


def seen_in(stages: dict[str, tuple[int, float, float]], seed: int = 0) -> Any:
    """The decision on stages of so many labels each, with the noise of champion and challenger."""
    rng = np.random.default_rng(seed)
    parts = []
    for place, (stage, (count, champion, challenger)) in enumerate(stages.items()):
        truth = rng.gamma(3, 40, count)
        made = Rows((np.arange(count) + 1000 * place) * 3600.0, truth)
        errors = 40 * np.linspace(-2, 2, count)  # the same ones, so that who is better is no matter of chance
        for name, noise in (("champion", champion), ("challenger", challenger)):
            made.outputs[name] = truth + noise * rng.permutation(errors)
        parts.append((stage, made))
    return decide("promotion", PROMOTION, {}, pooled(parts))


def test_a_promotion_rests_on_all_that_was_seen() -> None:
    before = {"gates": (200, 1.0, 0.3), "shadow": (60, 1.0, 0.4)}
    good = seen_in({**before, "canary 50%": (40, 1.0, 0.5)})
    assert good.answer == "promote" and good.numbers["labels"] == 300
    assert "gates 200, shadow 60, canary 50% 40" in good.reason and "95% interval" in good.reason
    chance = seen_in({**before, "canary 50%": (40, 0.5, 0.55)}, seed=1)
    assert chance.numbers["last"]["gain"] < 0, "the canary alone shows it worse"
    assert (
        chance.answer == "promote" and "In the last step alone" in chance.reason and "Chance" in chance.reason
    )
    surely = seen_in({**before, "canary 50%": (40, 0.1, 0.9)})
    assert surely.answer == "roll back" and "beyond chance" in surely.reason


def test_the_gates_alone_promote_nobody_whom_later_labels_speak_against() -> None:
    worse = {"gates": (200, 1.0, 0.5), "shadow": (60, 0.5, 0.55)}
    waits = seen_in({**worse, "canary 50%": (40, 0.5, 0.55)}, seed=1)
    assert waits.answer == "waits" and "120 at most" in waits.reason and "Since the gates" in waits.reason
    back = seen_in({**worse, "canary 50%": (120, 0.5, 0.6)}, seed=1)
    assert back.answer == "roll back" and "The champion stays" in back.reason


def test_a_label_of_several_stages_counts_once() -> None:
    parts = []
    for place, stage in enumerate(("gates", "shadow")):
        made = Rows(np.arange(3.0) + place, np.ones(3), {"champion": np.ones(3), "challenger": np.ones(3)})
        made.labels, made.instances = np.array([7, 8, 9 + place]), np.array([1, 1, 2])
        parts.append((stage, made))
    whole = pooled(parts)
    assert whole.rest() == {"labels": 4, "instances": 2}
    assert whole.groups["stage"] == ["shadow", "gates", "shadow", "shadow"]


def test_one_instance_passes_no_gate() -> None:
    """Four hundred labels of one instance are no sample of the world."""
    made = Rows(
        HOURS, np.full(400, 100.0), {"champion": np.full(400, 20.0), "challenger": np.full(400, 99.0)}
    )
    made.labels, made.instances = np.arange(400), np.zeros(400, np.int64)
    decision = decide("gates", {**GATE, "baseline": False}, FACTS, made)
    assert failed(decision) == {"better than the champion"} and "400 labels of 1 instance" in str(
        decision.numbers
    )
    assert (decision.numbers["labels"], decision.numbers["instances"]) == (400, 1)


def test_the_gates_say_that_the_training_was_cut_short() -> None:
    facts = {**FACTS, "cutShort": "It stopped after 4 trees, before its plateau."}
    assert (
        "Of the challenger: It stopped after 4 trees" in decide("gates", GATE, facts, rows(0.5, 0.1)).reason
    )
