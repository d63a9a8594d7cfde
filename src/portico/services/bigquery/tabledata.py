"""bigquery.tabledata: list, insertAll."""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument, Unimplemented
from portico.services.bigquery import shapes
from portico.services.bigquery.jobs import record
from portico.services.bigquery.pages import token
from portico.services.call import Call, implements
from portico.warehouse.client import ANONYMOUS

_MOST = 100_000  # rows of a page


@implements("bigquery", "tabledata.list")
def list_(call: Call) -> dict[str, Any]:
    start = int(call.params.get("startIndex") or 0) + token(call)
    given = call.params.get("maxResults")
    most = min(int(given) if given is not None else _MOST, _MOST)
    times = shapes.timestamps_asked(call) or "FLOAT64"
    where = _table(call)
    job = record(call, where["project"], where["table"]) if where["dataset"] == ANONYMOUS else None
    if job is not None:
        fields = job.private.get("fields") or []
        found = shapes.ask(call, "result", job=job.name, fields=fields, start=start, most=most, times=times)
    else:
        columns = [name for name in str(call.params.get("selectedFields") or "").split(",") if name]
        page = {"start": start, "most": most, "times": times, "columns": columns}
        found = shapes.ask(call, "rows", **where, **page, caller=shapes.caller(call))
    answer: dict[str, Any] = {
        "kind": "bigquery#tableDataList",
        "totalRows": str(found["total"]),
        "rows": found["rows"],
    }
    if start + found["taken"] < found["total"] and most:
        answer["pageToken"] = str(start + found["taken"])
    return answer


@implements("bigquery", "tabledata.insertAll")
def insert_all(call: Call) -> dict[str, Any]:
    """Rows whose insertId came within the last minute are taken once."""
    given = call.body.get("rows") or []
    if not given:
        raise InvalidArgument("No rows present in the request.", reason="invalid", field="rows")
    if call.body.get("templateSuffix"):
        raise Unimplemented("insertAll with a templateSuffix is not built in Portico; name the table itself.")
    errors = shapes.ask(
        call,
        "insert_all",
        **_table(call),
        rows=[one.get("json") or {} for one in given],
        ids=[str(one.get("insertId") or "") for one in given],
        ignore=bool(call.body.get("ignoreUnknownValues")),
        skip=bool(call.body.get("skipInvalidRows")),
        caller=shapes.caller(call),
    )
    answer: dict[str, Any] = {"kind": "bigquery#tableDataInsertAllResponse"}
    if errors:
        answer["insertErrors"] = errors
    return answer


def _table(call: Call) -> dict[str, str]:
    return {
        "project": shapes.project(call),
        "dataset": str(call.params["datasetId"]),
        "table": str(call.params["tableId"]),
    }
