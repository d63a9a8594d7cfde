"""What the scheduler does with rows, without a server."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from portico.clock import SystemClock
from portico.ids import RandomIds
from portico.jobs import held, worker
from portico.jobs.engines.protocol import Ended, Machine
from portico.jobs.kinds import KINDS, JobKind
from portico.jobs.queue import Queue
from portico.jobs.scheduler import Scheduler
from portico.store import jobs
from portico.store.database import Database
from portico.store.jobs import Resources

pytestmark = pytest.mark.usefixtures("either_store")


class Pretended:
    """An engine that only notes what it is told to run."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.whole = [Resources(cores=4.0, memory=1000, accelerators=1)]
        self.asks: dict[str, Resources] = {}
        self.left: set[str] = set()

    def machines(self) -> list[Machine]:
        free = list(self.whole)
        for job in self.started:
            number = next(number for number, one in enumerate(free) if one.holds(self.asks[job]))
            free[number] = free[number].without(self.asks[job])
        return list(map(Machine, self.whole, free))

    def start(self, job: str, asks: Resources, kind: str = "") -> None:
        self.started.append(job)
        self.asks[job] = asks

    def running(self) -> list[str]:
        return self.started

    def poll(self) -> list[Ended]:
        return []

    def stop(self, job: str, *, now: bool = False) -> None:
        pass

    def adopt(self, jobs: Mapping[str, Resources]) -> set[str]:
        adopted = self.left & set(jobs)
        self.started += adopted
        self.asks.update(jobs)
        return adopted

    def waitables(self) -> list[object]:
        return []

    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> Pretended:
    return Pretended()


@pytest.fixture
def scheduler(tmp_path: Path, database: Database, engine: Pretended) -> Scheduler:
    return Scheduler(tmp_path, database, SystemClock(), RandomIds(), engine)


def lease(database: Database, id: str, until: float) -> None:
    with database.write() as connection:
        job = jobs.get(connection, id)
        assert job is not None
        jobs.lease(connection, job, "another", until - 60, 60)


def test_a_job_whose_lease_ran_out_is_taken_again(database, scheduler, engine, add, read):
    now = SystemClock().now()
    add("gone", "here.quick")
    add("held", "here.quick")
    lease(database, "gone", now - 1)
    lease(database, "held", now + 3600)
    scheduler._take_lapsed()
    assert (read("gone").state, read("gone").lost, read("held").state) == ("QUEUED", 1, "RUNNING")
    scheduler._start_queued()
    assert engine.started == ["gone"]


def test_who_waits_for_a_lock_is_woken_whatever_a_crash_left_of_it(tmp_path, database, scheduler, add, read):
    for id in ("whole", "empty", "half"):
        add(id, "here.quick")
        job = read(id)
        with database.write() as connection:
            jobs.wait(connection, job, SystemClock().now() + 3600)
        held.note(tmp_path, id, tmp_path / "lock")
    folder = tmp_path / "run" / "held"
    (folder / "empty").write_text("")
    (folder / "half").rename(folder / ".half")  # it is being written
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held.wake(tmp_path, database)
        assert [read(id).state for id in ("whole", "empty", "half")] == ["WAITING", "QUEUED", "WAITING"]
    held.wake(tmp_path, database)
    assert [read(id).state for id in ("whole", "empty", "half")] == ["QUEUED", "QUEUED", "WAITING"]


def test_leases_of_what_runs_are_renewed(database, scheduler, engine, add, read):
    add("1", "here.quick")
    scheduler._start_queued()
    with database.write() as connection:
        jobs.renew(connection, ["1"], 5.0)  # as if long ago
    scheduler._renew()
    scheduler._take_lapsed()
    assert read("1").state == "RUNNING" and read("1").lease_until > SystemClock().now()


def test_what_an_engine_adopts_goes_on_and_the_rest_is_run_again(database, scheduler, engine, add, read):
    for id in ("1", "2"):
        add(id, "here.quick")
        lease(database, id, 100.0)
    engine.left = {"1"}
    scheduler._sweep()
    scheduler._take_lapsed()
    assert (read("1").state, read("1").attempts, read("1").owner) == ("RUNNING", 1, "another")
    assert (read("2").state, read("2").lost) == ("QUEUED", 1)


