"""The watcher's process: it empties the taps' spools into the prediction log, and does what is due in domain time.

It runs at the lowest priority, so that a prediction never waits for what watches it.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from pathlib import Path

from portico.clock import SystemClock
from portico.host.wiring import import_services
from portico.ids import RandomIds
from portico.jobs.warm import be_nice
from portico.prediction.prediction_log import PredictionLog, stream_of
from portico.services.aiplatform.monitoring_run import Monitoring
from portico.services.portico.settling import socket_path
from portico.store.database import Database
from portico.store.domain_clock import DomainClock
from portico.store.segments import Segments

log = logging.getLogger(__name__)

_LOOK = 0.5  # seconds between two looks


def main(home: Path) -> None:
    """Works until SIGTERM; then reads what the fronts left, and returns."""
    import_services()
    be_nice()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    watcher = Watcher(home)
    path = socket_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(_LOOK)
        while not stop.is_set():
            asked: socket.socket | None = None
            with contextlib.suppress(TimeoutError, InterruptedError):
                asked, _ = listener.accept()
            try:
                watcher.look()
            except Exception:
                log.exception("what is due can't be done")
                stop.wait(1)
            else:
                answer(asked)
            finally:
                if asked is not None:
                    asked.close()
    watcher.ingest()


def answer(asked: socket.socket | None) -> None:
    if asked is not None:
        with contextlib.suppress(OSError):
            asked.sendall(b"ok")


class Watcher:
    def __init__(self, home: Path) -> None:
        database, clock, ids = Database(home), SystemClock(), RandomIds()
        self._segments = Segments(home, database, clock, ids)
        self._segments.sweep()
        self._log = PredictionLog(home, database, self._segments)
        self._monitoring = Monitoring(home, database, DomainClock(database, clock), self._segments)

    def look(self) -> None:
        self.ingest()
        self._monitoring.run_due()

    def ingest(self) -> None:
        """Reads the spools until they are empty."""
        while batch := self._log.ingest().rows:
            for endpoint in batch:
                self._segments.merge(stream_of(endpoint))
