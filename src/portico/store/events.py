"""Events that triggers wait for: noted in the transaction of what happened, taken in the one that answers it, so that
each is answered once, whatever is killed when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.ids import RandomIds
from portico.store import domain_clock
from portico.store.tables.events import events, watches

OBJECT: Final = "OBJECT_FINALIZED"
DATASET_VERSION: Final = "DATASET_VERSION_CREATED"
ALERT: Final = "ALERT_OPENED"
_ids = RandomIds()
_w, _e = watches.c, events.c
_watching = sa.select(_w.trigger, _w.prefix, _w.suffix).where(
    _w.kind == sa.bindparam("of"), _w.subject == sa.bindparam("at")
)
_pending = sa.select(_e.trigger).distinct()
_first = sa.select(events).where(_e.trigger == sa.bindparam("of")).order_by(_e.noted, _e.id)


@dataclass(frozen=True, slots=True)
class Event:
    """`time` is domain time in seconds."""

    id: int
    trigger: str
    time: float
    facts: dict[str, Any]


def note(
    connection: Connection, kind: str, subject: str, facts: Mapping[str, Any], now: float, name: str = ""
) -> None:
    """Notes an event at `subject` for every trigger that waits for it. `now` is the wall clock, `name` that of the
    object within its bucket."""
    for trigger, prefix, suffix in connection.execute(_watching, {"of": kind, "at": subject}).all():
        if name.startswith(prefix) and name.endswith(suffix):
            simulated = domain_clock.simulated(connection)
            values = {
                "id": int(_ids.number()),
                "trigger": trigger,
                "noted": now,
                "time": now if simulated is None else simulated,
                "facts": orjson.dumps({"kind": kind, **facts}),
            }
            connection.execute(sa.insert(events), values)


def watch(
    connection: Connection, trigger: str, kind: str, subject: str, prefix: str = "", suffix: str = ""
) -> None:
    """Has `trigger` wait for events of this kind alone, from now on."""
    connection.execute(sa.delete(watches).where(_w.trigger == trigger))
    values = {"trigger": trigger, "kind": kind, "subject": subject, "prefix": prefix, "suffix": suffix}
    connection.execute(sa.insert(watches), values)


def unwatch(connection: Connection, trigger: str) -> None:
    """Nothing more is noted for `trigger`; what was noted stays."""
    connection.execute(sa.delete(watches).where(_w.trigger == trigger))


def forget(connection: Connection, trigger: str) -> None:
    """Removes all that there is of `trigger`."""
    unwatch(connection, trigger)
    connection.execute(sa.delete(events).where(_e.trigger == trigger))


def waiting(connection: Connection) -> list[str]:
    """The triggers for which events wait."""
    return sorted(connection.execute(_pending).scalars())


def first(connection: Connection, trigger: str) -> Event | None:
    """The oldest event that waits for `trigger`."""
    return next(iter(oldest(connection, trigger, 1)), None)


def oldest(connection: Connection, trigger: str, most: int) -> list[Event]:
    """At most so many of the events that wait for `trigger`, the oldest first."""
    rows = connection.execute(_first.limit(most), {"of": trigger}).all()
    return [Event(row.id, row.trigger, row.time, orjson.loads(row.facts)) for row in rows]


def take(connection: Connection, event: Event) -> bool:
    """Removes an event, in the transaction of what is done about it; False where that was done before."""
    return bool(connection.execute(sa.delete(events).where(_e.id == event.id)).rowcount)
