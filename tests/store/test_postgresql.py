"""What is PostgreSQL's alone: a database that lies elsewhere may be away, another's, or an older one."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from tests.postgresql import Server

from portico.errors import FailedPrecondition, InvalidArgument
from portico.store import backend, home, resources
from portico.store.backend import DatabaseAway, RefusedHome
from portico.store.database import Database


def begun(place: Path, url: str) -> Path:
    """A home that has been used."""
    place.mkdir()
    backend.choose(place, url)
    home.check(place)
    home.begin(place, 1.0)
    write(place, "a")
    return place


def write(place: Path, name: str) -> None:
    database = Database(place)
    with database.write() as connection:
        assert resources.insert(connection, name=name, kind="k", parent="p", body={}, now=1.0)
    database.close()


def test_a_database_that_was_away_is_found_again(tmp_path: Path) -> None:
    server = Server()  # of its own, since it is stopped
    try:
        database = Database(begun(tmp_path / "home", server.database()))
        with database.read() as connection:
            assert resources.get(connection, "a")
        server.stop()
        server.start()  # all connections broke meanwhile
        with database.write() as connection:
            assert resources.get(connection, "a")
        with database.read() as outer, database.read() as inner:
            assert resources.get(outer, "a") and resources.get(inner, "a")
            server.stop()
        for block in (database.read, database.write):
            words = r"does not answer .*As soon as it does, Portico goes on"
            with pytest.raises(DatabaseAway, match=words), block():
                pass
        server.start()
        with pytest.raises(DatabaseAway), database.write() as connection:
            assert resources.insert(connection, name="b", kind="k", parent="p", body={}, now=1.0)
            server.stop()
            resources.get(connection, "a")
        server.start()
        with database.read() as connection:
            assert resources.get(connection, "a") and resources.get(connection, "b") is None
        database.close()
    finally:
        server.remove()


def test_one_server_at_a_time(postgresql: Server, tmp_path: Path) -> None:
    place = begun(tmp_path / "home", postgresql.database())
    lost: list[str] = []
    another = pytest.raises(FailedPrecondition, match="Another Portico works on the database")
    with backend.of(place).hold(lost.append), another, backend.of(place).hold(lost.append):
        pass
    with backend.of(place).hold(lost.append):
        pass
    assert lost == []


def test_another_homes_database_is_refused(postgresql: Server, tmp_path: Path) -> None:
    url = postgresql.database()
    begun(tmp_path / "home", url)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(RefusedHome, match="may be another home's"), backend.chosen(other, url):
        home.check(other)
    assert backend.url_of(other) is None
    own = begun(tmp_path / "third", postgresql.database())
    kept = backend.url_of(own)
    with pytest.raises(RefusedHome, match="is another home's"), backend.chosen(own, url):
        home.check(own)
    assert backend.url_of(own) == kept
    home.check(own)


def test_an_empty_database_and_an_older_one_are_refused(postgresql: Server, tmp_path: Path) -> None:
    url = postgresql.database()
    place = begun(tmp_path / "home", url)
    older = backend.parse(url).database
    copy = f"{older}copy"
    postgresql.execute(f"CREATE DATABASE {copy} TEMPLATE {older}")
    write(place, "b")
    home.check(place)
    backend.choose(place, postgresql.url(copy))
    with pytest.raises(RefusedHome, match="lacks the last 1 of its 3 writes"):
        home.check(place)
    backend.choose(place, postgresql.database())
    with pytest.raises(RefusedHome, match="is empty"):
        home.check(place)


def test_a_name_that_no_index_holds_is_refused_in_words(postgresql: Server, tmp_path: Path) -> None:
    place = begun(tmp_path / "home", postgresql.database())
    with pytest.raises(InvalidArgument, match=r"longer than PostgreSQL can find again .* Give a shorter one"):
        write(place, secrets.token_hex(5000))
    write(place, secrets.token_hex(500))


def test_tables_of_others_are_left_alone(postgresql: Server, tmp_path: Path) -> None:
    url = postgresql.database()
    postgresql.execute("CREATE TABLE jobs (title text)", str(backend.parse(url).database))
    with pytest.raises(FailedPrecondition, match=r"tables that are not Portico's \(jobs\)"):
        begun(tmp_path / "home", url)


@pytest.mark.parametrize(
    "url", ["", "x", "mysql://h/d", "postgresql://h", "postgresql://h/", "postgresql://u:secret@h:port/d"]
)
def test_what_is_no_url(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidArgument, match="Not a database URL") as refused:
        backend.choose(tmp_path, url)
    assert "secret" not in refused.value.message


def test_the_password_is_the_owners_alone(tmp_path: Path) -> None:
    backend.choose(tmp_path, "postgresql://u:secret@127.0.0.1:1/d")
    assert backend.url_path(tmp_path).stat().st_mode & 0o777 == 0o600
    with pytest.raises(DatabaseAway, match=r"postgresql://u@127.0.0.1:1/d does not answer") as away:
        home.check(tmp_path)
    assert "secret" not in away.value.message


def test_a_home_with_its_rows_in_sqlite_keeps_them(tmp_path: Path) -> None:
    home.begin(tmp_path, 1.0)
    with pytest.raises(FailedPrecondition, match=r"has its rows in portico\.db.*portico restore"):
        backend.choose(tmp_path, "postgresql://h/d")
