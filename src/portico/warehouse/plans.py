"""How a query was done: DuckDB's profile as the stages of BigQuery's query plan.

https://cloud.google.com/bigquery/docs/query-plan-explanation: a stage ends where rows have to wait for others (a join,
an aggregation, a sort, a window); what lies between is its steps.
"""

from __future__ import annotations

import json
import math
import re
import time
from typing import Any

import duckdb

from portico.warehouse.catalog import Cursor

_STEPS = (
    ("SCAN", "READ"), ("JOIN", "JOIN"), ("AGGREGATE", "AGGREGATE"), ("GROUP_BY", "AGGREGATE"), ("ORDER", "SORT"),
    ("TOP_N", "SORT"), ("WINDOW", "ANALYTIC_FUNCTION"), ("FILTER", "FILTER"), ("LIMIT", "LIMIT"), ("UNION", "UNION"),
    ("PRODUCT", "CROSS JOIN"), ("UNNEST", "UNNEST"), ("PROJECTION", "COMPUTE"),
)  # fmt: skip
_WAITING = frozenset(["JOIN", "AGGREGATE", "SORT", "ANALYTIC_FUNCTION", "CROSS JOIN"])
_TOLD = ("Groups", "Aggregates", "Conditions", "Expression", "Filters", "Order By", "Top")
_SUBSTEPS, _LONGEST = 10, 200
_OWN = re.compile(r"\bgs_|\"?\$\w+\"?", re.IGNORECASE)  # names that only the warehouse has


def watch(cursor: Cursor) -> float:
    """Lets DuckDB note what the next query of this cursor costs; returns when that begins."""
    cursor.execute("SET enable_profiling = 'no_output'")
    return time.time()


def seen(cursor: Cursor, began: float) -> dict[str, Any]:
    """Of the query that just ended on a cursor that is watched: `queryPlan`, `timeline`, `totalSlotMs`."""
    ended = time.time()
    try:
        told = json.loads(cursor.get_profiling_information("json"))
    except (duckdb.Error, ValueError):
        return {}
    stages: list[dict[str, Any]] = []
    roots = told.get("operator") or []
    for root in roots:
        _stage(root, stages)
    if not stages:
        return {}
    stages[-1]["name"] = f"{stages[-1]['name'].split(':')[0]}: Output"
    span = {"startMs": str(int(began * 1000)), "endMs": str(int(ended * 1000)), "status": "COMPLETE"}
    spent = sum(one.pop("_seconds") for one in stages)
    for one in stages:
        one |= span
    slot = str(math.ceil(spent * 1000))
    sample = {
        "elapsedMs": str(int((ended - began) * 1000)), "totalSlotMs": slot, "completedUnits": str(len(stages)),
        "pendingUnits": "0", "activeUnits": "0",
    }  # fmt: skip
    return {"queryPlan": stages, "timeline": [sample], "totalSlotMs": slot}


def _stage(top: dict[str, Any], stages: list[dict[str, Any]]) -> int:
    """Puts the stage that ends with `top` behind those that it reads from; its number."""
    steps: list[dict[str, Any]] = []
    inputs: list[int] = []
    read, seconds = 0, 0.0
    below = [top]
    while below:
        node = below.pop()
        kind = _kind(node)
        if kind in _WAITING and node is not top:
            inputs.append(_stage(node, stages))
            read += _rows(node)
            continue
        seconds += float(node.get("timing") or 0.0)
        scanned = int(node.get("rows_scanned") or 0)
        read += scanned or (0 if node.get("children") else _rows(node))
        if kind:
            steps.append({"kind": kind, "substeps": _substeps(node)})
        children = node.get("children") or ()
        if kind in ("JOIN", "CROSS JOIN"):  # each side is read by a stage of its own
            for one in children:
                inputs.append(_stage(one, stages))
                read += _rows(one)
        else:
            below += children
    number = len(stages)
    size = int(top.get("intermediate_size_bytes") or 0)
    name = "Input" if not inputs else steps[0]["kind"].title() if steps else "Compute"
    milliseconds = str(round(seconds * 1000))
    stages.append({
        "name": f"S{number:02d}: {name}", "id": str(number), "inputStages": [str(one) for one in sorted(inputs)],
        "parallelInputs": "1", "completedParallelInputs": "1", "recordsRead": str(read),
        "recordsWritten": str(_written(top)), "shuffleOutputBytes": str(size), "shuffleOutputBytesSpilled": "0",
        "slotMs": milliseconds, "computeMsAvg": milliseconds, "computeMsMax": milliseconds, "_seconds": seconds,
        "steps": [*steps[::-1], {"kind": "WRITE", "substeps": []}],
    })  # fmt: skip
    return number


def _written(node: dict[str, Any]) -> int:
    """The rows that leave a stage: DuckDB's collector of results counts none."""
    while not (rows := _rows(node)) and len(node.get("children") or ()) == 1:
        if _kind(node):
            break
        node = node["children"][0]
    return rows


def _rows(node: dict[str, Any]) -> int:
    return int(node.get("intermediate_rows") or 0)


def _kind(node: dict[str, Any]) -> str:
    name = f"{node.get('name', '')} {node.get('type', '')}".upper()
    return next((kind for part, kind in _STEPS if part in name), "")


def _substeps(node: dict[str, Any]) -> list[str]:
    shown = []
    for key in _TOLD:
        said = (node.get("extra_info") or {}).get(key)
        for one in said if isinstance(said, list) else [said] if said else []:
            shown.append(_OWN.sub("", str(one))[:_LONGEST])
    return shown[:_SUBSTEPS]
