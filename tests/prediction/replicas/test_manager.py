"""Replica sets, from wanted to served, killed, restarted, refused and removed: with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest
from tests.waiting import come, until

from portico.clock import SystemClock
from portico.errors import FailedPrecondition, Unavailable
from portico.prediction.replicas import artifacts
from portico.prediction.replicas.client import BlockingReplicaClient, ReplicaClient
from portico.prediction.replicas.places import socket_paths
from portico.store import replicas as store


def step_until(manager, condition):
    def step():
        if met := condition():
            return met
        return manager.step()

    until(step, "the manager's steps lead to that")


def put(database, replicas, generation="g1"):
    with database.write() as connection:
        store.put(connection, replicas, generation)


def state(database, id="1"):
    with database.read() as connection:
        return store.get(connection, id).state


def pids(database):
    with database.read() as connection:
        return [process.pid for process in store.recorded(connection)]


def serving(manager, database, replicas):
    put(database, replicas)
    step_until(manager, lambda: state(database, replicas.id) == "READY")
    return socket_paths(manager._home, replicas.id, replicas.count)


def ask(sockets, instances, patience=240):
    client = BlockingReplicaClient(sockets, patience=patience)
    try:
        status, body = client.predict("predict", json.dumps({"instances": instances}).encode())
    finally:
        client.close()
    return status, json.loads(body)


@pytest.fixture
def folder(tmp_path):
    """The folder of a model of the test's own."""
    made = tmp_path / "model"
    made.mkdir()
    return made


def test_a_set_is_served_and_removed(manager, database, replica_set):
    sockets = serving(manager, database, replica_set())
    assert ask(sockets, [[1, 1, 1], [0, "1.0", 0]]) == (200, {"predictions": pytest.approx([10.0, 6.0])})
    store.wait_ready(database, "1", 240)
    (pid,) = pids(database)
    with database.write() as connection:
        store.remove(connection, "1")
    step_until(manager, lambda: not psutil.pid_exists(pid))
    assert pids(database) == [] and not any(os.path.exists(path) for path in sockets)
    with pytest.raises(Unavailable):
        ask(sockets, [[1, 1, 1]], patience=0.1)


def test_a_killed_replica_is_restarted_while_its_sibling_serves(manager, database, replica_set):
    sockets = serving(manager, database, replica_set(count=2))
    before, killed = pids(database), manager._groups["1"].replicas[0]
    psutil.Process(before[0]).kill()
    for _ in range(20):
        manager.step()
        assert ask([sockets[1]], [[1, 1, 1]])[0] == 200
        assert state(database) == "READY"
    replicas = manager._groups["1"].replicas
    step_until(manager, lambda: (made := replicas.get(0)) and made is not killed and made.ready)
    assert pids(database)[0] != before[0] and pids(database)[1] == before[1]
    assert ask([sockets[0]], [[1, 1, 1]])[0] == 200


def test_requests_survive_the_death_of_a_replica(manager, database, replica_set):
    sockets = serving(manager, database, replica_set(count=2))
    body = b'{"instances": [[1, 1, 1]]}'

    async def scenario():
        client = ReplicaClient(sockets)
        assert await client.ready(240)
        await come(lambda: all(link.up for link in client._links), "both are connected")
        asked = [asyncio.create_task(client.predict("predict", body)) for _ in range(400)]
        await asyncio.sleep(0)  # they are sent
        psutil.Process(pids(database)[0]).kill()
        answers = await asyncio.gather(*asked)
        await client.close()
        return answers

    assert {status for status, _ in asyncio.run(scenario())} == {200}


def test_a_file_that_is_no_model_fails_the_set_and_another_takes_its_place(
    manager, database, replica_set, folder
):
    (folder / "linear.joblib").write_bytes(b"no pickle at all")
    put(database, replica_set(folder=folder))
    step_until(manager, lambda: state(database) == "FAILED")
    with pytest.raises(FailedPrecondition, match=r"linear\.joblib cannot be served by the image sklearn-cpu"):
        store.wait_ready(database, "1", 240)
    assert pids(database) == []
    put(database, replica_set(), "g2")
    step_until(manager, lambda: state(database) == "READY")


def test_a_model_that_ends_its_process_fails_after_three_tries(manager, database, replica_set, folder):
    import pickle

    class Ends:
        def __reduce__(self):
            return os._exit, (7,)

    (folder / "model.pkl").write_bytes(pickle.dumps(Ends()))
    put(database, replica_set(file="model.pkl", folder=folder))
    step_until(manager, lambda: state(database) == "FAILED")
    with pytest.raises(FailedPrecondition, match=r"ended 3 times before it was ready \(exit status 7"):
        store.wait_ready(database, "1", 240)


def test_missing_artifacts_are_named(manager, database, replica_set, folder):
    (folder / "weights.h5").touch()
    put(database, replica_set(folder=folder))
    step_until(manager, lambda: state(database) == "FAILED")
    with pytest.raises(FailedPrecondition, match=r"no linear\.joblib.*they have weights\.h5"):
        store.wait_ready(database, "1", 240)


def test_the_count_changes_in_place(manager, database, replica_set):
    serving(manager, database, replica_set(count=1))
    (first,) = pids(database)
    put(database, replica_set(count=2), "g2")
    step_until(manager, lambda: state(database) == "READY" and len(pids(database)) == 2)
    assert pids(database)[0] == first
    put(database, replica_set(count=1), "g3")
    step_until(manager, lambda: state(database) == "READY" and pids(database) == [first])


