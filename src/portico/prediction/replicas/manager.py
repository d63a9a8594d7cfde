"""Keeps the replicas running that the store wants: builds their environments, starts, restarts and ends them.

One manager a home, in the scheduler's process. Its replicas end when it does, however it ends: the kernel
ends them with the thread that started them, and what that misses the next manager finds in the store.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from portico.clock import Clock
from portico.errors import PorticoError, Unavailable
from portico.prediction.replicas import artifacts, container, places
from portico.prediction.replicas.replica import Replica, end_leftover
from portico.sandbox import environments
from portico.sandbox.isolation import isolation
from portico.store import replicas as store
from portico.store.database import Database

_logger = logging.getLogger(__name__)
_INTERVAL = 0.1  # seconds between steps
_TRIES = 3  # deaths without a word, before a set is ready for the first time
_GRACE = 10.0  # seconds that a replica has for what it has been sent
_LONGEST_LOAD = 600.0  # seconds
_BACKOFF = [0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]  # seconds before a restart, by the deaths in a row
_SETTLED = 60.0  # seconds of life after which a replica's earlier deaths are forgotten


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is needed to start a replica: the environment's Python, and the model's file."""

    python: Path
    file: Path


@dataclass(slots=True)
class _Group:
    """A replica set, and how far it is."""

    spec: store.ReplicaSet
    generation: str
    preparing: Future[_Prepared]
    prepared: _Prepared | None = None
    replicas: dict[int, Replica] = field(default_factory=dict)
    deaths: dict[int, int] = field(default_factory=dict)
    not_before: dict[int, float] = field(default_factory=dict)
    served: bool = False  # has been ready since it was put
    proven: bool = False  # has been ready at any time, under this manager or another
    state: store.State = "PENDING"


