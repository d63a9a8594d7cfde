# ruff: noqa: E501
"""NaN in orders, comparisons, joins and aggregates; the values are those of Google's own evaluator of GoogleSQL."""

from __future__ import annotations

from typing import Any

import pytest

from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse

FOUR = "(SELECT x FROM UNNEST([1.5, CAST('nan' AS FLOAT64), CAST('-inf' AS FLOAT64), NULL]) AS x)"
TWO = "(SELECT x FROM UNNEST([1.0, CAST('nan' AS FLOAT64)]) AS x)"


def shown(warehouse: Warehouse, text: str) -> list[tuple[Any, ...]]:
    """Rows, with numbers as texts: NaN is no value that equals itself."""
    done = warehouse.run(text, Asked("p", "p.d"))[-1]
    assert done.rows is not None
    return [
        tuple(str(one) if isinstance(one, float | list) else one for one in row.values())
        for row in done.rows.to_pylist()
    ]


@pytest.mark.parametrize(("order", "found"), [
    ("x", [None, "nan", "-inf", "1.5"]), ("x DESC", ["1.5", "-inf", "nan", None]), ("1", [None, "nan", "-inf", "1.5"]),
    ("x NULLS LAST", ["nan", "-inf", "1.5", None]), ("x DESC NULLS FIRST", [None, "1.5", "-inf", "nan"]),
])  # fmt: skip
def test_nan_comes_before_all_numbers(warehouse: Warehouse, order: str, found: list[Any]) -> None:
    assert [one for (one,) in shown(warehouse, f"SELECT x FROM {FOUR} ORDER BY {order}")] == found
    named = f"SELECT DISTINCT x AS y FROM {FOUR} ORDER BY {order.replace('x', 'y')}"
    assert [one for (one,) in shown(warehouse, named)] == found
    both = f"SELECT x FROM {FOUR} UNION DISTINCT SELECT x FROM {FOUR} ORDER BY {order}"
    assert [one for (one,) in shown(warehouse, both)] == found
    stars = f"SELECT *, 1 AS one FROM {FOUR} ORDER BY {order}"
    assert [one for one, _ in shown(warehouse, stars)] == found
    grouped = f"SELECT x, COUNT(*) FROM {FOUR} GROUP BY x ORDER BY {order}"
    assert [one for one, _ in shown(warehouse, grouped)] == found


@pytest.mark.parametrize(("text", "found"), [
    (f"SELECT x, RANK() OVER (ORDER BY x) AS r FROM {FOUR} ORDER BY r", [(None, 1), ("nan", 2), ("-inf", 3), ("1.5", 4)]),
    (f"SELECT ARRAY_AGG(x ORDER BY x LIMIT 1) FROM {TWO}", [("[nan]",)]),
    (f"SELECT ARRAY(SELECT x FROM {TWO} ORDER BY x LIMIT 1)", [("[nan]",)]),
    (f"SELECT MIN(x), MAX(x) FROM {FOUR}", [("nan", "nan")]),
    (f"SELECT DISTINCT MIN(x) OVER () FROM {TWO}", [("nan",)]),
    (f"SELECT MIN(x) FROM {FOUR} WHERE x < 2", [("-inf",)]),
    (f"SELECT MIN(x) FROM {FOUR} WHERE x IS NULL", [(None,)]),
    ("SELECT LEAST(1, CAST('nan' AS FLOAT64)), LEAST(1.0, NULL), ARRAY_MIN([1.5, CAST('nan' AS FLOAT64)])", [("nan", None, "nan")]),
    (f"SELECT x FROM {FOUR} WHERE x > 1 OR x >= 1.5", [("1.5",)]),
    (f"SELECT COUNT(*) FROM {TWO} AS a JOIN {TWO} AS b ON a.x = b.x", [(1,)]),
    (f"SELECT COUNT(b.x), COUNT(*) FROM {TWO} AS a LEFT JOIN {TWO} AS b ON a.x = b.x", [(1, 2)]),
    (f"SELECT COUNT(*) FROM {TWO} AS a, {TWO} AS b WHERE a.x = b.x", [(1,)]),
    (f"SELECT COUNT(*) FROM {TWO} AS a JOIN {TWO} AS b ON a.x >= b.x", [(1,)]),
    (f"SELECT COUNT(DISTINCT x) FROM (SELECT x FROM {TWO} UNION ALL SELECT x FROM {TWO})", [(2,)]),
    (f"SELECT SUM(x), AVG(x) FROM {FOUR}", [("nan", "nan")]),
    (f"SELECT CASE WHEN x * 2.0 > 1 THEN x * 3.0 ELSE 2.0 END AS z FROM {TWO} GROUP BY z ORDER BY z", [("2.0",), ("3.0",)]),
    (f"SELECT CASE WHEN x > 1 THEN x ELSE 0.5 END > 0.7 FROM {TWO} ORDER BY x", [(False,), (False,)]),
    ("SELECT SUM(x), AVG(x) FROM UNNEST([1.5, CAST('inf' AS FLOAT64)]) AS x", [("inf", "inf")]),
    ("SELECT SUM(x) FROM UNNEST([CAST('inf' AS FLOAT64), CAST('-inf' AS FLOAT64)]) AS x", [("nan",)]),
])  # fmt: skip
def test_queries_of_nan(warehouse: Warehouse, text: str, found: list[Any]) -> None:
    assert shown(warehouse, text) == found


