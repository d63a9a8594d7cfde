"""`portico log`: the prediction log for people and, as a file, for programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from portico.client.api import Client
from portico.clock import rfc3339
from portico.errors import InvalidArgument

_SHOWN = 20  # requests, where nothing else is asked for
_PAGE = 500
_WIDTH = 100  # characters of an instance or an output on a line

Found = dict[str, Any]  # a LoggedPrediction


def read(home: Path, endpoint: str, last: int | None, since: str) -> Iterator[Found]:
    """The newest requests of an endpoint: `last` of them, all `since` a time, or 20.

    Raises:
        InvalidArgument: `since` is no time. PorticoError: what the server says.
    """
    from portico.ml import values

    try:
        start = rfc3339(values.timestamp(since)) if since else ""
    except ValueError as error:
        raise InvalidArgument(f"--since: {error}.") from None
    count = last or (None if since else _SHOWN)
    client = Client(home=home)
    page = min(count or _PAGE, _PAGE)
    return islice(client.predictions(endpoint.strip("/"), start=start, page=page), count)


def as_lines(found: Iterable[Found]) -> Iterator[str]:
    """A line an instance: when, request id and place, model version, instance, output, truth."""
    for one in found:
        outputs, truths = one.get("responsePayload", []), one.get("truths", [])
        for index, instance in enumerate(one.get("requestPayload", [])):
            cells = [
                one["loggingTime"][:23].replace("T", " "),
                f"{one['requestId']}:{index}",
                f"v{one.get('modelVersion', '?')}",
                _cut(instance),
                "->",
                _cut(outputs[index]) if index < len(outputs) else "?",
            ]
            if index < len(truths) and truths[index] is not None:
                cells.append(f"truth {json.dumps(truths[index])}")
            yield "  ".join(cells)


def write(path: Path, found: Iterator[Found]) -> int:
    """Writes a file of Google's columns and `truths` (JSON texts), the newest first; returns how many requests.

    Raises:
        InvalidArgument: its name ends with neither .parquet nor .csv.
    """
    kind = path.suffix.lower()
    if kind not in (".parquet", ".csv"):
        raise InvalidArgument(f"{path.name} must end with .parquet or .csv.")
    return _parquet(path, found) if kind == ".parquet" else _csv(path, found)


def _parquet(path: Path, found: Iterator[Found]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from portico.prediction.prediction_log import schema

    whole = schema().append(pa.field("truths", pa.list_(pa.string())))
    count = 0
    with pq.ParquetWriter(path, whole) as writer:
        while part := [_columns(one) for one in islice(found, _PAGE)]:
            writer.write_table(pa.Table.from_pylist(part, schema=whole))
            count += len(part)
    return count


def _csv(path: Path, found: Iterator[Found]) -> int:
    from portico.prediction.prediction_log import schema

    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*schema().names, "truths"])
        writer.writeheader()
        for one in found:
            cells = _columns(one)
            for name in ("request_payload", "response_payload", "truths"):
                cells[name] = None if cells[name] is None else "[" + ",".join(cells[name]) + "]"
            writer.writerow({**cells, "logging_time": one["loggingTime"]})
            count += 1
    return count


def _columns(one: Found) -> dict[str, Any]:
    return {
        "endpoint": one["endpoint"],
        "deployed_model_id": one.get("deployedModelId", ""),
        "logging_time": datetime.fromisoformat(one["loggingTime"]).astimezone(UTC),
        "request_id": Decimal(one["requestId"]),
        "request_payload": one.get("requestPayload", []),
        "response_payload": one.get("responsePayload", []),
        "model": one.get("model", ""),
        "model_version": one.get("modelVersion", ""),
        "api_method": one.get("apiMethod", ""),
        "caller_request_id": one.get("callerRequestId", ""),
        "latency_seconds": one.get("latencySeconds"),
        "log_source": one.get("logSource", ""),
        "holdout": one.get("holdout", False),
        "truths": [json.dumps(truth) for truth in one["truths"]] if "truths" in one else None,
    }


def _cut(text: str) -> str:
    """A JSON text as its caller wrote it, on one line."""
    try:
        text = json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:  # of a raw prediction
        text = " ".join(text.split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
