"""Columns and fields that have one name, or none, within a query: what reads them, and what shows them."""

from __future__ import annotations

from typing import Any

import pytest

from portico.errors import InvalidArgument
from portico.warehouse import arrow
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse

X = "(SELECT 1 AS z, 1 AS a, 2 AS b) x"
TWICE = "(SELECT 1 AS id, 2 AS ID, 3 AS b)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"SELECT id\nFROM {TWICE}", "Column name id is ambiguous at [1:8]"),
        (f"SELECT b\nFROM {TWICE}\nWHERE id = 1", "Column name id is ambiguous at [3:7]"),
        (f"SELECT q.iD FROM {TWICE} q", "Name iD is ambiguous inside q at [1:10]"),
        ("WITH q AS (SELECT *, 1 AS n FROM (SELECT 1 AS n)) SELECT n FROM q", "Column name n is ambiguous at [1:58]"),
        ("SELECT a FROM (SELECT 1 AS a, 2 AS a UNION ALL SELECT 3, 4)", "Column name a is ambiguous at [1:8]"),
        (f"SELECT (SELECT id) FROM {TWICE}", "Column name id is ambiguous at [1:16]"),
        (f"SELECT * FROM {TWICE} JOIN (SELECT 1 AS id) USING (id)",
         "Column id in USING clause is ambiguous on left side of join at [1:78]"),
        (f"SELECT * REPLACE (5 AS id) FROM {TWICE}", "Column id in SELECT * REPLACE list is ambiguous"),
        (f"FROM {TWICE} |> WHERE id = 1", "Column name id is ambiguous at [1:49]"),
        ("SELECT b AS a, z AS a FROM (SELECT 1 AS b, 2 AS z) ORDER BY a", "Column name a is ambiguous at [1:61]"),
        ("SELECT * EXCEPT (id) FROM (SELECT 1 AS id, 2 AS id)", "SELECT * expands to zero columns after applying "
         "EXCEPT"),
        (f"SELECT id_1 FROM {TWICE}", "Unrecognized name: id_1; Did you mean id? at [1:8]"),
        (f"SET @@dataset_id = 'd';\n  SELECT id FROM {TWICE}", "Query error: Column name id is ambiguous at [2:10]"),
        ("SELECT STRUCT(1 AS a, 2 AS a).a", "Struct field name a is ambiguous"),
        ("SELECT (SELECT AS STRUCT 1 AS a, 2 AS a).a", "Struct field name a is ambiguous"),
        ("SELECT a FROM UNNEST([STRUCT(1 AS a, 2 AS a)])", "Column name a is ambiguous"),
        ("SELECT s.a FROM UNNEST([STRUCT(1 AS a, 2 AS a)]) s", "Name a is ambiguous inside s"),
        (f"CREATE VIEW d.twice AS SELECT * FROM {TWICE}", "Duplicate column names in the result are not supported when "
         "a destination table is present. Found duplicate(s): id"),
        ("CREATE TABLE d.twice AS SELECT STRUCT(1 AS a, 2 AS a) AS s", "Field a already exists in schema"),
    ],
)  # fmt: skip
def test_a_name_that_is_there_twice_is_refused(warehouse: Warehouse, text: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        warehouse.run(text, Asked("p", "p.d"))
    assert refused.value.message == said


@pytest.mark.parametrize(
    ("text", "names", "row"),
    [
        (f"SELECT * EXCEPT (id) FROM {TWICE}", ["b"], [3]),
        (f"SELECT q.* EXCEPT (id), q.b AS id FROM {TWICE} q", ["b", "id"], [3, 3]),
        (f"SELECT * FROM {TWICE}", ["id", "ID_1", "b"], [1, 2, 3]),
        ("SELECT b AS a FROM (SELECT 1 AS a, 2 AS a, 3 AS b) ORDER BY a", ["a"], [3]),
        (f"SELECT * FROM {X} LEFT JOIN (SELECT 1 AS q, 1 AS a) y USING (a) JOIN (SELECT 2 AS b, 7 AS w) USING (b)",
         ["b", "a", "z", "q", "w"], [2, 1, 1, 1, 7]),
        (f"SELECT * REPLACE (7 AS a) FROM {X} JOIN (SELECT 1 AS a) USING (a)", ["a", "z", "b"], [7, 1, 2]),
        ("SELECT * FROM (SELECT COUNT(*), 2 AS b, SUM(b) FROM (SELECT 3 AS b))", ["f0_", "b", "f1_"], [1, 2, 3]),
        (f"SELECT TO_JSON_STRING(t), TO_JSON_STRING(TO_JSON(t)), FORMAT('%T', t) FROM {TWICE} t",
         ["f0_", "f1_", "f2_"], ['{"id":1,"ID":2,"b":3}', '{"ID":2,"b":3,"id":1}', "(1, 2, 3)"]),
        ("SELECT TO_JSON_STRING(TO_JSON(STRUCT(1 AS a, 2 AS a))), STRUCT(1 AS a, 2 AS a)[OFFSET(1)], STRUCT<a INT64, "
         "a STRING>(1, 'x') = (1, 'x'), TYPEOF(CAST((1, 'x') AS STRUCT<a INT64, a STRING>))",
         ["f0_", "f1_", "f2_", "f3_"], ['{"a":1}', 2, True, "STRUCT<a INT64, a STRING>"]),
        (f"SELECT * FROM {X} JOIN (SELECT 1 AS a) y USING (a) JOIN (SELECT 5 AS a) v ON v.a > y.a",
         ["a", "z", "b", "a_1"], [1, 1, 2, 5]),
        ("WITH w AS (SELECT 7 AS z, 'x' AS s) SELECT * FROM w JOIN (SELECT 1 AS id, 'x' AS s) USING (s) JOIN (SELECT 2 "
         "AS q, 1 AS id) USING (id)", ["id", "s", "z", "q"], [1, "x", 7, 2]),
        ("SELECT * FROM (SELECT 1 AS id) t JOIN (SELECT 1 AS id, 7 AS s) USING (id) JOIN (SELECT 3 AS id, 7 AS s) "
         "USING (s), UNNEST([9]) AS e", ["s", "id", "id_1", "e"], [7, 1, 3, 9]),
        (f"SELECT a FROM (SELECT * FROM {X} JOIN (SELECT 1 AS a) y USING (a))", ["a"], [1]),
        (f"SELECT * FROM (SELECT * FROM ({X} JOIN (SELECT 1 AS a) y USING (a)))", ["z", "a", "b"], [1, 1, 2]),
        ("SELECT * FROM (((SELECT 1 AS a, 2 AS a)))", ["a", "a_1"], [1, 2]),
        ("WITH RECURSIVE q AS (SELECT 1 AS n, 2 AS n UNION ALL SELECT 3, 4 FROM q WHERE FALSE) SELECT * FROM q",
         ["n", "n_1"], [1, 2]),
        ("SELECT * FROM UNNEST([STRUCT(1 AS a, 2 AS a)])", ["a", "a_1"], [1, 2]),
        ("SELECT STRUCT(1, 'a').*", ["f0_", "f1_"], [1, "a"]),
        ("SELECT AS STRUCT * FROM (SELECT 1 AS a) JOIN (SELECT 2 AS a) ON TRUE", ["f0_"], [[1, 2]]),
    ],
)  # fmt: skip
def test_columns_of_one_name_are_there(
    warehouse: Warehouse, text: str, names: list[str], row: list[Any]
) -> None:
    done = warehouse.run(text, Asked("p", "p.d"))[-1]
    assert [one["name"] for one in done.fields] == names
    assert done.rows is not None
    assert [one.name for one in arrow.converted(done.rows, done.fields).schema] == names
    found = [column.to_pylist()[0] for column in done.rows.columns]
    assert [list(one.values()) if isinstance(one, dict) else one for one in found] == row


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT `d.paths`.`a` FROM `d.paths`", [[1]]),
        ("SELECT `p.d.paths`.a FROM `p.d.paths` WHERE `p.d.paths`.`a` = 1", [[1]]),
        ("SELECT `d.paths`.s.b, `d.paths`.`s`.`b` FROM `d.paths`", [[2, 2]]),
        ("SELECT `d.paths`.a FROM `d.paths` JOIN `d.paths` AS o ON o.a = `d.paths`.a", [[1]]),
        ("SELECT `d.paths`.`s`.`t`.`c` FROM `d.paths`", [[3]]),
        ("SELECT `d.paths`.* EXCEPT (s) FROM `d.paths`", [[1]]),
        ("SELECT `d.paths_1`.a FROM `d.paths` AS `d.paths_1`", [[1]]),
        ("SELECT `one`.b FROM `d.paths` `d.paths_1`, UNNEST([`d.paths_1`.`s`]) AS `one`", [[2]]),
        ("SELECT `x.y`.a FROM (SELECT 1 AS a) AS `x.y`", [[1]]),
        ("SELECT (SELECT `d.paths`.a + x) FROM `d.paths`, (SELECT 1 AS x) GROUP BY `d.paths`.a, x", [[2]]),
    ],
)
def test_a_table_is_named_by_its_whole_path(warehouse: Warehouse, text: str, rows: list[Any]) -> None:
    made = "CREATE OR REPLACE TABLE d.paths AS SELECT 1 AS a, STRUCT(2 AS b, STRUCT(3 AS c) AS t) AS s"
    warehouse.run(made, Asked("p"))
    done = warehouse.run(text, Asked("p"))[-1]
    assert done.rows is not None
    assert list(zip(*(one.to_pylist() for one in done.rows.columns), strict=True)) == [
        tuple(one) for one in rows
    ]


def test_an_alias_takes_a_tables_path_away(warehouse: Warehouse) -> None:
    warehouse.run("CREATE OR REPLACE TABLE d.paths AS SELECT 1 AS a", Asked("p"))
    with pytest.raises(InvalidArgument, match="Unrecognized name"):
        warehouse.run("SELECT `d.paths`.a FROM `d.paths` AS o", Asked("p"))
