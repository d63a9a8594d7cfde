# ruff: noqa: E501
"""Routines: functions of SQL and JavaScript, table functions, procedures."""

from __future__ import annotations

from typing import Any

import pytest

from portico.errors import AlreadyExists, InvalidArgument, NotFound, PorticoError
from portico.warehouse import javascript, routines
from portico.warehouse.asked import Asked, Done
from portico.warehouse.engine import Warehouse

Run = Any


@pytest.fixture
def run(warehouse: Warehouse) -> Run:
    return lambda text, **asked: warehouse.run(text, Asked("p", "p.d", **asked))


def rows(done: list[Done]) -> list[dict[str, Any]]:
    assert done[-1].rows is not None
    return list(done[-1].rows.to_pylist())


def values(done: list[Done]) -> list[Any]:
    return list(rows(done)[0].values())


def test_a_function_is_kept_as_google_s_resource(run: Run, warehouse: Warehouse) -> None:
    [done] = run(
        "CREATE FUNCTION d.kept(x INT64, y ARRAY<STRING>) RETURNS INT64 OPTIONS (description='k') AS (x + 1)"
    )
    assert (done.kind, done.operation) == ("CREATE_FUNCTION", "CREATE")
    with warehouse.reading() as cursor:
        body = routines.require(cursor, "p", "d", "kept").body
        assert [one.name for one in routines.listed(cursor, "p", "d") if one.name == "kept"] == ["kept"]
    assert body["routineReference"] == {"projectId": "p", "datasetId": "d", "routineId": "kept"}
    assert (body["routineType"], body["language"], body["definitionBody"]) == (
        "SCALAR_FUNCTION",
        "SQL",
        "x + 1",
    )
    assert body["description"] == "k"
    assert body["returnType"] == {"typeKind": "INT64"}
    assert body["arguments"] == [
        {"name": "x", "argumentKind": "FIXED_TYPE", "dataType": {"typeKind": "INT64"}},
        {
            "name": "y",
            "argumentKind": "FIXED_TYPE",
            "dataType": {"typeKind": "ARRAY", "arrayElementType": {"typeKind": "STRING"}},
        },
    ]
    with pytest.raises(AlreadyExists):
        run("CREATE FUNCTION d.kept() AS (1)")
    assert run("CREATE FUNCTION IF NOT EXISTS d.kept() AS (1)")[0].operation == "SKIP"
    assert run("CREATE OR REPLACE FUNCTION d.kept() AS (1)")[0].operation == "REPLACE"
    assert run("DROP FUNCTION d.kept")[0].operation == "DROP"
    assert run("DROP FUNCTION IF EXISTS d.kept")[0].operation == "SKIP"
    with pytest.raises(NotFound, match="Routine p:d"):
        run("DROP FUNCTION d.kept")


def test_functions_are_called_by_every_form_of_their_name(run: Run) -> None:
    run("CREATE FUNCTION d.inc(x INT64) AS (x + 1)")
    done = run(
        "SELECT d.inc(1), `p.d`.inc(2), `p.d.inc`(3), p.d.inc(4), inc(5), d.inc(d.inc(5)), SAFE.d.inc(7)"
    )
    assert values(done) == [2, 3, 4, 5, 6, 7, 8]
    assert done[-1].fields[0]["name"] == "f0_"
    run("CREATE VIEW d.seen AS SELECT d.inc(1) AS a")
    assert rows(run("SELECT a FROM d.seen")) == [{"a": 2}]


