"""What `Database` promises, over both backends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from tests.waiting import until

from portico.store import backend, home, mark, resources
from portico.store.database import Database, bump, current
from portico.store.tables import metadata
from portico.store.tables.resources import resources as table

pytestmark = pytest.mark.usefixtures("either_store")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    home.begin(tmp_path, 1.0)
    database = Database(tmp_path)
    yield database
    database.close()


def put(connection: Connection, name: str, parent: str = "p", now: float = 1.0) -> None:
    assert resources.insert(connection, name=name, kind="k", parent=parent, body={"n": name}, now=now)


def names(database: Database, parent: str = "p") -> list[str]:
    with database.read() as connection:
        return [one.name for one in resources.listed(connection, "k", parent)]


def test_a_block_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        put(connection, "a")
        1 / 0  # noqa: B018
    assert names(database) == []


def test_a_statement_that_fails_is_not_passed_over(database: Database) -> None:
    with database.write() as connection:
        put(connection, "a")
    with pytest.raises((sa.exc.IntegrityError, RuntimeError)), database.write() as connection:
        put(connection, "b")
        connection.execute(sa.insert(table).values(name="a"))
    assert names(database) == ["a"]


def test_a_reader_sees_one_moment(database: Database, tmp_path: Path) -> None:
    other = Database(tmp_path)
    with database.read() as connection:
        assert resources.get(connection, "a") is None
        with other.write() as writing:
            put(writing, "a")
        assert resources.get(connection, "a") is None
    assert names(database) == ["a"]
    other.close()


def test_what_was_not_read_to_its_end_holds_nothing_back(database: Database, tmp_path: Path) -> None:
    """Its connection is used again, sees what was written since, and writes."""
    with database.write() as connection:
        for number in range(500):
            put(connection, f"{number:03}")
    with database.read() as connection:
        reading = connection.execute(
            sa.select(table.c.name)
        )  # an error that somebody keeps holds such a thing too
        assert reading.fetchone() is not None
    other = Database(tmp_path)
    with other.write() as connection:
        put(connection, "new")
    assert "new" in names(database)
    with database.write() as connection:
        put(connection, "newer")
    assert "newer" in names(other)
    other.close()
    del reading


def test_what_is_being_written_is_not_seen(database: Database) -> None:
    with database.write() as connection:
        put(connection, "a")
        assert names(database) == []
        assert resources.get(connection, "a") is not None


def test_writers_of_all_threads_and_processes_wait_for_each_other(database: Database, tmp_path: Path) -> None:
    """Each reads, and then writes one more than it read."""

    def count(own: Database) -> None:
        for _ in range(10):
            with own.write() as connection:
                before = current(connection, "t")
                assert bump(connection, "t") == before + 1

    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                own = Database(tmp_path)
                threads = [threading.Thread(target=count, args=(own,)) for _ in range(3)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    with database.read() as connection:
        assert current(connection, "t") == 90


def test_a_writer_that_is_killed_leaves_nothing_and_keeps_nobody(database: Database, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            own = Database(tmp_path)
            with own.write() as connection:
                put(connection, "a")
                (tmp_path / "written").touch()
                signal.pause()
        finally:
            os._exit(1)
    until((tmp_path / "written").exists, "the writer is in its block")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with database.write() as connection:
        put(connection, "b")
    assert names(database) == ["b"]


def test_each_write_is_counted_in_the_database_and_beside_it(database: Database, tmp_path: Path) -> None:
    def writes() -> tuple[int, int]:
        known = mark.read(tmp_path)
        assert known is not None
        return backend.of(tmp_path).look().writes, known.writes

    before, beside = writes()
    assert before == beside
    with database.write() as connection:
        put(connection, "a")
        put(connection, "b")
    with database.write() as connection:
        assert resources.get(connection, "a")  # changes nothing
    assert writes() == (before + 1, before + 1)


def test_names_are_ordered_by_their_bytes(database: Database) -> None:
    given = ["b", "B", "a/b", "a-b", "ä", "z", "\U0001f600", "￿", "_", "a\0b", "a\1b", "a\1\2b", "a\2b", "a"]
    with database.write() as connection:
        for name in given:
            put(connection, name)
    ordered = sorted(given, key=str.encode)
    assert names(database) == ordered[::-1]  # newest first, and of one time the last name first
    with database.read() as connection:
        at = sa.select(table.c.name).where(table.c.name > "a\0b").order_by(table.c.name)
        assert list(connection.execute(at).scalars()) == ordered[ordered.index("a\0b") + 1 :]
        for name in given:
            assert resources.get(connection, name) is not None


def test_what_a_page_begins_behind(database: Database) -> None:
    with database.write() as connection:
        for number in range(7):
            put(connection, f"n{number}", now=float(number // 2))
    whole = names(database)
    with database.read() as connection:
        page = list(resources.listed(connection, "k", "p", limit=3))
        last = page[-1]
        rest = list(resources.listed(connection, "k", "p", after=(last.create_time, last.name)))
    assert [one.name for one in page + rest] == whole


def test_what_an_older_home_lacks_is_made(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE labels")
        connection.exec_driver_sql("DROP INDEX jobs_of_parent")
        connection.exec_driver_sql("DROP INDEX jobs_next")
        connection.exec_driver_sql("ALTER TABLE jobs DROP COLUMN priority")
    database.create_tables()
    with database.read() as connection:
        inspector = sa.inspect(connection)
        assert set(inspector.get_table_names()) >= set(metadata.tables)
        assert "priority" in {column["name"] for column in inspector.get_columns("jobs")}
        assert {"jobs_of_parent", "jobs_next"} <= {one["name"] for one in inspector.get_indexes("jobs")}


def test_all_rows_are_copied_to_a_file_and_taken_from_it(database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        for number in range(1200):
            put(connection, f"n{number}\0", now=float(number))
        bump(connection, "t")
    backend.of(tmp_path).copy_to(tmp_path / "copy")
    there = tmp_path / "there"
    there.mkdir()
    backend.of(there).take(tmp_path / "copy")
    taken = Database(there)
    assert names(taken) == names(database)
    with taken.read() as connection:
        assert current(connection, "t") == 1
    taken.close()
