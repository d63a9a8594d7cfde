"""Statements that nobody would write, and some that somebody would to get out: none ends in a 5xx, none reads or writes
anything beside the warehouse, none shows what is DuckDB's own."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import NotFound
from portico.warehouse.process import answer
from portico.warehouse.requests import Requests

SECRET = "what-only-the-owner-may-read"
# What would show that DuckDB's own catalogue, or the file behind it, was read.
OWN = (
    "warehouse.duckdb",
    "enable_external_access",
    "duckdb_",
    "insert_ids",
    "memory_limit",
    "/etc/passwd:",
    "root:x:",
)


def _read() -> dict[str, list[str]]:
    """The pieces of `hostile_statements.txt` by their heading."""
    found: dict[str, list[str]] = {}
    for line in Path(__file__).with_name("hostile_statements.txt").read_text().split("\n"):
        if line.startswith("## "):
            found[line[3:]] = pieces = []
        elif line and found:
            pieces.append(re.sub(r"\\(.)", lambda one: {"n": "\n", "0": "\0"}.get(one[1], one[1]), line))
    return found


PIECES = _read()


class Grammar:
    """Statements by chance: well-formed ones, hostile ones, and what is left of both after blows."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def text(self) -> str:
        made = self._chance.choice([self.tame, self.query, self.query, self.change, self.command])()
        for _ in range(self._chance.choice([0, 0, 1, 2])):
            made = self._chance.choice(PIECES["WRAPPERS"]).replace("{0}", made)
        return self._damaged(made) if self._chance.random() < 0.35 else made

    def query(self, depth: int = 0) -> str:
        shown = ", ".join(self._aliased(depth) for _ in range(self._chance.randint(1, 3)))
        made = f"SELECT {self._maybe('DISTINCT ', 0.1)}{shown}"
        if self._chance.random() < 0.85:
            made += f" FROM {self._source(depth)}"
        made += self._maybe(f" WHERE {self._value(depth)} {self._operator()} {self._value(depth)}", 0.3)
        made += self._maybe(
            f" GROUP BY {self._chance.choice(['1', 'id', 'ALL', 'ROLLUP(id)', 'name, id'])}", 0.15
        )
        made += self._maybe(f" HAVING {self._value(depth)} > 0", 0.05)
        made += self._maybe(f" QUALIFY ROW_NUMBER() OVER (ORDER BY {self._value(depth)}) = 1", 0.05)
        made += self._maybe(f" ORDER BY {self._value(depth)}", 0.1) + self._maybe(" LIMIT 5", 0.1)
        return made

    def tame(self) -> str:
        """A query that is right."""
        shown = ", ".join(f"{self._number(2)} AS c{place}" for place in range(self._chance.randint(1, 4)))
        made = f"SELECT id, {shown} FROM {self._chance.choice(['d.t', 'd.v', 'd.tf(2)', '(SELECT 1 AS id)'])} AS t"
        made += self._maybe(f" JOIN d.t AS u USING (id) WHERE {self._number(1)} >= {self._number(1)}", 0.3)
        return made + self._maybe(" ORDER BY id LIMIT 3", 0.3)

    def _number(self, depth: int) -> str:
        if not depth or self._chance.random() < 0.3:
            return self._chance.choice(["id", "1", "-2", "0.5", "(SELECT MAX(id) FROM d.t)", "LENGTH('abc')"])
        one, other = self._number(depth - 1), self._number(depth - 1)
        return self._chance.choice([
            f"({one} + {other})", f"({one} * {other})", f"IF({one} > {other}, 1, 2)", f"ABS({one})", "d.f(id)",
            f"COALESCE({one}, {other})", f"GREATEST({one}, {other})", f"CAST({one} AS FLOAT64)", f"ROUND({one})",
            f"(WITH q AS (SELECT {one} AS n) SELECT MAX(n) FROM q)", f"STRUCT({one} AS a).a", f"SAFE_DIVIDE({one}, 0)",
            f"CASE WHEN {one} = 1 THEN {other} ELSE 3 END", f"[{one}, 1][OFFSET(0)]", f"ARRAY_LENGTH([{one}])",
        ])  # fmt: skip

    def change(self) -> str:
        value, where = self._value(0), f"WHERE {self._value(0)} = {self._value(0)}"
        table = (
            self._chance.choice([*PIECES["TABLES"][:4], *PIECES["HOSTILE_TABLES"]])
            if self._chance.random() < 0.5
            else "d.t"
        )
        return self._chance.choice([
            f"INSERT INTO {table} (id, name) VALUES ({value}, {self._value(0)})", f"TRUNCATE TABLE {table}",
            f"INSERT INTO {table} {self.query()}", f"DROP TABLE IF EXISTS {table}",
            f"UPDATE {table} SET id = {value} {where}", f"DELETE FROM {table} {where}",
            f"MERGE {table} AS m USING {self._source(0)} ON {value} WHEN MATCHED THEN UPDATE SET id = 1",
            f"CREATE OR REPLACE TABLE d.n AS {self.query()}", f"CREATE OR REPLACE VIEW d.w AS {self.query()}",
            f"CREATE OR REPLACE FUNCTION d.g(x INT64) AS ({value})", f"DECLARE x DEFAULT {value}; SET x = 1; SELECT x",
            f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS c STRING",
        ])  # fmt: skip

    def command(self) -> str:
        return self._chance.choice(PIECES["COMMANDS"])

    def _source(self, depth: int) -> str:
        if self._chance.random() < 0.25:
            name = self._chance.choice(PIECES["HOSTILE_FUNCTIONS"])
            name = self._chance.choice(
                [name, name.upper(), f"`{name}`", f"main.{name}", f"SAFE.{name}", f"`system.main`.{name}"]
            )
            return f"{name}({self._chance.choice(['', repr('{file}'), repr('memory_limit'), '[1]', repr('SELECT 1')])})"
        made = self._chance.choice(
            [
                *PIECES["TABLES"],
                *PIECES["HOSTILE_TABLES"],
                f"({self.query(depth + 1)})" if depth < 2 else "d.t",
            ]
        )
        if self._chance.random() < 0.2:
            join = self._chance.choice(["JOIN", "LEFT JOIN", "CROSS JOIN", ",", "FULL OUTER JOIN"])
            made += f" {join} {self._chance.choice(PIECES['TABLES'])} {self._maybe('USING (id)', 0.5)}"
        return made

    def _value(self, depth: int) -> str:
        if self._chance.random() < 0.55 or depth > 3:
            return self._chance.choice(PIECES["VALUES"])
        name = self._chance.choice(
            PIECES["FUNCTIONS"] if self._chance.random() < 0.6 else PIECES["HOSTILE_FUNCTIONS"]
        )
        arguments = ", ".join(self._value(depth + 1) for _ in range(self._chance.randint(0, 3)))
        made = f"{name}({arguments})"
        return made + self._maybe(" OVER (PARTITION BY id ORDER BY name)", 0.1)

    def _aliased(self, depth: int) -> str:
        value = self._value(depth)
        if self._chance.random() < 0.2:
            value = f"{value} {self._operator()} {self._value(depth)}"
        return value + self._maybe(
            self._chance.choice([" AS a", " AS id", " AS `$at`", " AS `a.b`", " AS 1"]), 0.3
        )

    def _operator(self) -> str:
        return self._chance.choice(
            ["=", "+", "-", "*", "/", "||", "<", "AND", "OR", "LIKE", "IS NOT", "IN", "<<", "^", "::", "~"]
        )

    def _maybe(self, text: str, chance: float) -> str:
        return text if self._chance.random() < chance else ""

    def _damaged(self, text: str) -> str:
        for _ in range(self._chance.randint(1, 3)):
            at = self._chance.randint(0, len(text))
            blow = self._chance.randint(0, 4)
            if blow == 0:
                text = text[:at] + self._chance.choice(PIECES["JUNK"]) + text[at:]
            elif blow == 1:
                text = text[:at] + text[at + self._chance.randint(1, 6) :]
            elif blow == 2:
                text = text[:at]
            elif blow == 3:
                words = text.split(" ")
                self._chance.shuffle(words) if len(words) < 6 else words.reverse()
                text = " ".join(words)
            else:
                text = "(" * self._chance.randint(1, 300) + text
        return text


