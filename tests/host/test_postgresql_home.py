"""`portico up --database`: a home whose rows are in PostgreSQL."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from tests import processes
from tests.conftest import Portico
from tests.postgresql import Server
from tests.waiting import until

L = "projects/p/locations/us-central1"


def up(*args: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portico.cli.main", "up", "--port", "0", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def endpoints(server: Portico) -> list[str]:
    answer = requests.get(f"{server.url}/v1/{L}/endpoints", timeout=240)
    answer.raise_for_status()
    return [one["displayName"] for one in answer.json().get("endpoints", [])]


def test_a_server_on_postgresql(new_portico: Callable[..., Portico]) -> None:
    database = Server()  # of its own, since it is stopped
    server = new_portico()
    try:
        url = database.database().replace("portico@", "portico:secret@")
        server.options = (f"--database={url}",)
        server.start()
        pids = server.pids()
        commands = [processes.command(process) for process in processes.found(pids)]
        assert not any("secret" in word for command in commands for word in command)
        made = requests.post(f"{server.url}/v1/{L}/endpoints", json={"displayName": "one"}, timeout=240)
        assert made.ok and not (server.home / "portico.db").exists()
        until(lambda: endpoints(server) == ["one"], "the endpoint")

        copy = server.home.with_name("copy")
        shutil.copytree(server.home, copy, ignore=shutil.ignore_patterns("run", "envs"))
        refused = up("--home", copy)
        assert refused.returncode == 1 and "Another Portico works on the database" in refused.stderr
        other = up("--home", server.home.with_name("other"), "--database", url)
        assert other.returncode == 1 and "another home's" in other.stderr
        assert "secret" not in refused.stderr + other.stderr

        database.stop()
        for method, body in (("GET", None), ("POST", {"displayName": "two"})):
            answer = requests.request(method, f"{server.url}/v1/{L}/endpoints", json=body, timeout=240)
            assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "1"), answer.text
            assert "does not answer" in answer.json()["error"]["message"]
        database.start()
        until(lambda: requests.get(f"{server.url}/v1/{L}/endpoints", timeout=240).ok, "it answers again")
        assert endpoints(server) == ["one"]
        assert pids == server.pids()  # none had to be started again
        requests.post(f"{server.url}/v1/{L}/endpoints", json={"displayName": "three"}, timeout=240)
        until(lambda: len(endpoints(server)) == 2, "both endpoints")
        assert server.stop() == 0

        server.options = ()  # the home remembers
        server.start()
        assert sorted(endpoints(server)) == ["one", "three"]
    finally:
        server.stop()
        database.remove()


def test_what_can_not_be_used_is_told_in_a_line(tmp_path: Path, postgresql: Server) -> None:
    home = tmp_path / "home"
    for url, words in (
        ("mysql://h/d", "Not a database URL"),
        ("postgresql://u:secret@127.0.0.1:1/d", "postgresql://u@127.0.0.1:1/d does not answer"),
        (postgresql.url("missing"), 'database "missing" does not exist'),
    ):
        done = up("--home", home, "--database", url)
        assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert "secret" not in done.stderr and not (home / "database.url").exists()


@pytest.mark.parametrize("option", ["--database=", "--database "])
def test_a_password_does_not_stay_among_the_arguments(tmp_path: Path, option: str) -> None:
    """How the command begins anew, seen by what it would run."""
    words = (option + "postgresql://u:secret@h/d").split(" ")
    code = (
        "import os, sys; from portico.cli import up;"
        "os.execv = lambda path, words: print(words, os.environ[up.DATABASE]);"
        "up.hide_password('postgresql://u:secret@h/d')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "up", *words, "--port", "0"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("'up', '--port', '0'] postgresql://u:secret@h/d"), done
