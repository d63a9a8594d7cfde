"""The prediction log: what the taps spooled, as rows in the columns of Google's request-response logging table.

A row is a request. Its columns are those of Vertex AI's BigQuery table (endpoint, deployed_model_id, logging_time,
request_id, request_payload, response_payload: lists with one JSON text an instance; model, model_version, api_method)
and four of ours: caller_request_id (what came as X-Request-Id), latency_seconds, log_source, and holdout. Rows come in
segments of the stream `log/ENDPOINT`; a spool file becomes rows exactly once, whatever is killed when. The rows of
batch jobs (log_source "batch") have a stream of their own, so that whoever watches online service need not read and
leave out a million of them (`services.aiplatform.batch_log` writes them).
"""

from __future__ import annotations

import decimal
import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.prediction.router import EXPLAIN, PREDICT, RAW_PREDICT
from portico.prediction.tap import Record, read_spool_file
from portico.store.database import Database, metadata
from portico.store.segments import Segment, Segments

log = logging.getLogger(__name__)

ONLINE, BATCH = "online", "batch"  # log_source

_METHODS: Final = {PREDICT: "predict", RAW_PREDICT: "rawPredict", EXPLAIN: "explain"}
_BATCH_BYTES: Final = 32 * 2**20  # of spool that becomes rows at once

# Spool files whose rows are in the log, until they are deleted; and what fronts lost when they were killed.
_read = sa.Table("spool_read", metadata, sa.Column("file", sa.String, primary_key=True))
_noted, _note = sa.select(_read.c.file), sa.insert(_read)
_forget = sa.delete(_read).where(_read.c.file.in_(sa.bindparam("files", expanding=True)))
_lost = sa.Table(
    "predictions_lost",
    metadata,
    sa.Column("file", sa.String, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
)


class _Request(msgspec.Struct):
    """A request's body, its instances left as text."""

    instances: list[msgspec.Raw]


class _Answer(msgspec.Struct):
    """A prediction's answer, its predictions left as text."""

    predictions: list[msgspec.Raw]


_request = msgspec.json.Decoder(_Request).decode
_answer = msgspec.json.Decoder(_Answer).decode
_predictions = msgspec.json.Decoder(list[msgspec.Raw]).decode


def stream_of(endpoint: str) -> str:
    """The stream that holds the online predictions of an endpoint (its canonical resource name)."""
    return f"log/{endpoint}"


def batch_stream_of(endpoint: str) -> str:
    """The stream that holds the rows of batch jobs that are logged at an endpoint."""
    return f"log/{endpoint}/batch"


def schema() -> Any:
    """The columns of the log as an Arrow schema."""
    import pyarrow as pa

    texts = pa.list_(pa.string())
    return pa.schema(
        {
            "endpoint": pa.string(),
            "deployed_model_id": pa.string(),
            "logging_time": pa.timestamp("us", tz="UTC"),
            "request_id": pa.decimal128(38, 0),
            "request_payload": texts,
            "response_payload": texts,
            "model": pa.string(),
            "model_version": pa.string(),
            "api_method": pa.string(),
            "caller_request_id": pa.string(),
            "latency_seconds": pa.float64(),
            "log_source": pa.string(),
            "holdout": pa.bool_(),
        }
    )


class PredictionLog:
    """Belongs to one process, which is the only one that empties the spool."""

    def __init__(self, home: Path, database: Database, segments: Segments) -> None:
        self._spool = home / "spool"
        self._database = database
        self._segments = segments

    def ingest(self, until: int | None = None) -> list[Segment] | None:
        """Turns spool files into segments, the oldest first, about 32 MiB a call; None when there were none.

        With `until` only files that were begun before that moment (nanoseconds since the epoch). Nothing is read twice.
        """
        files = self._waiting(until)
        self._note_lost()
        if not files:
            return None
        with self._database.read() as connection:
            noted = set(connection.execute(_noted).scalars())
        fresh = [path for path in files if self._name(path) not in noted]
        written = []
        for endpoint, records in self._records(fresh).items():
            times = [record.at for record in records]
            written.append(
                (endpoint, self._segments.write(self._table(records)), len(records), min(times), max(times))
            )
        made = []
        gone = [name for name in noted if not (self._spool / name).exists()]
        with self._database.write() as connection:
            for endpoint, file, count, first, last in written:
                made.append(self._segments.add(connection, stream_of(endpoint), file, count, first, last))
            # A note is needed as long as its file is there.
            if gone:
                connection.execute(_forget, {"files": gone})
            if fresh:
                connection.execute(_note, [{"file": self._name(path)} for path in fresh])
        for path in files:
            path.unlink(missing_ok=True)
        return made

    def waiting(self) -> int:
        """Bytes of spool that were not read yet."""
        return sum(path.stat().st_size for path in self._spool.glob("front-*/*.tap"))

    def _name(self, path: Path) -> str:
        return f"{path.parent.name}/{path.name}"

    def _waiting(self, until: int | None) -> list[Path]:
        found = sorted(self._spool.glob("front-*/*.tap"), key=lambda path: int(path.stem))
        size = 0
        for count, path in enumerate(found):
            if until is not None and int(path.stem) >= until:
                return found[:count]
            size += path.stat().st_size
            if size > _BATCH_BYTES:
                return found[: count + 1]
        return found

    def _records(self, files: list[Path]) -> dict[str, list[Record]]:
        """By endpoint, in the order of their ids."""
        found: dict[str, list[Record]] = defaultdict(list)
        for path in files:
            for record in read_spool_file(path):
                found[record.endpoint].append(record)
        for records in found.values():
            records.sort(key=lambda record: record.id)
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

    def _table(self, records: list[Record]) -> Any:
        import pyarrow as pa

        columns = {
            "endpoint": [r.endpoint for r in records],
            "deployed_model_id": [r.deployed_model for r in records],
            "logging_time": [round(r.at * 1e6) for r in records],
            "request_id": [decimal.Decimal(r.id) for r in records],
            "request_payload": [_texts_of_request(r.request) for r in records],
            "response_payload": [_texts_of_answer(r) for r in records],
            "model": [r.model for r in records],
            "model_version": [r.model_version for r in records],
            "api_method": [_METHODS.get(r.method, "predict") for r in records],
            "caller_request_id": [r.caller_id for r in records],
            "latency_seconds": [round(r.seconds, 7) for r in records],
            "log_source": [ONLINE] * len(records),
            "holdout": [r.holdout for r in records],
        }
        return pa.table(columns, schema=schema())


def lost(connection: Connection) -> int:
    """How many predictions killed fronts have lost before they were logged."""
    return int(connection.execute(sa.select(sa.func.sum(_lost.c.count))).scalar() or 0)


def _texts_of_request(body: bytes) -> list[str]:
    """One JSON text an instance; a body without instances is one text."""
    try:
        return [bytes(raw).decode() for raw in _request(body).instances]
    except msgspec.DecodeError:
        return [body.decode(errors="replace")]


def _texts_of_answer(record: Record) -> list[str]:
    """One JSON text a prediction."""
    body = record.answer
    try:
        bare = record.method == PREDICT and body.startswith(b"[")
        found = _predictions(body) if bare else _answer(body).predictions
    except msgspec.DecodeError:
        return [body.decode(errors="replace")]
    return [bytes(raw).decode() for raw in found]
