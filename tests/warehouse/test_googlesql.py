"""What GoogleSQL's functions, operators and statements give, by the warehouse's engine."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import pytest

from portico.errors import PorticoError
from portico.warehouse.asked import Asked, Done
from portico.warehouse.engine import Warehouse

D = decimal.Decimal


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Warehouse(tmp_path_factory.mktemp("warehouse"))
    made.run("CREATE SCHEMA d", Asked("p"))
    made.run("CREATE TABLE d.t (k STRING, n INT64, x NUMERIC, f FLOAT64)", Asked("p"))
    made.run(
        "INSERT INTO d.t VALUES ('a', 1, 1.5, 0.5), ('a', 2, NULL, 1.5), ('b', 7, 2.25, NULL)", Asked("p")
    )
    yield made
    made.close()


def run(warehouse: Warehouse, text: str) -> Done:
    return warehouse.run(text, Asked("p", "p.d"))[-1]


def rows(warehouse: Warehouse, text: str) -> list[tuple[Any, ...]]:
    done = run(warehouse, text)
    assert done.rows is not None
    return [tuple(row.values()) for row in done.rows.to_pylist()]


@pytest.mark.parametrize(("expression", "kind", "value"), [
    ("7 / 2", "FLOAT", 3.5),
    ("NET.HOST('http://user@example.com:80/x')", "STRING", "example.com"),
    ("NET.IP_TO_STRING(NET.IP_TRUNC(NET.IP_FROM_STRING('1.2.3.4'), 16))", "STRING", "1.2.0.0"),
    ("(SELECT ANY_VALUE(x HAVING MAX y) FROM UNNEST([STRUCT('a' AS x, 1 AS y), ('b', 2)]))", "STRING", "b"),
    ("EXTRACT(DAY FROM MAKE_INTERVAL(1, day => 5))", "INTEGER", 5),
    ("REGEXP_EXTRACT('abc', 'x')", "STRING", None),
    ("UPPER('groß')", "STRING", "GROSS"),
    ("NUMERIC '7' / 3", "NUMERIC", D("2.333333333")),
    ("NUMERIC '1.5' * 2.5", "NUMERIC", D("3.75")),
    ("DIV(-7, 2)", "INTEGER", -3),
    ("MOD(-7, 3)", "INTEGER", -1),
    ("ROUND(2.5)", "FLOAT", 3.0),
    ("ROUND(-2.5)", "FLOAT", -3.0),
    ("CAST(2.5 AS INT64)", "INTEGER", 3),
    ("CAST('0x1F' AS INT64)", "INTEGER", 31),
    ("CAST(1.0 AS STRING)", "STRING", "1"),
    ("CAST(TIMESTAMP '2024-01-01 10:00:00+02' AS STRING)", "STRING", "2024-01-01 08:00:00+00"),
    ("SAFE_CAST('x' AS INT64)", "INTEGER", None),
    ("SAFE_DIVIDE(1, 0)", "FLOAT", None),
    ("SUBSTR('hello', -3, 2)", "STRING", "ll"),
    ("SUBSTR('hello', 0, 2)", "STRING", "he"),
    ("SPLIT('a,b')", "STRING[]", ["a", "b"]),
    ("FORMAT('%05d|%.2f|%s|%t', 42, 1.5, 'x', DATE '2024-01-02')", "STRING", "00042|1.50|x|2024-01-02"),
    ("DATE_DIFF(DATE '2024-01-14', DATE '2024-01-13', WEEK)", "INTEGER", 1),
    ("DATE_TRUNC(DATE '2024-02-15', ISOYEAR)", "DATE", dt.date(2024, 1, 1)),
    ("DATE_ADD(DATE '2024-01-31', INTERVAL 1 MONTH)", "DATE", dt.date(2024, 2, 29)),
    ("TIMESTAMP_DIFF(TIMESTAMP '2024-01-02 00:00:00', TIMESTAMP '2024-01-01 12:00:00', DAY)", "INTEGER", 0),
    ("EXTRACT(DAYOFWEEK FROM DATE '2024-01-14')", "INTEGER", 1),
    ("EXTRACT(HOUR FROM TIMESTAMP '2024-01-15 12:00:00+00' AT TIME ZONE '+05:45')", "INTEGER", 17),
    ("FORMAT_DATE('%A, %d %B %Y, week %V', DATE '2024-03-05')", "STRING", "Tuesday, 05 March 2024, week 10"),
    ("PARSE_DATE('%d/%m/%Y', '05/03/2024')", "DATE", dt.date(2024, 3, 5)),
    ("JSON_VALUE('{\"a\": {\"b\": 1}}', '$.a.b')", "STRING", "1"),
    ("ARRAY_LENGTH(GENERATE_ARRAY(1, 10, 3))", "INTEGER", 4),
    ("[10, 20][SAFE_OFFSET(5)]", "INTEGER", None),
    ("ARRAY_TO_STRING(['a', NULL, 'b'], '-', '?')", "STRING", "a-?-b"),
    ("FARM_FINGERPRINT('foo')", "INTEGER", 6150913649986995171),
    ("TO_HEX(SHA256('x'))", "STRING", "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"),
    ("REGEXP_EXTRACT('a1b22', r'\\d+', 1, 2)", "STRING", "22"),
    ("STRUCT(1 AS a, 'x' AS b).b", "STRING", "x"),
    ("'a_c' LIKE 'a\\\\_c'", "BOOLEAN", True),
    ("1 IN UNNEST([1, 2])", "BOOLEAN", True),
    ("ANY_VALUE(3)", "INTEGER", 3),
    ("TO_JSON_STRING(JSON_SET(JSON '{\"a\": 1}', '$.b.c', 'x'))", "STRING", '{"a":1,"b":{"c":"x"}}'),
    ("TO_JSON_STRING(JSON_REMOVE(JSON '{\"a\": 1, \"b\": [1, 2]}', '$.a', '$.b[0]'))", "STRING", '{"b":[2]}'),
    ("TO_JSON_STRING(JSON_ARRAY_INSERT(JSON '[1, 2]', '$[1]', 9))", "STRING", "[1,9,2]"),
    ("FROM_BASE32(TO_BASE32(b'ab'))", "BYTES", b"ab"),
    ("NUMERIC '9' / 2", "NUMERIC", D("4.5")),
    ("CONCAT('a'" + ", 'b'" * 40 + ")", "STRING", "a" + "b" * 40),
    ("1" + " + 1" * 60, "INTEGER", 61),
    ("NUMERIC '1.5' + 2 * 3 - 1", "NUMERIC", D("6.5")),
])  # fmt: skip
def test_an_expression(warehouse: Warehouse, expression: str, kind: str, value: Any) -> None:
    done = run(warehouse, f"SELECT {expression} AS v")
    [field] = done.fields
    assert field["type"] + "[]" * (field["mode"] == "REPEATED") == kind
    assert rows(warehouse, f"SELECT {expression} AS v") == [(value,)]


NESTED = (
    "(SELECT [STRUCT(1 AS n, STRUCT(STRUCT('a' AS p) AS v) AS s), STRUCT(2, STRUCT(STRUCT('b')))] AS i, "
    "STRUCT(3 AS n, STRUCT(STRUCT('c' AS p) AS v) AS s) AS w)"
)


@pytest.mark.parametrize(("text", "expected"), [
    ("SELECT k, SUM(n), ROUND(AVG(x), 2) FROM t GROUP BY k ORDER BY k", [("a", 3, D("1.5")), ("b", 7, D("2.25"))]),
    ("SELECT k AS g, COUNT(*) c FROM t GROUP BY g HAVING c > 1 ORDER BY SUM(n) DESC", [("a", 2)]),
    ("SELECT n, ROUND(SUM(f) OVER (ORDER BY n), 1) FROM t QUALIFY ROW_NUMBER() OVER (ORDER BY n DESC) = 1", [(7, 2.0)]),
    ("SELECT * EXCEPT (x, f) FROM t WHERE k = 'b'", [("b", 7)]),
    ("SELECT k, COUNT(*) FROM t GROUP BY ROLLUP (k) ORDER BY k NULLS FIRST", [(None, 3), ("a", 2), ("b", 1)]),
    ("SELECT x, o FROM UNNEST(['p', 'q']) AS x WITH OFFSET AS o ORDER BY o DESC", [("q", 1), ("p", 0)]),
    ("SELECT s.a, s.b FROM UNNEST([STRUCT(1 AS a, 'x' AS b)]) AS s", [(1, "x")]),
    ("WITH t AS (SELECT 9 AS n) SELECT n FROM t", [(9,)]),
    ("SELECT ARRAY_AGG(n ORDER BY n DESC LIMIT 2) FROM t", [([7, 2],)]),
    ("SELECT STRING_AGG(DISTINCT k, '/' ORDER BY k) FROM t", [("a/b",)]),
    ("SELECT (SELECT MAX(n) FROM t AS u WHERE u.k = t.k) FROM t WHERE n = 1", [(2,)]),
    ("SELECT table_name, table_type FROM d.INFORMATION_SCHEMA.TABLES", [("t", "BASE TABLE")]),
    (f"SELECT i.s.v.p, COUNT(*) FROM {NESTED} u, UNNEST(u.i) AS i GROUP BY i.s.v.p ORDER BY 1", [("a", 1), ("b", 1)]),
    (f"SELECT w.s.v.p AS q, SUM(w.n) FROM {NESTED} AS u GROUP BY q", [("c", 3)]),
    (f"SELECT i.s.v.p, i.n FROM {NESTED}, UNNEST(i) AS i ORDER BY 2", [("a", 1), ("b", 2)]),
    # An element hides the column that it was read from.
    (f"SELECT i FROM (SELECT i.n AS i FROM {NESTED}, UNNEST(i) AS i) ORDER BY 1", [(1,), (2,)]),
    (f"SELECT e.n FROM (SELECT i AS e FROM {NESTED}, UNNEST(i) i WHERE i.n > 1)", [(2,)]),
    ("SELECT x + 1 AS y FROM (SELECT [1, 2] AS x), UNNEST(x) AS x ORDER BY x DESC", [(3,), (2,)]),
    ("SELECT t.x[0], x FROM (SELECT [1, 2] AS x) AS t, UNNEST(t.x) AS x ORDER BY 2", [(1, 1), (1, 2)]),
    ("SELECT ARRAY(SELECT x * 2 FROM UNNEST(x) AS x)[1], x[1] FROM (SELECT [1, 2] AS x)", [(4, 2)]),
    ("SELECT COUNT(*) FROM (SELECT [1, 2] AS x, 2 AS k) JOIN UNNEST(x) AS x ON x < k", [(1,)]),
    (f"SELECT i.s.v.p FROM {NESTED} AS u, u.i WHERE i.n = 2", [("b",)]),
    ("SELECT table_id, row_count, type FROM d.__TABLES__", [("t", 3, 1)]),
    ("SELECT 1 AS a UNION ALL SELECT 2 ORDER BY a DESC", [(2,), (1,)]),
    ("SELECT x.a, x.b FROM (SELECT AS STRUCT 1 AS a, 'b' AS b) AS x", [(1, "b")]),
    ("SELECT x, ST_CLUSTERDBSCAN(ST_GEOGPOINT(x, 0), 2e5, 2) OVER () "
     "FROM UNNEST([1, 2, 3, 50, 51, 80, NULL]) AS x ORDER BY x",
     [(None, None), (1, 0), (2, 0), (3, 0), (50, 1), (51, 1), (80, None)]),
    ("SELECT APPROX_TOP_COUNT(k, 1)[OFFSET(0)].value FROM t", [("a",)]),
])  # fmt: skip
def test_a_query(warehouse: Warehouse, text: str, expected: list[tuple[Any, ...]]) -> None:
    assert rows(warehouse, text) == expected


def test_statements_that_change_tell_how_many(warehouse: Warehouse) -> None:
    run(warehouse, "CREATE OR REPLACE TABLE m (id INT64 NOT NULL, s STRING)")
    assert run(warehouse, "INSERT INTO m (id, s) VALUES (1, 'a'), (2, 'b')").affected == 2
    merged = run(
        warehouse,
        "MERGE m USING (SELECT 2 AS id, 'B' AS s UNION ALL SELECT 3, 'c') AS n ON m.id = n.id "
        "WHEN MATCHED THEN UPDATE SET s = n.s WHEN NOT MATCHED THEN INSERT (id, s) VALUES (n.id, n.s)",
    )
    assert (merged.kind, merged.affected) == ("MERGE", 2)
    assert rows(warehouse, "SELECT * FROM m ORDER BY id") == [(1, "a"), (2, "B"), (3, "c")]
    assert run(warehouse, "DELETE FROM m WHERE id < 3").affected == 2
    clustered = run(
        warehouse, "CREATE TABLE c (id INT64, s STRING, at DATE) PARTITION BY at CLUSTER BY s, id"
    )
    assert clustered.target is not None
    assert clustered.target.body["clustering"] == {"fields": ["s", "id"]}
    assert clustered.target.body["timePartitioning"] == {"type": "DAY", "field": "at"}
    run(warehouse, "CREATE OR REPLACE TABLE c (t TIMESTAMP, n INT64) PARTITION BY TIMESTAMP_TRUNC(t, MONTH)")
    made = run(
        warehouse, "CREATE OR REPLACE TABLE c (n INT64) PARTITION BY RANGE_BUCKET(n, GENERATE_ARRAY(0, 9, 3))"
    )
    assert made.target is not None
    assert made.target.body["rangePartitioning"] == {
        "field": "n",
        "range": {"start": "0", "end": "9", "interval": "3"},
    }
    run(warehouse, "DROP TABLE c")
    run(warehouse, "ALTER TABLE m ADD COLUMN extra FLOAT64")
    run(warehouse, "ALTER TABLE m DROP COLUMN extra")
    assert [one["name"] for one in run(warehouse, "SELECT * FROM m").fields] == ["id", "s"]
    run(warehouse, "CREATE OR REPLACE VIEW v AS SELECT id * 2 AS twice FROM m")
    assert rows(warehouse, "SELECT * FROM v") == [(6,)]
    run(warehouse, "DROP VIEW v")
    run(warehouse, "CREATE SNAPSHOT TABLE m_then CLONE m")
    run(warehouse, "CREATE TABLE m_copy CLONE m")
    run(warehouse, "CREATE MATERIALIZED VIEW mv AS SELECT COUNT(*) AS n FROM m")
    run(warehouse, "INSERT INTO m (id) VALUES (4)")
    assert rows(
        warehouse, "SELECT (SELECT COUNT(*) FROM m_then), (SELECT COUNT(*) FROM m_copy), n FROM mv"
    ) == [(1, 1, 2)]
    assert rows(warehouse, "SELECT id, _TABLE_SUFFIX FROM `m_*` ORDER BY 2") == [(3, "copy")]
    with pytest.raises(PorticoError, match="it is a SNAPSHOT"):
        run(warehouse, "DELETE FROM m_then WHERE TRUE")
    run(warehouse, "DROP SNAPSHOT TABLE m_then")
    run(warehouse, "CALL BQ.REFRESH_MATERIALIZED_VIEW('p.d.mv')")
    for name in ("p.d.m", "mv"):
        with pytest.raises(PorticoError, match="materialized view"):
            run(warehouse, f"CALL BQ.REFRESH_MATERIALIZED_VIEW('{name}')")
    run(warehouse, "DROP MATERIALIZED VIEW mv")
    run(warehouse, "DROP TABLE m_copy")
    run(warehouse, "DROP TABLE m")


@pytest.mark.parametrize(("text", "said"), [
    ("SELECT 1 / 0", "division by zero"),
    ("SELECT CAST('x' AS INT64)", "Bad int64 value: x"),
    ("SELECT DATE '2024-02-30'", "Invalid date"),
    ("SELECT AEAD.ENCRYPT(KEYS.KEYSET_CHAIN('gcp-kms://x', b''), 'a', '')", "KEYS.KEYSET_CHAIN is not built"),
    ("SELECT KEYS.ADD_KEY_FROM_RAW_BYTES(b'', 'AES_CBC_PKCS', b'0123456789012345')", "AES_CBC_PKCS is not built"),
    ("SELECT S2_COVERINGCELLIDS(NULL)", "S2_COVERINGCELLIDS is not built in Portico"),
    ("SELECT * FROM VECTOR_INDEX.STATISTICS(TABLE t)", "VECTOR_INDEX.STATISTICS is not built in Portico"),
    ("SELECT 9223372036854775807 + 1", "[Oo]verflow"),
    ("SELECT * FROM none_such", "was not found"),
    ("SELECT read_blob('/etc/passwd')", "Function not found: READ_BLOB"),
    ("SELECT gs_int(1)", "Function not found"),
    ("SELECT array_agg(getenv('HOME'))", "Function not found: GETENV"),
    ("SELECT * FROM read_csv('/etc/passwd')", "Function not found|not built|not found"),
    ("SELECT * FROM '/etc/passwd'", "Syntax error|qualified|not found"),
    ("SELECT * FROM duckdb_settings()", "Function not found|not built|not found"),
    ("SET enable_external_access = true", "Undeclared variable"),
    ("UPDATE t SET n = 1", "must have a WHERE clause"),
    ("CREATE TABLE none.x (a INT64)", "Not found: Dataset"),
    ("CREATE TABLE t (a INT64)", "Already Exists"),
])  # fmt: skip
def test_what_is_refused(warehouse: Warehouse, text: str, said: str) -> None:
    with pytest.raises(PorticoError, match=said):
        run(warehouse, text)


def test_a_table_lies_where_its_warehouse_is_opened_again(tmp_path: Path) -> None:
    first = Warehouse(tmp_path)
    first.run("CREATE SCHEMA d; CREATE TABLE d.t AS SELECT NUMERIC '1.25' AS n, [1, 2] AS a", Asked("p"))
    first.close()
    again = Warehouse(tmp_path)
    assert rows(again, "SELECT * FROM t") == [(D("1.25"), [1, 2])]
    again.close()
