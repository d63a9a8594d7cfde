"""The audit log's chain: what was edited, cut or put elsewhere is noticed, and retention keeps the rest whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from portico.clock import rfc3339
from portico.store.audit import KEPT, Entry, Trail
from portico.store.database import Database
from portico.store.tables.audit import entries as table
from portico.store.tables.audit import forgotten


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    return Trail(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> Any:
    made = Database(tmp_path)
    made.create_tables()
    yield made
    made.close()


def write(database: Database, trail: Trail, count: int, time: float = 0.0) -> None:
    for number in range(count):
        log = "projects/p/logs/l"
        body = {
            "logName": log, "insertId": str(number), "timestamp": rfc3339(time + number),
            "protoPayload": {"resourceName": "r"},
        }  # fmt: skip
        entry = Entry("projects/p", log, time + number, str(number), "r", body)
        with database.write() as connection:
            told = trail.insert(connection, entry)
        trail.kept(*told)


def verdict(database: Database, trail: Trail) -> tuple[int, str]:
    with database.read() as connection:
        found = trail.verify(connection)
    return found.broken, found.why


def test_a_log_as_it_was_written_is_whole(database, trail):
    assert verdict(database, trail) == (0, "")
    write(database, trail, 1200)
    assert verdict(database, trail) == (0, "")


@pytest.mark.parametrize(
    ("attack", "broken", "why"),
    [
        (sa.update(table).where(table.c.number == 4).values(body=b'{"n":7}'), 4, "not what was written"),
        *(
            (sa.update(table).where(table.c.number == 4).values({column: to}), 4, "is filed as another one")
            for column, to in (
                ("time", 9.0),
                ("owner", "projects/q"),
                ("log", "projects/p/logs/m"),
                ("insert_id", "x"),
                ("resource", "s"),
            )
        ),
        (sa.delete(table).where(table.c.number == 4), 4, "entry 4 is missing"),
        (sa.delete(table).where(table.c.number > 7), 8, "from 8 to 10 are missing"),
        (sa.delete(table), 1, "from 1 to 10 are missing"),
        (sa.delete(table).where(table.c.number < 3), 1, "entry 1 is missing"),
        (sa.update(table).values(number=11 - table.c.number + 100), 1, "entry 1 is missing"),
    ],
)
def test_an_entry_edited_cut_or_put_elsewhere_is_named(database, trail, attack, broken, why):
    write(database, trail, 10)
    with database.write() as connection:
        connection.execute(attack)
    found = verdict(database, trail)
    assert found[0] == broken
    assert why in found[1]


def test_two_entries_that_changed_places_are_noticed(database, trail):
    write(database, trail, 5)
    with database.write() as connection:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            connection.execute(sa.update(table).where(table.c.number == old).values(number=new))
    assert verdict(database, trail)[0] == 2


def test_a_chain_made_anew_without_the_key_is_noticed(database, trail, tmp_path):
    write(database, trail, 3)
    other = tmp_path / "other"
    other.mkdir()
    with database.write() as connection:
        connection.execute(sa.delete(table))
    write(database, Trail(other), 3)
    assert verdict(database, trail)[0] == 1


def test_what_is_old_goes_and_the_rest_is_whole(database, trail):
    write(database, trail, 5, time=0.0)
    write(database, trail, 5, time=KEPT)
    with database.write() as connection:
        assert trail.forget(connection, KEPT + 4.5) == 5
    write(database, trail, 2, time=KEPT)
    assert verdict(database, trail) == (0, "")
    with database.write() as connection:
        connection.execute(sa.delete(table).where(table.c.number == 6))
    assert verdict(database, trail) == (6, "entry 6 is missing")


def test_only_retention_forgets(database, trail):
    write(database, trail, 5)
    with database.write() as connection:
        digest = connection.execute(sa.select(table.c.digest).where(table.c.number == 3)).scalar()
        connection.execute(sa.delete(table).where(table.c.number <= 3))
        connection.execute(sa.insert(forgotten).values(number=3, digest=digest, seal=digest))
    assert verdict(database, trail) == (1, "the entries up to 3 are missing")


def test_a_log_that_is_forgotten_whole_goes_on(database, trail):
    write(database, trail, 3)
    with database.write() as connection:
        trail.forget(connection, KEPT * 3)
    write(database, trail, 2, time=KEPT * 3)
    assert verdict(database, trail) == (0, "")
