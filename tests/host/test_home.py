"""A home starts only on the database that belongs to its files; nothing is swept that this database did not make."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.conftest import Portico

from portico.store import home as home_store
from portico.store.database import Database
from portico.store.gcs import Gcs
from portico.store.home import RefusedHome
from portico.store.objects import buckets as objects_buckets
from portico.store.objects.sweep import sweep

PORTICO = [sys.executable, "-m", "portico.cli.main"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with an object in it, after a clean stop."""
    made = tmp_path / "home"
    filled(made)
    home_store.end(made)
    return made


def filled(home: Path) -> None:
    home_store.begin(home, 1.0)
    database = Database(home)
    with database.write() as connection:
        objects_buckets.insert(connection, "first", "p", {"location": "US"}, 1.0)
    Gcs(home, database).write("gs://first/one", b"1" * 1000)
    database.close()


def write(home: Path, name: str) -> None:
    """One more object; the write-ahead log stays, as after a crash."""
    child = os.fork()
    if child == 0:
        Gcs(home, Database(home)).write(f"gs://first/{name}", name.encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def files(home: Path) -> dict[str, bytes]:
    """All that a person would miss, by path."""
    return {str(p): p.read_bytes() for p in sorted((home / "objects").rglob("*")) if p.is_file()}


def run(*args: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PORTICO, *map(str, args)], capture_output=True, text=True, timeout=240, check=False
    )


def starts(home: Path) -> None:
    """As `portico up` does until it forks."""
    home_store.check(home)
    home_store.begin(home, 2.0)
    database = Database(home)
    sweep(database, home, 3.0)
    database.close()


def without_log(home: Path) -> None:
    for end in ("-wal", "-shm"):
        (home / f"portico.db{end}").unlink(missing_ok=True)


def missing(home: Path) -> None:
    (home / "portico.db").unlink()


def emptied(home: Path) -> None:
    (home / "portico.db").write_bytes(b"")


def torn(home: Path) -> None:
    with (home / "portico.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 3 * 4096)


def nonsense(home: Path) -> None:
    (home / "portico.db").write_bytes(b"this is no database " * 1000)


def anew(home: Path) -> None:
    """A database of a home that has just begun."""
    home_store.begin(home.parent / "new", 1.0)
    home_store.end(home.parent / "new")
    shutil.copy(home.parent / "new" / "portico.db", home / "portico.db")


def without_tables(home: Path) -> None:
    (home / "portico.db").unlink()
    database = sqlite3.connect(home / "portico.db")
    database.executescript("CREATE TABLE x(y); DROP TABLE x")
    database.close()


def anothers(home: Path) -> None:
    filled(home.parent / "other")
    home_store.end(home.parent / "other")
    shutil.copy(home.parent / "other" / "portico.db", home / "portico.db")


def anothers_without_id(home: Path) -> None:
    anothers(home)
    (home / "home.id").unlink()


def id_damaged(home: Path) -> None:
    (home / "home.id").write_text("portico home\nid 12")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (missing, "is missing"),
        (emptied, "is empty"),
        (torn, "is damaged"),
        (nonsense, "is damaged"),
        (anew, "holds nothing"),
        (without_tables, "holds nothing"),
        (anothers, "another home's"),
        (anothers_without_id, "another home's"),
        (id_damaged, "home.id is damaged"),
    ],
)
def test_a_database_that_is_not_this_homes_is_refused_and_nothing_is_lost(
    home: Path, harm: Callable[[Path], None], words: str
) -> None:
    whole = files(home)
    kept = {name: (home / name).read_bytes() for name in ("portico.db", "home.id")}
    harm(home)
    for _ in range(2):
        with pytest.raises(RefusedHome, match=words):
            starts(home)
    assert files(home) == whole
    without_log(home)
    for name, content in kept.items():
        (home / name).write_bytes(content)
    starts(home)
    assert files(home) == whole


@pytest.mark.parametrize("how", ["gone", "cut", "damaged"])
def test_a_lost_log_is_noticed(home: Path, how: str) -> None:
    starts(home)
    write(home, "two")
    write(home, "three")
    log = home / "portico.db-wal"
    content = log.read_bytes()
    whole = files(home)
    if how == "gone":
        log.unlink()
    elif how == "cut":
        log.write_bytes(content[:-5000])
    else:
        log.write_bytes(content[:-3000] + b"\xff" * 100 + content[-2900:])
    for _ in range(2):
        with pytest.raises(RefusedHome, match=r"lacks the last \d of its \d+ writes"):
            starts(home)
    assert (home / "portico.db-wal.kept").exists() is (how != "gone")  # SQLite has thrown away the other
    home_store.accept(home)
    for _ in range(2):
        starts(home)
        assert files(home) == whole  # what this database does not know it does not sweep


def test_an_older_copy_is_refused(home: Path) -> None:
    older = (home / "portico.db").read_bytes()
    starts(home)
    write(home, "two")
    home_store.end(home)
    newest = (home / "portico.db").read_bytes()
    (home / "portico.db").write_bytes(older)
    with pytest.raises(RefusedHome, match="lacks the last"):
        starts(home)
    (home / "portico.db").write_bytes(newest)
    starts(home)


def test_a_home_of_before_there_were_ids_goes_on(home: Path) -> None:
    (home / "home.id").unlink()
    database = sqlite3.connect(home / "portico.db")
    database.executescript("DROP TABLE home; DROP TABLE home_runs")
    database.close()
    left = home / "objects" / "ab" / ("ab" * 16)  # of a run that no database has recorded
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"whose?")
    whole = files(home)
    for _ in range(2):
        starts(home)
        assert files(home) == whole
    write(home, "two")
    home_store.end(home)
    without_tables(home)
    with pytest.raises(RefusedHome):
        starts(home)


def test_a_home_without_anything_starts_afresh(home: Path, tmp_path: Path) -> None:
    starts(tmp_path / "new")
    starts(tmp_path / "new")
    left = tmp_path / "killed at its first start"
    left.mkdir()
    Database(left).create_tables()
    starts(left)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Portico]:
    server = Portico(tmp_path / "home").start()
    yield server
    server.stop()


def test_the_command_stops_clean_and_refuses_with_words(own: Portico) -> None:
    assert requests.post(f"{own.url}/storage/v1/b?project=p", json={"name": "first"}, timeout=240).ok
    url = f"{own.url}/upload/storage/v1/b/first/o?uploadType=media&name=one"
    assert requests.post(url, data=b"1" * 1000, timeout=240).ok
    own.stop()
    log = own.home / "portico.db-wal"
    assert not log.exists() or log.stat().st_size == 0
    database = own.home / "portico.db"  # after a clean stop this one file has all
    reader = sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)
    assert reader.execute("SELECT name FROM storage_objects").fetchall() == [("one",)]
    reader.close()
    whole, kept = files(own.home), database.read_bytes()
    torn(own.home)
    done = run("up", "--home", own.home, "--port", 0)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("portico: ") and done.stderr.count("\n") == 1
    assert "is damaged" in done.stderr and "portico restore" in done.stderr
    status = run("status", "--home", own.home)
    assert status.returncode == 0 and "is damaged" in status.stdout and status.stderr == ""
    assert files(own.home) == whole
    without_log(own.home)
    database.write_bytes(kept)
    own.start()
    assert requests.get(f"{own.url}/storage/v1/b/first/o/one?alt=media", timeout=240).content == b"1" * 1000
