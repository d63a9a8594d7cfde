"""Events that triggers wait for, over both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portico.store import domain_clock, events, home
from portico.store.database import Database

pytestmark = pytest.mark.usefixtures("either_store")


@pytest.fixture
def connection(tmp_path: Path) -> Any:
    home.begin(tmp_path, 1.0)
    database = Database(tmp_path)
    database.create_tables()
    with database.write() as connection:
        yield connection
    database.close()


def note(connection: Any, name: str, bucket: str = "b", now: float = 5.0) -> None:
    events.note(connection, events.OBJECT, bucket, {"object": name}, now, name)


def taken(connection: Any, trigger: str) -> list[str]:
    found = []
    while event := events.first(connection, trigger):
        assert event.trigger == trigger and event.facts["kind"] == events.OBJECT
        found.append(event.facts["object"])
        assert events.take(connection, event) and not events.take(connection, event)
    return found


def test_each_trigger_gets_the_events_that_it_waits_for(connection):
    events.watch(connection, "all", events.OBJECT, "b")
    events.watch(connection, "some", events.OBJECT, "b", "in_%/", ".csv")
    events.watch(connection, "other", events.DATASET_VERSION, "b")
    for position, name in enumerate(("in_%/1.csv", "in_%/1.txt", "inx/2.csv", "in_%/2.csv")):
        note(connection, name, now=5.0 + position)
    note(connection, "in_%/3.csv", "other-bucket")
    assert events.waiting(connection) == ["all", "some"]
    assert taken(connection, "some") == ["in_%/1.csv", "in_%/2.csv"]
    assert len(taken(connection, "all")) == 4
    assert events.waiting(connection) == []


def test_what_was_noted_stays_until_the_trigger_goes(connection):
    events.watch(connection, "t", events.OBJECT, "b")
    note(connection, "one")
    events.unwatch(connection, "t")
    note(connection, "two")
    events.watch(connection, "t", events.OBJECT, "b", "th")
    note(connection, "three", now=6.0)
    first = events.first(connection, "t")
    assert first is not None and first.time == 5.0
    assert taken(connection, "t") == ["one", "three"]
    note(connection, "th")
    events.forget(connection, "t")
    note(connection, "th")
    assert events.waiting(connection) == []


def test_times_are_those_of_the_domain(connection):
    events.watch(connection, "t", events.OBJECT, "b")
    domain_clock.advance(connection, 77.0)
    note(connection, "one")
    found = events.first(connection, "t")
    assert found is not None and found.time == 77.0
