"""What models and their lineage name, which retention leaves alone; and the sweep that the scheduler's process runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import Clock
from portico.errors import PorticoError
from portico.jobs import retention
from portico.jobs.retention import Left, Named
from portico.prediction.replicas import artifacts
from portico.sandbox import environments
from portico.services.aiplatform import model_files
from portico.services.portico.stewards import EPISODES
from portico.services.pubsub import keeping
from portico.services.registry import model_store
from portico.services.storage import lifecycle
from portico.store import replicas, resources
from portico.store.audit import Trail
from portico.store.database import Database
from portico.store.objects import soft_deleted
from portico.store.objects.sweep import forget_uploads

log = logging.getLogger(__name__)

_FIRST, _EVERY = 60.0, 3600.0  # seconds
_JUMP, _WAIT = 3600.0, 86400.0  # seconds


def sweep(home: Path, database: Database, clock: Clock, *, dry_run: bool = False) -> list[Left]:
    named = Named(lineage, lambda: _needed(home, database))
    return retention.sweep(home, database, clock.now(), named, dry_run=dry_run)


def sweep_forever(home: Path, database: Database, clock: Clock, stopping: threading.Event) -> None:
    pause, steady = _FIRST, Steady(clock)
    while not stopping.wait(pause):
        pause = _EVERY
        try:
            forget_uploads(database, home, clock.now())
            if not steady.now():
                continue
            gone = sweep(home, database, clock)
            lifecycle.carry_out(home, database, clock.now())
            soft_deleted.expire(database, home, clock.now())
            keeping.sweep(database, clock)
            with database.write() as connection:
                Trail(home).forget(connection, clock.now())
        except Exception:
            log.exception("what is kept no longer could not be removed")
        else:
            if gone:
                log.info("removed %d things, %d bytes", len(gone), sum(one.size for one in gone))


class Steady:
    """Whether the wall clock goes as the monotonic one does: by one that has jumped, all that is kept may look old."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jumped: float | None = None  # by the monotonic clock
        self._offset = clock.now() - clock.monotonic()

    def now(self) -> bool:
        """False for a day after a jump."""
        ticks = self._clock.monotonic()
        offset = self._clock.now() - ticks
        if abs(offset - self._offset) > _JUMP:
            log.warning(
                "the wall clock jumped by %.0f s: for a day nothing is removed for its age",
                offset - self._offset,
            )
            self._offset, self._jumped = offset, ticks
        return self._jumped is None or ticks - self._jumped > _WAIT


def lineage(connection: Connection) -> set[str]:
    """The names of models, versions and whatever these name (the training that made them, …), with the episodes of
    stewards that made a version."""
    found: set[str] = set()
    for version in resources.listed(connection, model_store.VERSION_KIND):
        found |= {version.name, version.parent, *_names(version.body)}
    for episode in resources.listed(connection, EPISODES.kind):
        if not found.isdisjoint(_names(episode.body.get("challenger", ""))):
            found.add(episode.name)
    return found


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith("projects/"):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def _needed(home: Path, database: Database) -> set[Path]:
    """The environments of the replicas that are wanted, and of the registered models that would run in one."""
    with database.read() as connection:
        wanted = [stored.spec for stored in replicas.load_all(connection)]
        for version in resources.listed(connection, model_store.VERSION_KIND):
            private = model_store.VersionPrivate.of(version)
            if private.format != "replica":
                continue
            try:
                serving = model_files.serving_of_version(home, version)
            except PorticoError:
                continue
            wanted.append(serving.replica_set(version.name, model_store.folder(home, private.artifact)))
    found = set()
    for spec in wanted:
        try:
            _, exact = artifacts.of(spec)
            python = environments.find_python(spec.pythons)
        except (PorticoError, OSError):
            continue  # it could not run in any
        found.add(environments.place(exact, python, home / "envs"))
    return found
