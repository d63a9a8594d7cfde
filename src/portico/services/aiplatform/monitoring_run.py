"""The runs of model deployment monitoring jobs: counts a window of the log, scores it, and says what moved."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from portico.clock import Clock, SystemClock, rfc3339
from portico.errors import FailedPrecondition, PorticoError, rpc_status
from portico.ids import RandomIds
from portico.prediction.prediction_log import stream_of
from portico.services.aiplatform import model_deployment_monitoring_jobs as jobs
from portico.services.aiplatform import monitoring_mail, sources
from portico.services.aiplatform.datasets import DATASETS
from portico.store import resources, segments, windows
from portico.store.database import Database
from portico.store.domain_clock import DomainClock
from portico.store.gcs import Gcs
from portico.store.objects_files import path_of
from portico.store.resources import Resource
from portico.store.segments import Segments
from portico.store.windows import StoredWindow

if TYPE_CHECKING:
    from portico.ml.watch.bins import Window

log = logging.getLogger(__name__)

_COLUMNS = ("deployed_model_id", "logging_time", "request_payload")
_ROWS = 50_000  # instances that are counted at once


class Monitoring:
    """Belongs to the watcher's process."""

    def __init__(
        self,
        home: Path,
        database: Database,
        domain: DomainClock,
        segments: Segments,
        clock: Clock | None = None,
    ) -> None:
        self._home = home
        self._database = database
        self._domain = domain
        self._segments = segments
        self._clock = clock or SystemClock()

    def run_due(self) -> None:
        """Runs every job as often as it was due up to now, in the domain clock's order."""
        with self._database.read() as connection:
            now = self._domain.at(connection)
            found = jobs.monitored(connection)
        for job in found:
            if not self._ready(job):
                try:
                    self._prepare(job)
                except PorticoError as error:
                    self._failed(job, error)
                    continue
            self._run_until(job.name, now)

    # --- the baseline ---

    def _ready(self, job: Resource) -> bool:
        return job.body["state"] in ("JOB_STATE_RUNNING", "JOB_STATE_FAILED") and bool(
            job.body["_"]["baselines"]
        )

    def _prepare(self, job: Resource) -> None:
        """Reads the training data of each objective: bins and counts that windows are compared with."""
        baselines = {}
        for config in job.body["modelDeploymentMonitoringObjectiveConfigs"]:
            baselines[config["deployedModelId"]] = self._baseline(job, config)
        with self._database.write() as connection:
            current = resources.get(connection, job.name)
            if current is None or current.body["state"] == "JOB_STATE_PAUSED":
                return
            current.body["_"]["baselines"] = baselines
            current.body |= {"state": "JOB_STATE_RUNNING", "scheduleState": "PENDING"}
            current.body.pop("error", None)
            resources.update(connection, current, self._clock.now())

    def _baseline(self, job: Resource, config: dict[str, Any]) -> dict[str, Any]:
        """`bins`, and with training data `training`: their counts. Without them the first window makes the bins."""
        data = config["objectiveConfig"].get("trainingDataset") or {}
        gcs = Gcs(self._home, self._database, self._clock, RandomIds())
        uris = (data.get("gcsSource") or {}).get("uris") or []
        if data.get("dataset"):
            with self._database.read() as connection:
                uris = DATASETS.require(connection, data["dataset"]).body["_"]["uris"]
        if not uris:
            return {"bins": [], "training": None}
        from portico.ml.errors import DataError
        from portico.ml.tables import read_table
        from portico.ml.watch.bins import count, fit_bins

        rows = sources.find(gcs, uris, "trainingDataset")
        form = sources.format_of(
            [row.name for row in rows], data.get("dataFormat", ""), "trainingDataset.dataFormat"
        )
        try:
            table = read_table([path_of(self._home, row.file) for row in rows], format=form)
        except DataError as error:
            raise FailedPrecondition(f"The training data can't be read: {error.message}.") from None
        target = data.get("targetField", "")
        features = table.drop_columns([target]) if target in table.column_names else table
        bins = fit_bins(features, self._kinds(job, config["deployedModelId"]))
        return {
            "bins": [feature.to_json() for feature in bins],
            "training": {name: counts.to_json() for name, counts in count(features, bins).items()},
        }

    def _kinds(self, job: Resource, deployed_id: str) -> dict[str, str] | None:
        """The kinds of the columns as the deployed model reads them, where it says so."""
        with self._database.read() as connection:
            endpoint = resources.get(connection, job.body["endpoint"])
            for deployed in (endpoint.body.get("deployedModels") or []) if endpoint else []:
                if deployed["id"] == deployed_id:
                    version = resources.get(connection, f"{deployed['model']}@{deployed['modelVersionId']}")
                    metadata = (version.body.get("metadata") or {}) if version else {}
                    return metadata.get("columns") if isinstance(metadata, dict) else None
        return None

    # --- a run ---

    def _run_until(self, name: str, now: float) -> None:
        """Runs the job for each interval that ended up to `now`; intervals without predictions leave no window."""
        while True:
            with self._database.read() as connection:
                job = resources.get(connection, name)
                if job is None or job.body["_"]["next"] > now or job.body["state"] == "JOB_STATE_PAUSED":
                    return
                interval, length = jobs.schedule_of(job.body)
                end = job.body["_"]["next"]
                stream = stream_of(job.body["endpoint"])
                start = round(end - length, 6)  # as precise as a Timestamp
                later = segments.listed(connection, stream, start=start)
            if not later:  # nothing was predicted since: go on with the interval that holds now
                end = round(end + math.floor((now - end) / interval) * interval, 6)
                start = round(end - length, 6)
            made = [
                self._window(job, config, start, end)
                for config in job.body["modelDeploymentMonitoringObjectiveConfigs"]
            ]
            with self._database.write() as connection:
                current = resources.get(connection, name)
                if current is None:
                    return
                for window, bins in made:
                    if window is not None:
                        windows.put(connection, window)
                        current.body["_"]["baselines"][window.deployed_model]["bins"] = bins
                current.body["_"]["next"] = round(end + interval, 6)
                current.body["nextScheduleTime"] = rfc3339(end + interval)
                current.body["latestMonitoringPipelineMetadata"] = {"runTime": rfc3339(end), "status": {}}
                resources.update(connection, current, self._clock.now())
            for window, _ in made:
                if window is not None:
                    _tell(job, window)

    def _window(
        self, job: Resource, config: dict[str, Any], start: float, end: float
    ) -> tuple[StoredWindow | None, list[dict[str, Any]]]:
        """The window [start, end) of one deployed model, scored; None when it had no predictions."""
        from portico.ml.watch.bins import Counts, FeatureBins, count, fit_bins, merge
        from portico.ml.watch.distances import score

        deployed_id = config["deployedModelId"]
        baseline = job.body["_"]["baselines"][deployed_id]
        bins = [FeatureBins.from_json(feature) for feature in baseline["bins"]]
        counted: Window | None = None
        for table in self._instances(job, deployed_id, start, end):
            bins = bins or fit_bins(table, self._kinds(job, deployed_id))
            part = count(table, bins)
            counted = part if counted is None else merge(counted, part)
        if counted is None:
            return None, baseline["bins"]
        with self._database.read() as connection:
            before = windows.listed(connection, job.name, deployed_id, end=end - 1e-6, limit=1)
        references = {"skew": baseline["training"], "drift": _counts(before[0]) if before else None}
        features: dict[str, dict[str, Any]] = {f.name: {"counts": counted[f.name].to_json()} for f in bins}
        for kind, part_name, thresholds, default in _KINDS:
            part = config["objectiveConfig"].get(part_name)
            reference = references[kind]
            if part is None or reference is None:
                continue
            known = [f for f in bins if f.name in reference]
            held = {name: Counts.from_json(reference[name]) for name in (f.name for f in known)}
            for scored in score(counted, held, known):
                threshold = jobs.threshold_of(part, scored.name, thresholds, default)
                if threshold is not None:
                    features[scored.name][kind] = {**scored.to_json(), "threshold": threshold}
        body = {"features": features, "rows": next((c.rows for c in counted.values()), 0)}
        stored = StoredWindow(job.name, deployed_id, start, end, body)
        return stored, [feature.to_json() for feature in bins]

    def _instances(self, job: Resource, deployed_id: str, start: float, end: float) -> Iterator[Any]:
        """The instances that the deployed model was asked for in [start, end), as tables of features."""
        from portico.ml.tables import rows_to_batch

        rows: list[dict[str, Any]] = []
        for table in self._segments.scan(stream_of(job.body["endpoint"]), start, end, _COLUMNS):
            for row in table.to_pylist():
                if (
                    row["deployed_model_id"] != deployed_id
                    or not start <= row["logging_time"].timestamp() < end
                ):
                    continue
                rows += [_features(orjson.loads(text), self._order(job)) for text in row["request_payload"]]
            if len(rows) >= _ROWS:
                yield rows_to_batch(rows)
                rows = []
        if rows:
            yield rows_to_batch(rows)

    def _order(self, job: Resource) -> list[str]:
        """The names of the values of an instance that is a list: the keys of the job's sample instance."""
        sample = job.body.get("samplePredictInstance")
        return list(sample) if isinstance(sample, dict) else []

    def _failed(self, job: Resource, error: PorticoError) -> None:
        log.warning("%s can't begin: %s", job.name, error.message)
        with self._database.write() as connection:
            current = resources.get(connection, job.name)
            if current is not None and current.body.get("error") != rpc_status(error):
                current.body |= {"state": "JOB_STATE_FAILED", "error": rpc_status(error)}
                resources.update(connection, current, self._clock.now())


