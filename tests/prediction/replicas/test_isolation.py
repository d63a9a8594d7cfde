"""What isolated code can reach. Each attempt that must fail here succeeds in a plain process."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.waiting import until

from portico.errors import Unavailable
from portico.prediction.replicas.client import ReplicaClient
from portico.sandbox import isolation
from portico.sandbox.isolation import Isolation, Limits
from portico.store import replicas as store

ATTEMPTS = """
import json, os, resource, socket, sys
told = {}
def attempt(name, do):
    try:
        do()
        told[name] = True
    except Exception:
        told[name] = False
attempt("write", lambda: open(OUTSIDE, "w").write("gotcha"))
attempt("spoil", lambda: open(MODEL, "ab").write(b"gotcha"))
attempt("key", lambda: open(KEY).read())
attempt("environment", lambda: os.environ["PORTICO_SECRET"])
attempt("connect", lambda: socket.create_connection(("127.0.0.1", PORT), 2).send(b"gotcha"))
attempt("signal", lambda: os.kill(PID, 0))
attempt("fork", lambda: os.fork() or os._exit(0))
attempt("socket", lambda: socket.socket(socket.AF_UNIX))
attempt("chmod", lambda: os.chmod(KEY, 0o600))
attempt("parent", lambda: open(f"/proc/{PID}/environ").read())
attempt("limits", lambda: resource.prlimit(PID, resource.RLIMIT_CORE))
attempt("scratch", lambda: open(os.path.join(os.environ["TMPDIR"], "x"), "w").write("fine"))
print(json.dumps(told), file=sys.stderr)
"""


class Malicious:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self):
        return exec, (self.code, {})


@pytest.fixture
def listener():
    """A local server, and the bytes that reached it."""
    server = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                received.append(connection.recv(100))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1], received
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


@pytest.fixture
def attack(replica, sklearn_python, tmp_path, listener, monkeypatch):
    """Has a replica load a pickle that tries everything; returns what it could do."""
    home = tmp_path / "home"
    model = home / "models" / "1" / "model.pkl"
    model.parent.mkdir(parents=True)
    key = home / "credentials.json"
    key.write_text("secret")
    monkeypatch.setenv("PORTICO_SECRET", "secret")

    def run() -> dict[str, bool]:
        known = {
            "OUTSIDE": str(tmp_path / "outside"),
            "MODEL": str(model),
            "KEY": str(key),
            "PORT": listener[0],
            "PID": os.getpid(),
        }
        setup = "".join(f"{name} = {value!r}\n" for name, value in known.items())
        model.write_bytes(pickle.dumps(Malicious(setup + ATTEMPTS)))
        with replica(sklearn_python, model, home / "r") as made:
            assert made.error == "the file holds NoneType, which has no predict()"
            return json.loads(made.last_words())

    return run


@pytest.fixture(params=["bubblewrap", "landlock"])
def wall(request, monkeypatch) -> str:
    """Each of the two, where this machine has it."""
    if reason := isolation._failure(request.param):
        pytest.skip(reason)
    monkeypatch.setattr(isolation, "walls", lambda: Isolation(request.param, "for this test"))
    return request.param


def test_a_malicious_pickle_reaches_nothing(wall, attack, listener, tmp_path):
    told = attack()
    assert [name for name, done in told.items() if done] == ["scratch"]
    assert listener[1] == [] and not (tmp_path / "outside").exists()


def test_unconfined_it_has_a_clean_environment_and_does_the_rest(attack, listener, monkeypatch):
    monkeypatch.setenv(isolation.UNCONFINED, "1")
    assert isolation.isolation().name == "unconfined"
    told = attack()
    # So the attempts above do fail because of the walls.
    assert [name for name, done in told.items() if not done] == ["environment"]
    until(lambda: listener[1] == [b"gotcha"], "what was sent has come")


def test_without_walls_nothing_is_run(monkeypatch, manager, replica_set, database):
    monkeypatch.setattr(isolation, "walls", lambda: Isolation("none", "it is 1970"))
    with database.write() as connection:
        store.put(connection, replica_set(), "1")
    stored = _stepped(manager, database, "FAILED")
    assert "it is 1970" in stored.error
    assert "apt-get install bubblewrap" in stored.error and "portico up --unconfined" in stored.error


HUNGRY = """
import os
import numpy
class Model:
    def predict(self, x):
        if x[0] == "memory":
            return numpy.zeros(1 << 32)
        if x[0] == "time":
            while True: pass
        if x[0] == "disk":
            for number in range(20):
                with open(os.path.join(os.environ["TMPDIR"], str(number)), "wb") as file:
                    file.write(bytes(1 << 20))
            while True: pass
        if x[0] == "process":
            os.fork()
        if x[0] == "files":
            kept = [open(os.devnull) for _ in range(2000)]
        if x[0] == "abort":
            print("terminate called: std::bad_alloc", file=__import__("sys").stderr)
            os.abort()
        return x