def test_nothing_is_chosen_by_nan(warehouse: Warehouse) -> None:
    pairs = "UNNEST([STRUCT(1 AS i, 1.0 AS x), (2, CAST('nan' AS FLOAT64)), (3, 0.5), (4, NULL)])"
    asked = "SELECT MAX_BY(i, x), MIN_BY(i, x), ANY_VALUE(i HAVING MAX x), MAX_BY(x, i) FROM"
    assert shown(warehouse, f"{asked} {pairs}") == [(None, None, None, None)]
    assert shown(warehouse, f"{asked} {pairs} WHERE i != 2 AND i < 4") == [(1, 3, 1, "0.5")]


def test_nan_is_equal_to_nothing(warehouse: Warehouse) -> None:
    nan = "(SELECT CAST('nan' AS FLOAT64) AS x, CAST('nan' AS FLOAT64) AS y, CAST(NULL AS FLOAT64) AS n)"
    told = {
        "x = y": False, "x != y": True, "x < y": False, "x <= y": False, "x > 1": False, "x >= 1": False, "x < 1": False,
        "1 < x": False, "1 = x": False, "NOT (x > 1)": True, "x = n": None, "x > n": None, "n <= x": None, "x != n": None,
        "x IN (1, y)": False, "x NOT IN (1, y)": True, "x IN (y, NULL)": None, "x BETWEEN 1 AND y": False,
        "x NOT BETWEEN 1 AND 2": True, "x IS NOT DISTINCT FROM y": True, "CASE x WHEN y THEN TRUE ELSE FALSE END": False,
        "IS_NAN(NULLIF(x, y))": True, "x IN (SELECT 1.0)": False,
    }  # fmt: skip
    found = shown(warehouse, f"SELECT {', '.join(told)} FROM {nan}")
    assert dict(zip(told, found[0], strict=True)) == told


def test_what_is_stored_is_told_from_numbers(warehouse: Warehouse) -> None:
    warehouse.run(
        f"CREATE TABLE d.measured AS SELECT x, 'a' AS name FROM {FOUR}; "
        "CREATE TABLE d.low AS SELECT x FROM d.measured WHERE NOT x >= -1",
        Asked("p", "p.d"),
    )
    assert shown(warehouse, "SELECT name, MIN(x), COUNT(*) FROM d.measured GROUP BY name") == [
        ("a", "nan", 4)
    ]
    assert shown(warehouse, "SELECT x FROM d.low ORDER BY x") == [("nan",), ("-inf",)]
    warehouse.run("DELETE FROM d.measured WHERE x > 0", Asked("p", "p.d"))
    assert shown(warehouse, "SELECT COUNT(*) FROM d.measured") == [(3,)]