_KINDS = (
    ("skew", "trainingPredictionSkewDetectionConfig", "skewThresholds", "defaultSkewThreshold"),
    ("drift", "predictionDriftDetectionConfig", "driftThresholds", "defaultDriftThreshold"),
)


def _counts(window: StoredWindow) -> dict[str, Any]:
    return {name: feature["counts"] for name, feature in window.body["features"].items()}


def _features(instance: Any, names: list[str]) -> dict[str, Any]:
    """An instance as named features: an object's own names, a list's by position."""
    if isinstance(instance, dict):
        return instance
    cells = instance if isinstance(instance, list) else [instance]
    return {(names[i] if i < len(names) else f"feature_{i}"): cell for i, cell in enumerate(cells)}


def _tell(job: Resource, window: StoredWindow) -> None:
    """Anomalies go to the server's log and to the job's mail addresses: which feature, how far, what moved most."""
    lines = [
        f"{kind} of {name!r} is {found['distance']:.3f}, above {found['threshold']:.3f} ({found['most']})"
        for name, feature in window.body["features"].items()
        for kind in ("skew", "drift")
        if (found := feature.get(kind)) and found["distance"] > found["threshold"]
    ]
    if not lines:
        return
    where = f"{job.body['displayName']}: {len(lines)} anomalies in the window to {rfc3339(window.end)}"
    for line in lines:
        log.warning("%s: %s", where, line)
    alerts = job.body.get("modelMonitoringAlertConfig") or {}
    to = (alerts.get("emailAlertConfig") or {}).get("userEmails") or []
    text = (
        f"The deployed model {window.deployed_model} of {job.body['endpoint']} was asked for "
        f"{window.body['rows']:,} rows from {rfc3339(window.start)} to {rfc3339(window.end)}.\n\n"
        + "\n".join(f"- {line}" for line in lines)
        + f"\n\nLook first at the feature that moved most, and at where it comes from. The job: {job.name}\n"
    )
    monitoring_mail.send(to, f"Portico: {where}", text)
