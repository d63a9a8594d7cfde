"""Tables as they were: FOR SYSTEM_TIME AS OF, clones of a time, and what was dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.errors import InvalidArgument, PorticoError
from portico.warehouse import storage
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    made = Warehouse(tmp_path)
    made.run("CREATE SCHEMA d", Asked("p"))
    yield made
    made.close()


def rows(warehouse: Warehouse, text: str) -> list[tuple[Any, ...]]:
    done = warehouse.run(text, Asked("p", "p.d"))[-1]
    return [] if done.rows is None else [tuple(row.values()) for row in done.rows.to_pylist()]


def moment(warehouse: Warehouse) -> str:
    """An expression of the present."""
    [(micros,)] = rows(warehouse, "SELECT UNIX_MICROS(CURRENT_TIMESTAMP())")
    return f"TIMESTAMP_MICROS({micros})"


def then(warehouse: Warehouse, when: str, table: str = "t") -> list[tuple[Any, ...]]:
    return rows(warehouse, f"SELECT * FROM {table} FOR SYSTEM_TIME AS OF {when} ORDER BY 1")


def test_every_change_can_be_looked_behind(warehouse: Warehouse) -> None:
    rows(warehouse, "CREATE TABLE t (id INT64, s STRING, l ARRAY<INT64>)")
    told: list[tuple[str, list[Any]]] = []
    for text in (
        "INSERT INTO t VALUES (1, 'a', [1]), (2, 'b', []), (3, 'c', NULL)",
        "UPDATE t SET s = 'B', l = [7] WHERE id = 2",
        "INSERT t (id) SELECT 4",
        "UPDATE t SET s = x.s FROM (SELECT 1 AS id, 'joined' AS s) AS x WHERE x.id = t.id",
        "DELETE FROM t AS gone WHERE gone.id = 3",
        "MERGE t USING (SELECT 1 AS id, 'm' AS s UNION ALL SELECT 9, 'new' UNION ALL SELECT 2, 'kept') AS x "
        "ON t.id = x.id WHEN MATCHED AND x.id = 1 THEN UPDATE SET s = x.s WHEN NOT MATCHED THEN INSERT (id, s) "
        "VALUES (x.id, x.s) WHEN NOT MATCHED BY SOURCE THEN DELETE",
        "MERGE t USING (SELECT 2 AS id) AS x ON t.id = x.id WHEN MATCHED THEN DELETE",
        "ALTER TABLE t ADD COLUMN n FLOAT64",
        "UPDATE t SET n = 1.5 WHERE id = 9",
        "ALTER TABLE t DROP COLUMN s",
        "TRUNCATE TABLE t",
        "INSERT INTO t VALUES (5, [5], 0.5)",
        "CREATE OR REPLACE TABLE t AS SELECT id * 2 AS id FROM t",
    ):
        rows(warehouse, text)
        told.append((moment(warehouse), rows(warehouse, "SELECT * FROM t ORDER BY 1")))
        for when, held in told:
            if "DROP COLUMN" not in text:
                assert [sorted(map(str, row)) for row in then(warehouse, when)] == [
                    sorted(map(str, row)) for row in held
                ], (text, when)
    assert [len(held) for _, held in told] == [3, 3, 4, 4, 3, 3, 2, 2, 2, 2, 0, 1, 1]
    assert rows(warehouse, "SELECT * FROM t") == [(10,)]


def test_times_that_are_not_kept_are_refused(warehouse: Warehouse) -> None:
    before = moment(warehouse)
    rows(warehouse, "CREATE TABLE t AS SELECT 1 AS id")
    for when, said in (
        (before, "Cannot read before"),
        ("TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 HOUR)", "in the future"),
        ("TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 8 DAY)", "Cannot read before"),
        ("id", "constant"),
    ):
        with pytest.raises(PorticoError, match=said):
            then(warehouse, when)


def test_tables_are_cloned_as_they_were_and_brought_back(warehouse: Warehouse) -> None:
    rows(warehouse, "CREATE TABLE t AS SELECT 1 AS id UNION ALL SELECT 2")
    when = moment(warehouse)
    rows(warehouse, "DELETE FROM t WHERE id = 1")
    rows(
        warehouse, f"CREATE SNAPSHOT TABLE s CLONE t FOR SYSTEM_TIME AS OF {when} OPTIONS (description = 'x')"
    )
    rows(warehouse, f"CREATE TABLE c CLONE t FOR SYSTEM_TIME AS OF {when}")
    assert rows(warehouse, "SELECT COUNT(*), (SELECT COUNT(*) FROM c) FROM s") == [(2, 2)]
    rows(warehouse, "DROP TABLE t")
    with pytest.raises(PorticoError, match="was not found"):
        rows(warehouse, "SELECT * FROM t")
    assert then(warehouse, when) == [(1,), (2,)]
    rows(warehouse, "UNDROP TABLE t")
    assert rows(warehouse, "SELECT * FROM t") == [(2,)] and then(warehouse, when) == [(1,), (2,)]
    with pytest.raises(PorticoError, match="Already Exists"):
        rows(warehouse, "UNDROP TABLE t")
    rows(warehouse, "CREATE VIEW v AS SELECT id FROM t")
    rows(warehouse, "DROP SCHEMA d CASCADE")
    rows(warehouse, "UNDROP SCHEMA d")
    assert rows(warehouse, "SELECT id FROM v UNION ALL SELECT id FROM s ORDER BY 1") == [(1,), (2,), (2,)]
    assert rows(warehouse, "UNDROP SCHEMA IF NOT EXISTS d") == []


def test_what_is_too_old_is_swept(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(warehouse, "CREATE TABLE t AS SELECT 1 AS id UNION ALL SELECT 2")
    rows(warehouse, "DELETE FROM t WHERE id = 1")
    rows(warehouse, "CREATE TABLE gone AS SELECT 1 AS id; DROP TABLE gone")

    def stored() -> tuple[int, int]:
        with warehouse.transaction() as cursor:
            storage.sweep(cursor)
            [(tables,)] = cursor.execute(
                "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'data'"
            ).fetchall()
            [(body,)] = cursor.execute("SELECT body FROM w.portico.entries WHERE name = 't'").fetchall()
            past = storage.past(json.loads(body)["_storage"])
            [(kept,)] = cursor.execute(f"SELECT count(*) FROM {past}").fetchall()
        return tables, kept

    assert stored() == (3, 1)
    monkeypatch.setattr(storage, "window", lambda _: -1)
    assert stored() == (2, 0)
    assert rows(warehouse, "SELECT * FROM t") == [(2,)]


def test_hidden_columns_are_not_shown(warehouse: Warehouse) -> None:
    rows(warehouse, "CREATE TABLE t (id INT64) PARTITION BY _PARTITIONDATE")
    rows(warehouse, "INSERT INTO t (_PARTITIONTIME, id) VALUES (TIMESTAMP '2024-01-02', 1)")
    rows(warehouse, "INSERT INTO t VALUES (2)")
    assert rows(warehouse, "SELECT * FROM t WHERE _PARTITIONDATE = '2024-01-02'") == [(1,)]
    assert rows(warehouse, "SELECT t.*, _PARTITIONTIME > '2024-02-01' AS late FROM t ORDER BY id") == [
        (1, False), (2, True),
    ]  # fmt: skip
    rows(warehouse, "UPDATE t SET id = 3 WHERE _PARTITIONTIME = '2024-01-02'")
    rows(warehouse, "DELETE t WHERE _PARTITIONDATE > '2024-01-02'")
    assert rows(warehouse, "SELECT id FROM t") == [(3,)]
    for text in (
        "SELECT `$at` FROM t",
        "SELECT `$partition` FROM t",
        "SELECT _PARTITIONTIME FROM (SELECT * FROM t)",
    ):
        with pytest.raises(InvalidArgument):
            rows(warehouse, text)
