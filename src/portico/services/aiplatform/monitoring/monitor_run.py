"""The work of a model monitoring job: reads baseline and target, compares them, and says what moved too far.

The baseline's first rows fix the bins; all of it, and then the target, is counted in them, so memory does not grow
with the data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from portico.errors import FailedPrecondition, NotFound, PorticoError, Unavailable, rpc_status
from portico.jobs.worker import Context
from portico.ml.errors import DataError
from portico.ml.tables import concat
from portico.ml.watch.attributions import measure
from portico.ml.watch.bins import Window, count, fit_bins, merge
from portico.prediction.models import predictors
from portico.services.aiplatform.batch.models import ReplicaModel
from portico.services.aiplatform.batch.opening import Asked, opened
from portico.services.aiplatform.monitoring import models
from portico.services.aiplatform.monitoring import monitor_spec as spec
from portico.services.aiplatform.monitoring import output_files as output
from portico.services.aiplatform.monitoring.distributions import distribution
from portico.services.aiplatform.monitoring.engine import Part, Rule, Sample, compared
from portico.services.aiplatform.monitoring.model_monitoring_jobs import ModelMonitoringJobPrivate, holder_of
from portico.services.aiplatform.monitoring.monitor_spec import Field
from portico.services.aiplatform.monitoring.reader import Data, Reader
from portico.services.registry.model_store import VersionPrivate
from portico.services.standard import sources
from portico.services.standard.settling import await_logged
from portico.store import monitoring_points, resources
from portico.store.monitoring_points import Point
from portico.store.resources import Resource

_FIT = 500_000  # rows that the bins are made of
_EXPLAINED = 256  # rows that are explained
_DATASETS = {"baselineDataset": "baseline", "targetDataset": "target"}
_LOGGED = 300.0  # seconds: the watcher is the last in the queue for a core, and a job can wait
_MOMENT = (
    1e-6  # seconds: a simulated clock stands still, and what was predicted before the job was made is meant
)


def run(context: Context) -> dict[str, Any]:
    """Job: the state that it ends in, and its anomalies in words.

    Raises:
        PorticoError: there was nothing to compare, or no objective could be reached.
    """
    with context.database.read() as connection:
        job = resources.get(connection, context.job.resource)
        if job is None:
            raise NotFound(f"{context.job.resource} was deleted.")
        wanted = ModelMonitoringJobPrivate.of(job).version
        version = resources.get(connection, wanted)
    if version is None:
        raise FailedPrecondition(f"The Model version {wanted} was deleted meanwhile.")
    _await_log(context, job)
    try:
        return _Run(context, job, version).work()
    except DataError as error:
        raise FailedPrecondition(f"The model can't read the data: {error.message}.") from None
    finally:
        sources.gcs_of(context).unpin(holder_of(context.job))


def _await_log(context: Context, job: Resource) -> None:
    """Lets what was predicted just now come into the log."""
    told = job.body["modelMonitoringSpec"]["objectiveSpec"]
    if any("vertexEndpointLogs" in told[key] for key in _DATASETS):
        with contextlib.suppress(Unavailable):
            await_logged(context.home, _LOGGED)


@dataclass(slots=True)
class _Side:
    """What is known of one of the two data sets: the counts of each field, and the attributions' shares."""

    data: Data
    counts: Window = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    rows: int = 0


