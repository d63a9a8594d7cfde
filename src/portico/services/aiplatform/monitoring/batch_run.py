"""A batch prediction job that is monitored: its predictions, and then what it was asked beside training data.

Its findings are on the job (`modelMonitoringStatsAnomalies`), in files below its output laid out as Vertex AI's, in the
job's log, and in a mail. That they could not be made is told in `modelMonitoringStatus`; the predictions stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, NotFound, PorticoError, rpc_status
from portico.jobs.worker import Context
from portico.ml.tables import rows_to_batch
from portico.services.aiplatform.batch import read as batch_read
from portico.services.aiplatform.batch import run as predicting
from portico.services.aiplatform.batch.run import BatchPrivate
from portico.services.aiplatform.monitoring import baseline, output_files, reader, search_anomalies, words
from portico.services.aiplatform.monitoring.distributions import distribution
from portico.services.aiplatform.monitoring.window import Counted, body_of
from portico.services.aiplatform.thresholds import SKEW
from portico.services.call import rooms_of
from portico.services.standard import sources
from portico.store import resources
from portico.store.resources import Resource
from portico.store.windows import StoredWindow

_ROWS = 50_000  # counted at once
_MOST = 1 << 20  # bytes of a schema
_OBJECTIVE = "RAW_FEATURE_SKEW"
_MEASURES = {"numeric": "JENSEN_SHANNON_DIVERGENCE", "categorical": "L_INFTY"}


def run(context: Context) -> dict[str, Any]:
    """Job: what `batch.run` does, and the monitoring of it."""
    told = predicting.run(context)
    context.progress(0.99, "comparing the input with the training data")
    with context.database.read() as connection:
        job = resources.get(connection, context.job.resource)
    if job is None:
        raise NotFound(f"{context.job.resource} was deleted.")
    stats: list[dict[str, Any]] = []
    window = None
    lines: list[str] = []
    status: dict[str, Any] = {}
    try:
        window, lines = _compared(context, job)
        stats = _shown(window, _written(context, job, window))
    except PorticoError as error:
        status = rpc_status(error)
        print(f"The job can't be monitored: {error.message}", flush=True)
    for line in lines:
        print(f"anomaly: {line}", flush=True)
    _noted(context, job.name, stats, status, window, lines)
    return told


def _compared(context: Context, job: Resource) -> tuple[tuple[StoredWindow, Counted], list[str]]:
    """The input, counted and scored, and its anomalies in words."""
    objective = job.body["modelMonitoringConfig"]["objectiveConfigs"][0]
    with context.database.read() as connection:
        kinds = baseline.kinds_of(resources.get(connection, BatchPrivate.of(job).version))
    made, features = baseline.of_training(rooms_of(context), objective["trainingDataset"], job.name, kinds)
    start = context.clock.now()
    counted = Counted(made, start, False)
    for part in _input(context, job, _order(context, job) or features.column_names):
        counted.add_table(part)
    if not counted.rows:
        raise FailedPrecondition("Not one row of the input could be read.")
    body = body_of(counted, None, {SKEW: objective[SKEW]}, None)
    lines = words.lines(body, counted.sketches) if words.anomalies(body) else []
    return (StoredWindow(job.name, "", start, context.clock.now(), body), counted), lines


def _order(context: Context, job: Resource) -> list[str]:
    """The names of the values of an instance that is a list: the instanceConfig's, or those of the schema, in its
    order."""
    included = (job.body.get("instanceConfig") or {}).get("includedFields")
    uri = job.body["modelMonitoringConfig"].get("analysisInstanceSchemaUri")
    if included or not uri:
        return list(included or ())
    import yaml

    gcs = sources.gcs_of(context)
    with gcs.open(gcs.find(uri)) as file:
        text = file.read(_MOST)
    try:
        told = yaml.safe_load(text)
        return list(told["properties"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise FailedPrecondition(
            f"{uri} is no schema of an instance: YAML with `properties` by name ({type(error).__name__})."
        ) from None


def _input(context: Context, job: Resource, order: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows that could be read: the others are among the job's failures."""
    private = BatchPrivate.of(job)
    form = "parquet" if private.fields else job.body["inputConfig"]["instancesFormat"]
    for chunk in batch_read.read(private.pins, context.home, form, _ROWS):
        context.check()
        if chunk.batch is not None:
            yield chunk.batch
            continue
        batch_read.parse(chunk)
        rows = [value for place, value in enumerate(chunk.values) if place not in chunk.bad]
        if rows:
            yield rows_to_batch([reader.named(row, order) for row in rows])


