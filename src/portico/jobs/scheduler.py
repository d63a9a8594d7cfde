"""The scheduler: leases queued jobs, gives them to an engine, follows cancellations, sweeps what a crash left.

One scheduler runs per home (the host sees to it), so a job that is RUNNING when a scheduler starts was left by
a crash: where its engine does not adopt it, it went down with the scheduler that owned it. Beside that, leases tell:
they are renewed for what runs, and a job whose lease ran out, whoever had it, is taken again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from portico.clock import Clock
from portico.errors import Cancelled, FailedPrecondition, Internal, PorticoError, rpc_status
from portico.ids import Ids
from portico.jobs import held, worker
from portico.jobs.engines.protocol import Engine
from portico.jobs.kinds import KINDS, moved
from portico.jobs.placing import place
from portico.jobs.queue import wake_path
from portico.sandbox.niceness import LAST
from portico.store import disk, jobs
from portico.store.backend import DatabaseAway
from portico.store.database import Database
from portico.store.jobs import Job, Lane, State

log = logging.getLogger(__name__)

_LEASE = 60.0  # seconds
_BEAT = 10.0  # seconds between two heartbeats
_LOOK = 1.0  # seconds between two looks without a call
_GRACE = 15.0  # seconds that a cancelled worker has before it is killed
_THREADS: dict[Lane, int] = {"thread": 16, "watch": 1}  # so many run at once
_LOOK_AHEAD = 64  # queued jobs that are looked at to fill what is free
_ROOM = "waits for room on the disk"
_MOST_LOST = 30  # attempts of a job that may go down with the machine or the server


@dataclass(slots=True)
class _Thread:
    lane: Lane
    stop: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class Scheduler:
    """Calls `ended` when it has seen the end of a job. `here` runs what can't run elsewhere, where `engine` may run
    jobs on other machines."""

    def __init__(
        self, home: Path, database: Database, clock: Clock, ids: Ids, engine: Engine,
        ended: Callable[[], None] = lambda: None, here: Engine | None = None,
    ) -> None:  # fmt: skip
        self._home = home
        self._database = database
        self._clock = clock
        self._ids = ids
        self._owner = ids.token()
        self._threads: dict[str, _Thread] = {}
        # One thread for all: what it starts (a model's process) ends with the thread that did.
        self._watching = ThreadPoolExecutor(1, "watch", initializer=_give_way)
        self._news, self._teller = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self._news, self._teller):
            end.setblocking(False)
        self._engine, self._here = engine, here or engine
        self._engines = [engine, here] if here else [engine]
        self._ended = ended
        self._placed: dict[str, Job] = {}  # what the engine runs
        self._waits: dict[str, str] = {}  # what was told to those that wait
        self._stopping = threading.Event()
        self._killed_at: dict[str, float] = {}

    def run(self) -> None:
        """Works until `stop` is called; then lets running threads end and gives the processes' jobs back."""
        waker = self._listen()
        self._sweep()
        beat = 0.0
        while not self._stopping.is_set():
            try:
                self._collect()
                self._look()
                if self._clock.monotonic() - beat > _BEAT:
                    self._renew()
                    self._take_lapsed()
                    beat = self._clock.monotonic()
            except DatabaseAway as away:  # what was not written of a job's end, its lease will tell
                log.warning("%s", away.message)
            news = [one for engine in self._engines for one in engine.waitables()]
            select.select([waker, self._news, *news], [], [], _LOOK)
            _drain(waker)
            _drain(self._news)
        for running in self._threads.values():
            running.stop.set()
        for running in self._threads.values():
            running.over.wait(timeout=10)
        for engine in self._engines:
            engine.close()

    def stop(self) -> None:
        """Ends `run`, soon; may be called by a signal's handler."""
        self._stopping.set()
        self._tell_news()

    def _listen(self) -> socket.socket:
        path = wake_path(self._home)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        waker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        waker.bind(str(path))
        waker.setblocking(False)
        return waker

    def _sweep(self) -> None:
        with self._database.read() as connection:
            left = {job.id: job for job in jobs.in_state(connection, "RUNNING")}
        asks = {job_id: job.asks for job_id, job in left.items()}
        adopted = {job_id for engine in self._engines for job_id in engine.adopt(asks)}
        self._placed |= {job_id: left[job_id] for job_id in adopted}
        self._renew()
        for job_id in left:
            if job_id not in adopted:
                self._lost(job_id)

    def _lost(self, job_id: str, why: str = "") -> None:
        """A worker ended without ending its job: again, or FAILED when its attempts are used up.

        `why`: how the worker itself failed; "" when it went down with the machine or the server, which is no fault
        of the job's and counted apart.
        """
        with self._database.read() as connection:  # most have ended their job
            job = jobs.get(connection, job_id)
        if job is None or job.state != "RUNNING":
            return
        with self._database.write() as connection:
            job = jobs.get(connection, job_id)
            if job is None or job.state != "RUNNING":
                return
            job.lost += not why
            failed = job.attempts - job.lost
            used_up = failed >= KINDS[job.kind].max_attempts if why else job.lost >= _MOST_LOST
            if not job.cancel_requested and not used_up:
                jobs.requeue(connection, job)
                return
        if job.cancel_requested:
            self._end(job, "CANCELLED", Cancelled("The job was cancelled."))
        else:
            words = [f"The job's worker failed {failed} times ({why})."] if why else []
            if job.lost:
                words.append(f"The machine or the server went down {job.lost} times while the job ran.")
            self._end(job, "FAILED", Internal(" ".join(words)))

    def _end(self, job: Job, state: State, error: PorticoError) -> None:
        """A job that can't be ended must not end the scheduler, and with it every other job."""
        try:
            worker.end(self._database, job, state, self._clock.now(), error=error)
        except Exception:
            log.exception("what follows the job %s can't be done", job.id)
            with self._database.write() as connection:
                jobs.end(connection, job, state, self._clock.now(), error=rpc_status(error))

    def _look(self) -> None:
        """Does what there is to do. Mostly there is nothing, which one question tells."""
        with self._database.read() as connection:
            news = jobs.news(connection, self._clock.now())
        if news.due:
            self._wake_due()
        held.wake(self._home, self._database)
        if any(news):
            self._start_queued()
        if news.cancelled:
            self._follow_cancellations()

    def _wake_due(self) -> None:
        with self._database.read() as connection:
            due = jobs.due(connection, self._clock.now())
        with self._database.write() as connection:
            jobs.wake(connection, due)

    def _start_queued(self) -> None:
        with self._database.read() as connection:
            cancelled = jobs.cancelled(connection, "WAITING") + jobs.cancelled(connection, "QUEUED")
            here = [
                job for lane in _THREADS if (most := self._left(lane))
                for job in jobs.next_queued(connection, lane, most)
            ]  # fmt: skip
            computing = jobs.next_queued(connection, "process", _LOOK_AHEAD)
        for job in cancelled:
            when = "while it waited" if job.state == "WAITING" else "before it started"
            self._end(job, "CANCELLED", Cancelled(f"The job was cancelled {when}."))
        if not (here or computing):
            return
        if disk.room(self._home).full:
            self._tell({job.id: _ROOM for job in (*here, *computing)})
            return
        for job in here:
            if not job.cancel_requested and job.id not in self._threads and self._lease(job):
                self._start_thread(job)
        self._start_computing([job for job in computing if not job.cancel_requested])

    def _left(self, lane: Lane) -> int:
        """How many more threads may run."""
        return max(0, _THREADS[lane] - sum(running.lane == lane for running in self._threads.values()))

    def _start_computing(self, queued: list[Job]) -> None:
        running = set(self._running())  # also what just ended its turn and is queued again
        new = [job for job in queued if job.id not in running]
        waits: dict[str, str] = {}
        for engine in self._engines:
            mine = [
                job for job in new if engine is (self._here if KINDS[job.kind].stays(job) else self._engine)
            ]
            held = [self._placed[job_id] for job_id in engine.running() if job_id in self._placed]
            found = place(engine.machines(), held, mine)
            for job, lack in found.never:
                self._end(
                    job, "FAILED", FailedPrecondition(f"The job asks for {job.asks}; {lack}. Ask for less.")
                )
            for job in found.start:
                if self._lease(job):
                    self._placed[job.id] = job
                    engine.start(job.id, job.asks, job.kind)
            waits |= found.waits
        self._tell(waits)

    def _running(self) -> list[str]:
        """What the engines run."""
        return [job_id for engine in self._engines for job_id in engine.running()]

    def _tell(self, waits: dict[str, str]) -> None:
        """Tells jobs why they wait: in their logs and rows, when that begins and when it becomes another reason."""
        news = {job_id: why for job_id, why in waits.items() if self._waits.get(job_id) != why}
        self._waits = waits
        if news:
            with self._database.write() as connection:
                jobs.note_why(connection, news)
            for job_id, why in news.items():
                worker.tell(self._home, job_id, why)

    def _lease(self, job: Job) -> bool:
        """Takes a queued job; False when it is not queued any more."""
        now = self._clock.now()
        with self._database.write() as connection:
            there = jobs.get(connection, job.id)
            if there is None or there.state != "QUEUED":
                return False
            jobs.lease(connection, job, self._owner, now, _LEASE)
            moved(connection, job, now)
        return True

    def _start_thread(self, job: Job) -> None:
        def work() -> None:
            path = worker.log_path(self._home, job.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:

                def write_line(text: str) -> None:
                    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=file, flush=True)

                context = worker.Context(
                    self._home, self._database, self._clock, self._ids, job, running.stop.is_set
                )
                worker.run(context, write_line)

        def guarded() -> None:
            try:
                work()
            except Exception:
                log.exception("a job's thread failed")
            finally:
                running.over.set()
                self._tell_news()

        running = self._threads[job.id] = _Thread(job.lane)
        if job.lane == "watch":
            self._watching.submit(guarded)
        else:
            threading.Thread(target=guarded, name=f"job-{job.id}", daemon=True).start()

    def _tell_news(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is told already
            self._teller.send(b"!")

    def _collect(self) -> None:
        over = [job_id for job_id, running in self._threads.items() if running.over.is_set()]
        for job_id in over:
            del self._threads[job_id]
            self._lost(job_id, "its thread ended")
        gone = [ended for engine in self._engines for ended in engine.poll()]
        for ended in gone:
            self._killed_at.pop(ended.job, None)
            self._placed.pop(ended.job, None)
            self._lost(ended.job, ended.cause)
        if over or gone:
            self._ended()

    def _follow_cancellations(self) -> None:
        with self._database.read() as connection:
            asked = [job.id for job in jobs.cancelled(connection, "RUNNING")]
        for job_id in asked:
            if job_id in self._threads:
                self._threads[job_id].stop.set()
            elif job_id not in self._killed_at:
                self._killed_at[job_id] = self._clock.monotonic()
                self._stop(job_id)
            elif self._clock.monotonic() - self._killed_at[job_id] > _GRACE:
                self._stop(job_id, now=True)

    def _stop(self, job_id: str, *, now: bool = False) -> None:
        for engine in self._engines:
            engine.stop(job_id, now=now)

    def _renew(self) -> None:
        running = [*self._threads, *self._running()]
        if running:
            with self._database.write() as connection:
                jobs.renew(connection, running, self._clock.now() + _LEASE)

    def _take_lapsed(self) -> None:
        """What runs here has just been renewed, also after the wall clock was set: the others run nowhere."""
        with self._database.read() as connection:
            lapsed = jobs.lapsed(connection, self._clock.now())
        for job_id in lapsed:
            log.warning("the lease of the job %s ran out", job_id)
            self._lost(job_id)


def _give_way() -> None:
    """Lets this thread run after all others."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LAST)


def _drain(waker: socket.socket) -> None:
    try:
        while True:
            waker.recv(64)
    except BlockingIOError:
        pass
