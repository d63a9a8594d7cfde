"""What stewards do when they look: from what is acceptable to an episode's end, step by step.

Every step is one transaction that moves the episode and whatever moves with it (jobs, traffic); killed at any moment,
the next look goes on from the last one. The job that does them stands as long as its steward
(`services.standard.standing`); trainings and deployments are its children.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

from portico.jobs.kinds import Wait
from portico.jobs.worker import Context
from portico.services.call import Rooms, rooms_of
from portico.services.portico.steward import evidence as steward_evidence
from portico.services.portico.steward.case import Case, Moved
from portico.services.portico.steward.due import is_due
from portico.services.portico.steward.look import Look
from portico.services.portico.steward.rows import Models
from portico.services.portico.steward.states import States
from portico.services.portico.steward.watched import Watched
from portico.services.portico.stewards import EPISODES, STEWARDS, EpisodePrivate, StewardPrivate, evidence_of
from portico.store import domain_clock, home, jobs, resources
from portico.store.backend import DatabaseAway
from portico.store.resources import Resource
from portico.store.segments import Segments

log = logging.getLogger(__name__)

_REST, _LONGEST = 30.0, 300.0  # seconds until what failed is tried again
_TRIES = 5  # of a step that fails, then the episode is given up
_AGAIN = 1.0  # seconds until work that is no child of ours is looked at again


_stewards: dict[Path, Stewards] = {}  # of this process


def run(context: Context) -> Wait | None:
    """A turn: all that is due now, in domain time."""
    stewards = _stewards.get(context.home)
    if stewards is None:
        log_segments = Segments(context.home, context.database, context.clock, context.ids)
        stewards = _stewards[context.home] = Stewards(rooms_of(context), log_segments)
    return stewards.turn(context.job.resource, context.job.id)


class Stewards:
    """What one process keeps for the turns of all stewards, which it runs one after the other."""

    def __init__(self, rooms: Rooms, log_segments: Segments) -> None:
        self._rooms = rooms
        self._segments = log_segments
        self._watched: dict[str, Watched] = {}  # by steward
        models = Models(rooms)
        self._look = Look(rooms, models)
        self._states = States(rooms, models)
        self._failures: dict[str, int] = {}  # of stewards, one after the other
        with rooms.database.read() as connection:
            every = resources.listed(connection, EPISODES.kind)
            needed = {file for episode in every for file in evidence_of(episode)}
            needed |= {EpisodePrivate.of(episode).asked.get("file", "") for episode in every}
            runs = home.runs(connection)
        steward_evidence.sweep(rooms.home, needed, runs)

    def turn(self, name: str, job: str = "") -> Wait | None:
        """None where the steward is gone. `job` is the one whose turn it is, the parent of what is started."""
        with self._rooms.database.read() as connection:
            now = domain_clock.now(connection, self._rooms.clock)
            there = resources.get(connection, name)
        if there is None or there.kind != STEWARDS.kind:
            self._watched.pop(name, None)
            self._failures.pop(name, None)
            return None
        try:
            moved = self._steps(name, now, job)
        except DatabaseAway:
            raise
        except Exception as error:
            log.exception("%s can't go on", name)
            failures = self._failures[name] = self._failures.get(name, 0) + 1
            self._failed(name, error, failures, now)
            return Wait(self._rooms.clock.now() + min(_REST * 2 ** (failures - 1), _LONGEST))
        self._failures.pop(name, None)
        if moved == "waits":
            return Wait(math.inf)
        return Wait() if self._works(job) else Wait(self._rooms.clock.now() + _AGAIN)

    def _steps(self, name: str, now: float, job: str) -> Moved:
        while True:
            moved = self._step(name, now, job)
            if moved == "busy" and not self._works(job):  # it has ended just now
                moved = self._step(name, now, job)
            if moved != "moved":
                return moved

    def _works(self, job: str) -> bool:
        with self._rooms.database.read() as connection:
            return jobs.has_children_at_work(connection, job)

    def _failed(self, name: str, error: Exception, failures: int, now: float) -> None:
        """Says what went wrong; an episode that fails again and again ends, so that none is stuck for ever."""
        words = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
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
                case = Case(self._rooms, self._of(steward), steward, episode, endpoint, now)
                case.end("ABANDONED", f"It can't go on after {failures} tries: {words}")
        except Exception:
            log.exception("what failed of %s can't be noted", name)

    def _step(self, name: str, now: float, job: str) -> Moved:
        with self._rooms.database.read() as connection:
            steward = resources.get(connection, name)
            if steward is None or steward.kind != STEWARDS.kind:
                return "waits"
            private = StewardPrivate.of(steward)
            endpoint = resources.get(connection, steward.body["endpoint"])
            episode = resources.get(connection, private.episode) if private.episode else None
        watched = self._of(steward)
        watched.time_column = private.data.get("timeColumn", "")
        if episode is not None:
            moved = self._states.step(Case(self._rooms, watched, steward, episode, endpoint, now, job))
            if moved != "waits":
                return moved
        if steward.body["state"] == "PAUSED" or endpoint is None or not is_due(steward, now):
            return "waits"
        return self._look.check(watched, steward, endpoint, now)

    def _of(self, steward: Resource) -> Watched:
        watched = self._watched.get(steward.name)
        if watched is None or watched.endpoint != steward.body["endpoint"]:
            watched = Watched(self._rooms, self._segments, steward.body["endpoint"])
            self._watched[steward.name] = watched
        watched.refresh()
        return watched
