"""What a decision is, and how an episode keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from portico.clock import rfc3339
from portico.services.call import Rooms
from portico.services.portico.steward import evidence as steward_evidence
from portico.services.portico.steward.evidence import Rows
from portico.services.portico.steward.measures import higher_is_better
from portico.services.portico.steward.spec import SERVICE

_LABELLED = ("breach", "gates", "shadow", "canary", "promotion")


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
    """A decision as an episode keeps it; its rows are on disk when this returns.

    `evidenceDigest` is of the file of rows, `digest` of all else: what was damaged since then is told apart.
    """
    name = steward_evidence.write(rooms.home, rooms.ids, rows)
    record = {
        "question": question, "time": rfc3339(now), "rule": rule, "facts": facts, "answer": decision.answer,
        "reason": decision.reason, "numbers": decision.numbers, "rows": len(rows), **counted(question, rule, rows),
        "evidence": name, "evidenceDigest": steward_evidence.digest(rooms.home, name),
    }  # fmt: skip
    return {**record, "digest": digest_of(record)}


def counted(question: str, rule: Mapping[str, Any], rows: Rows) -> dict[str, int]:
    """On how many distinct labels and instances a decision rests, where its rows are labelled."""
    labelled = question in _LABELLED and rule["metric"] not in SERVICE
    return rows.rest() if labelled and len(rows) else {}


def digest_of(record: Mapping[str, Any]) -> str:
    """Of a recorded decision, as "sha256:…": of everything in it but the digest itself."""
    known = {key: value for key, value in record.items() if key != "digest"}
    text = orjson.dumps(known, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def limit_of(rule: Mapping[str, Any], facts: Mapping[str, Any]) -> float:
    """The worst acceptable value: fixed, or relative to the metric's value when the model was deployed.

    A metric that is better high is divided by `timesReference`: 1.25 allows an accuracy of 0.8 where it was 1.
    """
    if rule.get("limit") is not None:
        return float(rule["limit"])
    times, reference = float(rule["timesReference"]), float(facts["reference"])
    return reference / times if higher_is_better(rule["metric"]) else reference * times
