"""How a service starts and cancels durable jobs."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import Clock
from portico.ids import Ids
from portico.jobs.engines import machine
from portico.jobs.kinds import KINDS
from portico.store import jobs
from portico.store.jobs import Resources
from portico.store.sockets import run_folder


def wake_path(home: Path) -> Path:
    return run_folder(home) / "scheduler.sock"


class Queue:
    """Writes jobs into the store and wakes the scheduler."""

    def __init__(self, home: Path, clock: Clock, ids: Ids) -> None:
        self._home = home
        self._wake = str(wake_path(home))
        self._clock = clock
        self._ids = ids

    def add(
        self, connection: Connection, kind: str, resource: str, payload: dict[str, Any], *, priority: int = 0,
        asks: Resources | None = None, parent: str | None = None,
    ) -> str:  # fmt: skip
        """Adds a job in the caller's transaction; returns its id. Call `wake` when that has ended.

        Of two that wait, the one with the higher `priority` starts first. `asks`: what it needs, where that isn't what
        jobs of its kind need. `parent`: the job that may wait for it, and with which it is cancelled.
        """
        if kind not in KINDS:
            raise RuntimeError(f"job kind {kind} is not registered")
        job_id, of_kind = self._ids.number(), KINDS[kind]
        if asks is None and of_kind.elsewhere:
            asks = machine.fitted(self._home, of_kind.elsewhere)
        jobs.insert(
            connection, id=job_id, kind=kind, resource=resource, payload=payload, now=self._clock.now(),
            lane=of_kind.lane, priority=priority, asks=asks or of_kind.asks,
            parent=parent,
        )  # fmt: skip
        return job_id

    def cancel(self, connection: Connection, job_id: str) -> None:
        """Asks for the job's end: it becomes CANCELLED, unless it ends first. Call `wake` afterwards."""
        jobs.request_cancel(connection, job_id)

    def wake(self) -> None:
        """Tells the scheduler to look now. Nothing is lost where it isn't there: it also looks by itself."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(b"!", self._wake)
            except OSError:
                pass
