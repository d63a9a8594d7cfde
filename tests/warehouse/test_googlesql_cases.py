"""Statements and what Google's reference evaluator of GoogleSQL makes of them (ZetaSQL's, by the package `zetasql`):
a line of `googlesql_cases.jsonl` is a statement, the types of its columns and its rows, or what it is refused with (""
for any words)."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from portico.errors import PorticoError
from portico.warehouse import bignumeric
from portico.warehouse.asked import Asked, Done
from portico.warehouse.engine import Warehouse

CASES = [
    json.loads(line) for line in Path(__file__).with_name("googlesql_cases.jsonl").read_text().splitlines()
]
PIECES = 8  # tests that share the cases
NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}


def type_of(field: dict[str, Any]) -> str:
    name = NAMES.get(field["type"], field["type"])
    if name == "STRUCT":
        inner = (
            ("" if one["name"].startswith("_field_") else f"{one['name']} ") + type_of(one)
            for one in field["fields"]
        )
        name = f"STRUCT<{', '.join(inner)}>"
    elif name == "RANGE":
        name = f"RANGE<{field['rangeElementType']['type']}>"
    return f"ARRAY<{name}>" if field["mode"] == "REPEATED" else name


def shown(value: Any, field: dict[str, Any]) -> Any:
    kind = field["type"]
    if field["mode"] == "REPEATED":
        return [shown(one, {**field, "mode": "NULLABLE"}) for one in value or ()]
    if value is None:
        return None
    if kind == "RECORD":
        return [shown(one, inner) for one, inner in zip(value.values(), field["fields"], strict=True)]
    if kind == "RANGE":
        inner = {"type": field["rangeElementType"]["type"], "mode": "NULLABLE"}
        return {"s": shown(value["$start"], inner), "e": shown(value["$end"], inner)}
    if kind == "BIGNUMERIC":
        return bignumeric.shown(value)
    if kind == "INTERVAL":
        return [value.months, value.days, value.nanoseconds // 1000]
    if isinstance(value, dt.datetime):
        local = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
        return local.isoformat(sep=" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"b:{value.hex()}"
    if isinstance(value, decimal.Decimal | float):
        return str(value)
    return f"j:{value}" if kind == "JSON" else value


def same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(same, wanted, found))
    if wanted in ([], None) and found in ([], None):
        return True
    if isinstance(wanted, str) and isinstance(found, str) and wanted != found:
        if wanted.startswith("j:"):
            return wanted.replace(" ", "") == found.replace(" ", "")
        try:
            a, b = float(wanted), float(found)
        except ValueError:
            return False
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    return bool(wanted == found)


def problem(warehouse: Warehouse, case: list[Any]) -> str:
    """How an answer differs; "" where it does not."""
    text, *wanted = case
    refused = isinstance(wanted[0], str)
    try:
        done: Done = warehouse.run(text, Asked("p"))[-1]
    except PorticoError as error:
        said = re.sub(
            r" at \[\d+:\d+\]$", "", error.message
        )  # the evaluator leaves the place to who shows it
        return "" if refused and wanted[0] in ("", error.message, said) else error.message
    if refused:
        return "it was answered"
    if [type_of(one) for one in done.fields] != wanted[0]:
        return f"the types are {[type_of(one) for one in done.fields]}, not {wanted[0]}"
    assert done.rows is not None
    rows = [
        [shown(value, field) for value, field in zip(row.values(), done.fields, strict=True)]
        for row in done.rows.to_pylist()
    ]
    if "ORDER BY" not in text:
        rows, wanted[1] = sorted(rows, key=str), sorted(wanted[1], key=str)
    return "" if same(wanted[1], rows) else f"the rows are {rows}, not {wanted[1]}"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Warehouse(tmp_path_factory.mktemp("warehouse"))
    yield made
    made.close()


@pytest.mark.parametrize("piece", range(PIECES))
def test_statements_give_what_googles_evaluator_does(warehouse: Warehouse, piece: int) -> None:
    told = {case[0]: problem(warehouse, case) for case in CASES[piece::PIECES]}
    assert {text: one for text, one in told.items() if one} == {}
