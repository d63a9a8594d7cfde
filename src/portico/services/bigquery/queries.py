"""bigquery.jobs.query and getQueryResults: a query's rows."""

from __future__ import annotations

import asyncio
import base64
import uuid
from dataclasses import dataclass
from typing import Any

from portico.errors import InvalidArgument, NotFound, PorticoError
from portico.services.bigquery import jobs, running, shapes
from portico.services.bigquery.pages import token
from portico.services.call import Call, implements
from portico.store.resources import Resource
from portico.warehouse.client import ANONYMOUS, FOLDER, job_name, result_file

_WAIT = 10.0  # seconds, where the caller gives none
_MOST_WAIT = 600.0
_MOST = 100_000  # rows of a page
_FEW = 20_000  # cells that come along unasked
_TOLD = ("creationTime", "startTime", "endTime", "sessionInfo", "totalSlotMs")  # of a job's statistics
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
    for key in ("labels", "dryRun", "jobTimeoutMs"):
        if key in asked:
            configuration[key] = asked[key]
    # https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query: here alone legacy SQL is the default.
    if "useLegacySql" not in asked:
        configuration["query"]["useLegacySql"] = True
    reference = {"jobId": f"job_{uuid.uuid4().hex}", "location": asked.get("location") or ""}
    times = shapes.timestamps(asked.get("formatOptions") or {})
    wanted = _Wanted("bigquery#queryResponse", asked.get("maxResults"), 0, times)
    if asked.get("queryResultsFormat") == "ARROW":
        codec = (asked.get("arrowSerializationOptions") or {}).get("bufferCompression")
        wanted.codec = codec or "COMPRESSION_UNSPECIFIED"
    elif wanted.most not in (0, "0"):
        wanted.first = running.First(wanted.limit, wanted.times or "FLOAT64")
    body = {"configuration": configuration, "jobReference": reference}
    name = await asyncio.to_thread(jobs.begin, call, body, wanted.first)
    if asked.get("jobCreationMode") != "JOB_CREATION_OPTIONAL":
        answer = await _answer(call, name, asked.get("timeoutMs"), wanted)
        return {**answer, "jobCreationReason": {"code": "REQUESTED"}}
    return await _without_job(call, name, asked.get("timeoutMs"), wanted)


async def _without_job(call: Call, name: str, timeout: Any, wanted: _Wanted) -> dict[str, Any]:
    """What a query answers whose job is forgotten where all is told at once."""
    try:
        answer = await _answer(call, name, timeout, wanted)
    except PorticoError:
        await asyncio.to_thread(jobs.forget, call, name)
        raise
    if not answer["jobComplete"] or "pageToken" in answer:
        reason = "LARGE_RESULTS" if answer["jobComplete"] else "LONG_RUNNING"
        return {**answer, "jobCreationReason": {"code": reason}}
    if answer.get("statementType", "SELECT") != "SELECT":  # what changes anything is a job
        return {**answer, "jobCreationReason": {"code": "OTHER"}}
    await asyncio.to_thread(jobs.forget, call, name)
    reference = answer.pop("jobReference")
    return {**answer, "queryId": reference["jobId"]}


@dataclass(slots=True)
class _Wanted:
    """Which rows, and in which form."""

    kind: str
    most: Any
    start: int
    times: str  # how timestamps are written; "" where nothing was said
    codec: str = ""  # of a record batch in Arrow; "" for JSON
    first: running.First | None = None  # where they were asked for with the query

    @property
    def limit(self) -> int:
        return min(int(self.most or _MOST), _MOST)


@implements("bigquery", "jobs.getQueryResults")
async def get_query_results(call: Call) -> dict[str, Any]:
    name = job_name(shapes.project(call), str(call.params["jobId"]))
    start = int(call.params.get("startIndex") or 0) + token(call)
    times = shapes.timestamps_asked(call)
    wanted = _Wanted("bigquery#getQueryResultsResponse", call.params.get("maxResults"), start, times)
    return await _answer(call, name, call.params.get("timeoutMs"), wanted)


async def _answer(call: Call, name: str, timeout: Any, wanted: _Wanted) -> dict[str, Any]:
    await running.ended(name, min(_MOST_WAIT, float(timeout) / 1000 if timeout is not None else _WAIT))
    return await asyncio.to_thread(_rows, call, name, wanted)


