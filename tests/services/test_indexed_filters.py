"""What a collection declares as indexed the database finds; what it does not know as indexed is looked at as before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from portico.services.standard import filters
from portico.store import resource_index, resources
from portico.store.database import Database
from portico.store.tables.resources import resources as table

pytestmark = pytest.mark.usefixtures("either_store")

PLACE = "projects/p/locations/l"
KIND = "here:things"


@pytest.fixture
def database(tmp_path: Any) -> Iterator[Database]:
    made = Database(tmp_path)
    made.create_tables()
    resource_index.declare(KIND, frozenset({"displayName", "labels", "state"}))
    yield made
    made.close()
    del resource_index._declared[KIND]


def insert(connection: Any, number: int, **body: Any) -> str:
    name = f"{PLACE}/things/{number}"
    resources.insert(connection, name=name, kind=KIND, parent=PLACE, body=body, now=float(number))
    return name


def found(database: Database, **wanted: str) -> list[str]:
    asked = {key.replace("_", "."): value for key, value in wanted.items()}
    with database.read() as connection:
        listed = resources.listed(connection, KIND, PLACE, wanted=asked)
        return [one.name.rpartition("/")[2] for one in listed]


def test_the_database_finds_by_indexed_fields(database: Database) -> None:
    with database.write() as connection:
        for number in range(20):
            insert(connection, number, displayName=f"n{number % 5}", labels={"team": "ab"[number % 2]})
    assert found(database, displayName="n3") == ["18", "13", "8", "3"]
    assert found(database, displayName="n3", labels_team="b") == ["13", "3"]
    assert found(database, displayName="none") == []
    assert len(found(database, description="x")) == 20, "it is not indexed: all may match"
    with database.write() as connection:
        changed = resources.get(connection, f"{PLACE}/things/3")
        assert changed is not None
        changed.body["displayName"] = "other"
        resources.update(connection, changed, 30.0)
        resources.delete(connection, f"{PLACE}/things/8")
    assert found(database, displayName="n3") == ["18", "13"] and found(database, displayName="other") == ["3"]


@pytest.mark.parametrize("mark", [None, "displayName", "zzz"])
def test_what_was_not_indexed_so_may_match(database: Database, mark: str | None) -> None:
    """As a home of an older Portico has it, or one whose collection declared other fields."""
    with database.write() as connection:
        old = insert(connection, 1, displayName="a")
        insert(connection, 2, displayName="b")
        connection.execute(sa.update(table).where(table.c.name == old).values(indexed=mark))
    assert found(database, displayName="none") == ["1"]
    with database.write() as connection:
        written = resources.get(connection, old)
        assert written is not None
        resources.note(connection, written)
    assert found(database, displayName="none") == [] and found(database, displayName="a") == ["1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('display_name="a"', {"displayName": "a"}),
        ('displayName="a" AND labels.team=x state', {}),  # not a filter
        ('displayName="a" labels.team="x"', {"displayName": "a", "labels.team": "x"}),
        ('displayName="a" OR displayName="b"', {}),
        ('NOT displayName="a"', {}),
        ('-displayName="a" AND description="d"', {"description": "d"}),
        ('(displayName="a" OR displayName="b") AND description="d"', {"description": "d"}),
        ('description="d" AND (displayName="a" OR displayName="b")', {"description": "d"}),
        ('displayName="a*"', {}),
        ('displayName=""', {}),
        ('displayName="2020-01-01"', {}),
        ('displayName!="a"', {}),
        ('displayName="a" AND displayName="b"', {"displayName": "a"}),
        ('model="7"', {}),
    ],
)
def test_only_what_every_match_has_narrows(schema: Any, text: str, expected: dict[str, str]) -> None:
    assert filters.wanted(text, schema("Model"), {"model": lambda shown: "7"}) == expected