class _Run:
    def __init__(self, context: Context, job: Resource, version: Resource) -> None:
        self._context, self._job, self._version = context, job, version
        self._told: Mapping[str, Any] = job.body["modelMonitoringSpec"]["objectiveSpec"]
        self._tabular: Mapping[str, Any] = self._told["tabularObjective"]
        self._private = ModelMonitoringJobPrivate.of(job)
        self._schema: Mapping[str, Any] = self._private.schema
        self._objectives = [name for name, key in spec.OBJECTIVES.items() if key in self._tabular]
        drifts = [name for name in self._objectives if name != spec.ATTRIBUTIONS]
        self._fields = {f.name: f for o in drifts for f in spec.watched(self._tabular, self._schema, o)}
        self._part = Part()
        told = job.body["modelMonitoringSpec"].get("outputSpec") or {}
        self._prefix = str((told.get("gcsBaseDirectory") or {}).get("outputUriPrefix", "")).rstrip("/")
        outputs = spec.fields_of(self._schema, "predictionFields") if spec.OUTPUTS in drifts else []
        self._outputs = models.Outputs(context.home, version, [one.name for one in outputs])

    def work(self) -> dict[str, Any]:
        cutoff = self._private.cutoff
        if not self._job.body.get("schedule"):
            cutoff += _MOMENT
        reader = Reader(self._context, self._version, self._schema, cutoff)
        sides = []
        with self._explaining() as explaining:
            for at, (key, what) in enumerate(_DATASETS.items()):
                self._context.progress(at / 2, f"reading the {what}")
                sides.append(self._read(reader.open(self._told[key], what), explaining))
        self._context.progress(0.95, "comparing")
        return self._judge(*sides)

    # --- reading ---

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[models.Explaining | None]:
        """What explains rows: the model in this process, or replicas of its own; None where nobody asks."""
        if spec.ATTRIBUTIONS not in self._objectives:
            yield None
        elif VersionPrivate.of(self._version).format == "replica":
            asked = Asked(explanation=spec.explanation_of(self._told, self._version))
            with opened(self._context, self._version, asked) as (model, _, _):
                assert isinstance(model, ReplicaModel)
                yield model
        else:
            yield predictors.load("portico", models.artifact(self._context.home, self._version))

    def _read(self, data: Data, explaining: models.Explaining | None) -> _Side:
        """Counts all rows of a side; the first one to be read makes the bins."""
        side, held = _Side(data), list[dict[str, pa.Table]]()
        sample = None if explaining is None else Sample(_EXPLAINED)
        for table in data.read():
            side.rows += table.num_rows
            if sample is not None:
                sample.add(table.num_rows, partial(_row, table))
            held.append(self._columns(table))
            if self._part.bins or side.rows >= _FIT:
                self._count(side, held)
                held = []
        self._count(side, held)
        if not side.rows:
            raise FailedPrecondition(f"There is not one row in {data.place}.")
        if sample is not None and explaining is not None:
            side.shares = self._shares(explaining, sample, data.place)
        return side

    def _columns(self, table: pa.Table | pa.RecordBatch) -> dict[str, pa.Table]:
        """Each watched field as a table of its own; a repeated one with a row for each element."""
        made = {}
        table = self._outputs.added(table)
        for name, one in self._fields.items():
            column: Any = pa.nulls(table.num_rows)
            if name in table.schema.names:
                column = table.column(name)
                if one.repeated and pa.types.is_list(column.type):
                    column = pc.list_flatten(column)
            made[name] = pa.table({name: column})
        return made

    def _count(self, side: _Side, parts: list[dict[str, pa.Table]]) -> None:
        if parts and not self._part.bins:
            for name, one in self._fields.items():
                self._part.bins += fit_bins(concat([part[name] for part in parts]), {name: one.kind})
        for part in parts:
            counted = {bins.name: count(part[bins.name], [bins])[bins.name] for bins in self._part.bins}
            side.counts = merge(side.counts, counted)

    def _shares(self, explaining: models.Explaining, sample: Sample, place: str) -> dict[str, float]:
        """Each feature's share of all attribution, over the sampled rows."""
        answers = [
            one.name
            for part in ("predictionFields", "groundTruthFields")
            for one in spec.fields_of(self._schema, part)
        ]
        explained = models.explained_rows(explaining, sample.rows(), answers)
        refused = f"The model can read no row of {place}"
        rows = models.attributions(
            explaining, explained, refused, lambda: self._context.progress(0.9, "explaining rows")
        )
        found = measure(rows)
        return dict.fromkeys(rows[0], 0.0) if found is None else found.scores

    # --- judging ---

    def _judge(self, baseline: _Side, target: _Side) -> dict[str, Any]:
        points: list[Point] = []
        status: dict[str, Any] = {}
        errors: list[PorticoError] = []
        for objective in self._objectives:
            judge = self._moved if objective == spec.ATTRIBUTIONS else self._drifted
            try:
                points += judge(objective, baseline, target)
                status[objective] = {"code": 0}
            except PorticoError as error:
                errors.append(error)
                status[objective] = rpc_status(error)
        self._publish(points, {
            "baselineDatasets": baseline.data.to_json(),
            "targetDatasets": target.data.to_json(),
            "objectiveStatus": status,
        })  # fmt: skip
        if len(errors) == len(self._objectives):
            raise errors[0]
        lines = [point.body["summary"] for point in points if point.anomaly]
        self._tell(points)
        return {
            "state": "JOB_STATE_PARTIALLY_SUCCEEDED" if errors else "JOB_STATE_SUCCEEDED",
            "anomalies": lines,
        }

    def _drifted(self, objective: str, baseline: _Side, target: _Side) -> list[Point]:
        told = self._tabular[spec.OBJECTIVES[objective]]
        watched = spec.watched(self._tabular, self._schema, objective)
        _check_columns(watched, (baseline, target), self._outputs.reason if objective == spec.OUTPUTS else "")
        rules = {
            one.name: Rule(spec.threshold_of(told, one), spec.algorithm_of(told, one)) for one in watched
        }
        scores = compared(self._part, target.counts, baseline.counts, rules)
        bins = {one.name: one for one in self._part.bins}
        made = []
        for one in watched:
            found, algorithm = scores[one.name], rules[one.name].measure
            distance, most = found.score.distance, found.score.most
            problem = _incomparable(one, baseline, target)
            words = problem or f"{algorithm} of {one.name!r} is {distance:.3f}" + (
                f" ({most})" if most else ""
            )
            if problem:
                distance = 1.0  # as far as two distributions can be
            before, now = (
                {"distribution": distribution(bins[one.name], side.counts[one.name])}
                for side in (baseline, target)
            )
            made.append(
                self._point(
                    objective, one, algorithm, distance, found.threshold,
                    {"distributionValue": {**now, "distributionDeviation": distance}},
                    {"distributionValue": before}, words, bool(problem),
                )
            )  # fmt: skip
        return made

    def _moved(self, objective: str, baseline: _Side, target: _Side) -> list[Point]:
        """How much of all attribution is each feature's, and how that changed."""
        told = self._tabular[spec.OBJECTIVES[objective]]
        watched = spec.watched(self._tabular, self._schema, objective)
        unused = [one.name for one in watched if one.name not in baseline.shares]
        if len(unused) == len(watched):
            raise FailedPrecondition(
                f"{self._version.name} does not use the feature {unused[0]!r}; it uses "
                f"{', '.join(list(baseline.shares)[:30])}."
            )
        made = []
        for one in watched:
            before, now = baseline.shares.get(one.name, 0.0), target.shares.get(one.name, 0.0)
            words = f"the attribution of {one.name!r} went from {before:.1%} to {now:.1%} of all"
            if one.name in unused:
                words = f"the model does not use {one.name!r}, whose attribution can't be compared"
            made.append(
                self._point(
                    objective, one, spec.ABSOLUTE_DIFFERENCE, abs(now - before), spec.threshold_of(told, one),
                    {"doubleValue": now}, {"doubleValue": before}, words, one.name in unused,
                )
            )  # fmt: skip
        return made

    def _point(
        self, objective: str, one: Field, algorithm: str, distance: float, threshold: float,
        current: dict[str, Any], baseline: dict[str, Any], words: str, incomparable: bool,
    ) -> Point:  # fmt: skip
        """`incomparable`: an anomaly whatever the threshold, and `words` say why."""
        anomaly = incomparable or distance > threshold
        beside = "" if incomparable else f", {'above' if anomaly else 'within'} {threshold:.3f}"
        body = {
            "current": current,
            "baseline": baseline,
            "threshold": threshold,
            "summary": f"{objective}: {words}{beside}",
        }
        if self._prefix and anomaly and objective != spec.ATTRIBUTIONS:
            body["uri"] = output.anomalies_uri(self._prefix, self._job.name, objective)
        return Point(
            self._job.parent, self._job.name, objective, one.name, self._job.body.get("schedule", ""), algorithm,
            self._private.cutoff, self._job.create_time, anomaly, body,
        )  # fmt: skip

    def _publish(self, points: list[Point], detail: dict[str, Any]) -> None:
        if self._prefix:
            output.write(sources.gcs_of(self._context), self._prefix, self._job.name, points)
        now = self._context.clock.now()
        with self._context.database.write() as connection:
            job = resources.get(connection, self._job.name)
            if job is None:
                raise NotFound(f"{self._job.name} was deleted.")
            monitoring_points.put(connection, points)
            job.body["jobExecutionDetail"] = detail
            resources.update(connection, job, now)

    def _tell(self, points: Iterable[Point]) -> None:
        """Writes the anomalies into the job's log; as JSON too, where they are to go to Cloud Logging or a channel."""
        told = self._job.body["modelMonitoringSpec"].get("notificationSpec") or {}
        channels = [
            one.get("notificationChannel", "") for one in told.get("notificationChannelConfigs") or []
        ]
        for point in points:
            if not point.anomaly:
                continue
            print(f"anomaly: {point.body['summary']}", flush=True)
            if channels or told.get("enableCloudLogging"):
                entry = {"modelMonitor": point.monitor, "modelMonitoringJob": point.job,
                         "objectiveType": point.objective, "statsName": point.name, "algorithm": point.algorithm,
                         "threshold": point.body["threshold"], "summary": point.body["summary"],
                         "notificationChannels": channels}  # fmt: skip
                print(orjson.dumps(entry).decode(), flush=True)


