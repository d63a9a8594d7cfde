"""What fronts count of their service, on its way from their memory to the rows of `store.service`.

A front's counters only grow. Each second, and whenever domain time moves, what came since goes as one file into the
spool `HOME/spool/service-N/`; the watcher adds files to the rows, each exactly once. A killed front loses what it
counted since its last file, at most a second. While nobody reads the spool, no more is written to it than `_FILES`
files: counts stay in memory, and only their times become coarser.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa

from portico.prediction.front.metrics import ModelMetrics, Slots
from portico.store import service
from portico.store.database import Database
from portico.store.service import Counts
from portico.store.tables.log import service_read as _read

log = logging.getLogger(__name__)

_FILES: Final = 512
_NOTES: Final = 64  # of files that were read; more are cleared away
_QUIET: Final = 60.0  # seconds without a request after which time does not count as idle any more
_LEAVING: Final = 65.0  # seconds in which what is served no more still answers


class Record(msgspec.Struct, array_like=True):
    """What a front counted of a deployed model at `at`, in seconds of domain time."""

    at: float
    endpoint: str
    deployed_model: str
    counts: Counts


class Counted(msgspec.Struct, frozen=True, gc=False):
    """Whose counters they are. `slots` are a model's own replicas; None when it runs in the front."""

    endpoint: str
    deployed_model: str
    metrics: ModelMetrics
    slots: Slots | None = None


class ServiceLog:
    """A front's. Belongs to its event loop; a thread behind it writes. `threads` are those that natives run in."""

    def __init__(self, folder: Path, front: int, threads: Slots) -> None:
        self._front = front
        self._threads = threads
        self._followed: dict[int, _Followed] = {}
        self._records: list[Record] = []
        self._writer = _Writer(folder)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="service")

    def follow(self, counted: Iterable[Counted]) -> None:
        """What is served from now on. What is not served any more is followed for a little while."""
        now = time.perf_counter()
        served = {id(one.metrics): one for one in counted}
        for key, one in served.items():
            before = self._followed.get(key)
            if before is None:
                self._followed[key] = _Followed(one, self._front, self._threads)
            else:
                before.replace(one)
        for key, followed in list(self._followed.items()):
            if key not in served:
                followed.left = followed.left or now
                if now - followed.left > _LEAVING:
                    del self._followed[key]

    def note(self, at: float, *, leaves: bool = False) -> None:
        """Takes what was counted since the last time, as of domain time `at`, and begins anew if time `leaves` it."""
        now, busy = time.perf_counter(), busy_seconds()
        slots = {id(self._threads): self._threads}
        for followed in self._followed.values():
            if (counts := followed.take(now, busy)) is not None:
                self._records.append(Record(at, followed.endpoint, followed.deployed_model, counts))
            if leaves:
                followed.begin(now, busy)
            slots[id(followed.slots)] = followed.slots
        for one in slots.values():
            one.most = one.in_flight

    def flush(self, at: float) -> None:
        """The loop calls it once a second."""
        if not self._writer.full:
            self.note(at)
        self._hand_over()

    async def sync(self, at: float) -> None:
        """Returns when everything counted so far lies in the spool."""
        self.note(at)
        self._hand_over()
        await asyncio.wrap_future(self._thread.submit(int))

    def close(self, at: float) -> None:
        """Writes what is left. Blocks until that is done."""
        self.note(at)
        self._hand_over()
        self._thread.shutdown(wait=True)

    def _hand_over(self) -> None:
        records, self._records = self._records, []
        if records or self._writer.full:
            self._thread.submit(self._writer.write, records)


class _Followed:
    """The counters of a deployed model, and how far they were when they were taken last."""

    def __init__(self, counted: Counted, front: int, threads: Slots) -> None:
        self.endpoint, self.deployed_model = counted.endpoint, counted.deployed_model
        self.left = 0.0
        self._front = front
        self._threads = threads
        self._metrics = counted.metrics
        self._own = counted.slots
        self._before = ModelMetrics()
        self.begin(time.perf_counter(), busy_seconds())

    @property
    def slots(self) -> Slots:
        return self._own or self._threads

    def replace(self, counted: Counted) -> None:
        self.left = 0.0
        if counted.slots is not self._own:
            self._own = counted.slots
            self.begin(time.perf_counter(), busy_seconds())

    def begin(self, now: float, busy: float) -> None:
        self.slots.settle()
        self._time, self._busy, self._used = now, busy, self.slots.used

    def take(self, now: float, busy: float) -> Counts | None:
        """What was counted since the last time; None for nothing."""
        metrics, before = self._metrics, self._before
        answered = metrics.requests - before.requests
        errors = {
            code: count - before.errors.get(code, 0)
            for code, count in metrics.errors.items()
            if count != before.errors.get(code)
        }
        if not (answered or errors or (self._own and self._own.in_flight)):
            if now - self._time > _QUIET:
                self.begin(now, busy)
            return None
        counts = Counts(
            requests=answered + sum(errors.values()),
            rows=metrics.rows - before.rows,
            seconds=metrics.seconds - before.seconds,
            errors=errors,
            buckets={
                bucket: count - old
                for bucket, (count, old) in enumerate(zip(metrics.buckets, before.buckets, strict=True))
                if count != old
            },
        )
        if self.deployed_model:
            self._measure(counts, now, busy)
        before.requests, before.rows, before.seconds = metrics.requests, metrics.rows, metrics.seconds
        before.errors, before.buckets = dict(metrics.errors), list(metrics.buckets)
        self.begin(now, busy)
        return counts

    def _measure(self, counts: Counts, now: float, busy: float) -> None:
        """How busy what serves was: replicas, or else the front's loop or its threads, whichever was busier."""
        slots = self.slots
        slots.settle()
        whole = now - self._time
        used = slots.used - self._used
        if self._own:
            counts.shared = True
            whole *= slots.size
        else:
            used = max(used / slots.size, busy - self._busy)
        counts.busy = {self._front: (min(used, whole), whole)}
        counts.queue = max(0, slots.most - slots.size)


