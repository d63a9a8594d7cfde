"""What a decision is, and how an episode keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portico.clock import rfc3339
from portico.services.call import Rooms
from portico.services.portico.steward import evidence as steward_evidence
from portico.services.portico.steward.evidence import Rows
from portico.services.portico.steward.measures import higher_is_better


@dataclass(frozen=True, slots=True)
class Decision:
    """`answer` is what happens next, `numbers` what it was computed from, `reason` a sentence for people."""

    answer: str
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)


def recorded(
    question: str, rule: dict[str, Any], facts: dict[str, Any], decision: Decision, now: float, rows: Rows,
    rooms: Rooms,
) -> dict[str, Any]:  # fmt: skip
    """A decision as an episode keeps it; its rows are on disk when this returns."""
    return {
        "question": question, "time": rfc3339(now), "rule": rule, "facts": facts, "answer": decision.answer,
        "reason": decision.reason, "numbers": decision.numbers, "rows": len(rows),
        "evidence": steward_evidence.write(rooms.home, rooms.ids, rows),
    }  # fmt: skip


def limit_of(rule: Mapping[str, Any], facts: Mapping[str, Any]) -> float:
    """The worst acceptable value: fixed, or relative to the metric's value when the model was deployed.

    A metric that is better high is divided by `timesReference`: 1.25 allows an accuracy of 0.8 where it was 1.
    """
    if rule.get("limit") is not None:
        return float(rule["limit"])
    times, reference = float(rule["timesReference"]), float(facts["reference"])
    return reference / times if higher_is_better(rule["metric"]) else reference * times