class ReplicaManager:
    """Call `run_forever` in a thread, and `stop` from any; or `step` again and again, and then `close`.

    All steps are one thread's, and it lives as long as the replicas.
    """

    def __init__(self, home: Path, database: Database, clock: Clock) -> None:
        self._home = home
        self._database = database
        self._clock = clock
        self._stopping = threading.Event()
        self._groups: dict[str, _Group] = {}
        self._leaving: list[tuple[Replica, float]] = []
        self._given_up: set[str] = set()
        self._end_leftovers()

    def run_forever(self) -> None:
        """Steps until `stop`, then ends the replicas."""
        try:
            while not self._stopping.wait(_INTERVAL):
                try:
                    self.step()
                except Exception:
                    _logger.exception("a step of the replica manager failed")
                    self._stopping.wait(1)
        finally:
            self.close()

    def stop(self) -> None:
        """Asks `run_forever` to end; join its thread to know that the replicas have."""
        self._stopping.set()

    def step(self) -> None:
        """Does what can be done now to bring what runs to what is wanted; does not wait."""
        with self._database.read() as connection:
            wanted = {stored.spec.id: stored for stored in store.load_all(connection)}
        for set_id, group in list(self._groups.items()):
            stored = wanted.get(set_id)
            if stored is None:
                self._leave(group)
                shutil.rmtree(places.folder(self._home, set_id), ignore_errors=True)
            elif stored.generation != group.generation:
                self._follow(group, stored)
        for set_id, stored in wanted.items():
            if set_id in self._groups:
                continue
            # What has served gets another chance when the manager starts again.
            if stored.state != "FAILED" or (stored.served and stored.generation not in self._given_up):
                preparing = _prepare_beside(self._home, stored.spec)
                self._groups[set_id] = _Group(stored.spec, stored.generation, preparing, proven=stored.served)
                self._tell(self._groups[set_id], "BUILDING")
        for group in list(self._groups.values()):
            self._advance(group)
        self._reap()

    def close(self) -> None:
        """Ends all replicas, each after what it has been sent; returns when they have ended."""
        for group in list(self._groups.values()):
            self._leave(group)
        while self._leaving:
            self._reap()
            time.sleep(0.02)

    def _follow(self, group: _Group, stored: store.Stored) -> None:
        """Brings `group` to what was put anew under its id: another count in place, anything else from the start."""
        if replace(stored.spec, count=group.spec.count) != group.spec:
            self._leave(group)
            return
        for number in [number for number in group.replicas if number >= stored.spec.count]:
            self._drain(group.replicas.pop(number), group.spec.id)
        group.spec, group.generation, group.state = stored.spec, stored.generation, "PENDING"
        group.served = False

    def _advance(self, group: _Group) -> None:
        if group.prepared is None:
            if not group.preparing.done():
                return
            try:
                group.prepared = group.preparing.result()
            except PorticoError as error:
                self._fail(group, error.message)
                return
            except Exception as error:
                _logger.exception("replica set %s cannot be prepared", group.spec.id)
                self._fail(group, f"The model cannot be prepared: {type(error).__name__}: {error}")
                return
            self._tell(group, "STARTING")
        for number in range(group.spec.count):
            failure = self._advance_one(group, group.prepared, number)
            if failure:
                self._fail(group, failure)
                return
        ready = sum(replica.ready for replica in group.replicas.values())
        # READY first when all of them serve, from then on while one does.
        group.served |= ready == group.spec.count
        group.proven |= group.served
        self._tell(group, "READY" if group.served and ready else "STARTING")

    def _advance_one(self, group: _Group, prepared: _Prepared, number: int) -> str:
        """Starts the replica or looks after it; why the whole set has failed, or empty."""
        now = self._clock.monotonic()
        replica = group.replicas.get(number)
        if replica is None:
            if now < group.not_before.get(number, now):
                return ""
            try:
                self._start(group, prepared, number)
            except Unavailable:
                pass  # this server's address is not there yet
            except OSError as error:
                return self._died(group, number, f"it cannot be started: {error}", prepared.file.name)
            return ""
        how = replica.ended()
        replica.note_output(self._clock.now())
        replica.look()  # after that: an error is reported before the end
        if replica.error is not None:
            return f"{prepared.file.name} cannot be served by the image {group.spec.image}: {replica.error}"
        late = not replica.ready and now - replica.since > _LONGEST_LOAD
        how = how or replica.exceeded(now) or replica.hangs(now)
        if late or how:
            replica.kill()
        else:
            if replica.ready and now - replica.since > _SETTLED:
                group.deaths[number] = 0
            return ""
        del group.replicas[number]
        replica.explain_death(how)
        replica.dispose()
        if late:
            return f"{prepared.file.name} is not loaded after {_LONGEST_LOAD:.0f} seconds."
        return self._died(group, number, f"{how}; {replica.last_words()}", prepared.file.name)

    def _died(self, group: _Group, number: int, how: str, file: str) -> str:
        """Notes a death and when to start again; why the whole set has failed, or empty."""
        _logger.warning("replica %s of %s: %s", number, group.spec.id, how)
        deaths = group.deaths[number] = group.deaths.get(number, 0) + 1
        if not group.proven and deaths >= _TRIES:
            return f"The process that serves {file} ended {deaths} times before it was ready ({how})."
        group.not_before[number] = self._clock.monotonic() + _BACKOFF[min(deaths, len(_BACKOFF)) - 1]
        return ""

    def _start(self, group: _Group, prepared: _Prepared, number: int) -> None:
        spec = group.spec
        replica = Replica(
            number,
            path=places.socket_paths(self._home, spec.id, number + 1)[number],
            folder=places.folder(self._home, spec.id),
            python=prepared.python,
            framework=spec.framework,
            file=prepared.file,
            model_dir=Path(spec.model_dir),
            since=self._clock.monotonic(),
            limits=container.limits(spec),
            container=partial(container.place, self._home, spec.container, prepared.python)
            if spec.container
            else None,
        )
        group.replicas[number] = replica
        with self._database.write() as connection:
            store.record(connection, store.Process(spec.id, number, replica.pid, replica.started))

    def _leave(self, group: _Group) -> None:
        group.preparing.cancel()
        for replica in group.replicas.values():
            self._drain(replica, group.spec.id)
        del self._groups[group.spec.id]

    def _drain(self, replica: Replica, set_id: str) -> None:
        replica.drain()
        self._leaving.append((replica, self._clock.monotonic() + _GRACE))
        with self._database.write() as connection:
            store.forget(connection, set_id, replica.number)

    def _reap(self) -> None:
        still = []
        for replica, deadline in self._leaving:
            if not replica.ended() and self._clock.monotonic() < deadline:
                still.append((replica, deadline))
                continue
            replica.kill()
            replica.dispose()
        self._leaving = still

    def _fail(self, group: _Group, error: str) -> None:
        self._leave(group)
        self._given_up.add(group.generation)
        with self._database.write() as connection:
            store.set_state(connection, group.spec.id, group.generation, "FAILED", error)

    def _tell(self, group: _Group, state: store.State) -> None:
        if group.state != state:
            group.state = state
            with self._database.write() as connection:
                store.set_state(connection, group.spec.id, group.generation, state)

    def _end_leftovers(self) -> None:
        with self._database.read() as connection:
            leftovers = store.recorded(connection)
        for process in leftovers:
            end_leftover(process.pid, process.started)
            with self._database.write() as connection:
                store.forget(connection, process.set_id, process.number)
        for scratch in places.scratches(self._home):
            shutil.rmtree(scratch, ignore_errors=True)


# One at a time: two installations would only share the disk and the processors.
_preparing = threading.Lock()


def _prepare_beside(home: Path, spec: store.ReplicaSet) -> Future[_Prepared]:
    """`_prepare` in a thread that does not keep the process from ending, as a pool's would."""
    future: Future[_Prepared] = Future()

    def run() -> None:
        with _preparing:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(_prepare(home, spec))
            except Exception as error:
                future.set_exception(error)

    threading.Thread(target=run, name=f"prepare-{spec.id}", daemon=True).start()
    return future


def _prepare(home: Path, spec: store.ReplicaSet) -> _Prepared:
    isolation().require()
    file, wanted = artifacts.of(spec)
    interpreter = environments.find_python(spec.pythons)
    over = spec.container.get("over", ())
    return _Prepared(environments.environment(wanted, interpreter, home / "envs", over=over), file)
