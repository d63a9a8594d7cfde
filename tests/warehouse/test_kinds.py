# ruff: noqa: E501
"""Kinds of statements that go wrong together; the values are those of Google's own evaluator of GoogleSQL."""

from __future__ import annotations

import re
from typing import Any

import pytest

from portico.errors import PorticoError
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse


def answer(warehouse: Warehouse, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    done = warehouse.run(text, Asked("p", "p.d"))[-1]
    assert done.rows is not None
    return [one["name"] for one in done.fields], [tuple(row.values()) for row in done.rows.to_pylist()]


@pytest.mark.parametrize(("expression", "literal"), [
    # dates given as texts
    ("DATE_DIFF('2017-12-18', '2017-12-17', WEEK(MONDAY))", '1'),
    ("DATE_TRUNC('2015-06-15', ISOYEAR)", 'DATE "2014-12-29"'),
    ("DATETIME_ADD('2020-01-31 00:00:00', INTERVAL 1 MONTH)", 'DATETIME "2020-02-29 00:00:00"'),
    ("TIMESTAMP_DIFF('2018-08-14', '2018-10-14', DAY)", '-61'),
    ("TIMESTAMP_TRUNC('2017-11-06 00:00:00+12', WEEK(MONDAY), 'Pacific/Auckland')", 'TIMESTAMP "2017-11-05 11:00:00+00"'),
    ("GENERATE_DATE_ARRAY('2016-10-05', '2016-10-09', INTERVAL 2 DAY)", '[DATE "2016-10-05", DATE "2016-10-07", DATE "2016-10-09"]'),
    ("EXTRACT(WEEK(MONDAY) FROM DATE '2017-11-06')", '45'),
    ("DATETIME_TRUNC(DATETIME '2017-11-05 00:00:00', WEEK(MONDAY))", 'DATETIME "2017-10-30 00:00:00"'),
    ("SAFE.DATE_ADD(DATE '9999-12-31', INTERVAL 1 DAY)", 'NULL'),
    ("DATE_BUCKET(DATE '1949-12-31', INTERVAL 2 DAY)", 'DATE "1949-12-30"'),
    ("DATETIME_BUCKET(DATETIME '2020-01-01 10:11:12', INTERVAL 12 HOUR, DATETIME '2020-01-01 06:00:00')", 'DATETIME "2020-01-01 06:00:00"'),
    ("TIMESTAMP_BUCKET(TIMESTAMP '2020-01-01 10:11:12', INTERVAL 1 HOUR)", 'TIMESTAMP "2020-01-01 10:00:00+00"'),
    ("STRING(TIMESTAMP '2008-12-25 15:30:00+00', 'America/Los_Angeles')", '"2008-12-25 07:30:00-08"'),
    ("STRING(DATE '2020-01-01')", '"2020-01-01"'),
    ("FORMAT_TIMESTAMP('%Z', TIMESTAMP '2020-07-01 00:00:00+00', '+05:30')", '"UTC+0530"'),
    ("CAST(TIMESTAMP '2020-01-02 03:04:05.1+00' AS STRING)", '"2020-01-02 03:04:05.100+00"'),
    # intervals
    ("INTERVAL '-8 -20 17' MONTH TO HOUR", 'INTERVAL "-0-8 -20 17:0:0" YEAR TO SECOND'),
    ("INTERVAL '10:20:30.5' HOUR TO SECOND", 'INTERVAL "0-0 0 10:20:30.500" YEAR TO SECOND'),
    ("INTERVAL '30.5' SECOND", 'INTERVAL "0-0 0 0:0:30.500" YEAR TO SECOND'),
    ('INTERVAL 10 DAY / 3', 'INTERVAL "0-0 3 8:0:0" YEAR TO SECOND'),
    ("CAST('1-2 3 4:5:6' AS INTERVAL)", 'INTERVAL "1-2 3 4:5:6" YEAR TO SECOND'),
    ("CAST('P1Y2M3DT4H5M6S' AS INTERVAL)", 'INTERVAL "1-2 3 4:5:6" YEAR TO SECOND'),
    # bytes
    ("b'\\xff\\x00'", 'b"\\xff\\x00"'),
    ("LPAD(b'abc', 5, b'-')", 'b"--abc"'),
    ("REGEXP_EXTRACT_ALL(b'abab', b'a')", '[b"a", b"a"]'),
    ("REPLACE(b'abc', b'b', b'x')", 'b"axc"'),
    ("SPLIT(b'a,b', b',')", '[b"a", b"b"]'),
    ("INSTR(b'banana', b'an', -1, 2)", '2'),
    ("TRANSLATE(b'abc', b'a', b'z')", 'b"zbc"'),
    ("UPPER(b'foo')", 'b"FOO"'),
    ("b'\\xff' & b'\\x0f'", 'b"\\x0f"'),
    ("~b'\\x00'", 'b"\\xff"'),
    ("b'\\x01' << 1", 'b"\\x02"'),
    ("BIT_COUNT(b'\\xff\\x01')", '9'),
    ("ARRAY_TO_STRING([b'a', b'b'], b'-')", 'b"a-b"'),
    ("SAFE_CAST(b'\\xff' AS STRING)", 'NULL'),
    # texts
    ("FORMAT('%T', DATE '2020-01-02')", '"DATE \\"2020-01-02\\""'),
    ("FORMAT('%T', b'x')", '"b\\"x\\""'),
    ("FORMAT('%T', [STRUCT(1 AS a, 'x' AS b)])", '"[(1, \\"x\\")]"'),
    ("FORMAT('%t', ['a', NULL])", '"[a, NULL]"'),
    ("FORMAT('%T', CAST('nan' AS FLOAT64))", '"CAST(\\"nan\\" AS FLOAT64)"'),
    ("FORMAT('%#o', 8)", '"010"'),
    ('CAST(1/3 AS STRING)', '"0.33333333333333331"'),
    ('CAST(1e15 AS STRING)', '"1e+15"'),
    ("PARSE_NUMERIC(' -  12.34 ')", 'NUMERIC "-12.34"'),
    ("PARSE_NUMERIC('1,2,3.4')", 'NUMERIC "123.4"'),
    ("EDIT_DISTANCE('abcdef', 'zzzzzz', max_distance => 2)", '2'),
    ("INITCAP('a b', NULL)", 'NULL'),
    # numbers
    ('GREATEST(1, NULL)', 'NULL'),
    ("EXP(NUMERIC '1')", 'NUMERIC "2.718281828"'),
    ("LOG10(NUMERIC '100')", 'NUMERIC "2"'),
    ("POW(NUMERIC '2', 3)", 'NUMERIC "8"'),
    ('CAST([1.5, 2.5] AS ARRAY<INT64>)', '[2, 3]'),
    ("CAST('123.456' AS NUMERIC(5, 2))", 'NUMERIC "123.46"'),
    ("GENERATE_ARRAY(NUMERIC '1', 2)", '[NUMERIC "1", NUMERIC "2"]'),
    ('EUCLIDEAN_DISTANCE([1.0, 2.0], [3.0, 4.0])', '2.8284271247461903'),
    ('ZEROIFNULL(NULL)', '0'),
    ('IFERROR(1 / 0, 5)', '5.0'),
    ('ISERROR(1 / 0)', 'true'),
    ('ARRAY_TRANSFORM([1, 2, 3], (e, i) -> e + i)', '[1, 3, 5]'),
    ('ARRAY_FILTER([1, 2, 3], e -> e > 1)', '[2, 3]'),
    # JSON
    ('JSON \'{"a":[10,20]}\'.a[1]', "JSON '20'"),
    ('PARSE_JSON(\'{"id":922337203685477580701}\', wide_number_mode=>\'round\')', 'JSON \'{"id":922337203685477600000.0}\''),
    ('JSON \'{"a":1, "a":2}\'', 'JSON \'{"a":1}\''),
    ('JSON_SET(JSON \'{"a":1}\', \'$.b\', 2, create_if_missing=>FALSE)', 'JSON \'{"a":1}\''),
    ('JSON_ARRAY_APPEND(JSON \'["a"]\', \'$\', [1, 2], append_each_element=>FALSE)', 'JSON \'["a",[1,2]]\''),
    ('JSON_ARRAY_INSERT(JSON \'{"a":null}\', \'$.a[1]\', 10)', 'JSON \'{"a":[null,10]}\''),
    ('JSON_STRIP_NULLS(JSON \'{"a":null,"b":[1,null]}\', include_arrays=>FALSE)', 'JSON \'{"b":[1,null]}\''),
    ('JSON_STRIP_NULLS(JSON \'{"a":{"b":null},"c":[]}\', remove_empty=>TRUE)', 'NULL'),
    ('JSON_KEYS(JSON \'{"a":[{"b":1}]}\', mode=>\'lax\')', '["a", "a.b"]'),
    ('JSON_KEYS(JSON \'{"a":{"b":1}}\', 1)', '["a"]'),
    ('JSON_KEYS(JSON \'{"a":{"b":1}}\', NULL)', '["a", "a.b"]'),
    ("TO_JSON([1.0, -2.5])", "JSON '[1.0,-2.5]'"),
    ("ST_ISCLOSED(ST_GEOGFROMTEXT('POLYGON((0 0, 1 0, 1 1, 0 0))'))", "false"),
    ("ST_ISCLOSED(ST_GEOGFROMTEXT('POINT(0 0)'))", "true"),
    ('JSON_QUERY(JSON \'{"a":[{"b":1},{"b":2}]}\', \'lax $.a.b\')', "JSON '[1,2]'"),
    ('JSON_CONTAINS(JSON \'{"a":[1,2]}\', JSON \'{"a":[2]}\')', 'true'),
    ("JSON_FLATTEN(JSON '[[1,2],[3,[4]]]')", "[JSON '1', JSON '2', JSON '3', JSON '4']"),
    ("JSON_OBJECT(['a', 'b'], [1, 2])", 'JSON \'{"a":1,"b":2}\''),
    ("JSON_OBJECT('a', 1, 'a', 2)", 'JSON \'{"a":1}\''),
    ('LAX_INT64_ARRAY(JSON \'[1,"2"]\')', '[1, 2]'),
    ('JSON_EXTRACT_ARRAY(\'[1,"a",{"b":2},null]\')', '["1", "\\"a\\"", "{\\"b\\":2}", "null"]'),
    ('TO_JSON(9007199254740993, stringify_wide_numbers=>TRUE)', 'JSON \'"9007199254740993"\''),
    ("TO_JSON(STRUCT(TIMESTAMP '2020-01-01 01:02:03.5+00' AS t, [b'ab'] AS b, NUMERIC '1.5' AS n))", 'JSON \'{"b":["YWI="],"n":1.5,"t":"2020-01-01T01:02:03.500Z"}\''),
    ("TO_JSON_STRING(STRUCT(TIMESTAMP '2020-01-01 01:02:03.5+00' AS t, [b'ab'] AS b, NUMERIC '1.5' AS n))", '"{\\"t\\":\\"2020-01-01T01:02:03.500Z\\",\\"b\\":[\\"YWI=\\"],\\"n\\":\\"1.5\\"}"'),
    ('TO_JSON_STRING(NULL)', '"null"'),
    # CAST with FORMAT
    ("CAST(DATE '2018-01-30' AS STRING FORMAT 'MON DD, YYYY')", '"JAN 30, 2018"'),
    ("CAST(DATE '2018-01-05' AS STRING FORMAT 'MONTH month Mon DD D DDD DAY Day dy')", '"JANUARY january Jan 05 6 005 FRIDAY Friday fri"'),
    ("CAST(TIME '05:06:07.123456' AS STRING FORMAT 'HH:MI:SS.FF6 A.M. SSSSS')", '"05:06:07.123456 A.M. 18367"'),
    ("CAST(TIMESTAMP '2008-12-25 00:00:00+00:00' AS STRING FORMAT 'TZH:TZM' AT TIME ZONE 'Asia/Kolkata')", '"+05:30"'),
    ("CAST('JUN 30, 2018' AS DATE FORMAT 'MON DD, YYYY')", 'DATE "2018-06-30"'),
    ("CAST('2020.06.03 00:00:53+02' AS TIMESTAMP FORMAT 'YYYY.MM.DD HH24:MI:SSTZH')", 'TIMESTAMP "2020-06-02 22:00:53+00"'),
    ("CAST('3:30 P.M.' AS TIME FORMAT 'HH:MI P.M.')", 'TIME "15:30:00"'),
    ("CAST(b'\\x00\\x01\\xff' AS STRING FORMAT 'HEX')", '"0001ff"'),
    ("CAST('YWI=' AS BYTES FORMAT 'BASE64')", 'b"ab"'),
    ("CAST(1234567 AS STRING FORMAT '9,999,999')", '" 1,234,567"'),
    ("CAST(-12 AS STRING FORMAT '999PR')", '" <12>"'),
    ("CAST(12.5 AS STRING FORMAT '$999.00')", '"  $12.50"'),
    ("CAST(255 AS STRING FORMAT 'XXX')", '"  FF"'),
    ("CAST(1234.5 AS STRING FORMAT '9.99EEEE')", '" 1.23E+03"'),
    ("CAST(0.5 AS STRING FORMAT '9.9')", '"  .5"'),
    ("CAST(1234 AS STRING FORMAT '99')", '" ##"'),
])  # fmt: skip
def test_an_expression_as_its_literal(warehouse: Warehouse, expression: str, literal: str) -> None:
    _, [(shown,)] = answer(warehouse, f"SELECT FORMAT('%T', {expression})")
    assert shown == literal


@pytest.mark.parametrize(("text", "names", "rows"), [
    ("SELECT * FROM (SELECT 'a' AS p, 'Q1' AS q, 5 AS s UNION ALL SELECT 'a', 'Q2', 7) PIVOT(SUM(s) FOR q IN ('Q1', 'Q2'))",
     ['p', 'Q1', 'Q2'], [('a', 5, 7)]),
    ("SELECT * FROM (SELECT 'a' AS p, 'Q1' AS q, 5 AS s) PIVOT(SUM(s) AS total, COUNT(*) AS n FOR q IN ('Q1' AS one, 'Q2'))",
     ['p', 'total_one', 'n_one', 'total_Q2', 'n_Q2'], [('a', 5, 1, None, 0)]),
    ('SELECT * FROM (SELECT 1 AS q, 5 AS s) PIVOT(AVG(s) FOR q IN (1, -1))',
     ['_1', 'minus_1'], [(5.0, None)]),
    ("SELECT * FROM (SELECT 'a' AS p, 1 AS q1, 2 AS q2) UNPIVOT(s FOR q IN (q1 AS 1, q2 AS 2))",
     ['p', 's', 'q'], [('a', 1, 1), ('a', 2, 2)]),
    ('SELECT * FROM (SELECT 1 AS a, 2 AS b, 3 AS c, 4 AS d) UNPIVOT((x, y) FOR h IN ((a, b), (c, d)))',
     ['x', 'y', 'h'], [(1, 2, 'a_b'), (3, 4, 'c_d')]),
    ('SELECT * FROM (SELECT 1 AS a, CAST(NULL AS INT64) AS b) UNPIVOT INCLUDE NULLS (s FOR q IN (a, b))',
     ['s', 'q'], [(1, 'a'), (None, 'b')]),
    ('SELECT 1 AS a, 2 AS b FULL UNION ALL BY NAME SELECT 3 AS b, 4 AS c',
     ['a', 'b', 'c'], [(1, 2, None), (None, 3, 4)]),
    ('SELECT 1 AS a, 2 AS b INNER UNION ALL BY NAME SELECT 3 AS b, 4 AS c',
     ['b'], [(2,), (3,)]),
    ('SELECT 1 AS a, 2 AS b LEFT UNION ALL BY NAME SELECT 3 AS b, 4 AS c',
     ['a', 'b'], [(1, 2), (None, 3)]),
    ('SELECT 1 AS a, 2 AS b UNION ALL CORRESPONDING SELECT 3 AS b, 4 AS a',
     ['a', 'b'], [(1, 2), (4, 3)]),
    ('FROM (SELECT 1 AS a, 2 AS b) |> SET a = b + 1 |> RENAME a AS z |> DROP b',
     ['z'], [(3,)]),
    ('FROM (SELECT 1 AS a UNION ALL SELECT 2) |> WINDOW SUM(a) OVER (ORDER BY a) AS s |> ORDER BY s',
     ['a', 's'], [(1, 1), (2, 3)]),
    ('FROM (SELECT 1 AS a) |> ASSERT a = 1',
     ['a'], [(1,)]),
    ('SELECT a, b FROM (SELECT CAST([] AS ARRAY<INT64>) AS arr, 5 AS b) t LEFT JOIN UNNEST(t.arr) a',
     ['a', 'b'], [(None, 5)]),
    ('SELECT COUNT(*) AS n FROM UNNEST([1]) GROUP BY ()',
     ['n'], [(1,)]),
    ("SELECT 'b' IN UNNEST(['a', NULL]) AS x, 'a' IN UNNEST(['a', NULL]) AS y",
     ['x', 'y'], [(None, True)]),
    ('SELECT ARRAY_CONCAT_AGG(x ORDER BY ARRAY_LENGTH(x) LIMIT 1) AS x FROM (SELECT [1, 2] AS x UNION ALL SELECT NULL UNION ALL SELECT [5])',
     ['x'], [([5],)]),
    ("SELECT x, FIRST_VALUE(x IGNORE NULLS) OVER w AS f, NTH_VALUE(x, 2 IGNORE NULLS) OVER w AS n FROM UNNEST([NULL, 2, 3]) x "
     "WINDOW w AS (ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) ORDER BY x LIMIT 1",
     ['x', 'f', 'n'], [(None, 2, 3)]),
    ("SELECT COUNT(*) AS n FROM (SELECT x, ROW_NUMBER() OVER (ORDER BY RAND()) AS n FROM UNNEST([1, 2, 3]) x) WHERE n <= 2",
     ['n'], [(2,)]),
    ("SELECT CURRENT_TIMESTAMP() IS NULL AS `current_timestamp`", ['current_timestamp'], [(False,)]),
    ("SELECT LOWER(NULL) AS a, CONCAT('a', NULL) AS b, CORR(x, x) AS c FROM UNNEST([1.0]) AS x",
     ['a', 'b', 'c'], [(None, None, None)]),
])  # fmt: skip
def test_a_query_by_its_clause(
    warehouse: Warehouse, text: str, names: list[str], rows: list[tuple[Any, ...]]
) -> None:
    assert answer(warehouse, text) == (names, rows)


@pytest.mark.parametrize(("text", "said"), [
    ("SELECT DATE_ADD(DATE '2020-01-01', INTERVAL 1 HOUR)", "DATE_ADD does not support the HOUR date part"),
    ("SELECT TIMESTAMP_ADD(TIMESTAMP '2020-01-01', INTERVAL 1 MONTH)", "does not support the MONTH date part"),
    ("SELECT DATE_ADD(DATE '9999-12-31', INTERVAL 1 DAY)", "overflow"),
    ("SELECT CAST('abcdef' AS STRING(3))", "maximum length 3"),
    ("SELECT CAST('12' AS INT64 FORMAT '99')", "FORMAT is not allowed"),
    ("SELECT CAST('x' AS DATE FORMAT 'YYYY')", "Failed to parse input"),
    ("SELECT JSON_EXTRACT('{\"a\":1}', '$..a')", "Unsupported operator in JSONPath: .."),
    ("SELECT PARSE_JSON('{\"id\":922337203685477580701}')", "cannot round-trip"),
    ("SELECT JSON_REMOVE(JSON '1', '$')", "JSONPath cannot be '$'"),
    ("SELECT b'a' & b'ab'", "requires equal length"),
    ("SELECT LPAD('abc', 5, '')", "cannot be empty"),
    ("SELECT 1 AS a UNION ALL BY NAME SELECT 1 AS b", "same columns"),
    ("FROM (SELECT 1 AS a) |> ASSERT a = 2", "Assert failed"),
])  # fmt: skip
def test_a_refusal(warehouse: Warehouse, text: str, said: str) -> None:
    with pytest.raises(PorticoError, match=re.escape(said)):
        answer(warehouse, text)


def test_a_merge_inserts_rows_of_an_array(warehouse: Warehouse) -> None:
    warehouse.run("CREATE TABLE d.merged (id INT64, name STRING)", Asked("p"))
    merged = "MERGE d.merged AS m USING UNNEST([STRUCT(9 AS id, 'q' AS name), (10, 'r')]) AS s ON m.id = s.id WHEN NOT MATCHED THEN INSERT ROW"
    assert [warehouse.run(merged, Asked("p"))[-1].affected for _ in range(2)] == [2, 0]
    assert answer(warehouse, "SELECT * FROM d.merged ORDER BY id") == (["id", "name"], [(9, "q"), (10, "r")])