class Target:
    """A warehouse that is asked as its process is, and what lies beside it."""

    def __init__(self, folder: Path) -> None:
        self._beside = folder / "beside"
        self._beside.mkdir()
        self.file = self._beside / "secret.csv"
        self.file.write_text(f"id,name\n1,{SECRET}\n")
        self._requests = Requests(folder / "warehouse")
        self._number = 0
        self.answers: dict[str, int] = {}
        self.begin()

    def close(self) -> None:
        self._requests._warehouse.close()

    def begin(self) -> None:
        """Makes what the statements are about, where one of them dropped it."""
        for text in (
            "CREATE SCHEMA IF NOT EXISTS d", "CREATE TABLE IF NOT EXISTS d.t AS SELECT 1 AS id, 'a' AS name",
            "CREATE OR REPLACE VIEW d.v AS SELECT 1 AS id", "CREATE OR REPLACE FUNCTION d.f(x INT64) AS (x + 1)",
            "CREATE OR REPLACE TABLE FUNCTION d.tf(x INT64) AS SELECT x AS id",
        ):  # fmt: skip
            self.ask(text)

    def ask(self, text: str) -> Any:
        self._number += 1
        arguments = {"job": f"job{self._number}", "project": "p", "text": text, "dataset": "p.d", "parameters": [
            {"name": "p", "parameterType": {"type": "STRING"}, "parameterValue": {"value": "x"}}
        ]}  # fmt: skip
        line = orjson.dumps({"method": "query", "arguments": arguments})
        told = orjson.loads(answer(self._requests, line, self._nothing).split(b"\n")[0])
        if "ok" in told and told["ok"].get("rows"):
            page = {
                "job": arguments["job"],
                "fields": told["ok"]["fields"],
                "start": 0,
                "most": 100,
                "times": "INT64",
            }
            line = orjson.dumps({"method": "result", "arguments": page})
            told["rows"] = answer(self._requests, line, self._nothing).decode("utf-8", "replace")
        return told

    def _nothing(self, what: str, **_: Any) -> Any:
        if what == "external_query":
            raise NotFound("Not found: Connection p.us.c", reason="notFound")
        return [] if what == "jobs" else False

    def check(self, written: str) -> None:
        """A statement ends with rows or with a refusal, and shows nothing that is not GoogleSQL's."""
        out = self._beside / "out"
        text = written.replace("{file}", str(self.file)).replace("{out}", str(out))
        try:
            text.encode()
        except UnicodeEncodeError:
            return
        told = self.ask(text)
        code = (told.get("error") or {}).get("code", "OK")
        self.answers[code] = self.answers.get(code, 0) + 1
        assert code not in ("INTERNAL", "UNKNOWN", "UNAVAILABLE"), (text, told)
        assert '"INTERNAL"' not in told.get("rows", ""), (text, told)
        shown, said = str(told).lower(), text.lower()
        assert SECRET not in shown, (text, told)
        for one in OWN:
            assert one not in shown or one in said, (text, told)
        assert [path.name for path in self._beside.iterdir()] == ["secret.csv"], text
        if code == "NOT_FOUND":
            self.begin()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    made = Target(tmp_path_factory.mktemp("fuzz"))
    yield made
    made.close()


