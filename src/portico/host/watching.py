"""The watcher's process: it empties the taps' spool into the prediction log, and counts.

It runs at the lowest priority, so that a prediction never waits for what watches it. Where a spike of predictions takes
all cores even that is too much (a wake-up for a core that is busy costs the front more than one for an idle core): then
it waits for the end of the spike, for ten seconds at most, unless the spool fills up or somebody asks for it.
What waits is brought to the disk meanwhile.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path

from portico.clock import SystemClock
from portico.host.asked import Asked
from portico.host.spare import Spare
from portico.ids import RandomIds
from portico.jobs.warm import be_nice
from portico.prediction.prediction_log import PredictionLog
from portico.prediction.service_log import ServiceRows
from portico.prediction.spool import Spool
from portico.services.standard.settling import log_path
from portico.store import disk
from portico.store.database import Database
from portico.store.segments import Segments

log = logging.getLogger(__name__)

_LOOK = 0.5  # seconds between two looks
_AGAIN = 1.0  # seconds until a look that was put off
_SYNC = 0.8  # seconds after which what waits is brought to the disk
_MERGE = 16  # new segments after which small ones are merged, where there are many
_FULL = 10.0  # seconds until a look that found the disk full
_SPARE = 0.5  # cores that nobody needs: with less, looks are put off
_SAMPLE = 0.1  # seconds over which that is seen again, where much waits
_PATIENCE = 10.0  # seconds that they are put off
_WAITING = 128 << 20  # bytes of spool that may wait meanwhile
_MUCH = 256 << 10  # bytes of spool that wait: more may be a spike that has just begun
_ALL, _SOME = 16 << 20, 2 << 20  # bytes of spool that are read at once; so that it can give way soon


def main(home: Path) -> None:
    """Works until SIGTERM; then reads what the fronts left, and returns."""
    be_nice()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    watcher = Watcher(home)
    threading.Thread(target=sync, args=(home, stop), name="sync", daemon=True).start()
    with Asked(log_path(home)) as asked:
        pause = _LOOK
        while not stop.is_set():
            anyone = asked.wait(pause)
            if not anyone and watcher.gives_way():
                pause = _AGAIN
                continue
            pause = _LOOK
            try:
                if watcher.ingest(wanted=anyone):
                    asked.answer()
            except Exception as error:
                full = disk.is_full(error)
                if full:
                    log.warning("the disk is full: predictions wait in the spool")
                else:
                    log.exception("what was predicted can't be read")
                asked.refuse()
                stop.wait(_FULL if full else 1)
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
        self._spare = Spare()
        self._looked = time.monotonic()

    def gives_way(self) -> bool:
        """Whether to put the look off, because predictions need the cores."""
        waiting = self._log.waiting()
        if waiting > _MUCH:  # how it was before does not count
            self._spare.cores()
            time.sleep(_SAMPLE)
        return self._scarce(waiting)

    def _scarce(self, waiting: int) -> bool:
        """Whether predictions need the cores, and what waits (bytes) can wait on; since the call before."""
        scarce = self._spare.cores() < _SPARE
        patient = time.monotonic() - self._looked < _PATIENCE
        return scarce and patient and waiting < _WAITING

    def ingest(self, wanted: bool = True) -> bool:
        """Reads what was in the spool when it began, however fast it grows meanwhile. What nobody wants now may give
        way to a spike also while it is read: then it returns False."""
        self._service.ingest()
        ends = self._log.ends()
        while (made := self._log.ingest(ends, _ALL if wanted else _SOME)) is not None:
            self._written += len(made)
            if not wanted and self._scarce(self._log.waiting()):
                return False
        if self._written >= _MERGE:
            self._written = 0
            self._segments.merge_crowded()
        self._looked = time.monotonic()
        return True
