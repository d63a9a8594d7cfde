"""Whose a connection is while others' code runs: it is asked by requests without a token, in nobody's way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fronts import PREDICT, Processes, Raw, endpoint, eventually, lightgbm_model
from tests.waiting import until

from portico.sandbox import walled
from portico.store.sockets import run_folder

BODY = {"instances": [{"n0": 0.5}]}
TOKEN = "authorization: Bearer good\r\n"
# A look at all processes takes until the test lets it end.
SLOW = """
import time
from pathlib import Path
from portico.sandbox import walled
really = walled.holds
def holds(run, names, inode):
    with open(run / "asked", "a") as asked:
        asked.write("x")
    while not (run / "go").exists():
        time.sleep(0.01)
    return really(run, names, inode)
walled.holds = holds
"""


@pytest.fixture(scope="module")
def running(processes: Processes, boosters: dict[str, Path]) -> Processes:
    run = run_folder(processes.home)
    walled.clear(run)
    processes.start_front(before=SLOW)
    processes.start_control(SLOW)
    processes.serve(endpoint(lightgbm_model(boosters["binary"])))
    assert eventually(lambda: Raw(processes.port).ask("/ready", headers=TOKEN)[0] == 200)
    return processes


@pytest.fixture
def run(running: Processes) -> Iterator[Path]:
    """Where it is noted that something of another process's is behind walls."""
    run = run_folder(running.home)
    (walled.folder(run) / "1").write_text("of another process")
    (run / "asked").write_text("")
    yield run
    (run / "go").unlink(missing_ok=True)
    for name in walled.notes(run):
        (walled.folder(run) / name).unlink()


def asked(run: Path) -> int:
    return len((run / "asked").read_text())


def test_a_token_needs_no_look_and_waits_for_none(running: Processes, run: Path) -> None:
    without, shown = Raw(running.port), Raw(running.port)
    assert [shown.ask(PREDICT, BODY, headers=TOKEN)[0] for _ in range(2)] == [200, 200]
    assert shown.ask("/whose", headers=TOKEN) == (200, "POST /whose 0")
    assert shown.ask(PREDICT, BODY, headers=TOKEN)[0] == 200
    assert asked(run) == 0
    without.send(without.request(PREDICT, BODY))
    until(lambda: asked(run) == 1, "it is asked whose the connection without a token is")
    assert shown.ask(PREDICT, BODY, headers=TOKEN)[0] == 200
    assert shown.ask("/whose", headers=TOKEN) == (200, "POST /whose 0")
    shown.send(shown.request("/whose"))  # control asks, for its part
    until(lambda: asked(run) == 2, "it is asked in control, too")
    other = Raw(running.port)
    assert other.ask("/whose", headers=TOKEN) == (200, "POST /whose 0")
    (run / "go").touch()
    assert without.receive()[0] == 200
    assert shown.receive()[2] == b"POST /whose 1"
    assert without.ask(PREDICT, BODY)[0] == 200 and without.ask("/whose") == (200, "POST /whose 1")
    assert asked(run) == 2
    for one in (without, shown, other):
        one.close()


@pytest.mark.parametrize("path", [PREDICT, "/whose"])
def test_what_is_behind_walls_is_nobody_however_late_it_is_asked(
    running: Processes, run: Path, path: str
) -> None:
    (walled.folder(run) / str(os.getpid())).write_text(walled.started(os.getpid()))
    (run / "go").touch()
    client = Raw(running.port)
    assert client.ask(PREDICT, BODY, headers=TOKEN)[0] == 200
    assert client.ask("/whose", headers=TOKEN)[0] == 200
    empty = Raw(running.port)
    assert empty.ask("/whose", headers="authorization: \r\n") == (200, "POST /whose 0")
    for _ in range(2):
        status, told = client.ask(path, BODY)
        assert status == 401 if path == PREDICT else told == "POST /whose 0"
    assert client.ask(PREDICT, BODY, headers=TOKEN)[0] == 200
    client.close()
    empty.close()


def test_who_goes_away_while_it_is_asked_is_not_answered(running: Processes, run: Path) -> None:
    for path in (PREDICT, "/whose"):
        client = Raw(running.port)
        client.send(client.request(path, BODY))
        client.close()
    client = Raw(running.port)
    (run / "go").touch()
    assert client.ask(PREDICT, BODY)[0] == 200
    client.close()
