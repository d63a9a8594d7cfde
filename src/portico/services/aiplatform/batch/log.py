"""What a batch job leaves in the prediction log: each of its rows as one request.

A job is logged at every endpoint of its location where its model version is deployed with request-response logging
enabled, as things are when the job is made: at the endpoint's sampling rate, at the job's domain time, in the
endpoint's stream for batch, which nothing that watches online service reads. A row's request id is the job's number
and behind it the row's number in the input, in ten digits: greater than any of the tap's, and the same in another
attempt, as is whether the row is in the sample. The rows become visible together with the job's output; a job that
fails or is cancelled logs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sqlalchemy.engine import Connection

from portico.clock import Clock
from portico.jobs.worker import Context
from portico.prediction import prediction_log
from portico.services.aiplatform.batch.answers import Answers
from portico.services.aiplatform.batch.instances import Lines, Table
from portico.services.standard.serving import ENDPOINTS
from portico.store import domain_clock, resources
from portico.store.resources import Resource
from portico.store.segments import Segments

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_NUMBERS = 10**10  # row numbers of a job
_ROWS = 200_000  # of a segment
_BYTES = 64 << 20  # of a segment's texts


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint that logs a job, the model deployed there, and the share of rows that it keeps."""

    endpoint: str
    deployed_model_id: str
    rate: float


@dataclass(slots=True)
class Plan:
    """Where a job is logged, as of which moment of domain time, and whether it has been."""

    places: list[Place] = field(default_factory=list)
    time: float = 0.0
    added: bool = False


def plan(connection: Connection, clock: Clock, version: Resource) -> Plan:
    """Where and as of when a job of this model version is logged."""
    location = version.parent.partition("/models/")[0]
    model = version.parent, version.body["versionId"]
    places = []
    for endpoint in resources.listed(connection, ENDPOINTS.kind, location):
        config = endpoint.body.get("predictRequestResponseLoggingConfig") or {}
        rate = float(config.get("samplingRate", 0.0)) if config.get("enabled") else 0.0
        held = endpoint.body.get("deployedModels") or []
        deployed = next((d["id"] for d in held if (d["model"], d["modelVersionId"]) == model), "")
        if rate > 0 and deployed:
            places.append(Place(endpoint.name, deployed, rate))
    return Plan(places, domain_clock.now(connection, clock))


@dataclass(slots=True)
class Rows:
    """The rows of a chunk that somebody may keep: their numbers in the input, their share in [0, 1) that a sampling
    rate must exceed, and their instances and predictions as JSON texts."""

    numbers: np.ndarray
    shares: np.ndarray
    requests: pa.StringArray
    responses: pa.StringArray


class BatchLog:
    """A context: what was not added when it ends is gone."""

    def __init__(self, context: Context, job: Resource, version: Resource, plan: Plan) -> None:
        self._places = plan.places
        self._time = plan.time
        self._job = int(job.name.rpartition("/")[2])
        self._version = version
        self._rate = max((place.rate for place in self._places), default=0.0)
        self._segments = Segments(context.home, context.database, context.clock, context.ids)
        self._writing = self._segments.writing()
        self._waiting: list[Rows] = []
        self._written: list[tuple[str, str, int]] = []  # endpoint, file, rows
        self._added = False

    def __enter__(self) -> Self:
        self._writing.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writing.__exit__(kind, error, trace)

    def rows(self, number: int, instances: Lines | Table, answers: Answers) -> Rows | None:
        """The rows of a chunk, whose first has this number, that are kept somewhere. Safe for threads."""
        if not self._places:
            return None
        import pyarrow as pa

        positions = answers.good(len(instances))
        shares = shares_of(self._job, number + positions)
        kept = shares < self._rate
        positions, shares = positions[kept], shares[kept]
        texts = answers.texts()
        responses = pa.array([texts[position] for position in positions.tolist()], pa.binary())
        return Rows(number + positions, shares, instances.chosen(positions), responses.cast(pa.string()))

    def take(self, rows: Rows | None) -> None:
        """Takes the rows of the next chunk."""
        if rows is None or not len(rows.numbers):
            return
        self._waiting.append(rows)
        held = sum(len(rows.numbers) for rows in self._waiting)
        if held >= _ROWS or sum(r.requests.nbytes + r.responses.nbytes for r in self._waiting) >= _BYTES:
            self._end_segment()

    def finish(self) -> None:
        """Brings all rows to the disk."""
        self._end_segment()

    def add(self, connection: Connection, plan: Plan) -> None:
        """Makes the rows visible in the caller's transaction, unless another attempt has done so already."""
        if plan.added:
            return
        for endpoint, file, count in self._written:
            if resources.get(connection, endpoint) is None:
                continue  # it was deleted meanwhile, and nobody would find them
            stream = prediction_log.batch_stream_of(endpoint)
            self._segments.add(connection, stream, file, count, self._time, self._time)
        plan.added = self._added = True

    def keep(self) -> None:
        """After the commit of `add`."""
        if self._added:
            self._writing.keep()

    def _end_segment(self) -> None:
        waiting, self._waiting = self._waiting, []
        for place in self._places if waiting else ():
            table = self._table(place, waiting)
            if table.num_rows:
                self._written.append((place.endpoint, self._writing.write(table), table.num_rows))

    def _table(self, place: Place, waiting: list[Rows]) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        kept = [rows.shares < place.rate for rows in waiting]
        numbers = np.concatenate([rows.numbers[mask] for rows, mask in zip(waiting, kept, strict=True)])
        texts = {
            name: pa.concat_arrays([getattr(r, name).filter(pa.array(m)) for r, m in zip(waiting, kept, strict=True)])
            for name in ("requests", "responses")
        }  # fmt: skip
        single = pa.array(np.arange(len(numbers) + 1, dtype=np.int32))
        same = {
            "endpoint": place.endpoint,
            "deployed_model_id": place.deployed_model_id,
            "logging_time": round(self._time * 1e6),
            "model": self._version.parent,
            "model_version": self._version.body["versionId"],
            "api_method": "batchPredict",
            "caller_request_id": "",
            "latency_seconds": None,  # a row of a batch has none of its own
            "log_source": prediction_log.BATCH,
            "holdout": False,
        }
        own = {
            "request_id": request_ids(self._job, numbers),
            "request_payload": pa.ListArray.from_arrays(single, texts["requests"]),
            "response_payload": pa.ListArray.from_arrays(single, texts["responses"]),
        }
        schema = prediction_log.schema()
        return pa.table(
            [
                own[column.name]
                if column.name in own
                else pa.repeat(pa.scalar(same[column.name], column.type), len(numbers))
                for column in schema
            ],
            schema=schema,
        )


def request_ids(job: int, numbers: np.ndarray) -> pa.Array:
    """The request ids of a job's rows: at most 29 digits, as BigQuery's NUMERIC has."""
    import numpy as np
    import pyarrow as pa

    base = job * _NUMBERS
    base_low = np.uint64(base % 2**64)
    low = numbers.astype(np.uint64) + base_low
    high = np.uint64(base >> 64) + (low < base_low).astype(np.uint64)
    words = np.stack([low, high], axis=1)
    return pa.Array.from_buffers(pa.decimal128(38, 0), len(numbers), [None, pa.py_buffer(words.tobytes())])


def shares_of(job: int, numbers: np.ndarray) -> np.ndarray:
    """A share in [0, 1) for each row, evenly spread and always the same: splitmix64 (Steele, Lea, Flood 2014)."""
    import numpy as np

    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(job)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
