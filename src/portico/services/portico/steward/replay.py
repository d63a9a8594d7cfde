"""A recorded decision made again from its rule, its facts and its rows; what is not as it was recorded is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portico.services.portico.steward import evidence as steward_evidence
from portico.services.portico.steward.decide import decide
from portico.services.portico.steward.decision import counted, digest_of
from portico.services.portico.steward.evidence import Rows


def replayed(home: Path, record: dict[str, Any]) -> dict[str, Any]:
    """A `ReplayedDecision`. Whatever is damaged is named, and then the decision does not agree."""
    damaged = []
    if "digest" in record and record["digest"] != digest_of(record):
        damaged.append("the record: its rule, facts, numbers or reason are not those that were written")
    rows, lost = _rows(home, record)
    damaged += lost
    answer, reason, same = "", "", False
    if rows is not None:
        try:
            made = decide(record["question"], record["rule"], record["facts"], rows)
        except Exception as error:  # a damaged record may break anything in it
            damaged.append(f"the record: its rule and facts can't be read ({type(error).__name__}: {error})")
        else:
            answer, reason = made.answer, made.reason
            # What a later version adds to the numbers contradicts nothing.
            again = {key: made.numbers.get(key) for key in record.get("numbers") or {}}
            same = answer == record.get("answer") and again == record.get("numbers")
    if damaged:
        reason = f"Damaged: {'; '.join(damaged)}."
    shown = {"question": str(record.get("question", "")), "recorded": str(record.get("answer", "")),
             "replayed": answer, "agrees": same and not damaged, "reason": reason}  # fmt: skip
    shown |= {"time": record["time"]} if record.get("time") else {}
    return {**shown, "damaged": damaged} if damaged else shown


def _rows(home: Path, record: dict[str, Any]) -> tuple[Rows | None, list[str]]:
    """The rows of a decision, and what is damaged of them."""
    name = str(record.get("evidence", ""))
    try:
        rows = steward_evidence.read(home, name, record.get("evidenceDigest", ""))
    except FileNotFoundError:
        return None, [f"the evidence: {name} is gone"]
    except OSError as error:
        return None, [f"the evidence: {error}"]
    told = {key: record[key] for key in ("rows", "labels", "instances") if key in record}
    found = (
        {"rows": len(rows), **counted(record["question"], record["rule"], rows)} if "rule" in record else told
    )
    if any(found.get(key) != value for key, value in told.items()):
        return rows, [f"the evidence: it holds {found}, and {told} were recorded"]
    return rows, []
