# ruff: noqa: E501
"""APPENDS and CHANGES, on a table like that of Google's documentation of them, and what is not in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portico.errors import InvalidArgument
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse

MADE = """
CREATE TABLE d.produce (product STRING, inventory INT64) OPTIONS(enable_change_history = TRUE);
INSERT d.produce VALUES ('apple', 10), ('banana', 20), ('carrot', 30);
ALTER TABLE d.produce ADD COLUMN colors ARRAY<STRING>;
UPDATE d.produce SET inventory = 8 WHERE product = 'banana';
DELETE d.produce WHERE product = 'carrot';
INSERT d.produce VALUES ('grape', 40, ['green']);
MERGE d.produce AS t USING (SELECT k FROM UNNEST(['grape', 'apple', 'banana', 'plum']) AS k) AS s ON t.product = s.k
WHEN MATCHED AND s.k = 'grape' THEN UPDATE SET colors = ['red', 'green'] WHEN MATCHED AND s.k = 'apple' THEN DELETE
WHEN NOT MATCHED THEN INSERT (product) VALUES (s.k);
UPDATE d.produce SET colors = ['blue'] WHERE product = 'plum';
"""
APPENDED = [
    ("apple", 10, []),
    ("banana", 20, []),
    ("carrot", 30, []),
    ("grape", 40, ["green"]),
    ("plum", None, []),
]


@pytest.fixture(scope="module", autouse=True)
def tables(warehouse: Warehouse) -> None:
    for statement in MADE.split(";\n"):
        warehouse.run(statement, Asked("p"))


def rows(warehouse: Warehouse, text: str) -> list[tuple[Any, ...]]:
    done = warehouse.run(text, Asked("p", "p.d"))[-1]
    assert done.rows is not None
    return [
        tuple([] if one is None and name == "colors" else one for name, one in row.items())
        for row in done.rows.to_pylist()
    ]


def test_appended_rows_are_told_as_they_were(warehouse: Warehouse) -> None:
    text = "SELECT product, inventory, colors, _CHANGE_TYPE FROM APPENDS(TABLE d.produce, NULL, NULL) ORDER BY _CHANGE_TIMESTAMP, product"
    assert rows(warehouse, text) == [(*one, "INSERT") for one in APPENDED]
    later = "DECLARE t TIMESTAMP DEFAULT (SELECT MAX(_CHANGE_TIMESTAMP) FROM APPENDS(TABLE d.produce)); SELECT product FROM APPENDS(TABLE produce, {}) ORDER BY 1"
    assert rows(warehouse, later.format("t")) == [("plum",)]
    assert rows(warehouse, later.format("end_timestamp => t")) == [
        ("apple",),
        ("banana",),
        ("carrot",),
        ("grape",),
    ]
    assert rows(
        warehouse,
        "SELECT COUNT(*) FROM APPENDS(TABLE d.produce) AS a JOIN d.produce AS p ON a.product = p.product",
    ) == [(3,)]


def test_changed_rows_are_told_with_what_was_done(warehouse: Warehouse) -> None:
    text = "SELECT product, inventory, colors, _CHANGE_TYPE FROM CHANGES(TABLE d.produce, NULL, CURRENT_TIMESTAMP()) ORDER BY _CHANGE_TIMESTAMP, product, _CHANGE_TYPE"
    assert rows(warehouse, text) == [
        ("apple", 10, [], "INSERT"), ("banana", 20, [], "INSERT"), ("carrot", 30, [], "INSERT"), ("banana", 8, [], "UPDATE"),
        ("carrot", 30, [], "DELETE"), ("grape", 40, ["green"], "INSERT"), ("apple", 10, [], "DELETE"),
        ("grape", 40, ["red", "green"], "UPDATE"), ("plum", None, [], "INSERT"), ("plum", None, ["blue"], "UPDATE"),
    ]  # fmt: skip


@pytest.mark.parametrize(("source", "said"), [
    ("CHANGES(TABLE d.produce, NULL)", "needs end_timestamp"), ("APPENDS(TABLE d.v)", "no table with rows of its own"),
    ("CHANGES(TABLE d.plain, NULL, CURRENT_TIMESTAMP())", "enable_change_history"), ("APPENDS('d.produce')", "TABLE and the name"),
    ("APPENDS(TABLE d.produce, 1, 2, 3)", "takes a TABLE"),
    ("APPENDS(TABLE d.produce, TIMESTAMP '2999-01-01', TIMESTAMP '2998-01-01')", "must not be behind"),
])  # fmt: skip
def test_what_is_wrong_is_told(warehouse: Warehouse, source: str, said: str) -> None:
    warehouse.run(
        "CREATE OR REPLACE TABLE d.plain (a INT64); CREATE OR REPLACE VIEW d.v AS SELECT 1 AS a", Asked("p")
    )
    with pytest.raises(InvalidArgument, match=said):
        rows(warehouse, f"SELECT * FROM {source}")


def test_a_file_of_an_older_version_tells_its_changes(tmp_path: Path) -> None:
    made = Warehouse(tmp_path)
    made.run("CREATE SCHEMA d", Asked("p"))
    for statement in (
        *MADE.split(";\n")[:2],
        "UPDATE d.produce SET inventory = 8 WHERE product = 'banana'",
        "DELETE d.produce WHERE product = 'carrot'",
    ):
        made.run(statement, Asked("p"))
    with made.transaction() as cursor:
        told = cursor.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'data'").fetchall()
        for (name,) in told:
            cursor.execute(f'ALTER TABLE w.data."{name}" DROP COLUMN "$was"')
        cursor.execute(
            f'ALTER TABLE w.data."{max((one for (one,) in told), key=len)}" DROP COLUMN "$deleted"'
        )
    made.close()
    again = Warehouse(tmp_path)
    try:
        text = "SELECT product, _CHANGE_TYPE FROM CHANGES(TABLE d.produce, NULL, CURRENT_TIMESTAMP()) ORDER BY _CHANGE_TIMESTAMP, 1"
        assert rows(again, text) == [
            ("apple", "INSERT"),
            ("banana", "INSERT"),
            ("carrot", "INSERT"),
            ("banana", "UPDATE"),
            ("carrot", "DELETE"),
        ]
        again.run("UPDATE d.produce SET inventory = 9 WHERE product = 'apple'", Asked("p"))
        assert rows(again, text)[-1] == ("apple", "UPDATE")
    finally:
        again.close()
