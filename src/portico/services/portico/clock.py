"""The domain clock: read it, and advance it through years of simulated time."""

from __future__ import annotations

import asyncio
from typing import Any

from portico.clock import duration_seconds, parse_rfc3339, rfc3339
from portico.errors import FailedPrecondition, InvalidArgument
from portico.prediction.front.sync import await_fronts
from portico.services.call import Call, implements
from portico.services.standard.settling import settled
from portico.store import domain_clock

_FRONTS = 30.0  # seconds
_LAST = parse_rfc3339("9999-12-31T00:00:00Z")  # a Timestamp ends there
_DUE = 600.0  # seconds that what is due may take


@implements("portico", "clock.get")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        found = domain_clock.simulated(connection)
        return _shown(domain_clock.now(connection, call.rooms.clock), found is not None)


@implements("portico", "clock.advance")
async def advance(call: Call) -> dict[str, Any]:
    given = [key for key in ("time", "duration") if call.body.get(key)]
    if len(given) != 1:
        raise InvalidArgument("Give either the time to go to or the duration to go.", field="time")
    await settled(call.rooms.home, _DUE)  # what was answered before belongs to the time before
    to = await asyncio.to_thread(_move, call, given[0])
    await settled(call.rooms.home, _DUE)
    return _shown(to, True)


def _move(call: Call, given: str) -> float:
    """Moves the clock, and returns where it is when every front knows."""
    with call.rooms.database.write() as connection:
        found = domain_clock.simulated(connection)
        now = round(domain_clock.now(connection, call.rooms.clock), 6)  # as a Timestamp shows it
        if given == "time":
            to = parse_rfc3339(call.body["time"])
        else:
            to = now + duration_seconds(call.body["duration"])
        to = round(to, 6)
        if to > _LAST:
            raise InvalidArgument("The domain clock ends with the year 9999.", field=given)
        # The first advance may begin a simulation in the past: no simulated time goes back.
        if to < now and (found is not None or given == "duration"):
            raise FailedPrecondition(
                f"The domain clock shows {rfc3339(now)}; it does not go back to {rfc3339(to)}."
            )
        version = domain_clock.advance(connection, to)
    await_fronts(call.rooms.home, version, timeout=_FRONTS)
    return to


def _shown(seconds: float, simulated: bool) -> dict[str, Any]:
    return {"time": rfc3339(seconds), "simulated": simulated}