made = Model()
"""


class Hungry:
    def __reduce__(self):
        return eval, (
            "(lambda names: (exec(CODE, names), names['made'])[1])({'CODE': CODE, 'os': __import__('os')})",
            {"CODE": HUNGRY},
        )


def test_limits_are_exceeded_with_words(replica, sklearn_python, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "portico.prediction.replicas.client._EXPLAINED", 240.0
    )  # the keeper has time to say why
    model = tmp_path / "model" / "model.pkl"
    model.parent.mkdir()
    model.write_bytes(pickle.dumps(Hungry()))
    limits = Limits(memory=1 << 30, disk=4 << 20, seconds=1)
    for what, code, words in (
        ("memory", 429, "may use at most 1,024 MiB"),
        ("time", 503, "an answer took longer than the 1 seconds that it may"),
        ("disk", 503, "it wrote more than the 4 MiB"),
        ("process", 400, "it is one process and may start no other"),
        ("files", 400, "it has too many open files"),
        ("abort", 503, "it ran out of memory: it may use at most 1,024 MiB"),
    ):
        one = limits if what == "time" else replace(limits, seconds=240)
        with replica(sklearn_python, model, tmp_path / what, limits=one) as made:
            assert made.ready, made.error or made.last_words()
            path = str(tmp_path / what / "0.sock")
            answered = []
            asking = threading.Thread(
                target=lambda path=path, what=what, to=answered: to.append(_asked(path, what))
            )
            asking.start()
            moment = 0.0
            while asking.is_alive():
                moment += 2
                if how := made.ended() or made.exceeded(moment):
                    made.kill()
                    made.explain_death(how)
                    break
                asking.join(0.05)
            asking.join()
        assert answered[0][0] == code and words in answered[0][1], (what, answered)


def _asked(path: str, what: str) -> tuple[int, str]:
    async def ask() -> tuple[int, str]:
        client = ReplicaClient([path])
        assert await client.ready(240)
        try:
            status, body = await client.predict("predict", json.dumps({"instances": [what]}).encode())
            return status, body.decode()
        except Unavailable as error:
            return 503, error.message
        finally:
            await client.close()

    return asyncio.run(ask())


def _stepped(manager, database, state: str) -> store.Stored:
    """Steps until the set "1" is in `state`."""

    def step() -> store.Stored | None:
        manager.step()
        with database.read() as connection:
            stored = store.get(connection, "1")
        return stored if stored.state == state else None

    return until(step, f"the set is {state}")


def test_threads_may_ask_to_be_as_they_are(wall, tmp_path):
    """As ZeroMQ does for each of its own, and so Jupyter's kernels."""
    code = """import os, sys
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
try:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
except PermissionError:
    sys.exit(7)"""
    running = isolation.start(
        [sys.executable, "-I", "-c", code], readable=[Path(sys.prefix), Path(sys.base_prefix)],
        scratch=tmp_path / "scratch", log=(tmp_path / "log").open("wb"), limits=Limits(1 << 30),
    )  # fmt: skip
    running.communicate()
    assert running.returncode == 7


def test_the_network_is_there_when_it_is_asked_for(wall, listener, tmp_path):
    code = f"import socket; socket.create_connection(('127.0.0.1', {listener[0]}), 240).send(b'hello')"
    for network in (False, True):
        with (tmp_path / "log").open("wb") as log:
            running = isolation.start(
                [sys.executable, "-I", "-c", code],
                readable=[Path(sys.prefix), Path(sys.base_prefix)],
                scratch=tmp_path / "scratch",
                log=log,
                limits=Limits(1 << 30),
                network=network,
            )
            running.communicate()
        walled = not network
        assert (running.returncode != 0) == walled
    until(lambda: b"hello" in listener[1], "what was sent has come")


@pytest.mark.parametrize(
    ("script", "word"),
    [(None, "not installed"), ("echo no namespaces for you >&2; exit 1", "no namespaces for you")],
)
def test_without_bubblewrap_the_reason_is_told(monkeypatch, tmp_path, script, word):
    if script:
        (tmp_path / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = isolation.walls.__wrapped__()
    assert found.name in ("landlock", "none") and word in found.detail
