"""The prediction log: what the taps spooled, as rows in the columns of Google's request-response logging table.

A row is a request. Its columns are those of Vertex AI's BigQuery table (endpoint, deployed_model_id, logging_time,
request_id, request_payload, response_payload: lists with one JSON text an instance; model, model_version, api_method)
and four of ours: caller_request_id (what came as X-Request-Id), latency_seconds, log_source, and holdout. Rows come in
segments of the stream `log/ENDPOINT`; a record becomes a row exactly once, whatever is killed when. The rows of
batch jobs (log_source "batch") have a stream of their own, so that whoever watches online service need not read and
leave out a million of them (`services.aiplatform.batch.log` writes them).
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.prediction.front.router import EXPLAIN, PREDICT, RAW_PREDICT
from portico.prediction.spool import Place, Record, Spool
from portico.store.database import Database
from portico.store.segments import Segment, Segments
from portico.store.tables.log import predictions_lost as _lost
from portico.store.tables.log import spool_places as _places

log = logging.getLogger(__name__)

ONLINE, BATCH = "online", "batch"  # log_source

Text = bytes | msgspec.Raw
_METHODS: Final = {PREDICT: "predict", RAW_PREDICT: "rawPredict", EXPLAIN: "explain"}
_noted, _note = sa.select(_places), sa.insert(_places)
_unnote = sa.delete(_places).where(_places.c.folder.in_(sa.bindparam("folders", expanding=True)))


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
        self._spool = Spool(home)
        self._database = database
        self._segments = segments

    def ends(self) -> dict[str, Place]:
        """Where each folder of the spool ends now."""
        return self._spool.ends()

    def ingest(self, ends: dict[str, Place] | None = None, limit: int = 16 * 2**20) -> list[Segment] | None:
        """Turns records of the spool into segments, about `limit` bytes of them; None when there were none.

        With `ends` only what lies before them. Nothing is read twice.
        """
        ends = self.ends() if ends is None else ends
        with self._database.read() as connection:
            places = {one.folder: Place(one.number, one.position) for one in connection.execute(_noted)}
        records: dict[str, list[Record]] = defaultdict(list)
        lost: list[dict[str, Any]] = []
        moved = {}
        room = limit
        for folder, end in ends.items():
            begin = places.get(folder, Place())
            found, place = self._spool.read(folder, begin, end, room)
            for record in found:
                records[record.endpoint].append(record)
                room -= len(record.request) + len(record.answer)
            lost += self._lost(folder, begin, place)
            if place == begin:
                self._spool.give_back(folder, place)  # it was killed between the commit and this
            else:
                moved[folder] = place
            if room <= 0:
                break
        if not (moved or lost):
            return None
        written = []
        for endpoint, rows in records.items():
            rows.sort(key=lambda record: record.id)
            times = [record.at for record in rows]
            file = self._segments.write(self._table(rows))
            written.append((stream_of(endpoint), file, len(rows), min(times), max(times)))
        with self._database.write() as connection:
            made = [self._segments.add(connection, *segment) for segment in written]
            if lost:
                files = [one["file"] for one in lost]
                connection.execute(sa.delete(_lost).where(_lost.c.file.in_(files)))
                connection.execute(sa.insert(_lost), lost)
            if moved:
                now = [
                    {"folder": folder, "number": place.number, "position": place.position}
                    for folder, place in moved.items()
                ]
                connection.execute(_unnote, {"folders": list(moved)})
                connection.execute(_note, now)
        for folder, place in moved.items():
            self._spool.give_back(folder, place)
        return made

    def waiting(self) -> int:
        """Bytes of spool that were not read yet."""
        return self._spool.waiting()

    def _lost(self, folder: str, begin: Place, place: Place) -> list[dict[str, Any]]:
        found = []
        for number, count in self._spool.lost(folder, begin, place).items():
            log.warning(
                "%s was killed before it had written %d predictions: they were answered, and are not logged",
                folder,
                count,
            )
            found.append({"file": f"{folder}/{number}", "at": time.time(), "count": count})
        return found

    def _table(self, records: list[Record]) -> Any:
        import pyarrow as pa

        columns = {
            "endpoint": [r.endpoint for r in records],
            "deployed_model_id": [r.deployed_model for r in records],
            "logging_time": [round(r.at * 1e6) for r in records],
            "request_id": pa.array([r.id for r in records], pa.int64()).cast(pa.decimal128(38, 0)),
            "request_payload": _lists(_texts_of_request(r.request) for r in records),
            "response_payload": _lists(_texts_of_answer(r) for r in records),
            "model": [r.model for r in records],
            "model_version": [r.model_version for r in records],
            "api_method": [_METHODS.get(r.method, "predict") for r in records],
            "caller_request_id": [r.caller_id for r in records],
            "latency_seconds": [round(r.seconds, 7) for r in records],
            "log_source": [ONLINE] * len(records),
            "holdout": [r.holdout for r in records],
        }
        return pa.table(columns, schema=schema())


def id_words(ids: Any) -> tuple[Any, Any]:
    """The lower and the upper 64 bits of a column of request ids, as arrays."""
    import numpy as np

    whole = ids.combine_chunks()
    words = np.frombuffer(whole.buffers()[1], np.uint64).reshape(-1, 2)[
        whole.offset : whole.offset + len(whole)
    ]
    return words[:, 0], words[:, 1]


def lost(connection: Connection) -> int:
    """How many predictions were answered by fronts that were killed before they had written them to the spool."""
    if not sa.inspect(connection).has_table(_lost.name):  # no newer Portico has run on this home
        return 0
    return int(connection.execute(sa.select(sa.func.sum(_lost.c.count))).scalar() or 0)


def _lists(rows: Iterable[Iterable[Text]]) -> Any:
    """Lists of texts as an Arrow array."""
    import pyarrow as pa

    texts: list[bytes] = []
    ends = [0]
    for row in rows:
        texts += map(bytes, row)
        ends.append(len(texts))
    try:
        cells = pa.array(texts, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:  # not all of it is UTF-8
        cells = pa.array([text.decode(errors="replace") for text in texts], pa.string())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), cells)


def _texts_of_request(body: bytes) -> Iterable[Text]:
    """One JSON text an instance; a body without instances is one text."""
    try:
        return _request(body).instances
    except msgspec.DecodeError:
        return (body,)


def _texts_of_answer(record: Record) -> Iterable[Text]:
    """One JSON text a prediction."""
    body = record.answer
    try:
        bare = record.method == PREDICT and body.startswith(b"[")
        return _predictions(body) if bare else _answer(body).predictions
    except msgspec.DecodeError:
        return (body,)