@pytest.mark.parametrize(
    ("function", "called", "wanted"),
    [
        ("f(x FLOAT64) AS (x / 2)", "f(3)", 1.5),
        ("f(x ANY TYPE, y ANY TYPE) AS (IF(x > y, x, y))", "f('a', 'b')", "b"),
        ("f(x DATE) AS (EXTRACT(YEAR FROM x))", "f('2024-03-01')", 2024),
        ("f(x STRUCT<a INT64, b STRING>) AS (CONCAT(x.b, CAST(x.a AS STRING)))", "f(STRUCT(1, 'z'))", "z1"),
        ("f(x INT64) RETURNS STRING AS (CAST(x AS STRING))", "f(NULL)", None),
        ("f() AS (42)", "f()", 42),
        ("f(x INT64) AS (x * 2)", "f(SUM(v)) + SUM(f(v))", 24),
        ("f(l ARRAY<INT64>) AS ((SELECT SUM(v) FROM UNNEST(l) AS v))", "f(ARRAY_AGG(v))", 6),
    ],
)
def test_temporary_functions(run: Run, function: str, called: str, wanted: Any) -> None:
    source = " FROM UNNEST([1, 2, 3]) AS v" if "(v)" in called else ""
    [done] = run(f"CREATE TEMP FUNCTION {function}; SELECT {called} AS x{source}")
    assert done.kind == "SELECT"  # not a script
    assert rows([done]) == [{"x": wanted}]


def test_an_argument_is_not_taken_for_a_name_within_the_function(run: Run) -> None:
    made = "CREATE TEMP FUNCTION f(k INT64) AS ((SELECT MAX(v) FROM UNNEST([1, 2, 3]) AS v WHERE v <= k)); "
    done = run(made + "SELECT v, f(v) AS m FROM UNNEST([0, 2, 9]) AS v ORDER BY v")
    assert rows(done) == [{"v": 0, "m": None}, {"v": 2, "m": 2}, {"v": 9, "m": 3}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CREATE TEMP FUNCTION f(x INT64) AS (x); SELECT f(1, 2)", "takes 1 argument, 2 given"),
        ("CREATE TEMP FUNCTION f(x INT64) AS (f(x)); SELECT f(1)", "Recursive"),
        ("CREATE FUNCTION d.r(x INT64) AS (x); CREATE OR REPLACE FUNCTION d.r(x INT64) AS (d.r(x))", "Recursive"),
        ("CREATE TEMP FUNCTION f(x INT64, X INT64) AS (x); SELECT 1", "Duplicate argument"),
        ("CREATE TEMP FUNCTION f(x NOTYPE) AS (x); SELECT 1", "Type not found"),
        ("CREATE FUNCTION d.g(x INT64) AS (nosuch(x))", "Function not found"),
        ("CREATE FUNCTION d.g(x INT64) AS (y)", "y"),
        ("SELECT `p.d`.nothing(1)", "Function not found: `p.d`.nothing"),
        ("SELECT * FROM d.nothing(1)", "Table-valued function not found"),
        ("SELECT * FROM read_csv('/etc/passwd')", "Table-valued function not found"),
        ("SELECT d.getvariable('x'), `p.getvariable`('x')", "Function not found"),
        ("CREATE TEMP FUNCTION f(x INT64) RETURNS INT64 LANGUAGE js AS 'throw new Error(\"boom\");'; SELECT f(1)",
         r"^Error: boom at f\(INT64\) line 1"),
        ("CREATE TEMP FUNCTION f() RETURNS INT64 LANGUAGE js AS 'return 1.5;'; SELECT f()", "Failed to coerce"),
        ("CREATE TEMP FUNCTION f() RETURNS INT64 LANGUAGE js AS 'return }'; SELECT f()", "SyntaxError"),
    ],
)  # fmt: skip
def test_what_functions_refuse(run: Run, text: str, said: str) -> None:
    with pytest.raises(PorticoError, match=said):
        run(text)


def test_table_functions(run: Run) -> None:
    run("CREATE TABLE d.items AS SELECT n AS id, CAST(n AS STRING) AS l FROM UNNEST([1, 2, 3]) AS n")
    [done] = run(
        "CREATE TABLE FUNCTION d.below(n INT64) RETURNS TABLE<id INT64> AS SELECT id FROM d.items WHERE id < n"
    )
    assert done.kind == "CREATE_TABLE_FUNCTION"
    found = run("SELECT b.id, i.l FROM d.below(3) AS b JOIN d.items AS i ON i.id = b.id ORDER BY 1")
    assert rows(found) == [{"id": 1, "l": "1"}, {"id": 2, "l": "2"}]
    assert rows(run("DECLARE m INT64 DEFAULT 2; SELECT id FROM `p.d`.below(m)")) == [{"id": 1}]
    with pytest.raises(InvalidArgument, match="DROP FUNCTION"):
        run("DROP FUNCTION d.below")
    assert run("DROP TABLE FUNCTION d.below")[0].kind == "DROP_TABLE_FUNCTION"


