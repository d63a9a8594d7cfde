"""When a steward's job takes its turn: when it is to look, and when what its episode waited for may have come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import Clock, duration_seconds
from portico.prediction.prediction_log import stream_of
from portico.services.portico.stewards import KIND, STEWARDS, StewardPrivate
from portico.services.standard.standing import State
from portico.store import domain_clock, labels, resources, segments
from portico.store.resources import Resource

_ANYWAY = 30.0  # seconds after which an open episode is looked at though nothing has come


class StewardsDue:
    """A `Standing`: who is to look, and whose open episode may go on."""

    kind = KIND

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._marks: dict[str, Any] = {}

    def due(self, connection: Connection, now: float, states: Mapping[str, State]) -> Iterable[str]:
        marks: dict[str, Any] = {}
        for steward in resources.listed(connection, STEWARDS.kind):
            mark = before = self._marks.get(steward.name)
            if states.get(steward.name, "ready") == "ready":
                mark = self._mark(connection, steward)
                looks = steward.body["state"] != "PAUSED" and is_due(steward, now)
                if mark != before or (looks and resources.get(connection, steward.body["endpoint"])):
                    yield steward.name
            marks[steward.name] = mark
        self._marks = marks

    def _mark(self, connection: Connection, steward: Resource) -> Any:
        """What an open episode may have waited for; None where none is open."""
        opened = StewardPrivate.of(steward).episode
        episode = resources.get(connection, opened) if opened else None
        if episode is None:
            return None
        endpoint = resources.get(connection, steward.body["endpoint"])
        return (
            steward.revision,
            episode.revision,
            endpoint and endpoint.revision,
            labels.newest(connection, steward.body["endpoint"]),
            segments.newest(connection, stream_of(steward.body["endpoint"])),
            domain_clock.simulated(connection),
            self._clock.monotonic() // _ANYWAY,
        )


def is_due(steward: Resource, now: float) -> bool:
    """Whether the next look's time has come; or lies more than an interval ahead: then the wall clock went back."""
    ahead = (StewardPrivate.of(steward).next or 0.0) - now
    return ahead <= 0 or ahead > (duration_seconds(steward.body.get("checkInterval") or "") or ahead)