def test_no_command_leads_out(target: Target) -> None:
    for one in PIECES["COMMANDS"]:
        target.check(one)


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", PIECES["WRAPPERS"])
def test_no_command_leads_out_from_within(target: Target, wrapper: str) -> None:
    for one in PIECES["COMMANDS"]:
        target.check(wrapper.replace("{0}", one))


def test_no_name_is_duckdbs_own(target: Target) -> None:
    for name in PIECES["HOSTILE_FUNCTIONS"]:
        target.check(f"SELECT {name}('memory_limit') AS x")
        target.check(f"SELECT * FROM `{name}`('{{file}}')")
    for table in PIECES["HOSTILE_TABLES"]:
        target.check(f"SELECT * FROM {table}")


@pytest.mark.parametrize(
    ("before", "inner", "after"),
    [
        ("(", "1", ")"), ("NOT ", "TRUE", ""), ("[", "", "]"), ("ABS(", "1", ")"), ("(SELECT ", "1", ")"),
        ("CASE WHEN TRUE THEN ", "1", " END"), ("", "a", ".a"), ("(", "", ""),
    ],
)  # fmt: skip
def test_what_is_nested_deeply_is_refused(target: Target, before: str, inner: str, after: str) -> None:
    told = target.ask(f"SELECT {before * 3000}{inner}{after * 3000}")
    assert told["error"]["code"] == "INVALID_ARGUMENT" and "nested too deeply" in told["error"]["message"]


@settings(max_examples=100, derandomize=True, database=None)
@given(st.integers(0, 1 << 32))
def test_statements_by_chance_end_well(target: Target, seed: int) -> None:
    target.check(Grammar(random.Random(seed)).text())


@pytest.mark.slow
@settings(max_examples=20_000, database=None)
@given(st.integers(0, 1 << 62))
def test_many_statements_by_chance_end_well(target: Target, seed: int) -> None:
    target.check(Grammar(random.Random(seed)).text())