def test_procedures(run: Run) -> None:
    [*_, done] = run(
        "CREATE OR REPLACE PROCEDURE d.twice(a INT64, OUT b INT64, INOUT c STRING) BEGIN DECLARE z INT64 DEFAULT a;"
        " SET b = z * 2; SET c = CONCAT(c, '!'); IF a > 5 THEN RETURN; END IF; SELECT a AS small; END"
    )
    assert done.kind == "SCRIPT"
    called = "DECLARE o, z INT64; DECLARE c STRING DEFAULT 'hey'; CALL d.twice(%s, o, c); "
    assert rows(run(called % 10 + "SELECT o, c, z")) == [{"o": 20, "c": "hey!", "z": None}]
    assert rows(run(called % 1)) == [{"small": 1}]
    with pytest.raises(InvalidArgument, match="give it a variable"):
        run("DECLARE c STRING; CALL d.twice(1, 2, c)")
    with pytest.raises(InvalidArgument, match="Procedure not found"):
        run("CALL d.nothing()")
    run("CREATE PROCEDURE d.again(n INT64) BEGIN CALL d.again(n + 1); END")
    with pytest.raises(InvalidArgument, match="more than 30 deep"):
        run("CALL d.again(1)")
    assert run("DROP PROCEDURE d.again")[0].kind == "DROP_PROCEDURE"


