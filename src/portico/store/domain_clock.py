"""The domain clock: the time of windows, label delays, cool-downs and canaries (design decision 7).

It is the wall clock until somebody advances it; from then on it is simulated: durable state, the same in every
process, moved by nobody but `advance`. Leases, timeouts and tokens never look at it.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.clock import Clock
from portico.store import served
from portico.store.database import bump
from portico.store.tables.home import domain_clock as _table

_now = sa.select(_table.c.now)


def simulated(connection: Connection) -> float | None:
    """The simulated time, in seconds since the epoch; None while the domain clock is the wall clock."""
    value = connection.execute(_now).scalar()
    return None if value is None else float(value)


def advance(connection: Connection, to: float) -> int:
    """Moves the domain clock to `to`; returns the version that fronts serve when they know it.

    Raises:
        ValueError: `to` lies before the simulated time.
    """
    before = simulated(connection)
    if before is None:
        connection.execute(sa.insert(_table).values(now=to))
    elif to < before:
        raise ValueError("the domain clock does not go back")
    else:
        connection.execute(sa.update(_table).values(now=to))
    return bump(connection, served.TOPIC)


def now(connection: Connection, clock: Clock) -> float:
    """The domain time in seconds since the epoch, read anew each time: what one process advanced, every other sees."""
    found = simulated(connection)
    return clock.now() if found is None else found
