"""Statements as the real BigQuery answered them. The recordings lie beside the project, not in it."""

from __future__ import annotations

import base64
import collections
import datetime as dt
import decimal
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from google.cloud.bigquery import SchemaField
from google.cloud.bigquery._helpers import CELL_DATA_PARSER

from portico.errors import PorticoError
from portico.warehouse import wire
from portico.warehouse.engine import Warehouse
from portico.warehouse.geometry_text import read_wkb, wkt
from portico.warehouse.queries import Asked, Done
from portico.warehouse.shown import interval_text

RECORDED = (
    Path(os.environ.get("PORTICO_SHARED", Path(__file__).parents[3] / "shared"))
    / "data/bigquery_recorded.jsonl"
)
# What is right today; a kind may only get better. What needs requests besides the statement is not asked here.
RIGHT = {
    "information_schema": 5, "partitioning_clustering": 9, "rest_crud": 76, "specialized_types": 95,
    "standard_functions": 399, "versioning": 4,
}  # fmt: skip


def cell(value: Any, field: dict[str, Any]) -> Any:
    """A column's value as the recordings have it: as the official client's, in JSON."""
    if field["mode"] == "REPEATED":
        return [cell(one, {**field, "mode": "NULLABLE"}) for one in value or ()]
    if value is None:
        return None
    if field["type"] == "GEOGRAPHY":
        return wkt(read_wkb(value))
    if field["type"] == "RANGE":
        return {"start": shown(value["$start"]), "end": shown(value["$end"])}
    if field["type"] == "INTERVAL":
        text = interval_text(value.months, value.days, value.nanoseconds // 1000)
        return repr(CELL_DATA_PARSER.interval_to_py(text, SchemaField("i", "INTERVAL")))
    return shown(value)


def shown(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return wire.decimal_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, list):
        return [shown(one) for one in value]
    if isinstance(value, dict):
        return {key: shown(one) for key, one in value.items()}
    return value


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) or isinstance(right, float):
        try:
            a, b = float(left), float(right)
        except (TypeError, ValueError):
            return False
        return a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, str) and isinstance(right, str) and left != right:
        try:
            return bool(json.loads(left) == json.loads(right))
        except ValueError:
            return False
    return bool(left == right)


def wrong(expected: dict[str, Any], done: Done, text: str) -> str:
    """How an answer differs from the recorded one; "" where it does not."""
    if "error" in expected:
        return "it was answered"
    fields = done.fields if done.kind in ("SELECT", "SCRIPT") or done.kind.startswith("CREATE_TABLE") else []
    wanted = [(one["name"], one["type"], one["mode"] == "REPEATED") for one in expected["schema"]]
    if [(one["name"], one["type"], one["mode"] == "REPEATED") for one in fields] != wanted:
        return f"the schema is {fields}"
    rows = []
    for row in done.rows.to_pylist() if done.rows is not None else []:
        cells = zip(done.fields, row.values(), strict=True)
        rows.append({field["name"]: cell(value, field) for field, value in cells})
    if same(rows, expected["rows"]):
        return ""
    unordered = "ORDER BY" not in text.upper()
    if unordered and same(sorted(rows, key=str), sorted(expected["rows"], key=str)):
        return ""
    return f"the rows are {rows}"


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.exists(), reason=f"the recordings are not there: {RECORDED}")
def test_recorded_statements(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    right: collections.Counter[str] = collections.Counter()
    said = []
    for number, line in enumerate(RECORDED.read_text().splitlines()):
        one = json.loads(line)
        kind = one["id"].partition("/")[0]
        if kind not in RIGHT or one.get("setup_rest") or one.get("parameters") or one.get("job_config"):
            continue
        dataset = f"d{number}"
        warehouse.run(f"CREATE SCHEMA {dataset}", Asked("p"))
        places = {"${DATASET}": f"p.{dataset}", "${PROJECT}": "p", "${DATASET_ID}": dataset}

        def filled(text: str, places: dict[str, str] = places) -> str:
            for name, value in places.items():
                text = text.replace(name, value)
            return text

        try:
            if one.get("setup"):
                warehouse.run(filled(one["setup"]), Asked("p"))
            done = warehouse.run(filled(one["query"]), Asked("p"))
            problem = wrong(one["expected"], done[-1], one["query"])
        except PorticoError as error:
            problem = "" if "error" in one["expected"] else error.message
        if problem:
            said.append(f"{one['id']}: {problem[:200]}")
        else:
            right[kind] += 1
    warehouse.close()
    print("\n".join(said))
    assert all(right[kind] >= least for kind, least in RIGHT.items()), (right, said)
