"""Drift as a steward sees it: windows of a champion's predictions beside its first one.

What does no harm is noted and let be. The first window is kept in the store (see `store.windows`), under the steward's
name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.services.call import Rooms
from portico.services.portico.joining import Outcome
from portico.services.portico.steward.decide import decide
from portico.services.portico.steward.decision import Decision
from portico.services.portico.steward.evidence import Rows, nothing
from portico.services.portico.steward.rows import Models
from portico.services.portico.steward.spec import Spec
from portico.services.portico.steward.watched import Watched
from portico.services.portico.stewards import StewardPrivate
from portico.store import windows
from portico.store.resources import Resource
from portico.store.windows import StoredWindow

_KEPT = 50  # observations


@dataclass(slots=True)
class DriftSeen:
    """A window that was compared. `first` is a reference that must be stored."""

    rule: dict[str, Any]
    facts: dict[str, Any]
    rows: Rows
    decision: Decision
    status: dict[str, Any]
    place: list[Any]
    first: StoredWindow | None = None


class Drift:
    def __init__(self, rooms: Rooms, models: Models) -> None:
        self._rooms, self._models = rooms, models

    def look(
        self, watched: Watched, steward: Resource, spec: Spec, champion: dict[str, Any]
    ) -> DriftSeen | None:
        """The newest whole window that was not seen before, beside the champion's first; None where there is none."""
        held = StewardPrivate.of(steward).drift
        place = tuple(held["place"]) if held.get("champion") == champion["id"] else (-math.inf, 0, 0)
        if not self._models.kinds(champion):
            return None
        fresh = watched.after(champion["id"], place)
        whole = len(fresh) // spec.drift.rows
        if not whole:
            return None
        window = fresh[(whole - 1) * spec.drift.rows : whole * spec.drift.rows]
        with self._rooms.database.read() as connection:
            stored = windows.listed(connection, steward.name, champion["id"], limit=1)
        first = None
        if not stored:
            stored = [first := self._first(steward.name, spec, champion, fresh[: spec.drift.rows])]
            if whole == 1:
                return self._seen(spec, stored[0], window, first, compared=False)
        return self._seen(spec, stored[0], window, first)

    def _first(self, name: str, spec: Spec, champion: dict[str, Any], rows: list[Outcome]) -> StoredWindow:
        from portico.ml.watch.bins import count, fit_bins

        kinds = self._models.kinds(champion)
        asked = set(spec.drift.features) or set(kinds)
        table = _table(rows, sorted(asked))
        bins = fit_bins(table, {name: kind for name, kind in kinds.items() if name in asked})
        body = {
            "bins": [one.to_json() for one in bins],
            "counts": {name: counts.to_json() for name, counts in count(table, bins).items()},
            "rows": len(rows),
        }
        return StoredWindow(name, champion["id"], rows[0].time, rows[-1].time, body)

    def _seen(
        self,
        spec: Spec,
        reference: StoredWindow,
        window: list[Outcome],
        first: StoredWindow | None,
        compared: bool = True,
    ) -> DriftSeen:
        from portico.ml.watch.bins import FeatureBins, count

        bins = [FeatureBins.from_json(one) for one in reference.body["bins"]]
        counted = count(_table(window, [one.name for one in bins]), bins)
        rule = {"metric": "drift", "threshold": spec.drift.threshold}
        facts = {
            "bins": reference.body["bins"],
            "reference": reference.body["counts"],
            "window": {name: counts.to_json() for name, counts in counted.items()},
            "rows": len(window),
        }
        decision = decide("drift", rule, facts, nothing())
        status = {
            "endTime": rfc3339(window[-1].time), "rows": len(window), "referenceRows": reference.body["rows"],
            "features": decision.numbers["features"],
            "message": decision.reason if compared else "The first window: later ones are compared with it.",
        }  # fmt: skip
        return DriftSeen(rule, facts, nothing(), decision, status, list(window[-1].place), first)


def store(connection: Connection, seen: DriftSeen, private: StewardPrivate, champion: dict[str, Any]) -> None:
    """Notes what was seen, in the caller's transaction."""
    if seen.first is not None:
        windows.put(connection, seen.first)
    private.drift = {"champion": champion["id"], "place": seen.place}


def observed(
    before: list[dict[str, Any]], seen: DriftSeen | None, harm: bool, now: float
) -> tuple[list[dict[str, Any]], str]:
    """The observations after a look, the newest first, and since when features have drifted (empty: they have not).

    An observation lasts as long as windows show drift. `harm` is whether anything is not acceptable now.
    """
    kept = [dict(one) for one in before[:_KEPT]]
    last = kept[0] if kept and "endTime" not in kept[0] else None
    if last is not None:
        last["harm"] = bool(last.get("harm") or harm)
    if seen is not None:
        names = [one["feature"] for one in seen.status["features"]]
        if last is None and names:
            last = {"startTime": rfc3339(now), "features": names, "harm": harm}
            kept.insert(0, last)
        elif last is not None and names:
            last["features"] = sorted({*last["features"], *names})
        elif last is not None:
            last["endTime"] = rfc3339(now)
    if last is not None:
        moved = ", ".join(last["features"])
        last["message"] = (
            f"{moved} drifted, and something was not acceptable meanwhile."
            if last["harm"]
            else f"{moved} drifted; everything acceptable held, so it was let be."
        )
    return kept[:_KEPT], last["startTime"] if last is not None and "endTime" not in last else ""


def _table(rows: list[Outcome], names: list[str]) -> Any:
    from portico.ml.tables import rows_to_batch

    instances = [row.instance for row in rows]
    return rows_to_batch(
        [{name: i.get(name) if isinstance(i, dict) else None for name in names} for i in instances]
    )
