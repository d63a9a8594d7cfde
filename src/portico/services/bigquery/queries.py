"""bigquery.jobs.query and getQueryResults: a query's rows."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from portico.errors import BY_CODE, InvalidArgument, NotFound, PorticoError
from portico.services.bigquery import jobs, running, shapes
from portico.services.bigquery.pages import token
from portico.services.call import Call, implements
from portico.store import resources
from portico.store.resources import Resource
from portico.warehouse.client import job_name

_WAIT = 10.0  # seconds, where the caller gives none
_MOST_WAIT = 600.0
_MOST = 100_000  # rows of a page
_CODES = {"notFound": "NOT_FOUND", "duplicate": "ALREADY_EXISTS", "notImplemented": "UNIMPLEMENTED",
          "accessDenied": "PERMISSION_DENIED", "internalError": "INTERNAL", "stopped": "CANCELLED"}  # fmt: skip
_OPTIONS = [
    "query",
    "defaultDataset",
    "useLegacySql",
    "parameterMode",
    "queryParameters",
    "maximumBytesBilled",
    "destinationEncryptionConfiguration",
    "createSession",
    "connectionProperties",
    "continuous",
    "writeIncrementalResults",
    "useQueryCache",
]


@implements("bigquery", "jobs.query")
async def query(call: Call) -> dict[str, Any]:
    asked = dict(call.body)
    configuration: dict[str, Any] = {"query": {key: asked[key] for key in _OPTIONS if key in asked}}
    for key in ("labels", "dryRun"):
        if key in asked:
            configuration[key] = asked[key]
    # https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query: here alone legacy SQL is the default.
    if "useLegacySql" not in asked:
        configuration["query"]["useLegacySql"] = True
    reference = {"jobId": f"job_{uuid.uuid4().hex}", "location": asked.get("location") or "US"}
    name = await asyncio.to_thread(
        jobs.begin, call, {"configuration": configuration, "jobReference": reference}
    )
    most = asked.get("maxResults")
    options = asked.get("formatOptions") or {}
    return await _answer(
        call,
        name,
        asked.get("timeoutMs"),
        most,
        0,
        bool(options.get("useInt64Timestamp")),
        "bigquery#queryResponse",
    )


@implements("bigquery", "jobs.getQueryResults")
async def get_query_results(call: Call) -> dict[str, Any]:
    name = job_name(shapes.project(call), str(call.params["jobId"]))
    start = int(call.params.get("startIndex") or 0) + token(call)
    micros = bool(call.params.get("formatOptions.useInt64Timestamp", False))
    most = call.params.get("maxResults")
    return await _answer(
        call, name, call.params.get("timeoutMs"), most, start, micros, "bigquery#getQueryResultsResponse"
    )


async def _answer(
    call: Call, name: str, timeout: Any, most: Any, start: int, micros: bool, kind: str
) -> dict[str, Any]:
    await running.ended(name, min(_MOST_WAIT, float(timeout) / 1000 if timeout is not None else _WAIT))
    return await asyncio.to_thread(_rows, call, name, most, start, micros, kind)


def _rows(call: Call, name: str, most: Any, start: int, micros: bool, kind: str) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        found = resources.get(connection, name)
    if found is None:
        raise NotFound(f"Not found: Job {name.split('/')[1]}:US.{name.rpartition('/')[2]}", reason="notFound")
    if found.body["configuration"]["jobType"] != "QUERY":
        raise InvalidArgument("Cannot retrieve query results for a job that is no query", reason="invalid")
    found = running.settled(call, found)
    answer: dict[str, Any] = {"kind": kind, "jobReference": found.body["jobReference"]}
    status = found.body["status"]
    if status["state"] != "DONE":
        return {**answer, "jobComplete": False}
    if error := status.get("errorResult"):
        raise _raised(error)
    return {**answer, **_result(call, found, most, start, micros)}


def _raised(error: dict[str, Any]) -> PorticoError:
    kind = BY_CODE.get(_CODES.get(error["reason"], "INVALID_ARGUMENT"), InvalidArgument)
    return kind(error["message"], reason=error["reason"])


def _result(call: Call, found: Resource, most: Any, start: int, micros: bool) -> dict[str, Any]:
    statistics = found.body["statistics"]
    told = statistics.get("query") or {}
    fields = found.private.get("fields") or []
    shown: dict[str, Any] = {
        "jobComplete": True,
        "totalBytesProcessed": statistics.get("totalBytesProcessed", "0"),
        "cacheHit": False,
        "schema": {"fields": [shapes.plain(one) for one in fields]},
        "location": "US",
    }
    if found.body["configuration"].get("dryRun"):
        return {**shown, "schema": told.get("schema") or {}, "totalRows": "0"}
    if "numDmlAffectedRows" in told:
        shown["numDmlAffectedRows"] = told["numDmlAffectedRows"]
        shown["dmlStats"] = told["dmlStats"]
    if not fields:
        return {**shown, "totalRows": "0"}
    # maxResults=0 asks how many there are; rows that fit into one answer come along, which saves the client a call.
    limit = min(int(most), _MOST) if most not in (None, 0, "0") else _MOST
    page = shapes.ask(call, "result", job=found.name, fields=fields, start=start, most=limit, micros=micros)
    shown["totalRows"] = str(page["total"])
    if most in (0, "0"):
        return shown
    shown["rows"] = page["rows"]
    if start + page["taken"] < page["total"]:
        shown["pageToken"] = str(start + page["taken"])
    return shown