def test_jobs_start_while_there_is_what_they_ask_for(database, scheduler, engine, add, read):
    add("most", "here.quick", asks=Resources(cores=3.0, memory=900), now=1.0)
    add("too much memory", "here.quick", asks=Resources(cores=1.0, memory=200), now=2.0)
    add("too many cores", "here.quick", asks=Resources(cores=2.0), now=3.0)
    scheduler._start_queued()
    assert engine.started == ["most"]
    engine.started.clear()
    scheduler._start_queued()
    assert engine.started == ["too much memory", "too many cores"]


def test_a_job_that_needs_much_is_not_starved_and_holds_nobody_up_without_need(scheduler, engine, add):
    add("an accelerator", "here.quick", asks=Resources(cores=1.0, accelerators=1), now=1.0)
    add("another", "here.quick", asks=Resources(cores=1.0, accelerators=1), now=2.0)
    add("beside", "here.quick", asks=Resources(cores=2.0), now=3.0)
    add("before", "here.quick", asks=Resources(cores=1.0), now=4.0)
    scheduler._start_queued()  # the last one's core is kept for the second
    assert engine.started == ["an accelerator", "beside"]
    scheduler._start_queued()
    assert engine.started == ["an accelerator", "beside"]


def test_a_job_that_asks_for_more_than_there_is_fails_with_a_reason(scheduler, engine, add, read):
    add("1", "here.quick", asks=Resources(cores=64.0, accelerators=8))
    scheduler._start_queued()
    assert (read("1").state, read("1").error["code"]) == ("FAILED", 9)
    assert "asks for 64 cores" in read("1").error["message"] and "there are 4" in read("1").error["message"]


def test_of_several_machines_each_holds_what_it_has(scheduler, engine, add, read):
    engine.whole = [Resources(cores=2.0), Resources(cores=4.0)]
    add("too much", "here.quick", asks=Resources(cores=6.0), now=1.0)
    add("most", "here.quick", asks=Resources(cores=3.0), now=2.0)
    add("for the largest", "here.quick", asks=Resources(cores=4.0), now=3.0)
    add("beside", "here.quick", asks=Resources(cores=2.0), now=4.0)
    add("before", "here.quick", asks=Resources(cores=1.0), now=5.0)
    scheduler._start_queued()  # what is left of the second machine is kept for the largest
    assert engine.started == ["most", "beside"]
    assert read("too much").state == "FAILED"
    assert "none of the 2 machines has that, and the largest has 4 cores" in read("too much").error["message"]


def test_nothing_is_refused_while_an_engine_does_not_know_what_there_is(scheduler, engine, add, read):
    engine.whole = []
    add("1", "here.quick", asks=Resources(cores=64.0))
    scheduler._start_queued()
    assert read("1").state == "QUEUED" and not engine.started
    assert "can be reached" in read("1").message


def test_what_needs_this_machine_runs_on_it(tmp_path, database, engine, add, monkeypatch):
    here = Pretended()
    monkeypatch.setitem(
        KINDS, "here.stays", JobKind("here.stays", "", lambda *_: None, stays=lambda job: job.id == "1")
    )
    scheduler = Scheduler(tmp_path, database, SystemClock(), RandomIds(), engine, here=here)
    add("1", "here.stays")
    add("2", "here.stays")
    scheduler._start_queued()
    assert (here.started, engine.started) == (["1"], ["2"])
    assert sorted(scheduler._running()) == ["1", "2"]


def test_the_higher_priority_goes_first_then_the_older(scheduler, engine, add):
    for number, priority in enumerate((0, 5, 0, 5)):
        add(str(number), "here.quick", priority=priority, now=float(number))
    scheduler._start_queued()
    assert engine.started == ["1", "3", "0", "2"]


def test_a_service_says_what_its_job_asks_for_or_its_kind_does(tmp_path, database, read):
    queue = Queue(tmp_path, SystemClock(), RandomIds())
    with database.write() as connection:
        usual = queue.add(connection, "here.quick", "r", {})
        asked = queue.add(connection, "here.quick", "r", {}, priority=3, asks=Resources(2.0, 5, 1))
    assert read(usual).asks == KINDS["here.quick"].asks and read(usual).priority == 0
    assert read(asked).asks == Resources(2.0, 5, 1) and read(asked).priority == 3