def test_what_has_been_sent_is_answered_before_the_end(manager, database, replica_set):
    sockets = serving(manager, database, replica_set())
    body = json.dumps({"instances": [[1, 1, 1]] * 2000}).encode()

    async def scenario():
        client = ReplicaClient(sockets)
        asked = [asyncio.create_task(client.predict("predict", body)) for _ in range(50)]

        def sent():
            return sum(len(link.waiting) for link in client._links) + sum(task.done() for task in asked)

        await come(lambda: sent() == 50, "all are sent")
        with database.write() as connection:
            store.remove(connection, "1")
        manager.step()
        answers = await asyncio.gather(*asked)
        await client.close()
        return answers

    assert {status for status, _ in asyncio.run(scenario())} == {200}


MANAGER = """
import sys, threading
from pathlib import Path
from portico.clock import SystemClock
from portico.prediction.replicas.manager import ReplicaManager
from portico.store.database import Database
home = Path(sys.argv[1])
manager = ReplicaManager(home, Database(home), SystemClock())
thread = threading.Thread(target=manager.run_forever)
thread.start()
sys.stdin.read()
manager.stop()
thread.join()
"""


def test_an_installation_does_not_keep_the_manager_from_ending(database, replica_set, tmp_path):
    fifo = tmp_path / "never-written"
    os.mkfifo(fifo)  # opening it blocks, as a registry that does not answer would
    put(database, replica_set())
    blocks = (
        "from portico.prediction.replicas import artifacts\nartifacts.find = lambda *_: open(sys.argv[2])\n"
    )
    code = MANAGER.replace("home = ", blocks + "home = ")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "home"), str(fifo)], stdin=subprocess.PIPE
    ) as running:
        until(lambda: state(database) == "BUILDING", "the set is being built")
        running.stdin.close()
        assert running.wait(240) == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, None])
def test_no_replica_outlives_the_manager(manager, database, replica_set, tmp_path, how, monkeypatch):
    command = [sys.executable, "-c", MANAGER, str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as running:
        put(database, replica_set(count=2))
        store.wait_ready(database, "1", 240)
        below = [psutil.Process(pid) for pid in pids(database)]
        below += [child for process in below for child in process.children(recursive=True)]
        if how is not None:
            running.send_signal(how)
        else:
            running.stdin.close()
        running.wait(240)
    gone, alive = psutil.wait_procs(below, 240)
    assert not alive and len(gone) >= 2
    # And the next manager starts them again, from the beginning.
    looked, find = threading.Event(), artifacts.find
    monkeypatch.setattr(artifacts, "find", lambda *given: (looked.wait(240), find(*given))[1])
    manager.step()
    assert state(database) == "BUILDING"
    looked.set()
    step_until(manager, lambda: state(database) == "READY" and len(pids(database)) == 2)


def test_what_has_served_is_started_again_however_often_it_is_killed(
    manager, database, replica_set, tmp_path
):
    """Three deaths before a replica is ready fail a new model; one that has served is only unlucky."""
    from portico.clock import SystemClock
    from portico.prediction.replicas.manager import ReplicaManager

    serving(manager, database, replica_set())
    manager.close()
    following = ReplicaManager(tmp_path / "home", database, SystemClock())
    try:
        for _ in range(4):
            step_until(following, lambda: pids(database) and psutil.pid_exists(pids(database)[0]))
            os.kill(pid := pids(database)[0], signal.SIGKILL)
            step_until(following, lambda pid=pid: pids(database) != [pid])
        step_until(following, lambda: state(database) == "READY")
    finally:
        following.close()


def test_what_has_served_and_failed_gets_another_chance_from_the_next_manager(
    manager, database, replica_set, tmp_path
):
    from portico.clock import SystemClock
    from portico.prediction.replicas.manager import ReplicaManager

    serving(manager, database, replica_set())
    manager.close()
    with database.write() as connection:
        store.set_state(connection, "1", "g1", "FAILED", "the disk was full")
    following = ReplicaManager(tmp_path / "home", database, SystemClock())
    try:
        step_until(following, lambda: state(database) == "READY")
    finally:
        following.close()


def test_a_leftover_is_ended_by_the_next_manager(database, tmp_path):
    from portico.clock import SystemClock
    from portico.prediction.replicas.manager import ReplicaManager

    with subprocess.Popen(["sleep", "900"]) as leftover, subprocess.Popen(["sleep", "900"]) as stranger:
        started = psutil.Process(leftover.pid).create_time()
        with database.write() as connection:
            store.record(connection, store.Process("1", 0, leftover.pid, started))
            # The same pid, but of a process that started at another time.
            store.record(connection, store.Process("1", 1, stranger.pid, started - 100))
        ReplicaManager(tmp_path / "home", database, SystemClock()).close()
        assert leftover.wait(240) == -signal.SIGKILL
        assert stranger.poll() is None and pids(database) == []
        stranger.kill()


def test_a_replica_that_hangs_is_started_again(manager, database, replica_set, monkeypatch):
    sockets = serving(manager, database, replica_set())
    (pid,) = pids(database)
    ahead = 0.0

    class Ahead(SystemClock):
        def monotonic(self):
            return super().monotonic() + ahead

    monkeypatch.setattr(manager, "_clock", Ahead())
    for _ in range(60):  # a replica that answers stays, however long it lives
        ahead += 20.0
        manager.step()
        until(
            lambda: manager._groups["1"].replicas[0]._ping is None or manager.step(), "the ping is answered"
        )
    assert pids(database) == [pid]
    for part in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        part.suspend()
    for _ in range(20):
        ahead += 20.0
        manager.step()
    assert pids(database) != [pid] or not manager._groups["1"].replicas
    step_until(manager, lambda: (made := manager._groups["1"].replicas.get(0)) and made.ready)
    assert not psutil.pid_exists(pid) and ask(sockets, [[1, 1, 1]])[0] == 200
