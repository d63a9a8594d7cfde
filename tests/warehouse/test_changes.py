"""What INSERT, UPDATE, DELETE and MERGE leave in a table, and what they refuse, by the warehouse's engine."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import pytest

from portico.errors import PorticoError
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse

D = decimal.Decimal
_INVENTORY = (
    "CREATE OR REPLACE TABLE d.t (p STRING(4), n INT64 DEFAULT 7, x NUMERIC(5, 2), day DATE, "
    "id INT64 NOT NULL DEFAULT 1);"
    "INSERT d.t (p, n) VALUES ('a', 10), ('b', 20), ('c', 30);"
)
_NESTED = (
    "CREATE OR REPLACE TABLE d.t (id INT64, s STRUCT<color STRING, dims STRUCT<w INT64, h INT64>>, "
    "tags ARRAY<STRUCT<day DATE, said STRING>>);"
    "INSERT d.t VALUES (1, ('red', (1, 2)), [STRUCT('2020-01-01' AS day, 'hi' AS said)]), (2, NULL, []);"
)
_PAIRS = "(SELECT 'a' AS p, 1 AS n UNION ALL SELECT 'a', 2)"


def rows(warehouse: Warehouse, text: str) -> list[tuple[Any, ...]]:
    done = warehouse.run(text, Asked("p"))[-1]
    assert done.rows is not None
    return [tuple(row.values()) for row in done.rows.to_pylist()]


@pytest.mark.parametrize(("statement", "query", "expected"), [
    ("UPDATE d.t SET n = DEFAULT, day = DEFAULT WHERE p = 'a'", "SELECT n, day FROM d.t WHERE p = 'a'", [(7, None)]),
    ("UPDATE d.t u SET u.n = u.n + s.n FROM (SELECT 'a' AS p, 5 AS n) s WHERE u.p = s.p",
     "SELECT n FROM d.t ORDER BY p", [(15,), (20,), (30,)]),
    ("UPDATE d.t SET t.n = 0 WHERE t.p = 'a'", "SELECT n FROM d.t WHERE p = 'a'", [(0,)]),
    ("INSERT d.t (p, n, day) VALUES ('d', DEFAULT, '2020-01-02')", "SELECT n, day FROM d.t WHERE p = 'd'",
     [(7, dt.date(2020, 1, 2))]),
    ("INSERT d.t (p, x) SELECT 'd', 1", "SELECT x FROM d.t WHERE p = 'd'", [(D("1.00"),)]),
    ("INSERT d.t (p, x) VALUES ('d', 1.005), ('e', NUMERIC '2.345')", "SELECT x FROM d.t WHERE p >= 'd' ORDER BY p",
     [(D("1.01"),), (D("2.35"),)]),
    ("INSERT d.t (p, n) SELECT p, NULL FROM d.t WHERE p = 'a'", "SELECT n FROM d.t WHERE p = 'a' ORDER BY n",
     [(None,), (10,)]),
    ("MERGE d.t USING (SELECT 'q' AS p, 1 AS n, NUMERIC '1' AS x, DATE '2020-01-01' AS day, 3 AS id) ON FALSE "
     "WHEN NOT MATCHED THEN INSERT ROW", "SELECT * FROM d.t WHERE p = 'q'",
     [("q", 1, D("1.00"), dt.date(2020, 1, 1), 3)]),
    ("MERGE INTO d.t AS m USING (SELECT 'a' AS p, 9 AS n) s ON m.p = s.p "
     "WHEN MATCHED THEN UPDATE SET m.n = s.n, day = DEFAULT", "SELECT n FROM d.t WHERE p = 'a'", [(9,)]),
    ("MERGE d.t m USING UNNEST(['a', 'z']) AS s ON m.p = s WHEN MATCHED THEN UPDATE SET n = DEFAULT "
     "WHEN NOT MATCHED THEN INSERT (p, n) VALUES (s, DEFAULT) WHEN NOT MATCHED BY SOURCE AND p = 'c' THEN DELETE",
     "SELECT p, n FROM d.t ORDER BY p", [("a", 7), ("b", 20), ("z", 7)]),
    (f"MERGE d.t m USING {_PAIRS} s ON m.p = s.p WHEN MATCHED AND s.n = 2 THEN UPDATE SET n = s.n",
     "SELECT n FROM d.t WHERE p = 'a'", [(2,)]),
])  # fmt: skip
def test_values_come_as_the_statement_says(
    warehouse: Warehouse, statement: str, query: str, expected: list[tuple[Any, ...]]
) -> None:
    assert rows(warehouse, f"{_INVENTORY} {statement}; {query}") == expected


@pytest.mark.parametrize(("statement", "query", "expected"), [
    ("UPDATE d.t SET s.color = 'white', s.dims.h = 9 WHERE id = 1",
     "SELECT s.color, s.dims.w, s.dims.h FROM d.t WHERE id = 1",
     [("white", 1, 9)]),
    ("UPDATE d.t u SET u.s.dims = (5, 6) WHERE id = 1",
     "SELECT s.color, s.dims.w, s.dims.h FROM d.t WHERE id = 1",
     [("red", 5, 6)]),
    ("UPDATE d.t SET s.dims.h = s.dims.w, s.dims.w = s.dims.h WHERE id = 1",
     "SELECT s.dims.w, s.dims.h FROM d.t WHERE id = 1",
     [(2, 1)]),
    ("UPDATE d.t SET tags = ARRAY_CONCAT(tags, [(DATE '2021-01-01', 'yo')]) WHERE TRUE",
     "SELECT id, t.day, t.said FROM d.t, UNNEST(tags) t ORDER BY id, t.day",
     [(1, dt.date(2020, 1, 1), "hi"), (1, dt.date(2021, 1, 1), "yo"), (2, dt.date(2021, 1, 1), "yo")]),
    ("MERGE d.t u USING (SELECT 1 AS id) s ON u.id = s.id WHEN MATCHED THEN UPDATE SET s.color = NULL",
     "SELECT s.color, s.dims.w FROM d.t WHERE id = 1", [(None, 1)]),
])  # fmt: skip
def test_fields_of_structs_are_set(
    warehouse: Warehouse, statement: str, query: str, expected: list[tuple[Any, ...]]
) -> None:
    assert rows(warehouse, f"{_NESTED} {statement}; {query}") == expected


@pytest.mark.parametrize(("statement", "said"), [
    (f"UPDATE d.t m SET n = s.n FROM {_PAIRS} s WHERE m.p = s.p",
     "UPDATE/MERGE must match at most one source row for each target row"),
    (f"MERGE d.t m USING {_PAIRS} s ON m.p = s.p WHEN MATCHED THEN DELETE",
     "UPDATE/MERGE must match at most one source row for each target row"),
    ("INSERT d.t (p, n) VALUES (1, 2)",
     "Value has type INT64 which cannot be inserted into column p, which has type STRING"),
    ("INSERT d.t (n) SELECT CAST(n AS STRING) FROM d.t",
     "Query column 1 has type STRING which cannot be inserted into column n, which has type INT64"),
    ("INSERT d.t (n) SELECT n + 0.5 FROM d.t",
     "Query column 1 has type FLOAT64 which cannot be inserted into column n, which has type INT64"),
    ("UPDATE d.t SET n = 'x' WHERE TRUE", "Value of type STRING cannot be assigned to n, which has type INT64"),
    ("MERGE d.t m USING (SELECT 'a' AS p) s ON m.p = s.p WHEN MATCHED THEN UPDATE SET n = s.p",
     "Value of type STRING cannot be assigned to n, which has type INT64"),
    ("MERGE d.t m USING (SELECT 1 AS p) s ON FALSE WHEN NOT MATCHED THEN INSERT (p) VALUES (s.p)",
     "Value has type INT64 which cannot be inserted into column p, which has type STRING"),
    ("INSERT d.t (p) VALUES ('12345')", "Field p: STRING(4) has maximum length 4 but got a value with length 5"),
    ("UPDATE d.t SET p = CONCAT(p, '2345') WHERE p = 'a'",
     "Field p: STRING(4) has maximum length 4 but got a value with length 5"),
    ("INSERT d.t (x) VALUES (1000)",
     "Field x: NUMERIC(5, 2) has precision 5 and scale 2 but got a value that is not in range of [-999.99, 999.99]"),
    ("INSERT d.t (id) VALUES (NULL)", "Required field id cannot be null"),
    ("UPDATE d.t SET id = NULL WHERE TRUE", "Required field id cannot be null"),
    ("INSERT d.t VALUES (1, 2)", "Inserted row has wrong column count; Has 2, expected 5"),
    ("INSERT d.t (p, n) SELECT 'a'", "Inserted row has wrong column count; Has 1, expected 2"),
    ("INSERT d.t (p, p) VALUES ('a', 'b')", "INSERT has columns with duplicate name: p"),
    ("INSERT d.t (nope) VALUES (1)", "Column nope is not present in table p.d.t"),
    ("UPDATE d.t SET nope = 1 WHERE TRUE", "Unrecognized name: nope"),
    ("UPDATE d.t SET n.z = 1 WHERE TRUE", "Cannot access field z on a value with type INT64"),
    ("UPDATE d.t SET n = 1, n = 2 WHERE TRUE", "Update item n assigned more than once"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_and_changes_nothing(
    warehouse: Warehouse, statement: str, said: str
) -> None:
    rows(warehouse, f"{_INVENTORY} SELECT 1")
    with pytest.raises(PorticoError) as caught:
        warehouse.run(statement, Asked("p"))
    assert said in caught.value.message
    assert rows(warehouse, "SELECT p, n FROM d.t ORDER BY p") == [("a", 10), ("b", 20), ("c", 30)]


def test_a_dry_run_refuses_what_the_run_would(warehouse: Warehouse) -> None:
    rows(warehouse, f"{_INVENTORY} SELECT 1")
    with pytest.raises(PorticoError, match="cannot be assigned to n"):
        warehouse.run("UPDATE d.t SET n = 'x' WHERE TRUE", Asked("p", dry=True))


def test_many_rows_of_literals_are_as_few_are(warehouse: Warehouse) -> None:
    """They are inserted another way: as texts, a cast a column."""
    schema = (
        "(i INT64, f FLOAT64, n NUMERIC(5, 2), s STRING(4), b BOOL, d DATE, t TIMESTAMP, c TIME, m DATETIME)"
    )
    row = "(-0x1F, -1.5e3, 1.239, 'ab\\\\n', TRUE, '2024-01-02', TIMESTAMP '2024-01-02 03:04:05+02', "
    row += "TIME '10:20:30', NULL)"
    for name, count in (("few", 1), ("many", 120)):
        warehouse.run(f"CREATE OR REPLACE TABLE d.{name} {schema}", Asked("p"))
        done = warehouse.run(f"INSERT INTO d.{name} VALUES {', '.join([row] * count)}", Asked("p"))
        assert done[-1].affected == count
    [few] = rows(warehouse, "SELECT * FROM d.few")
    assert rows(warehouse, "SELECT DISTINCT * FROM d.many") == [few]
    for wrong in ("('x', 1)", "(1, 'x')", "(1.5, 1)", "(1)", "(TRUE, 1)", "(99999999999999999999, 1)"):
        more = ", ".join(["(1, 2)"] * 120 + [wrong])
        with pytest.raises(PorticoError):
            warehouse.run(f"INSERT INTO d.many (i, f) VALUES {more}", Asked("p"))
    with pytest.raises(PorticoError, match="maximum length 4"):
        warehouse.run(
            f"INSERT INTO d.many (s) VALUES {', '.join(['(' + repr('a' * 5) + ')'] * 60)}", Asked("p")
        )
    assert rows(warehouse, "SELECT COUNT(*) FROM d.many") == [(120,)]