def _row(table: pa.Table | pa.RecordBatch, place: int) -> dict[str, Any]:
    return dict(table.slice(place, 1).to_pylist()[0])


def _check_columns(watched: list[Field], sides: Iterable[_Side], reason: str) -> None:
    """
    Raises:
        FailedPrecondition: a side has not one of the columns: other data were meant.
    """
    for side in sides:
        if not any(_has(side, one) for one in watched):
            known = ", ".join(list(side.data.columns)[:30])
            raise FailedPrecondition(
                f"There is no column {watched[0].name!r} in {side.data.place}, which has {known}.{reason} Change the "
                "data, the monitor's schema, or what the objective watches."
            )


def _has(side: _Side, one: Field) -> bool:
    return one.name in side.data.columns or side.counts[one.name].present > 0


def _incomparable(one: Field, baseline: _Side, target: _Side) -> str:
    """Why the two sides of a field can't be compared; empty where they can, and where both have the column empty."""
    told = []
    for side in (baseline, target):
        counts = side.counts[one.name]
        if not _has(side, one):
            told.append(f"there is no column {one.name!r} in {side.data.place}")
        elif counts.invalid and not counts.present:
            told.append(
                f"the column {one.name!r} of {side.data.place} holds values of another type where the schema has a "
                f"{one.kind} field"
            )
        elif not counts.present:
            told.append(
                f"the column {one.name!r} of {side.data.place} holds no value in {counts.rows:,} rows"
            )
    empty = all(
        _has(s, one) and not s.counts[one.name].rows - s.counts[one.name].missing for s in (baseline, target)
    )
    return "" if empty else ", and ".join(told)
