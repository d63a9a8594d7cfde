"""What stewards do when they look: from what is acceptable to an episode's end, step by step.

Every step is one transaction that moves the episode and whatever moves with it (jobs, traffic); killed at any moment,
the next look goes on from the last one. Belongs to the watcher's process.
"""

from __future__ import annotations

import logging

from portico.clock import duration_seconds
from portico.services.call import Rooms
from portico.services.portico.steward import evidence as steward_evidence
from portico.services.portico.steward.case import Case, Moved
from portico.services.portico.steward.look import Look
from portico.services.portico.steward.rows import Models
from portico.services.portico.steward.states import States
from portico.services.portico.steward.watched import Watched
from portico.services.portico.stewards import EPISODES, STEWARDS, StewardPrivate, evidence_of
from portico.store import domain_clock, home, resources
from portico.store.resources import Resource
from portico.store.segments import Segment, Segments

log = logging.getLogger(__name__)

_REST = 30  # seconds after a failure of our own
_TRIES = 5  # of a step that fails, then the episode is given up


class Stewards:
    def __init__(self, rooms: Rooms, log_segments: Segments) -> None:
        self._rooms = rooms
        self._segments = log_segments
        self._watched: dict[str, Watched] = {}
        models = Models(rooms)
        self._look = Look(rooms, models)
        self._states = States(rooms, models)
        self._rests: dict[str, float] = {}  # stewards that failed, until when
        self._failures: dict[str, int] = {}  # how often, one after the other
        with rooms.database.read() as connection:
            every = resources.listed(connection, EPISODES.kind)
            needed = {file for episode in every for file in evidence_of(episode)}
            runs = home.runs(connection)
        steward_evidence.sweep(rooms.home, needed, runs)

    def take(self, made: list[Segment]) -> None:
        """Reads new segments of the prediction log; call it before they are merged."""
        for segment in made:
            for watched in self._watched.values():
                watched.take(segment)

    def run_due(self) -> bool:
        """Does what is due; returns whether none of our own work (training, deploying) is under way."""
        with self._rooms.database.read() as connection:
            now = domain_clock.now(connection, self._rooms.clock)
            found = list(resources.listed(connection, STEWARDS.kind))
        wanted = {steward.body["endpoint"] for steward in found}
        self._watched = {name: watched for name, watched in self._watched.items() if name in wanted}
        idle = True
        for steward in found:
            if self._rooms.clock.monotonic() < self._rests.get(steward.name, 0.0):
                continue
            try:
                while (moved := self._step(steward.name, now)) == "moved":
                    pass
                idle = idle and moved == "waits"
                self._failures.pop(steward.name, None)
            except Exception as error:
                log.exception("%s can't go on; it tries again in %d s", steward.name, _REST)
                self._rests[steward.name] = self._rooms.clock.monotonic() + _REST
                self._failed(steward.name, error, now)
        return idle

    def _failed(self, name: str, error: Exception, now: float) -> None:
        """Says what went wrong; an episode that fails again and again ends, so that none is stuck for ever."""
        words = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        try:
            with self._rooms.database.write() as connection:
                steward = resources.get(connection, name)
                if steward is None or steward.kind != STEWARDS.kind:
                    return
                said = f"The last look failed, and is tried again: {words}"
                steward.body["status"] = {**steward.body.get("status", {}), "message": said}
                resources.update(connection, steward, self._rooms.clock.now())
                open_now = StewardPrivate.of(steward).episode
                episode = resources.get(connection, open_now) if open_now else None
                if episode is None:
                    return
                episode.body["waitsFor"] = f"Its last step failed {failures} times: {words}"
                resources.update(connection, episode, self._rooms.clock.now())
                endpoint = resources.get(connection, steward.body["endpoint"])
            if failures >= _TRIES:
                case = Case(self._rooms, self._of(steward.body["endpoint"]), steward, episode, endpoint, now)
                case.end("ABANDONED", f"It can't go on after {failures} tries: {words}")
        except Exception:
            log.exception("what failed of %s can't be noted", name)

    def _step(self, name: str, now: float) -> Moved:
        with self._rooms.database.read() as connection:
            steward = resources.get(connection, name)
            if steward is None or steward.kind != STEWARDS.kind:
                return "waits"
            private = StewardPrivate.of(steward)
            endpoint = resources.get(connection, steward.body["endpoint"])
            episode = resources.get(connection, private.episode) if private.episode else None
        watched = self._of(steward.body["endpoint"])
        watched.time_column = private.data.get("timeColumn", "")
        if episode is not None:
            moved = self._states.step(Case(self._rooms, watched, steward, episode, endpoint, now))
            if moved != "waits":
                return moved
        if steward.body["state"] == "PAUSED" or endpoint is None or not is_due(steward, now):
            return "waits"
        return self._look.check(watched, steward, endpoint, now)

    def _of(self, endpoint: str) -> Watched:
        watched = self._watched.get(endpoint)
        if watched is None:
            watched = self._watched[endpoint] = Watched(self._rooms, self._segments, endpoint)
        watched.refresh()
        return watched


def is_due(steward: Resource, now: float) -> bool:
    """Whether the next look's time has come; or lies more than an interval ahead: then the wall clock went back."""
    ahead = (StewardPrivate.of(steward).next or 0.0) - now
    return ahead <= 0 or ahead > (duration_seconds(steward.body.get("checkInterval") or "") or ahead)