def busy_seconds() -> float:
    """How long the calling thread has run, or has waited for a core to run on (Linux; else how long it has run)."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            run, waited, _ = file.read().split()
    except (OSError, ValueError):
        return time.thread_time()
    return (int(run) + int(waited)) / 1e9


class _Writer:
    """The spool's files. Only the log's own thread calls `write`; `full` may be read by others."""

    def __init__(self, folder: Path) -> None:
        self.full = False
        self._folder = folder
        self._unwritten: list[Record] = []
        self._last = 0
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob("*.part"):
            part.unlink()

    def write(self, records: list[Record]) -> None:
        self._unwritten += records
        try:
            if self._unwritten:
                self._last = max(time.time_ns(), self._last + 1)
                part = self._folder / f"{self._last}.part"
                part.write_bytes(msgspec.msgpack.encode(self._unwritten))
                part.rename(part.with_suffix(".counts"))
                self._unwritten = []
            self.full = sum(1 for _ in os.scandir(self._folder)) >= _FILES
        except OSError:
            log.exception("what was counted of the service can't be written yet")
            self.full = True


_note = sa.insert(_read)
_forget = sa.delete(_read).where(_read.c.file.in_(sa.bindparam("files", expanding=True)))


class ServiceRows:
    """The watcher's: it alone empties the spool."""

    def __init__(self, home: Path, database: Database) -> None:
        self._spool = home / "spool"
        self._database = database
        self._noted: set[str] | None = None  # files that are in the rows; None before the first look
        self._thinned = -1

    def ingest(self) -> None:
        """Adds what lies in the spool to the rows of the store."""
        files = list(self._spool.glob("service-*/*.counts"))
        if not files:
            return
        if self._noted is None:
            with self._database.read() as connection:
                self._noted = set(connection.execute(sa.select(_read.c.file)).scalars())
        names = {self._name(path) for path in files}
        fresh = sorted(names - self._noted)
        records = [record for name in fresh for record in _records(self._spool / name)]
        # A note is needed as long as its file is there.
        gone = self._noted - names if len(self._noted) >= _NOTES else set()
        with self._database.write() as connection:
            for (endpoint, deployed_model, minute), counts in _by_minute(records).items():
                service.add(connection, endpoint, deployed_model, minute, counts)
            if records:
                self._thin(connection, max(record.at for record in records))
            if gone:
                connection.execute(_forget, {"files": list(gone)})
            if fresh:
                connection.execute(_note, [{"file": name} for name in fresh])
        self._noted = (self._noted - gone) | set(fresh)
        for path in files:
            path.unlink(missing_ok=True)

    def _thin(self, connection: sa.Connection, now: float) -> None:
        """Once in a week of domain time."""
        week = int(now // (7 * 86400))
        if week != self._thinned:
            service.thin(connection, now)
            self._thinned = week

    def _name(self, path: Path) -> str:
        return f"{path.parent.name}/{path.name}"


def _by_minute(records: Iterable[Record]) -> dict[tuple[str, str, int], Counts]:
    found: dict[tuple[str, str, int], Counts] = {}
    for record in records:
        key = (record.endpoint, record.deployed_model, int(record.at // 60) * 60)
        if key in found:
            found[key].add(record.counts)
        else:
            found[key] = record.counts
    return found


_decode = msgspec.msgpack.Decoder(list[Record]).decode


def _records(path: Path) -> list[Record]:
    try:
        return _decode(path.read_bytes())
    except msgspec.DecodeError:  # the machine went down before it was on the disk
        log.warning("%s can't be read; what it counted is lost", path)
        return []