def _rows(call: Call, name: str, wanted: _Wanted) -> dict[str, Any]:
    found = jobs.require(call, name)
    if found.body["configuration"]["jobType"] != "QUERY":
        raise InvalidArgument("Cannot retrieve query results for a job that is no query", reason="invalid")
    found = running.settled(call, found)
    answer: dict[str, Any] = {"kind": wanted.kind, "jobReference": found.body["jobReference"]}
    status = found.body["status"]
    if status["state"] != "DONE":
        return {**answer, "jobComplete": False}
    if error := status.get("errorResult"):
        raise running.raised(error)
    return {**answer, **_result(call, found, wanted)}


def _result(call: Call, found: Resource, wanted: _Wanted) -> dict[str, Any]:
    statistics = found.body["statistics"]
    told = statistics.get("query") or {}
    fields = found.private.get("fields") or []
    shown: dict[str, Any] = {
        "jobComplete": True,
        "totalBytesProcessed": statistics.get("totalBytesProcessed", "0"),
        "cacheHit": bool(told.get("cacheHit")),
        "schema": {"fields": [shapes.plain(one) for one in fields]},
        "location": found.body["jobReference"]["location"],
    }
    if wanted.kind == "bigquery#queryResponse":
        shown |= {key: statistics[key] for key in _TOLD if key in statistics}
        shown |= {key: told[key] for key in ("statementType", "totalBytesBilled") if key in told}
    if found.body["configuration"].get("dryRun"):
        return {**shown, "schema": told.get("schema") or {}, "totalRows": "0"}
    if "numDmlAffectedRows" in told:
        shown["numDmlAffectedRows"] = told["numDmlAffectedRows"]
        shown["dmlStats"] = told["dmlStats"]
    if not fields:
        return shown  # no totalRows: by that Google's client knows a statement that returns no rows
    if str(found.private.get("kind", "")).startswith("CREATE_"):
        return {**shown, "totalRows": "0"}
    return shown | (_arrow(call, found, wanted) if wanted.codec else _json(call, found, fields, wanted))


def _json(call: Call, found: Resource, fields: list[dict[str, Any]], wanted: _Wanted) -> dict[str, Any]:
    """maxResults=0 asks how many there are; rows come along where there are few, which saves the client a call, and
    keep it from opening a read session for them. Not where the caller named a table for them: who gets all of its rows
    at once (BigQuery DataFrames) takes it that there is no table."""
    counts = wanted.most in (0, "0")
    place = found.body["configuration"]["query"].get("destinationTable") or {}
    few = 0 if place.get("datasetId", ANONYMOUS) != ANONYMOUS else _FEW // max(1, len(fields))
    limit = few if counts else wanted.limit
    # Who reads what it did not ask for is Google's client for Python, and wants microseconds.
    times = wanted.times or ("INT64" if counts else "FLOAT64")
    page = wanted.first.page if wanted.first else None
    page = page or shapes.ask(
        call,
        "result",
        job=found.name,
        fields=fields,
        start=wanted.start,
        most=limit,
        times=times,
        whole=counts,
        appended=_entry(found.private.get("appended")),
    )
    shown: dict[str, Any] = {"totalRows": str(page["total"])}
    if page["taken"] or not counts:
        shown["rows"] = page["rows"]
        if wanted.start + page["taken"] < page["total"]:
            shown["pageToken"] = str(wanted.start + page["taken"])
    return shown


def _entry(place: dict[str, str] | None) -> dict[str, str] | None:
    if place is None:
        return None
    return {"project": place["projectId"], "dataset": place["datasetId"], "table": place["tableId"]}


def _arrow(call: Call, found: Resource, wanted: _Wanted) -> dict[str, Any]:
    """The first rows as a record batch; the client reads on in the job's stream (`bigquerystorage.read`)."""
    from portico.warehouse import arrow

    try:
        table, fields = arrow.read(result_file(call.rooms.home / FOLDER, found.name))
    except FileNotFoundError:
        raise NotFound(
            "Not found: the query's result is not kept any more; run it again", reason="notFound"
        ) from None
    stop = table.num_rows if wanted.most is None else min(table.num_rows, int(wanted.most))
    _, first = next(arrow.pieces(table, 0, stop), (0, table.slice(0, 0)))
    shown: dict[str, Any] = {
        "totalRows": str(table.num_rows),
        "pageRowCount": str(first.num_rows),
        "arrowSchema": {"serializedSchema": _base64(arrow.schema(fields).serialize().to_pybytes())},
    }
    if first.num_rows:
        rows = arrow.batch_bytes(arrow.converted(first, fields), arrow.CODECS[wanted.codec])
        shown["arrowRecordBatch"] = {"serializedRecordBatch": _base64(rows)}
    if first.num_rows < table.num_rows:
        shown["pageToken"] = str(first.num_rows)
    return shown


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
