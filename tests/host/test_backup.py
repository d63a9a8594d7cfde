"""Backups while the server writes, restored into a home that serves them; and the check that finds what is damaged."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.conftest import Portico
from tests.postgresql import Server

from portico.cli import keeping
from portico.errors import DataLoss, FailedPrecondition
from portico.store import backend, domain_clock
from portico.store import home as home_store
from portico.store.database import Database
from portico.store.gcs import Gcs
from portico.store.objects import buckets as objects_buckets

PORTICO = [sys.executable, "-m", "portico.cli.main"]
L = "projects/p/locations/us-central1"


def run(*args: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PORTICO, *map(str, args)], capture_output=True, text=True, timeout=240, check=False
    )


def bytes_of(name: str) -> bytes:
    return hashlib.shake_128(name.encode()).digest(5000)


class Writer(threading.Thread):
    """Overwrites, deletes and copies; each write of an object says in its metadata's endpoint what was last."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.stopping = threading.Event()
        self.started = threading.Event()
        self.wrong: list[str] = []
        self.rounds = 0

    def run(self) -> None:
        with requests.Session() as session:
            while not self.stopping.is_set():
                for name in ("a", "b", "c"):
                    url = f"{self.url}/upload/storage/v1/b/first/o?uploadType=media&name={name}/{self.rounds}"
                    self.expect(session.post(url, data=bytes_of(f"{name}/{self.rounds}"), timeout=240))
                    if self.rounds:
                        before = f"{name}%2F{self.rounds - 1}"
                        self.expect(session.delete(f"{self.url}/storage/v1/b/first/o/{before}", timeout=240))
                self.rounds += 1
                if self.rounds == 3:
                    self.started.set()

    def expect(self, answer: requests.Response) -> None:
        if not answer.ok:
            self.wrong.append(answer.text)


@pytest.mark.slow
def test_a_backup_under_writes_restores_to_one_moment(
    new_portico: Callable[..., Portico], tmp_path: Path
) -> None:
    server = new_portico().start()
    assert requests.post(f"{server.url}/storage/v1/b?project=p", json={"name": "first"}, timeout=240).ok
    made = requests.post(f"{server.url}/v1/{L}/endpoints", json={"displayName": "e"}, timeout=240).json()
    for number in range(40):
        url = f"{server.url}/upload/storage/v1/b/first/o?uploadType=media&name=kept/{number:02}"
        assert requests.post(url, data=bytes_of(f"kept/{number:02}"), timeout=240).ok
    writer = Writer(server.url)
    writer.start()
    writer.started.wait(240)
    copy = tmp_path / "copy"
    done = run("backup", copy, "--home", server.home, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] >= 42
    writer.stopping.set()
    writer.join(240)
    assert writer.wrong == []
    checked = run("check", "--home", server.home, "--json")
    assert checked.returncode == 0 and json.loads(checked.stdout)["orphans"] == 0, checked.stdout
    server.kill()
    restored = Portico(tmp_path / "restored")
    done = run("restore", copy, "--home", restored.home)
    assert done.returncode == 0, done.stderr
    restored.start()
    try:
        assert (
            requests.get(f"{restored.url}/v1/{made['response']['name']}", timeout=240).json()["displayName"]
            == "e"
        )
        listed = requests.get(f"{restored.url}/storage/v1/b/first/o", timeout=240).json()["items"]
        names = [item["name"] for item in listed]
        # One moment: the writer has each of its names at one of two neighbouring rounds, in its order.
        at = {name: [int(n.partition("/")[2]) for n in names if n.startswith(f"{name}/")] for name in "abc"}
        assert all(1 <= len(rounds) <= 2 for rounds in at.values()), at
        assert max(at["a"]) - min(at["c"]) <= 1 and max(at["a"]) >= max(at["b"]) >= max(at["c"]), at
        assert len([name for name in names if name.startswith("kept/")]) == 40
        for name in names:
            url = f"{restored.url}/storage/v1/b/first/o/{name.replace('/', '%2F')}?alt=media"
            assert requests.get(url, timeout=240).content == bytes_of(name)
    finally:
        restored.stop()
    assert run("check", "--home", restored.home).returncode == 0
    mine = {str(path): path.stat().st_mode & 0o077 for path in copy.rglob("*") if path.is_file()}
    assert set(mine.values()) == {0}  # nobody else reads it
    # It does not go over anything, and what is damaged is not restored.
    assert "not empty" in run("restore", copy, "--home", restored.home).stderr
    assert "not empty" in run("backup", copy, "--home", restored.home).stderr
    damaged = next((copy / "objects").rglob("*/*"))
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    done = run("restore", copy, "--home", tmp_path / "third")
    assert done.returncode == 1 and "the backup is damaged" in done.stderr
    with pytest.raises(home_store.RefusedHome):
        home_store.check(tmp_path / "third")


