"""What serving leaves, as the log entries that Vertex AI writes: the output of deployed models' own processes, and the
access log. Both are read from where they lie: the replicas' folders, the prediction log, and the counts of service.

https://cloud.google.com/vertex-ai/docs/predictions/online-prediction-logging
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.prediction.prediction_log import id_words, stream_of
from portico.prediction.replicas import output, places
from portico.services.call import Rooms
from portico.services.logging.query import Query
from portico.services.logging.streams import Placed, Stream, in_order
from portico.services.standard.serving import ENDPOINTS
from portico.store import resources, segments, service
from portico.store.segments import Segment, Segments
from portico.store.service import Failed

CONTAINER: Final = "aiplatform.googleapis.com%2Fprediction_container"
ACCESS: Final = "aiplatform.googleapis.com%2Fprediction_access"
_TYPE: Final = "aiplatform.googleapis.com/Endpoint"
_ENTRY: Final = "type.googleapis.com/google.cloud.aiplatform.logging.OnlinePredictionLogEntry"
_NAME = re.compile(
    r"(?P<owner>projects/(?P<project>[^/]+))/locations/(?P<location>[^/]+)/endpoints/(?P<id>[^/]+)"
)
# google.rpc.Code by HTTP status.
_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 499: 1, 500: 13, 501: 12, 503: 14, 504: 4}
_COLUMNS = (
    "deployed_model_id", "logging_time", "request_id", "model", "model_version", "api_method", "caller_request_id",
    "latency_seconds",
)  # fmt: skip
_ROWS = 500  # that are read at once
_FIRST = 50  # of a segment


def read(
    rooms: Rooms, connection: Connection, owner: str, query: Query, newest_first: bool
) -> Iterator[Iterator[Placed]]:
    """The entries of `owner` that may pass, in order, a stream for each thing that writes."""
    prefix = f"log/{owner}/"
    logged = {
        name.removeprefix("log/").removesuffix("/batch") for name in segments.streams(connection, prefix)
    }
    made = {
        one.name: one
        for one in resources.listed(connection, ENDPOINTS.kind)
        if one.name.startswith(f"{owner}/")
    }
    kept = Segments(rooms.home, rooms.database, rooms.clock, rooms.ids)
    for name in sorted(logged | set(made)):
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        known = {f"resource.labels.{key}": value for key, value in _labels(found).items()} | {
            "resource.type": _TYPE
        }
        if query.may_want(known, f"{owner}/logs/{ACCESS}"):
            yield _answered(connection, kept, name, query, newest_first)
            yield _failed(connection, name, query, newest_first)
        if name in made and query.may_want(known, f"{owner}/logs/{CONTAINER}"):
            for deployed in made[name].body.get("deployedModels") or []:
                if not deployed.get("disableContainerLogging"):
                    yield from _said(rooms, name, deployed["id"], query, newest_first)


def logs(connection: Connection, owner: str) -> list[str]:
    """The logs of `owner` that serving writes."""
    found = []
    if segments.streams(connection, f"log/{owner}/"):
        found.append(f"{owner}/logs/{ACCESS}")
    served = resources.listed(connection, ENDPOINTS.kind)
    if any(one.name.startswith(f"{owner}/") and one.body.get("deployedModels") for one in served):
        found.append(f"{owner}/logs/{CONTAINER}")
    return found


def _said(
    rooms: Rooms, endpoint: str, deployed: str, query: Query, newest_first: bool
) -> Iterator[Iterator[Placed]]:
    for number, log in output.logs(places.folder(rooms.home, deployed)):
        found: Iterable[output.Line] = output.read(log, query.since, query.until)
        ordered = reversed(list(found)) if newest_first else found
        yield (_line(endpoint, deployed, number, line) for line in ordered)


def _line(endpoint: str, deployed: str, number: int, line: output.Line) -> Placed:
    """Of either stream: a replica's two are one file, so an entry has no severity."""
    order = f"{line.at:012x}-{deployed}-{number}"
    body = {
        "jsonPayload": {"message": line.text},
        "labels": {"deployed_model_id": deployed, "replica_id": str(number)},
    }
    return line.time, order, _entry(endpoint, CONTAINER, line.time, order, body)


