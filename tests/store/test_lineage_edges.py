"""The edges of ML Metadata, over both databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from portico.store import lineage, resources
from portico.store.database import Database

pytestmark = pytest.mark.usefixtures("either_store")


def connected(connection: Connection, artifact: str) -> list[str]:
    return list(connection.execute(lineage.connected(artifact)).scalars())


def test_edges_are_seen_from_both_ends_and_go_with_either(tmp_path: Path) -> None:
    database = Database(tmp_path)
    database.create_tables()
    with database.write() as connection:
        for number in range(1200):  # more than one statement's names
            lineage.add(connection, f"run{number}", "input", ["data"], 1.0 + number, {"slot": "a"})
            lineage.add(connection, f"run{number}", "output", [f"model{number}", "data"], 1.0 + number)
        lineage.add(connection, "elsewhere", "input", ["other"], 1.0)
        lineage.add(connection, "group", "member", ["data", "run0"], 1.0)
    with database.read() as connection:
        asked = {"a", 'b"', "c'", *(f"n{number}" for number in range(40_000))}
        assert set(connection.execute(resources.these(connection, asked)).scalars()) == asked
        found = connected(connection, "model7")
        assert len(found) == len(set(found)) == 2401 and "elsewhere" not in found
        assert connected(connection, "nobody") == []
        events = lineage.events(connection, lineage.connected("model7"))
        assert len(events) == 2400 and events[0][4] == b'{"slot":"a"}'
        assert lineage.beside(connection, ["run0"]) == {"data", "model0"}
        assert set(connection.execute(lineage.other("group", "member")).scalars()) == {"data", "run0"}
        assert list(connection.execute(lineage.back("data", "member")).scalars()) == ["group"]
    with database.write() as connection:
        lineage.remove(connection, "group", "member", ["run0", "nobody"])
        lineage.forget(connection, "data")
    with database.read() as connection:
        assert connected(connection, "data") == []
        assert set(connected(connection, "model7")) == {"model7", "run7"}
        assert list(connection.execute(lineage.other("group", "member")).scalars()) == []
    database.close()
