"""The watcher's process: it empties the taps' spool into the prediction log, and does what is due in domain time.

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
from typing import TYPE_CHECKING

from portico.doors.contract.documents import Contract
from portico.host.asked import Asked
from portico.host.spare import Spare
from portico.host.wiring import import_services, make_rooms
from portico.jobs.warm import be_nice
from portico.prediction.prediction_log import PredictionLog
from portico.prediction.service_log import ServiceRows
from portico.prediction.spool import Place, Spool
from portico.services.standard.settling import log_path
from portico.store import disk, resources
from portico.store.segments import Segments

if TYPE_CHECKING:
    from portico.services.portico.steward.run import Stewards

log = logging.getLogger(__name__)

_LOOK = 0.5  # seconds between two looks
_AGAIN = 1.0  # seconds until a look that was put off
_SYNC = 0.8  # seconds after which what waits is brought to the disk
_MERGE = 16  # new segments after which small ones are merged, where there are many
_FULL = 10.0  # seconds until a look that found the disk full
_BUSY = 0.05  # while somebody waits for us
_SPARE = 0.5  # cores that nobody needs: with less, looks are put off
_SAMPLE = 0.1  # seconds over which that is seen again, where much waits
_PATIENCE = 10.0  # seconds that they are put off
_WAITING = 128 << 20  # bytes of spool that may wait meanwhile
_MUCH = 256 << 10  # bytes of spool that wait: more may be a spike that has just begun
_ALL, _SOME = 16 << 20, 2 << 20  # bytes of spool that are read at once; so that it can give way soon


def main(home: Path, contract: Contract) -> None:
    """Works until SIGTERM; then reads what the fronts left, and returns."""
    import_services()
    be_nice()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    watcher = Watcher(home, contract)
    threading.Thread(target=sync, args=(home, stop), name="sync", daemon=True).start()
    with Asked(log_path(home)) as asked:
        pause = _LOOK
        anyone = False
        while not stop.is_set():
            # Who asks while a training of ours is under way is answered at its end: simulated time does not pass it by.
            anyone = asked.wait(_BUSY if anyone else pause)
            if not anyone and watcher.gives_way():
                pause = _AGAIN
                continue
            pause = _LOOK
            try:
                idle = watcher.look(wanted=anyone)
            except Exception as error:
                if disk.is_full(error):
                    log.warning(
                        "the disk is full: predictions wait in the spool, and nothing that is due is done"
                    )
                else:
                    log.exception("what is due can't be done")
                asked.refuse()
                stop.wait(_FULL if disk.is_full(error) else 1)
            else:
                if idle and anyone:
                    asked.answer()
                    anyone = False
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
    def __init__(self, home: Path, contract: Contract) -> None:
        rooms = make_rooms(home, contract)
        self._segments = Segments(home, rooms.database, rooms.clock, rooms.ids)
        self._segments.sweep()
        self._log = PredictionLog(home, rooms.database, self._segments)
        self._service = ServiceRows(home, rooms.database)
        self._rooms = rooms
        self._stewards: Stewards | None = None
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

    def look(self, wanted: bool = True) -> bool:
        """Does what is due; returns whether no work that the stewards began is under way. What nobody
        wants now may give way to a spike also while it is read: then nothing is done, since windows want all rows."""
        if not self.ingest(wanted):
            return False
        self._looked = time.monotonic()
        if self._stewards is None and self._are_stewards():
            from portico.services.portico.steward.run import Stewards  # loads NumPy

            self._stewards = Stewards(self._rooms, self._segments)
        return self._stewards is None or self._stewards.run_due()

    def _are_stewards(self) -> bool:
        with self._rooms.database.read() as connection:
            return any(True for _ in resources.listed(connection, "portico:stewards"))

    def ingest(self, wanted: bool = True) -> bool:
        """Reads what was in the spool when it began, however fast it grows meanwhile; False where it gave way."""
        self._service.ingest()
        ends = self._log.ends()
        while self._ingest(ends, _ALL if wanted else _SOME):
            if not wanted and self._scarce(self._log.waiting()):
                return False
        if self._written >= _MERGE:
            self._written = 0
            self._segments.merge_crowded()
        return True

    def _ingest(self, ends: dict[str, Place], limit: int) -> bool:
        made = self._log.ingest(ends, limit)
        if self._stewards is not None:
            self._stewards.take(made or [])
        self._written += len(made or [])
        return made is not None