def test_javascript_gets_and_gives_sql_s_types(run: Run) -> None:
    [given] = values(
        run(
            "CREATE TEMP FUNCTION j(a INT64, b FLOAT64, c BYTES, d DATE, e JSON, f NUMERIC, g BOOL, h ARRAY<STRING>,"
            " i STRUCT<x INT64, y STRING>) RETURNS STRING LANGUAGE js AS "
            "'return JSON.stringify([a, b, c, d, e, f, g, h, i]);';"
            "SELECT j(9007199254740993, 1.5, b'ab', DATE '2024-01-02', JSON '{\"k\": [1]}', NUMERIC '12.5', TRUE,"
            " ['u'], STRUCT(1, 'z'))"
        )
    )
    assert given == (
        '["9007199254740993",1.5,"YWI=","2024-01-02T00:00:00.000Z",{"k":[1]},"12.5",true,["u"],{"x":"1","y":"z"}]'
    )
    [taken] = values(
        run(
            "CREATE TEMP FUNCTION j() RETURNS STRUCT<a INT64, b BYTES, c ARRAY<FLOAT64>, d JSON, e STRING> LANGUAGE js "
            "AS "
            '\'return {a: "41" + 1, b: "YWI=", c: [1, 1/0], d: {k: 1}};\'; SELECT j()'
        )
    )
    assert taken == {"a": 411, "b": b"ab", "c": [1.0, float("inf")], "d": '{"k":1}', "e": None}
    many = run(
        "CREATE TEMP FUNCTION j(x FLOAT64) RETURNS FLOAT64 LANGUAGE js AS 'return x * 2;';"
        "SELECT SUM(j(v)) AS s FROM UNNEST(GENERATE_ARRAY(1, 5000)) AS v"
    )
    assert rows(many) == [{"s": 25005000.0}]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("const a = new Uint8Array(6e7).fill(1); for (;;) a[0]++;", "out of memory: j took more than 32 MiB"),
        ("for (;;);", "timed out: j took more than 1 s"),
    ],
)
def test_javascript_that_does_not_end_is_told_what_it_took_too_much_of(
    run: Run, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    pool = javascript._Pool()
    monkeypatch.setattr(javascript, "MEMORY", 32 << 20)
    monkeypatch.setattr(javascript, "SECONDS", 1.0)
    monkeypatch.setattr(javascript, "_POOL", pool)
    with pytest.raises(InvalidArgument, match=said):
        run(f"CREATE TEMP FUNCTION j() RETURNS FLOAT64 LANGUAGE js AS '{code}'; SELECT j()")
    pool.close()


@pytest.mark.parametrize(
    ("piece", "said"),
    [("new Array(1000).fill(1.5)", "out of memory"), ("new Uint8Array(1e7).fill(1)", "allocation failed")],
)
def test_javascript_has_bounds_of_memory(
    run: Run, monkeypatch: pytest.MonkeyPatch, piece: str, said: str
) -> None:
    pool = javascript._Pool()
    monkeypatch.setattr(javascript, "MEMORY", 32 << 20)
    monkeypatch.setattr(javascript, "_POOL", pool)
    made = "CREATE TEMP FUNCTION j() RETURNS FLOAT64 LANGUAGE js AS "
    with pytest.raises(InvalidArgument, match=said):
        run(f"{made} 'const a = []; for (;;) a.push({piece});'; SELECT j()")
    assert values(run(f"{made} 'return 1;'; SELECT j()")) == [1.0]
    pool.close()


def test_javascript_has_bounds_of_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = javascript._Pool()
    monkeypatch.setattr(javascript, "SECONDS", 0.2)
    monkeypatch.setattr(javascript, "_POOL", pool)
    with pytest.raises(InvalidArgument, match="timed out"):
        run("CREATE TEMP FUNCTION j() RETURNS FLOAT64 LANGUAGE js AS 'for (;;) {}'; SELECT j()")
    pool.close()


def test_javascript_reaches_nothing(run: Run) -> None:
    [seen] = values(
        run(
            "CREATE TEMP FUNCTION j() RETURNS STRING LANGUAGE js AS "
            "'return [typeof require, typeof process, typeof fetch, typeof Deno].join();'; SELECT j()"
        )
    )
    assert seen == "undefined,undefined,undefined,undefined"


def test_an_aggregate_function_is_its_body_over_the_rows(run: Run, warehouse: Warehouse) -> None:
    run("CREATE TABLE d.weighed AS SELECT MOD(i, 2) AS g, i FROM UNNEST([1, 2, 3, 4]) AS i")
    [done] = run("CREATE AGGREGATE FUNCTION d.scaled(x FLOAT64, by FLOAT64 NOT AGGREGATE) AS (SUM(x) * by)")
    assert (done.kind, done.operation) == ("CREATE_FUNCTION", "CREATE")
    with warehouse.reading() as cursor:
        body = routines.require(cursor, "p", "d", "scaled").body
    assert body["routineType"] == "AGGREGATE_FUNCTION"
    assert [one["isAggregate"] for one in body["arguments"]] == [True, False]
    having = "SELECT g, d.scaled(i, 10) AS s FROM d.weighed GROUP BY g HAVING d.scaled(i, 10) > 45"
    assert rows(run(having)) == [{"g": 0, "s": 60.0}]
    assert values(run("SELECT 1 + d.scaled(i, 2) FROM d.weighed")) == [21.0]
    mean = "CREATE TEMP AGGREGATE FUNCTION m(x FLOAT64, w FLOAT64) RETURNS FLOAT64 AS (SUM(x * w) / SUM(w)); "
    assert values(run(f"{mean} SELECT m(i, i) FROM d.weighed")) == [3.0]
    for text, said in (
        ("SELECT d.scaled(i, 2) OVER () FROM d.weighed", "can't have an OVER clause"),
        ("SELECT d.scaled(DISTINCT i, 2) FROM d.weighed", "takes no DISTINCT"),
        (
            "CREATE AGGREGATE FUNCTION d.bad(x FLOAT64) AS (SUM(x) + x)",
            "must be within an aggregate function",
        ),
    ):
        with pytest.raises(PorticoError, match=said):
            run(text)
    run("DROP FUNCTION d.scaled")
    with pytest.raises(InvalidArgument, match="Function not found"):
        run("SELECT d.scaled(i, 2) FROM d.weighed")


def test_table_functions_take_tables(run: Run, warehouse: Warehouse) -> None:
    run(
        "CREATE TABLE d.orders AS SELECT 'hat' AS item, 10 AS sales, 'x' AS note UNION ALL SELECT 'bag', 7, 'y'"
    )
    run(
        """CREATE TABLE FUNCTION d.compute_sales(orders TABLE<sales INT64, item STRING>, item_name STRING) AS (
        SELECT SUM(sales) AS total_sales, item FROM orders WHERE item = item_name GROUP BY item)"""
    )
    assert rows(run("SELECT * FROM d.compute_sales(TABLE d.orders, 'hat')")) == [
        {"total_sales": 10, "item": "hat"}
    ]
    within = "WITH orders AS (SELECT 'hat' AS item, 3 AS sales) SELECT s.total_sales FROM d.compute_sales({}, 'hat') AS s"
    assert values(run(within.format("TABLE orders"))) == [3]
    assert values(run(within.format("(SELECT sales + 1 AS sales, item FROM orders)"))) == [4]
    run(
        "CREATE TABLE FUNCTION d.counted(t ANY TABLE) AS SELECT COUNT(*) AS n, MAX(o.sales) AS most FROM t AS o CROSS JOIN t"
    )
    assert values(run("SELECT * FROM d.counted(TABLE orders)")) == [4, 10]
    piped = (
        "FROM d.orders |> WHERE sales > 5 |> CALL d.compute_sales('bag') AS s |> CALL d.counted() |> SELECT n"
    )
    with pytest.raises(InvalidArgument, match="sales"):  # which the first function does not give
        run(piped)
    assert values(
        run(piped.replace(" |> CALL d.counted()", "").replace("SELECT n", "SELECT s.total_sales"))
    ) == [7]
    with pytest.raises(InvalidArgument, match="Expected a table-valued function after CALL"):
        run("FROM d.orders |> CALL d.orders")
    shown = "SELECT STRING_AGG(data_type, ' ' ORDER BY ordinal_position) FROM d.INFORMATION_SCHEMA.PARAMETERS WHERE specific_name = '{}'"
    assert values(run(shown.format("compute_sales"))) == ["TABLE<sales INT64, item STRING> STRING"]
    assert values(run(shown.format("counted"))) == ["ANY TABLE"]
    with warehouse.reading() as cursor:
        first, _ = routines.require(cursor, "p", "d", "compute_sales").arguments
    assert (first["argumentKind"], len(first["tableType"]["columns"])) == ("FIXED_TABLE", 2)
    for text, said in (
        ("SELECT * FROM d.compute_sales('orders', 'hat')", "give it TABLE and a name"),
        ("SELECT * FROM d.compute_sales((SELECT 1 AS sales), 'hat')", "item"),
        ("CREATE TABLE FUNCTION d.wrong(t TABLE<a INT64>) AS SELECT b FROM t", "Unrecognized name: b"),
        ("CREATE FUNCTION d.wrong(t TABLE<a INT64>) AS (1)", "Type not found"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            run(text)


SUMS = """CREATE TEMP AGGREGATE FUNCTION f({arguments}) RETURNS {returns} LANGUAGE js AS r'''
    var loads = 0; loads += 1;
    export function initialState() {{ return {{sum: {zero}, loads: loads}}; }}
    export function aggregate(state, x) {{ {aggregate} }}
    export function merge(state, part) {{ state.sum += part.sum; }}
    export function finalize(state) {{ return {result}; }}
'''; """


def summed(run: Run, query: str, **parts: str) -> list[Any]:
    given = {
        "arguments": "x FLOAT64", "returns": "FLOAT64", "zero": "0", "result": "state.sum",
        "aggregate": "if (x > 0) state.sum += x;",
    }  # fmt: skip
    rows = run(SUMS.format(**{**given, **parts}) + query)[-1].rows
    return [value for row in rows.to_pylist() for value in row.values()]


def test_aggregate_functions_in_javascript(run: Run) -> None:
    numbers = "UNNEST([1.0, -1.0, 3.0, NULL, 5.0]) AS x"
    assert summed(run, f"SELECT f(x) FROM {numbers}") == [9.0]
    assert summed(run, f"SELECT f(x) FROM {numbers} WHERE x > 9") == [0.0]  # of a state with nothing
    grouped = f"SELECT f(x) AS s FROM {numbers} GROUP BY x > 2 HAVING f(x) > 0 ORDER BY f(x) DESC"
    assert summed(run, grouped) == [8.0, 1.0]
    assert summed(run, f"SELECT SUM(s) FROM (SELECT f(x + 1) AS s FROM {numbers} GROUP BY x)") == [12.0]
    assert summed(run, f"SELECT f(x) FROM {numbers} GROUP BY x", result="state.loads") == [1.0] * 5


def test_aggregate_functions_in_javascript_have_types_of_their_own(run: Run) -> None:
    big = {"arguments": "x INT64", "returns": "INT64", "zero": "0n", "aggregate": "state.sum += x;"}
    assert summed(run, "SELECT f(x) FROM UNNEST([9007199254740993, 2]) AS x", **big) == [9007199254740995]
    code = {
        "arguments": "x BYTES", "returns": "BYTES", "zero": "[]", "result": "new Uint8Array(state.sum.reverse())",
        "aggregate": "state.sum = state.sum.concat(Array.from(x));",
    }  # fmt: skip
    code_of_merge = SUMS.replace("state.sum += part.sum", "state.sum = state.sum.concat(part.sum)")
    made = code_of_merge.format(**code)
    for data in ("b'\\xff\\x00a'", "b'ab'", "b'a'", "b''"):
        [found] = values(run(f"{made} SELECT f(x) FROM UNNEST([{data}]) AS x"))
        assert found == values(run(f"SELECT REVERSE({data})"))[0]
    joined = """CREATE AGGREGATE FUNCTION d.joined(s STRING, by STRING NOT AGGREGATE, n INT64) RETURNS STRING LANGUAGE js
        AS r'''
          export function initialState(by) { return {strings: []}; }
          export function aggregate(state, s, n, by) { state.strings.push(s + n + by); }
          export function merge(state, part) { state.strings = state.strings.concat(part.strings); }
          export function finalize(state, by) { return state.strings.sort().join(by); }'''"""
    run(joined)
    assert values(run("SELECT d.joined(x, '.', 7) FROM UNNEST(['b', 'a']) AS x")) == ["a7..b7."]


def test_states_of_aggregations_in_javascript_are_passed_on(run: Run) -> None:
    adder = """CREATE TEMP AGGREGATE FUNCTION f(x FLOAT64) RETURNS FLOAT64 LANGUAGE js AS r'''
        class Adder {{ constructor() {{ this.sum = 0; }} add(x) {{ this.sum += x; }} get() {{ return this.sum; }} }}
        export function initialState() {{ return new Adder(); }}
        export function aggregate(a, x) {{ a.add(x); }}
        export function merge(a, b) {{ a.add(b.get()); }}
        export function finalize(a) {{ return a.get(); }}
        {more}'''; SELECT f(x) FROM UNNEST([1, 2, 3, 4]) AS x"""
    with pytest.raises(InvalidArgument, match="add is not a function"):
        run(adder.format(more=""))
    more = """export function serialize(a) { return {sum: a.get()}; }
        export function deserialize(kept) { const made = new Adder(); made.add(kept.sum); return made; }"""
    assert values(run(adder.format(more=more))) == [10.0]


@pytest.mark.parametrize(("parts", "said"), [
    ({"zero": "function () {}"}, "can not be serialized"), ({"aggregate": "throw new Error('no');"}, "Error: no at f"),
    ({"aggregate": "for (;;) {"}, "SyntaxError"), ({"result": "'many'"}, "Failed to coerce output value many"),
])  # fmt: skip
def test_what_an_aggregation_in_javascript_may_not(run: Run, parts: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        summed(run, "SELECT f(x) FROM UNNEST([1.0]) AS x", **parts)


def test_an_aggregation_in_javascript_has_four_functions(run: Run) -> None:
    missing = SUMS.replace("function merge", "function other").format(
        arguments="x FLOAT64", returns="FLOAT64", zero="0", aggregate="", result="1"
    )
    with pytest.raises(InvalidArgument, match="must export the function merge"):
        run(f"{missing} SELECT f(x) FROM UNNEST([1.0]) AS x")
