"""What was read in a job's event files, made runs, time series and points of an experiment.

Points are kept by their steps and blobs by their bytes, so that what is read again, as in the next attempt of a job,
changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from portico.jobs.worker import Context
from portico.services.aiplatform.tensorboard import job_experiments, points
from portico.services.aiplatform.tensorboard.experiments import EXPERIMENTS, RUNS
from portico.services.aiplatform.tensorboard.tensorboards import TENSORBOARDS, blob_uri
from portico.services.aiplatform.tensorboard.time_series import TIME_SERIES
from portico.services.standard.sources import gcs_of
from portico.store import resources, tensorboard
from portico.store.tensorboard import Point

_LARGEST = 1 << 20  # bytes of a tensor
_TAG = 128  # characters
_PLUGIN_DATA = 65 << 10  # bytes
_SERIES = 10_000  # of a job
_ROOM = 1 << 30  # bytes of a job's points
_FAR = 9e9  # seconds since the epoch

Line = Mapping[str, Any]
"""A value, as `event_reader` tells it."""


class EventRows:
    """The experiment of a job; it has the job's id, as on Vertex AI.

    Raises:
        NotFound: there is no such TensorBoard, now or later.
    """

    def __init__(self, context: Context, board: str, job: str, say: Callable[[str], None]) -> None:
        self.experiment = f"{board}/experiments/{job.rpartition('/')[2]}"
        self.count = 0  # points
        self._context, self._board, self._say = context, board, say
        self._gcs = gcs_of(context)
        self._series: dict[tuple[str, str], str] = {}  # by run and tag; "" where it is of another type
        self._room = _ROOM
        self._told: set[str] = set()
        with context.database.write() as connection:
            self._prefix = str(TENSORBOARDS.require(connection, board).body["blobStoragePathPrefix"])
            of = resources.get(connection, job)
            body = {"source": job, "displayName": of.body.get("displayName", "") if of else ""}
            self._make(connection, EXPERIMENTS.kind, self.experiment, body)
            job_experiments.add_experiment(connection, self.experiment, context.clock.now())

    @property
    def series(self) -> int:
        """How many time series have something."""
        return sum(map(bool, self._series.values()))

    def write(self, values: Sequence[tuple[str, Line]]) -> None:
        """Stores values by their runs, as far as they are within the bounds."""
        values = [value for value in values if self._fits(value)]
        fresh = {(run, line["tag"]): line for run, line in reversed(values)}
        fresh = {key: line for key, line in fresh.items() if key not in self._series}
        if fresh:
            with self._context.database.write() as connection:
                TENSORBOARDS.require(connection, self._board)
                made = {key: self._series_of(connection, *key, line) for key, line in fresh.items()}
            self._series |= made
        packed: dict[str, list[Point]] = {}
        most: dict[str, int] = {}
        for run, line in values:
            name = self._series[run, line["tag"]]
            if name:
                value = self._value(name, line)
                self._room -= len(value) + 24
                seconds = line["time"] if math.isfinite(line["time"]) and abs(line["time"]) < _FAR else 0.0
                packed.setdefault(name, []).append(Point(line["step"], round(seconds * 1e6) * 1000, value))
                most[name] = max(most.get(name, 0), len(line.get("blobs") or []))
        if packed:
            with self._context.database.write() as connection:
                there = tensorboard.find(connection, packed)
                tensorboard.put(connection, {n: (of, packed[n], most[n]) for n, of in there.items()})
            self.count += sum(len(packed[name]) for name in there)

    def complete(self) -> None:
        """When the job has ended."""
        runs = {f"{self.experiment}/runs/{run}" for run, _ in self._series}
        with self._context.database.write() as connection:
            job_experiments.complete(connection, runs, self._context.clock.now())

    def _fits(self, value: tuple[str, Line]) -> bool:
        run, line = value
        if not 0 < len(line["tag"]) <= _TAG or len(line["plugin"]) > _TAG:
            why = f"tags and plugins' names have 1 to {_TAG} characters; others are left out"
        elif len(line["data"]) * 3 // 4 > _PLUGIN_DATA or len(line.get("tensor", "")) * 3 // 4 > _LARGEST:
            why = f"plugins' data beyond {_PLUGIN_DATA >> 10} KiB, tensors beyond {_LARGEST >> 20} MiB are left out"
        elif len(self._series) >= _SERIES and (run, line["tag"]) not in self._series:
            why = f"more than {_SERIES:,} time series are left out"
        elif self._room <= 0:
            why = f"points beyond {_ROOM >> 20:,} MiB are left out"
        else:
            return True
        if why not in self._told:
            self._told.add(why)
            self._say(f"TensorBoard: {why}")
        return False

    def _value(self, name: str, line: Line) -> bytes:
        if "scalar" in line:
            return points.scalar(line["scalar"])
        if "tensor" in line:
            return points.tensor(base64.b64decode(line["tensor"]))
        ids = []
        for data in map(base64.b64decode, line["blobs"]):
            ids.append(hashlib.sha256(data).hexdigest()[:32])
            self._gcs.write(blob_uri(self._prefix, name, ids[-1]), data)
        return points.blobs(ids)

    def _series_of(self, connection: Connection, run: str, tag: str, line: Line) -> str:
        """The time series of a tag, made where there is none; "" where it is of another type."""
        parent = f"{self.experiment}/runs/{run}"
        if self._make(connection, RUNS.kind, parent, {"displayName": run}):
            job_experiments.add_run(connection, parent, self._context.clock.now())
        for other in resources.listed(connection, TIME_SERIES.kind, parent, wanted={"displayName": tag}):
            if other.body.get("displayName") == tag:
                return other.name if other.body["valueType"] == line["kind"] else ""
        name = f"{parent}/timeSeries/{self._context.ids.number()}"
        body = {"displayName": tag, "valueType": line["kind"], "pluginName": line["plugin"]}
        if line["data"]:
            body["pluginData"] = line["data"]
        self._make(connection, TIME_SERIES.kind, name, body)
        tensorboard.add_series(connection, name, int(self._context.ids.number()), line["kind"])
        return name

    def _make(self, connection: Connection, kind: str, name: str, body: dict[str, Any]) -> bool:
        """Inserts a resource, unless it is there."""
        parent, now = name.rsplit("/", 2)[0], self._context.clock.now()
        made = resources.insert(connection, name=name, kind=kind, parent=parent, body=body, now=now)
        return made is not None