def test_a_deployed_model_is_served_from_where_it_was_restored(tmp_path: Path) -> None:
    import orjson
    import sqlalchemy as sa

    from portico.clock import SystemClock
    from portico.host.backup import backup, restore
    from portico.host.wiring import import_services
    from portico.prediction.replicas.places import socket_paths
    from portico.store import served

    import_services()
    home, new = tmp_path / "home", tmp_path / "new"
    home_store.begin(home, 1.0)
    (home / "models" / "m").mkdir(parents=True)
    (home / "models" / "m" / "model.txt").write_text("trees")
    model = served.ServedModel(
        "7", "m", "3", "m", "replica", str(home / "models" / "m"), replicas=socket_paths(home, "7", 2)
    )
    database = Database(home)
    with database.write() as connection:
        served.put(connection, served.ServedEndpoint("e", [model], {"7": 100}))
        connection.execute(sa.text("INSERT INTO replica_processes VALUES ('7', 0, 1, 1.0)"))
    database.close()
    backup(home, tmp_path / "copy", SystemClock(), lambda at, what: None)
    restore(tmp_path / "copy", new, lambda at, what: None)
    database = Database(new)
    with database.read() as connection:
        [endpoint] = served.load_all(connection)
        processes = connection.execute(sa.text("SELECT count(*) FROM replica_processes")).scalar()
    database.close()
    assert endpoint.deployed[0].path == str(new / "models" / "m")
    assert endpoint.deployed[0].replicas == socket_paths(new, "7", 2)
    assert processes == 0  # those of the other home, which may be alive
    assert orjson.loads((tmp_path / "copy" / "backup.json").read_bytes())["home"] == str(home)


def gone(home: Path, file: Path) -> None:
    file.unlink()


def cut(home: Path, file: Path) -> None:
    os.truncate(file, 3)


def changed(home: Path, file: Path) -> None:
    file.write_bytes(b"X" + file.read_bytes()[1:])


def lost_index(home: Path, file: Path) -> None:
    connection = sqlite3.connect(home / "portico.db")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET rootpage = 2 WHERE name = 'storage_objects_live'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (gone, "is missing"),
        (cut, "has 3 bytes, not 5,000"),
        (changed, "has other bytes"),
        (lost_index, "damaged"),
    ],
)
def test_the_check_names_what_is_damaged(
    tmp_path: Path, harm: Callable[[Path, Path], None], words: str
) -> None:
    home = tmp_path / "home"
    home_store.begin(home, 1.0)
    database = Database(home)
    with database.write() as connection:
        objects_buckets.insert(connection, "first", "p", {"location": "US"}, 1.0)
    gcs = Gcs(home, database)
    row = gcs.write("gs://first/one", bytes_of("one"))
    gcs.write("gs://first/two", bytes_of("two"))
    file = gcs.path(row)
    database.close()
    home_store.end(home)
    (home / "objects" / "ab").mkdir(exist_ok=True)
    (home / "objects" / "ab" / ("ab" * 16)).write_bytes(b"whose?")
    found = keeping.check(home, accept=False)
    assert keeping.is_well(found) and (found["checked"], found["orphans"]) == (2, 1)
    harm(home, file)
    found = keeping.check(home, accept=False)
    assert not keeping.is_well(found) and words in keeping.check_text(found)
    if harm is not lost_index:
        assert "gs://first/one" in keeping.check_text(found)
        with pytest.raises(DataLoss):
            keeping.backup(home, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()


def test_a_home_that_would_not_start_is_not_backed_up(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home_store.begin(home, 1.0)
    home_store.end(home)
    with pytest.raises(FailedPrecondition, match="can't be written"):
        keeping.backup(home, Path("/proc/copy"))  # nobody can make a folder there
    (home / "portico.db").write_bytes(b"")
    with pytest.raises(home_store.RefusedHome, match="is empty"):
        keeping.backup(home, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(FailedPrecondition):
        keeping.backup(tmp_path / "nothing", tmp_path / "copy")


def test_rows_move_between_databases(postgresql: Server, tmp_path: Path) -> None:
    """From PostgreSQL into a home with SQLite, and from there into PostgreSQL again."""
    first = tmp_path / "first"
    first.mkdir()
    backend.choose(first, postgresql.database())
    home_store.begin(first, 1.0)
    database = Database(first)
    with database.write() as connection:
        objects_buckets.insert(connection, "first", "p", {"location": "US"}, 1.0)
        domain_clock.advance(connection, 5.0)
    Gcs(first, database).write("gs://first/one", b"1" * 1000)
    database.close()
    keeping.backup(first, tmp_path / "one")
    keeping.restore(tmp_path / "one", tmp_path / "second")
    assert (tmp_path / "second" / "portico.db").exists()
    keeping.backup(tmp_path / "second", tmp_path / "two")
    third, url = tmp_path / "third", postgresql.database()
    keeping.restore(tmp_path / "two", third, url)
    assert not (third / "portico.db").exists() and backend.url_of(third) == url
    database = Database(third)
    gcs = Gcs(third, database)
    assert gcs.open(gcs.find("gs://first/one")).read() == b"1" * 1000
    gcs.write("gs://first/two", b"2")  # ids go on
    with database.read() as connection:
        assert domain_clock.simulated(connection) == 5.0
    database.close()
    assert keeping.check(third, accept=False)["faults"] == []
    with pytest.raises(FailedPrecondition, match="holds a home already"):
        keeping.restore(tmp_path / "two", tmp_path / "fourth", url)
    assert list((tmp_path / "fourth").iterdir()) == []