@contextmanager
def steps(database: Database) -> Iterator[list[int]]:
    """Counts what SQLite's machine does, in its own instructions; any machine counts the same."""
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    def listen(connection: Connection) -> None:
        connection.connection.driver_connection.set_progress_handler(count, 1)

    database._engine.dispose()
    event.listen(database._engine, "engine_connect", listen)
    yield counted
    event.remove(database._engine, "engine_connect", listen)


def test_looking_for_the_next_job_costs_the_same_however_many_wait(database, scheduler, engine, either_store):
    if either_store == "postgresql":
        pytest.skip("it does not tell what a look has cost; its indexes are the same")

    def queue(start: int, end: int) -> None:
        with database.write() as connection:
            for number in range(start, end):
                jobs.insert(connection, id=str(number), kind="here.quick", resource="r", payload={}, now=1.0)

    def look() -> int:
        with steps(database) as counted:
            scheduler._look()
            scheduler._follow_cancellations()
            scheduler._take_lapsed()
            with database.read() as connection:
                assert jobs.active(connection, "another.kind") == []
        return counted[0]

    queue(0, 200)
    scheduler._start_queued()
    assert len(engine.started) == 4
    few = look()
    queue(200, 10_000)
    look()  # which tells those that are now the first why they wait
    assert few > 0 and look() < few * 1.1
    assert len(engine.started) == 4


def test_a_look_at_which_there_is_nothing_to_do_is_one_question(database, scheduler, engine, add, read):
    asked: list[str] = []
    event.listen(database._engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    scheduler._look()
    assert len(asked) == 1, asked
    add("1", "here.quick")
    scheduler._look()
    assert engine.started == ["1"]
    asked.clear()
    scheduler._look()
    assert len(asked) == 1, asked


def test_what_waits_says_why_when_it_begins_to_wait_and_when_that_changes(
    tmp_path, database, scheduler, engine, add, read
):
    add("most", "here.quick", asks=Resources(cores=3.0, memory=900), now=1.0)
    add("memory", "here.quick", asks=Resources(cores=1.0, memory=200), now=2.0)
    add("behind", "here.quick", asks=Resources(cores=2.0), now=3.0)
    for _ in range(3):
        scheduler._start_queued()
    log = (tmp_path / "jobs" / "memory" / "log.txt").read_text().splitlines()
    assert len(log) == 1 and log[0].endswith(read("memory").message)
    assert read("memory").message.startswith("waits for memory (asks for ") and "; r runs" in log[0]
    assert read("behind").message == "waits its turn: others are before it in the queue"
    add("more", "here.quick", asks=Resources(cores=2.0), now=4.0)
    engine.started.remove("most")
    scheduler._start_queued()
    assert engine.started == ["memory", "behind"] and len(log) == 1
    assert read("more").message.startswith("waits for cores (asks for 2, 1 of 4 are free)")
    assert len((tmp_path / "jobs" / "behind" / "log.txt").read_text().splitlines()) == 1


def test_a_job_for_which_others_leave_no_memory_is_queued_again_and_asks_for_more(
    tmp_path, database, add, read
):
    add("1", "here.crowded", asks=Resources(memory=5))
    lease(database, "1", 100.0)
    told: list[str] = []
    worker.run(
        worker.Context(tmp_path, database, SystemClock(), RandomIds(), read("1"), lambda: False), told.append
    )
    assert (read("1").state, read("1").attempts, read("1").memory) == ("QUEUED", 0, 1 << 30)
    assert "begins anew when 1 GiB are free" in told[-1]


def test_who_looks_again_in_vain_says_it_once(tmp_path, database, add, read):
    add("1", "here.patient_again")
    told: list[str] = []
    for _ in range(3):
        lease(database, "1", 100.0)
        worker.run(
            worker.Context(tmp_path, database, SystemClock(), RandomIds(), read("1"), lambda: False),
            told.append,
        )
        with database.write() as connection:
            jobs.wake(connection, ["1"])
    assert told == ["here.patient_again r: attempt 1", "waits for a friend"] and read("1").message == told[-1]
