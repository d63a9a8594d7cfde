"""The watcher's process: it empties the taps' spool into the prediction log, and counts.

It runs at the lowest priority, so that a prediction never waits for what watches it; what waits is brought to the disk
meanwhile.
"""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path

from portico.clock import SystemClock
from portico.host.asked import Asked
from portico.ids import RandomIds
from portico.prediction.prediction_log import PredictionLog
from portico.prediction.service_log import ServiceRows
from portico.prediction.spool import Spool
from portico.sandbox.niceness import be_nice
from portico.services.standard.settling import log_path
from portico.store.database import Database
from portico.store.segments import Segments

log = logging.getLogger(__name__)

_LOOK = 0.5  # seconds between two looks
_SYNC = 0.8  # seconds after which what waits is brought to the disk
_MERGE = 16  # new segments after which small ones are merged, where there are many


def main(home: Path) -> None:
    """Works until SIGTERM; then reads what the fronts left, and returns."""
    be_nice()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    watcher = Watcher(home)
    threading.Thread(target=sync, args=(home, stop), name="sync", daemon=True).start()
    with Asked(log_path(home)) as asked:

        def end(*_: object) -> None:
            stop.set()
            asked.poke()

        signal.signal(signal.SIGTERM, end)
        asked.serve(stop, _LOOK, watcher.ingest, "the reading of what was predicted")
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    watcher.ingest()


def sync(home: Path, stop: threading.Event) -> None:
    """Brings to the disk what waits in the spool, however busy the watcher is."""
    spool = Spool(home)
    while not stop.wait(_SYNC):
        try:
            spool.sync()
        except OSError:
            log.exception("what waits in the spool can't be brought to the disk")


class Watcher:
    def __init__(self, home: Path) -> None:
        database = Database(home)
        self._segments = Segments(home, database, SystemClock(), RandomIds())
        self._segments.sweep()
        self._log = PredictionLog(home, database, self._segments)
        self._service = ServiceRows(home, database)
        self._written = _MERGE  # segments since small ones were last merged

    def ingest(self) -> bool:
        """Reads what was in the spool when it began, however fast it grows meanwhile. True."""
        self._service.ingest()
        ends = self._log.ends()
        while (made := self._log.ingest(ends)) is not None:
            self._written += len(made)
        if self._written >= _MERGE:
            self._written = 0
            self._segments.merge_crowded()
        return True
