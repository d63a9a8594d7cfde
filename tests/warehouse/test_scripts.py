"""Scripts of GoogleSQL: blocks, variables, handlers, transactions, and what they may not reach."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from portico.errors import InvalidArgument, NotFound, PorticoError
from portico.warehouse import block_reader, scripts
from portico.warehouse.asked import Asked, Done
from portico.warehouse.engine import Warehouse
from portico.warehouse.scripts import Script

Run = Any


@pytest.fixture
def run(warehouse: Warehouse) -> Run:
    def one(text: str, **asked: Any) -> list[Done]:
        return warehouse.run(text, Asked("p", "p.d", **asked))

    return one


def rows(done: list[Done]) -> list[dict[str, Any]]:
    assert done[-1].rows is not None
    return list(done[-1].rows.to_pylist())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("DECLARE a, b INT64 DEFAULT 3; SET a = a * 2; SELECT a, b", {"a": 6, "b": 3}),
        ("DECLARE a DEFAULT [1, 2]; SELECT a, ARRAY_LENGTH(a) AS n", {"a": [1, 2], "n": 2}),
        ("DECLARE a, b INT64; SET (a, b) = (1, 2); SET (a, b) = (b, a); SELECT a, b", {"a": 2, "b": 1}),
        (
            "DECLARE a INT64; DECLARE b STRING; SET (a, b) = (SELECT AS STRUCT 5, 'x'); SELECT a, b",
            {"a": 5, "b": "x"},
        ),
        (
            "DECLARE s STRUCT<a INT64, b STRING>; SET s = (1, 'q'); SELECT s.a AS a, s.b AS b",
            {"a": 1, "b": "q"},
        ),
        ("DECLARE f FLOAT64 DEFAULT 1; SET f = f / 2; SELECT f", {"f": 0.5}),
        ("DECLARE n INT64; IF n IS NULL THEN SELECT 1 AS x; ELSE SELECT 2 AS x; END IF", {"x": 1}),
        (
            "DECLARE n INT64 DEFAULT 2; IF n = 1 THEN SELECT 1 AS x; ELSEIF n = 2 THEN SELECT 2 AS x; END IF",
            {"x": 2},
        ),
        ("CASE 3 WHEN 1 THEN SELECT 'a' AS x; ELSE SELECT 'b' AS x; END CASE", {"x": "b"}),
        ("CASE WHEN FALSE THEN SELECT 'a' AS x; WHEN TRUE THEN SELECT 'c' AS x; END CASE", {"x": "c"}),
        ("DECLARE x INT64 DEFAULT 0; WHILE x < 3 DO SET x = x + 1; END WHILE; SELECT x", {"x": 3}),
        ("DECLARE x INT64 DEFAULT 0; REPEAT SET x = x + 1; UNTIL x >= 2 END REPEAT; SELECT x", {"x": 2}),
        (
            "DECLARE x, y INT64 DEFAULT 0; LOOP SET x = x + 1; IF x > 4 THEN LEAVE; END IF;"
            " IF x = 2 THEN ITERATE; END IF; SET y = y + x; END LOOP; SELECT y",
            {"y": 8},
        ),
        (
            "DECLARE x INT64 DEFAULT 0; a: LOOP LOOP SET x = x + 1; IF x > 2 THEN BREAK a; END IF; CONTINUE a;"
            " END LOOP; END LOOP a; SELECT x",
            {"x": 3},
        ),
        (
            "DECLARE s INT64 DEFAULT 0; FOR r IN (SELECT v, [v, v] AS l FROM UNNEST([2, 3]) AS v) DO"
            " SET s = s + r.v * ARRAY_LENGTH(r.l); END FOR; SELECT s",
            {"s": 10},
        ),
        ("DECLARE y INT64; EXECUTE IMMEDIATE 'SELECT ? * (? + 2)' INTO y USING 1, 3; SELECT y", {"y": 5}),
        (
            "DECLARE y INT64; EXECUTE IMMEDIATE 'SELECT @a + @b' INTO y USING 1 AS a, 3 AS b; SELECT y",
            {"y": 4},
        ),
        ("SET @@dataset_id = 'e'; SELECT @@dataset_id AS d, @@project_id AS p", {"d": "e", "p": "p"}),
        ("SELECT 1; RETURN; SELECT 2", {"f0_": 1}),
        ("SELECT IF(TRUE, 1, 2) AS a; BEGIN END; SELECT CASE WHEN TRUE THEN ';' END AS b -- ;", {"b": ";"}),
    ],
)
def test_what_scripts_compute(run: Run, text: str, wanted: dict[str, Any]) -> None:
    done = run(text)
    assert done[-1].kind == "SCRIPT"
    assert rows(done) == [wanted]


def test_a_script_tells_its_statements_and_the_result_of_the_last(run: Run) -> None:
    done = run(
        "DECLARE x INT64 DEFAULT 1; SELECT x; CREATE TABLE d.told (a INT64); INSERT INTO d.told VALUES (1), (2)"
    )
    assert [one.kind for one in done] == ["SELECT", "CREATE_TABLE", "INSERT", "SCRIPT"]
    assert done[-1].children == 3
    assert done[-1].rows is None
    assert done[-1].affected == 2
    assert done[0].text == "SELECT x"
    assert rows(run("INSERT INTO d.told VALUES (3); SELECT @@row_count AS n")) == [{"n": 1}]


def test_a_column_wins_over_a_variable_of_its_name(run: Run) -> None:
    run("CREATE TABLE d.names AS SELECT 1 AS a, 2 AS b")
    declared = "DECLARE a, b, c INT64 DEFAULT 9; "
    assert rows(run(declared + "SELECT a, c FROM d.names")) == [{"a": 1, "c": 9}]
    assert rows(run(declared + "SELECT c FROM (SELECT b AS c FROM d.names) WHERE a = 9")) == [{"c": 2}]
    assert rows(run(declared + "WITH q AS (SELECT a AS z FROM d.names) SELECT z, b FROM q")) == [
        {"z": 1, "b": 9}
    ]
    assert rows(run(declared + "SELECT v AS c FROM UNNEST([3, 2]) AS v ORDER BY c LIMIT 1")) == [{"c": 2}]
    run(declared + "UPDATE d.names SET b = b + c WHERE a = 1")
    assert rows(run("SELECT b FROM d.names")) == [{"b": 11}]


def test_a_handler_knows_the_error(run: Run) -> None:
    [told] = rows(
        run(
            "BEGIN\n  SELECT 1/0;\nEXCEPTION WHEN ERROR THEN\n"
            "  SELECT @@error.message AS m, @@error.statement_text AS t;\nEND"
        )
    )
    assert told == {"m": "Query error: division by zero: 1 / 0 at [2:3]", "t": "SELECT 1/0"}
    with pytest.raises(InvalidArgument, match=r"^again: one$"):
        run(
            "BEGIN RAISE USING MESSAGE = 'one'; EXCEPTION WHEN ERROR THEN "
            "RAISE USING MESSAGE = CONCAT('again: ', @@error.message); END"
        )
    with pytest.raises(InvalidArgument, match=r"^one$"):
        run("BEGIN RAISE USING MESSAGE = 'one'; EXCEPTION WHEN ERROR THEN RAISE; END")


def test_temporary_tables_go_with_their_script(run: Run, warehouse: Warehouse) -> None:
    made = "CREATE TEMP TABLE t AS SELECT 1 AS a; INSERT INTO t VALUES (2); "
    assert rows(run(made + "SELECT SUM(a) AS s FROM _SESSION.t")) == [{"s": 3}]
    with pytest.raises(NotFound):
        run("SELECT * FROM t")
    with warehouse.reading() as cursor:
        left = cursor.execute(
            "SELECT dataset FROM w.portico.entries WHERE starts_with(dataset, '_script')"
        ).fetchall()
    assert left == []
    with pytest.raises(InvalidArgument, match="requires a script or session"):
        run("CREATE TEMP TABLE t (a INT64)")


def test_transactions_are_kept_or_not_as_a_whole(run: Run) -> None:
    run("CREATE TABLE d.kept (a INT64)")
    run("BEGIN TRANSACTION; INSERT INTO d.kept VALUES (1); ROLLBACK TRANSACTION")
    run("BEGIN TRANSACTION; INSERT INTO d.kept VALUES (2); INSERT INTO d.kept VALUES (3); COMMIT TRANSACTION")
    run("BEGIN TRANSACTION; INSERT INTO d.kept VALUES (4)")  # never committed
    run(
        "BEGIN BEGIN TRANSACTION; INSERT INTO d.kept VALUES (5); SELECT 1/0; COMMIT TRANSACTION;"
        " EXCEPTION WHEN ERROR THEN SELECT @@error.message; ROLLBACK TRANSACTION; END"
    )
    with pytest.raises(InvalidArgument, match="division by zero"):
        run("BEGIN TRANSACTION; INSERT INTO d.kept VALUES (6); SELECT 1/0; COMMIT TRANSACTION")
    assert rows(run("SELECT a FROM d.kept ORDER BY a")) == [{"a": 2}, {"a": 3}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("DECLARE x INT64 DEFAULT 'a'", "Cannot coerce expression of type STRING to type INT64"),
        ("DECLARE x INT64; DECLARE X STRING", "redeclaration"),
        ("SELECT 1; DECLARE x INT64", r"only at the start of a block or script at \[1:11\]"),
        ("SET x = 1", "Undeclared variable: x"),
        ("LOOP SELECT 1;", r"Expected END LOOP but got end of script at \[1:15\]"),
        ("IF TRUE THEN SELECT 1 END IF", "Syntax error"),
        ("BREAK", "BREAK is only allowed inside of a loop body"),
        ("RAISE", "outside of an exception handler"),
        ("COMMIT TRANSACTION", "no active transaction"),
        ("ASSERT 1 = 2 AS 'sums'", "Assertion failed: sums"),
        ("EXECUTE IMMEDIATE 'DECLARE x INT64'", "one SQL statement"),
        ("EXECUTE IMMEDIATE 'SELECT 1; SELECT 2'", "one SQL statement"),
        ("SELECT @@nothing", "Unrecognized name: @@nothing"),
        ("SET @@memory_limit = 1", "Cannot set"),
        ("SET memory_limit = '1GB'", "Undeclared variable"),
        ("SELECT 1;\nSELECT FROM WHERE", r"at \[2:"),
        ("BEGIN " * 60 + "SELECT 1; " + "END; " * 60, "more than 50 deep"),
        ("SELECT " + "(" * 3000 + "1" + ")" * 3000, "nested too deeply"),
    ],
)
def test_what_scripts_refuse(run: Run, text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        run(text)


@pytest.mark.parametrize(
    "text",
    [
        "DECLARE x STRING DEFAULT getvariable('x')",
        "DECLARE x INT64; SET x = (SELECT COUNT(*) FROM duckdb_tables())",
        "FOR r IN (SELECT * FROM read_csv('/etc/passwd')) DO SELECT 1; END FOR",
        "FOR r IN (SELECT 1 AS a) DO SELECT * FROM _rows1; END FOR",
        "EXECUTE IMMEDIATE 'PRAGMA database_list'",
        "EXECUTE IMMEDIATE 'ATTACH \"x.db\" AS y'",
        "CALL pragma_version()",
        "SELECT 1; SELECT * FROM portico.entries",
        "SET VARIABLE x = 1",
    ],
)
def test_nothing_of_duckdb_is_reached(run: Run, text: str) -> None:
    with pytest.raises(PorticoError):
        run(text)


def test_endless_loops_have_an_end(warehouse: Warehouse) -> None:
    with warehouse.reading() as cursor:
        endless = block_reader.read("BEGIN LOOP END LOOP; EXCEPTION WHEN ERROR THEN SELECT 1; END")
        with pytest.raises(InvalidArgument, match="more than 500 statements"):
            Script(cursor, threading.Lock(), Asked("p"), steps=500).run(endless)
        with pytest.raises(InvalidArgument, match="too long"):
            Script(cursor, threading.Lock(), Asked("p"), seconds=0).run(endless)


def test_a_script_is_cancelled_between_statements_too(warehouse: Warehouse) -> None:
    ended: list[BaseException] = []

    def work() -> None:
        try:
            warehouse.run("BEGIN LOOP END LOOP; EXCEPTION WHEN ERROR THEN SELECT 1; END", Asked("p"), "j")
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until = time.monotonic() + 240
    while not warehouse.cancel("j") and time.monotonic() < until:
        pass
    thread.join(30)
    assert isinstance(ended[0], duckdb.InterruptException | InvalidArgument)


def test_leftovers_of_a_killed_script_are_dropped(tmp_path: Path) -> None:
    left = Warehouse(tmp_path)
    hidden = "_script" + "0" * 32
    left.run(f"CREATE SCHEMA {hidden}; CREATE TABLE {hidden}.t (a INT64)", Asked("p"))
    with left.transaction() as cursor:
        scripts.clean(cursor)
    with pytest.raises(NotFound):
        left.run(f"SELECT * FROM {hidden}.t", Asked("p"))
    left.close()


def test_an_error_tells_where_it_was(run: Run) -> None:
    said = "@@error.message AS m, @@error.stack_trace[OFFSET(0)].line AS line, @@error.statement_text AS t"
    found = rows(run(f"BEGIN\n  SELECT 1 / 0;\nEXCEPTION WHEN ERROR THEN SELECT {said};\nEND"))
    assert found == [{"m": "Query error: division by zero: 1 / 0 at [2:3]", "line": 2, "t": "SELECT 1 / 0"}]
    assert rows(run("SELECT @@error.message AS m, @@error.stack_trace AS s")) == [{"m": None, "s": None}]


@pytest.mark.parametrize(("text", "said"), [
    ("SELECT 1, 'a", "Unclosed string literal at [1:11]"), ("SELECT `a", "Unclosed identifier literal at [1:8]"),
    ("SELECT a FROM (SELECT 1 AS b)", "Unrecognized name: a"),
    ("SELECT t.b FROM (SELECT 1 AS a) AS t", "Name b not found"),
    ("SELECT a + b FROM (SELECT 1 AS a)", "Unrecognized name: b"),
    ("SELECT t.a * t.b FROM (SELECT 1 AS a) AS t", "Name b not found inside t"),
    ("SELECT x + 1", "Unrecognized name: x at [1:8]"),
    ("SELECT 1 +\n  LOWER(nme) FROM (SELECT 'a' AS name)", "Unrecognized name: nme; Did you mean name? at [2:9]"),
    ("SELECT a FROM (SELECT 1 AS a) WHERE DATE_ADD(b, INTERVAL 1 DAY) > '2024-01-01'", "Unrecognized name: b"),
    ("SELECT FORMAT('%d', CAST(b AS INT64)) FROM (SELECT 1 AS a) GROUP BY 1", "Unrecognized name: b"),
    ("SELECT DATE(2024, 2, 30)", "Input calculates to invalid date: 2024-02-30"),
    ("SELECT 9223372036854775807 + 1", "int64 overflow: 9223372036854775807 + 1"),
    ("SELECT 'a' + 'b'", "No matching signature for operator +"), ("SELECT UPPER(1)", "signature for function UPPER"),
    ("SELECT (SELECT x FROM UNNEST([1, 2]) AS x)", "Scalar subquery produced more than one element"),
    ("SELECT 1 WHERE TRUE", "Query without FROM clause cannot have a WHERE clause"),
    ("SELECT 1 UNION ALL SELECT 2 EXCEPT DISTINCT SELECT 3", "without using parentheses for grouping"),
    ("SELECT RANK() OVER () FROM UNNEST([1]) AS x", "Window ORDER BY is required for analytic function rank"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_googles_words(run: Run, text: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        run(text)
    assert said in refused.value.message
