"""What isolated code can reach. Each attempt that must fail here succeeds in a plain process."""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
import threading
from pathlib import Path

import pytest

from portico.jobs import isolation
from portico.jobs.isolation import Isolation

ATTEMPTS = """
import json, os, socket, sys
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


@pytest.mark.skipif(isolation.isolation().name != "bubblewrap", reason="bubblewrap does not run here")
def test_a_malicious_pickle_reaches_nothing_under_bubblewrap(attack, listener, tmp_path):
    assert attack() == {
        "write": False,
        "spoil": False,
        "key": False,
        "environment": False,
        "connect": False,
        "signal": False,
        "scratch": True,
    }
    assert listener[1] == [] and not (tmp_path / "outside").exists()


def test_a_plain_process_has_a_clean_environment_and_says_what_it_is(attack, listener, monkeypatch):
    monkeypatch.setattr(isolation, "isolation", lambda: Isolation("process", "for this test"))
    told = attack()
    # So the attempts above do fail because of the walls.
    assert told["write"] and told["key"] and told["connect"] and told["signal"] and told["scratch"]
    assert not told["environment"]
    assert listener[1] == [b"gotcha"]


def test_the_network_is_there_when_it_is_asked_for(listener, tmp_path):
    code = f"import socket; socket.create_connection(('127.0.0.1', {listener[0]}), 2).send(b'hello')"
    for network in (False, True):
        with (tmp_path / "log").open("wb") as log:
            running = isolation.start(
                [sys.executable, "-I", "-c", code],
                readable=[Path(sys.prefix), Path(sys.base_prefix)],
                scratch=tmp_path / "scratch",
                log=log,
                network=network,
            )
            running.communicate()
        walled = isolation.isolation().name == "bubblewrap" and not network
        assert (running.returncode != 0) == walled
    assert b"hello" in listener[1]


@pytest.mark.parametrize(
    ("script", "word"),
    [(None, "not installed"), ("echo no namespaces for you >&2; exit 1", "no namespaces for you")],
)
def test_without_bubblewrap_the_reason_is_told(monkeypatch, tmp_path, script, word):
    if script:
        (tmp_path / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = isolation.isolation.__wrapped__()
    assert found.name == "process" and word in found.detail and "unconfined" in found.detail
