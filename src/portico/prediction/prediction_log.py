"""The prediction log: what the taps spooled, as rows in the columns of Google's request-response logging table.

A row is a request. Its columns are those of Vertex AI's BigQuery table (endpoint, deployed_model_id, logging_time,
request_id, request_payload, response_payload: lists with one JSON text an instance; model, model_version, api_method)
and three of ours: caller_request_id (what came as X-Request-Id), latency_seconds, and log_source. Rows come in
segments of the stream `log/ENDPOINT`; a spool file becomes rows exactly once, whatever is killed when.
"""

from __future__ import annotations

import decimal
import logging
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.prediction.router import EXPLAIN, PREDICT, RAW_PREDICT
from portico.prediction.tap import Record, read_spool_file
from portico.store import served
from portico.store.database import Database, metadata
from portico.store.segments import Segment, Segments

log = logging.getLogger(__name__)

_METHODS: Final = {PREDICT: "predict", RAW_PREDICT: "rawPredict", EXPLAIN: "explain"}
_BATCH_BYTES: Final = 64 * 2**20  # of spool that becomes rows at once

# Spool files whose rows are in the log, until they are deleted; and what fronts lost when they were killed.
_read = sa.Table("spool_read", metadata, sa.Column("file", sa.String, primary_key=True))
_lost = sa.Table(
    "predictions_lost",
    metadata,
    sa.Column("file", sa.String, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
)


@dataclass(slots=True)
class Batch:
    """What one call of `ingest` has read: new segments, and the rows themselves by endpoint."""

    segments: list[Segment] = field(default_factory=list)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def stream_of(endpoint: str) -> str:
    """The stream that holds the log of an endpoint (its canonical resource name)."""
    return f"log/{endpoint}"


class PredictionLog:
    """Belongs to one process, which is the only one that empties the spool."""

    def __init__(self, home: Path, database: Database, segments: Segments) -> None:
        self._spool = home / "spool"
        self._database = database
        self._segments = segments
        self._models: dict[str, tuple[str, str]] = {}

    def ingest(self) -> Batch:
        """Turns whole spool files into rows, the oldest first; about 64 MiB a call. Nothing is read twice."""
        files = self._waiting()
        self._note_lost()
        if not files:
            return Batch()
        names = [f"{path.parent.name}/{path.name}" for path in files]
        with self._database.read() as connection:
            known = set(connection.execute(sa.select(_read.c.file).where(_read.c.file.in_(names))).scalars())
        fresh = [path for path, name in zip(files, names, strict=True) if name not in known]
        by_endpoint: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for path in fresh:
            for record in read_spool_file(path):
                by_endpoint[record.endpoint].append(self._row(record))
        written = []
        for endpoint, rows in by_endpoint.items():
            rows.sort(key=lambda row: row["request_id"])
            times = [row["logging_time"] for row in rows]
            written.append((endpoint, self._segments.write(_table(rows)), len(rows), min(times), max(times)))
        made = Batch(rows=dict(by_endpoint))
        if fresh:
            with self._database.write() as connection:
                for endpoint, file, count, first, last in written:
                    stream = stream_of(endpoint)
                    made.segments.append(self._segments.add(connection, stream, file, count, first, last))
                connection.execute(
                    sa.insert(_read), [{"file": n} for p, n in zip(files, names, strict=True) if p in fresh]
                )
        for path in files:
            path.unlink(missing_ok=True)
        self._forget(names)
        return made

    def _waiting(self) -> list[Path]:
        found = sorted(self._spool.glob("front-*/*.tap"), key=lambda path: path.name)
        size = 0
        for count, path in enumerate(found):
            size += path.stat().st_size
            if size > _BATCH_BYTES:
                return found[: count + 1]
        return found

    def _note_lost(self) -> None:
        for path in self._spool.glob("front-*/*.lost"):
            name, count = f"{path.parent.name}/{path.name}", int(path.read_text() or 0)
            log.warning(
                "%s was killed and lost %d predictions that were not logged yet", path.parent.name, count
            )
            with self._database.write() as connection:
                connection.execute(
                    sa.insert(_lost).prefix_with("OR IGNORE"),
                    {"file": name, "at": time.time(), "count": count},
                )
            path.unlink()

    def _forget(self, names: list[str]) -> None:
        """What is deleted can't be read again; its note may go."""
        with self._database.write() as connection:
            connection.execute(sa.delete(_read).where(_read.c.file.in_(names)))

    def _row(self, record: Record) -> dict[str, Any]:
        model, version = self._model_of(record.deployed_model)
        answer = orjson.loads(record.answer)
        if model == "" and isinstance(answer, dict):
            model, version = answer.get("model", ""), answer.get("modelVersionId", "")
        return {
            "endpoint": record.endpoint,
            "deployed_model_id": record.deployed_model,
            "logging_time": record.at,
            "request_id": record.id,
            "request_payload": _texts(orjson.loads(record.request), "instances"),
            "response_payload": _texts(answer, "predictions"),
            "model": model,
            "model_version": version,
            "api_method": _METHODS.get(record.method, "predict"),
            "caller_request_id": record.caller_id,
            "latency_seconds": record.seconds,
            "log_source": "online",
        }

    def _model_of(self, deployed_id: str) -> tuple[str, str]:
        if deployed_id not in self._models:
            with self._database.read() as connection:
                self._models |= {
                    m.id: (m.model, m.model_version_id)
                    for endpoint in served.load_all(connection)
                    for m in endpoint.deployed
                }
        return self._models.get(deployed_id, ("", ""))


def lost(connection: Connection) -> int:
    """How many predictions killed fronts have lost before they were logged."""
    return int(connection.execute(sa.select(sa.func.sum(_lost.c.count))).scalar() or 0)


def _texts(message: Any, key: str) -> list[str]:
    """One JSON text an instance; a body without the list is one text."""
    found = message.get(key) if isinstance(message, dict) else None
    items = found if isinstance(found, list) else [message]
    return [orjson.dumps(item).decode() for item in items]


def _table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    strings = pa.list_(pa.string())
    schema = pa.schema(
        [
            ("endpoint", pa.string()), ("deployed_model_id", pa.string()),
            ("logging_time", pa.timestamp("us", tz="UTC")), ("request_id", pa.decimal128(38, 0)),
            ("request_payload", strings), ("response_payload", strings), ("model", pa.string()),
            ("model_version", pa.string()), ("api_method", pa.string()), ("caller_request_id", pa.string()),
            ("latency_seconds", pa.float64()), ("log_source", pa.string()),
        ]
    )  # fmt: skip
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in schema.names}
    columns["logging_time"] = [round(seconds * 1e6) for seconds in columns["logging_time"]]
    columns["request_id"] = [decimal.Decimal(number) for number in columns["request_id"]]
    return pa.table(columns, schema=schema)