def _written(context: Context, job: Resource, found: tuple[StoredWindow, Counted]) -> dict[str, str]:
    """Writes the files; by field of a FeatureStatsAnomaly the URI. Nothing without a place in Cloud Storage."""
    config = job.body["modelMonitoringConfig"]
    destination = job.body["outputConfig"].get("gcsDestination")
    base = str((config.get("statsAnomaliesBaseDirectory") or destination or {}).get("outputUriPrefix", ""))
    if not base:
        print(
            "The output is in BigQuery: give statsAnomaliesBaseDirectory for files of the statistics.",
            flush=True,
        )
        return {}
    folder = f"{base.rstrip('/')}/job-{job.name.rpartition('/')[2]}/bp_monitoring"
    window, counted = found
    part = counted.baseline.features
    gcs = sources.gcs_of(context)
    uris = {
        "statsUri": f"{folder}/stats_and_anomalies/stats/current_stats",
        "anomalyUri": f"{folder}/stats_and_anomalies/anomalies/training_prediction_skew_anomalies",
    }
    for uri, counts in (
        (f"{folder}/stats_training/stats/training_stats", part.training or {}),
        (uris["statsUri"], counted.parts["features"]),
    ):
        told = [distribution(bins, counts[bins.name]) for bins in part.bins]
        whole = {
            "numExamples": told[0]["numExamples"] if told else "0", "features": [one["features"][0] for one in told],
        }  # fmt: skip
        gcs.write(uri, output_files.encode("list", {"datasets": [whole]}))
    gcs.write(uris["anomalyUri"], json.dumps(_anomalies(window.body), indent=2).encode(), "application/json")
    return uris


def _anomalies(body: Mapping[str, Any]) -> dict[str, Any]:
    """A tensorflow.metadata.v0.Anomalies as JSON: each anomaly, and the skew of each feature that is watched."""
    watched = {name: about["skew"] for name, about in body["features"].items() if "skew" in about}
    info = {}
    for name, found in watched.items():
        if not words.anomalies_of(found):
            continue
        said = f"The distance is {found['distance']:.6g}, the threshold {found['threshold']:.6g} ({found['most']})."
        reasons = [f"The share of {share} values is too high." for share in found["shares"]]
        if words.above(found):
            reasons.insert(0, said)
        info[name] = {
            "path": {"step": [name]}, "severity": "ERROR",
            "shortDescription": "High distance between training and serving",
            "description": " ".join(reasons),
        }  # fmt: skip
    measured = [
        {
            "path": {"step": [name]},
            "skewMeasurements": [
                {
                    "type": _MEASURES[found["kind"]],
                    "value": found["distance"],
                    "threshold": found["threshold"],
                }
            ],
        }
        for name, found in watched.items()
    ]
    return {"anomalyInfo": info, "driftSkewInfo": measured}


def _shown(found: tuple[StoredWindow, Counted], uris: Mapping[str, str]) -> list[dict[str, Any]]:
    """As the job shows it."""
    stats = []
    for feature, count in search_anomalies.stats("features", "skew", "", [found[0]]):
        feature["predictionStats"] = [one | uris for one in feature["predictionStats"]]
        stats.append((_OBJECTIVE, feature, count))
    return search_anomalies.grouped("", stats)


def _noted(
    context: Context,
    name: str,
    stats: list[dict[str, Any]],
    status: dict[str, Any],
    found: tuple[StoredWindow, Counted] | None,
    lines: list[str],
) -> None:
    now = context.clock.now()
    with context.database.write() as connection:
        job = resources.get(connection, name)
        if job is None:
            raise NotFound(f"{name} was deleted.")
        job.body["modelMonitoringStatus"] = status
        job.body["modelMonitoringStatsAnomalies"] = stats
        alerts = job.body["modelMonitoringConfig"].get("alertConfig") or {}
        to = (alerts.get("emailAlertConfig") or {}).get("userEmails") or []
        if found:
            opening = f"{job.name} predicted for {found[0].body['rows']:,} rows at {rfc3339(found[0].end)}."
            where = f"{job.body['displayName']}: {words.anomalies(found[0].body)} anomalies in the input"
            words.mail(connection, job, context.ids.number(), to, where, opening, lines, now)
        resources.update(connection, job, now)
    channels = alerts.get("notificationChannels") or []
    if lines and (channels or alerts.get("enableLogging")):
        entry = {"batchPredictionJob": name, "anomalies": lines, "notificationChannels": channels}
        print(orjson.dumps(entry).decode(), flush=True)