def _failed(connection: Connection, endpoint: str, query: Query, newest_first: bool) -> Iterator[Placed]:
    """Requests that failed are counted, not logged: an entry for all of a minute (later of an hour, or a day) that
    failed with one code."""
    found = [
        _failure(endpoint, one, code, count)
        for one in service.failed(connection, endpoint, query.since, query.until)
        for code, count in sorted(one.errors.items())
    ]
    return iter(sorted(found, key=lambda one: one[:2], reverse=newest_first))


def _failure(endpoint: str, one: Failed, status: int, count: int) -> Placed:
    order = f"{status}-{one.deployed_model}"
    words = f"{count} request{'s' if count > 1 else ''} failed with HTTP {status} within {one.span} seconds"
    payload = {"@type": _ENTRY, "endpoint": endpoint, "deployedModelId": one.deployed_model,
               "error": {"code": _CODES.get(status, 2), "message": words}}  # fmt: skip
    body = {
        "jsonPayload": payload,
        "httpRequest": {"status": status},
        "severity": "ERROR" if status >= 500 else "WARNING",
    }
    return float(one.start), order, _entry(endpoint, ACCESS, one.start, f"{one.start}-{order}", body)


def _answered(
    connection: Connection, kept: Segments, endpoint: str, query: Query, newest_first: bool
) -> Iterator[Placed]:
    """The requests that are in the prediction log, segment by segment as their times come."""
    until = query.until + 1e-6  # `listed` leaves out its end
    found = segments.listed(connection, stream_of(endpoint), start=query.since, end=until)
    streams = (
        Stream(
            one.last if newest_first else one.first, partial(_rows, kept, endpoint, one, query, newest_first)
        )
        for one in found
    )
    return in_order(streams, newest_first)


def _rows(
    kept: Segments, endpoint: str, segment: Segment, query: Query, newest_first: bool
) -> Iterator[Placed]:
    """Those of a segment by time, few at once."""
    import numpy as np
    import pyarrow as pa

    table = kept.read(segment, ("logging_time", "request_id"))
    times = table["logging_time"].combine_chunks().cast(pa.int64()).to_numpy()
    low, high = id_words(table["request_id"])
    rows = np.flatnonzero((times >= query.since * 1e6 - 0.5) & (times <= min(query.until, 1e11) * 1e6 + 0.5))
    order = rows[np.lexsort((low[rows], high[rows], times[rows]))]
    chosen = (order[::-1] if newest_first else order).tolist()
    begin, count = 0, _FIRST
    while begin < len(chosen):
        some = chosen[begin : begin + count]
        begin, count = begin + count, _ROWS
        for row in kept.take(segment, some, _COLUMNS).to_pylist():
            yield _answer(endpoint, row)


def _answer(endpoint: str, row: dict[str, Any]) -> Placed:
    time, number = row["logging_time"].timestamp(), f"{int(row['request_id']):038d}"
    version = f"@{row['model_version']}" if row["model_version"] else ""
    payload = {
        "@type": _ENTRY, "endpoint": endpoint, "deployedModelId": row["deployed_model_id"],
        "model": f"{row['model']}{version}", "apiMethod": row["api_method"], "requestId": str(int(row["request_id"])),
    }  # fmt: skip
    if row["caller_request_id"]:
        payload["callerRequestId"] = row["caller_request_id"]
    request = {"requestMethod": "POST", "status": 200, "latency": f"{row['latency_seconds']:.6f}s"}
    return (
        time,
        number,
        _entry(endpoint, ACCESS, time, number.lstrip("0"), {"jsonPayload": payload, "httpRequest": request}),
    )


def _labels(found: re.Match[str]) -> dict[str, str]:
    return {"endpoint_id": found["id"], "location": found["location"], "resource_container": found["project"]}


def _entry(endpoint: str, log: str, time: float, insert_id: str, body: dict[str, Any]) -> dict[str, Any]:
    found = _NAME.fullmatch(endpoint)
    assert found is not None
    return {
        "insertId": insert_id,
        **body,
        "resource": {"type": _TYPE, "labels": _labels(found)},
        "timestamp": rfc3339(time),
        "logName": f"{found['owner']}/logs/{log}",
        "receiveTimestamp": rfc3339(time),
    }
