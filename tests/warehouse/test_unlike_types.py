"""Values of unlike types are refused in Google's words; what GoogleSQL converts is not."""

from __future__ import annotations

import pytest

from portico.errors import InvalidArgument
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse


@pytest.fixture(scope="module", autouse=True)
def tables(warehouse: Warehouse) -> None:
    warehouse.run("CREATE TABLE d.t (i INT64, w STRING, d DATE, t TIMESTAMP, b BOOL, f FLOAT64)", Asked("p"))
    warehouse.run("CREATE VIEW d.v AS SELECT i AS n, w FROM d.t", Asked("p"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT 1 = 'a'", "No matching signature for operator = for argument types: INT64, STRING"),
        ("SELECT i FROM d.t WHERE i = '5'", "operator = for argument types: INT64, STRING"),
        ("SELECT i FROM d.t WHERE d >= t", "operator >= for argument types: DATE, TIMESTAMP"),
        ("SELECT x.i FROM d.t AS x JOIN d.t AS y ON x.i = y.w", "operator = for argument types: INT64, STRING"),
        ("WITH q AS (SELECT MAX(i) AS n FROM d.t) SELECT * FROM q WHERE n < 'b'", "operator < for argument types"),
        ("SELECT n FROM d.v WHERE n = w", "operator = for argument types: INT64, STRING"),
        ("SELECT i IN ('a', 'b') FROM d.t", "operator IN for argument types INT64 and {STRING}"),
        ("SELECT i BETWEEN 'a' AND 'b' FROM d.t", "operator BETWEEN for argument types: INT64, STRING, STRING"),
        ("SELECT COALESCE(i, 'none') FROM d.t", "function COALESCE for argument types: INT64, STRING"),
        ("SELECT IF(b, 1, 'a') FROM d.t", "function IF for argument types: BOOL, INT64, STRING"),
        ("SELECT CASE WHEN b THEN d ELSE i END FROM d.t", "operator CASE for argument types: BOOL, DATE, INT64"),
        ("SELECT CASE i WHEN 'a' THEN 1 END FROM d.t", "operator = for argument types: INT64, STRING"),
        ("SELECT [1, 'a']", "Array elements of types {INT64, STRING} do not have a common supertype"),
        ("SELECT i, 1 FROM d.t UNION ALL SELECT i, w FROM d.t", "Column 2 in UNION ALL has incompatible types: INT64, "
         "STRING"),
        ("SELECT w FROM d.t EXCEPT DISTINCT SELECT b FROM d.t", "Column 1 in EXCEPT DISTINCT has incompatible types"),
        ("SELECT LENGTH(i) FROM d.t", "function LENGTH for argument types: INT64\n  Signature: LENGTH(STRING)\n    "
         "Argument 1: Unable to coerce type INT64 to expected type STRING"),
        ("SELECT SUBSTR(w, w) FROM d.t", "function SUBSTR for argument types: STRING, STRING"),
        ("SELECT SUM(w) OVER () FROM d.t", "function SUM for argument types: STRING"),
        ("SELECT UPPER(w, w) FROM d.t", "Signature accepts at most 1 argument, found 2 arguments"),
        ("SELECT PARSE_DATE('%Y', i) FROM d.t", "function PARSE_DATE for argument types: STRING, INT64"),
        ("SELECT CONCAT(w, b'x') FROM d.t", "function CONCAT for argument types: STRING, BYTES"),
        ("SELECT i FROM d.t WHERE b AND i", "operator AND for argument types: BOOL, INT64"),
        ("SELECT i LIKE w FROM d.t", "operator LIKE for argument types: INT64, STRING"),
        ("DELETE FROM d.t WHERE i = 'x'", "operator = for argument types: INT64, STRING"),
        ("UPDATE d.t SET i = 1 WHERE w = 5", "operator = for argument types: STRING, INT64"),
    ],
)  # fmt: skip
def test_what_googlesql_does_not_convert_is_refused(warehouse: Warehouse, text: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        warehouse.run(text, Asked("p", "p.d"))
    assert said in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "SELECT CONCAT(w, i, f, d, t), w || i, ROUND(i, 1), MOD(NUMERIC '5', i), POW(i, f), LENGTH(NULL) FROM d.t",
        "SELECT UNIX_SECONDS('2024-01-01'), FORMAT_DATE('%F', d), TO_HEX(LOWER(b'A')), UNIX_DATE(LAST_DAY(d)) FROM d.t",
        "SELECT 1 = 1.5, NULL = 1, 'a' = NULL, NUMERIC '1' = 1",
        "SELECT d = '2024-01-01', t > '2024-01-01', d IN ('2024-01-01'), d = DATETIME '2024-01-01' FROM d.t",
        "SELECT COALESCE(i, f, 1.5), IF(b, NULL, 'a'), CASE WHEN b THEN d ELSE '2024-01-01' END FROM d.t",
        "SELECT i FROM d.t UNION ALL SELECT f FROM d.t UNION ALL SELECT NULL",
        "SELECT d FROM d.t UNION ALL SELECT '2024-01-01'",
        "SELECT * FROM d.t WHERE w = (SELECT MAX(w) FROM d.v) AND EXISTS (SELECT 1 FROM UNNEST([1]) AS i WHERE i = 1)",
        "SELECT w FROM (SELECT CAST(i AS STRING) AS w FROM d.t) WHERE w = 'a'",
        "SELECT JSON '{\"a\": 1}'.a, SAFE_CAST('x' AS INT64) = 1",
    ],
)
def test_what_googlesql_converts_is_answered(warehouse: Warehouse, text: str) -> None:
    assert warehouse.run(text, Asked("p", "p.d"))[-1].rows is not None


def test_sums_that_overflow_are_refused_though_a_part_of_them_is_finite(warehouse: Warehouse) -> None:
    rows = "UNNEST([STRUCT('a' AS k, 1e308 AS x, 10 AS n), ('a', 1.5, 10), ('b', NULL, 10)])"
    refused = [
        "x * n",
        "1 / (x * n)",
        "ROUND(x * n)",
        "1 + SUM(x) OVER () * 10",
        "x * n - x * n",
        "1.5 * x * n",
    ]
    for text in refused:
        with pytest.raises(InvalidArgument, match="double overflow"):
            warehouse.run(f"SELECT {text} FROM {rows}", Asked("p"))
    asked = f"SELECT k, x / n, SUM(x) FROM {rows} GROUP BY k, x / n ORDER BY k, 2"
    done = warehouse.run(asked, Asked("p"))[-1]
    assert done.rows is not None
    assert [tuple(one.values()) for one in done.rows.to_pylist()] == [
        ("a", 0.15, 1.5), ("a", 1e307, 1e308), ("b", None, None)
    ]  # fmt: skip
