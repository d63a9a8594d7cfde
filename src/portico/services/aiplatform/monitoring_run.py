"""The runs of model deployment monitoring jobs: counts a window of the log, scores it, and says what moved."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from portico.clock import parse_rfc3339, rfc3339
from portico.errors import FailedPrecondition, PorticoError, rpc_status
from portico.prediction.prediction_log import stream_of
from portico.services.aiplatform import model_deployment_monitoring_jobs as jobs
from portico.services.aiplatform import monitoring_mail, sources
from portico.services.aiplatform.datasets import DATASETS, data_of
from portico.services.call import Rooms
from portico.store import domain_clock, resources, segments, windows
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

    def __init__(self, rooms: Rooms, segments: Segments) -> None:
        self._rooms = rooms
        self._database = rooms.database
        self._segments = segments

    def run_due(self) -> None:
        """Runs every job as often as it was due up to now, in domain time. A job that can't be run stops no other."""
        with self._database.read() as connection:
            now = domain_clock.now(connection, self._rooms.clock)
            found = jobs.monitored(connection)
        for job in found:
            try:
                if not job.body["_"]["baselines"]:
                    self._prepare(job)
                self._run_until(job.name, now)
            except PorticoError as error:
                self._failed(job, error)
            except Exception:
                log.exception("%s can't be run", job.name)

    # --- the baseline ---

    def _prepare(self, job: Resource) -> None:
        """Reads the training data of each objective: bins and counts that windows are compared with."""
        baselines = {}
        for config in job.body["modelDeploymentMonitoringObjectiveConfigs"]:
            baselines[config["deployedModelId"]] = self._baseline(job, config)
        with self._database.write() as connection:
            current = resources.get(connection, job.name)
            if current is None or current.revision != job.revision:
                return  # it was changed meanwhile: read again at the next look
            current.body["_"]["baselines"] = baselines
            current.body["state"] = "JOB_STATE_RUNNING"
            current.body.pop("error", None)
            resources.update(connection, current, self._rooms.clock.now())

    def _baseline(self, job: Resource, config: dict[str, Any]) -> dict[str, Any]:
        """`bins`, and with training data `training`: their counts. Without them the first window makes the bins."""
        data = config["objectiveConfig"].get("trainingDataset") or {}
        if not data:
            return {"bins": [], "training": None}
        from portico.ml.errors import DataError
        from portico.ml.tables import read_table
        from portico.ml.watch.bins import count, fit_bins

        gcs = sources.gcs_of(self._rooms)
        try:
            if data.get("dataset"):
                with self._database.read() as connection:
                    dataset = DATASETS.require(connection, data["dataset"])
                pinned = data_of(self._rooms, dataset, job.name)
            else:
                pinned = sources.pin(gcs, data["gcsSource"]["uris"], job.name, "trainingDataset")
            names = [source.uri for source in pinned]
            form = sources.format_of(names, data.get("dataFormat", ""), "trainingDataset.dataFormat")
            table = read_table([source.path(self._rooms.home) for source in pinned], format=form)
        except DataError as error:
            raise FailedPrecondition(f"The training data can't be read: {error.message}.") from None
        finally:
            gcs.unpin(job.name)
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
        while (job := self._due(name, now)) is not None:
            interval, length = jobs.schedule_of(job.body)
            end = parse_rfc3339(job.body["nextScheduleTime"])
            with self._database.read() as connection:
                later = segments.listed(
                    connection, stream_of(job.body["endpoint"]), start=_exact(end - length)
                )
            # Nothing was predicted until then: go on with the interval before it.
            until = min([now, *(segment.first for segment in later)])
            end = _exact(end + max(math.floor((until - end) / interval), 0) * interval)
            configs = job.body["modelDeploymentMonitoringObjectiveConfigs"]
            made = [self._window(job, config, _exact(end - length), end) for config in configs]
            with self._database.write() as connection:
                current = resources.get(connection, name)
                if current is None or current.revision != job.revision:
                    return  # it was changed meanwhile: the next look runs it as it is now
                for config, (window, bins) in zip(configs, made, strict=True):
                    current.body["_"]["baselines"][config["deployedModelId"]]["bins"] = bins
                    if window is not None:
                        windows.put(connection, window)
                current.body |= {"state": "JOB_STATE_RUNNING", "nextScheduleTime": rfc3339(end + interval)}
                current.body.pop("error", None)
                current.body["latestMonitoringPipelineMetadata"] = {"runTime": rfc3339(end), "status": {}}
                resources.update(connection, current, self._rooms.clock.now())
            for window, _ in made:
                if window is not None:
                    _tell(job, window)

    def _due(self, name: str, now: float) -> Resource | None:
        """The job as it is now, where a run of it is due."""
        with self._database.read() as connection:
            job = resources.get(connection, name)
        if job is None or job.body["state"] == "JOB_STATE_PAUSED" or not job.body["_"]["baselines"]:
            return None
        return job if parse_rfc3339(job.body["nextScheduleTime"]) <= now else None

    def _window(
        self, job: Resource, config: dict[str, Any], start: float, end: float
    ) -> tuple[StoredWindow | None, list[dict[str, Any]]]:
        """The window [start, end) of one deployed model, scored (None when it had no predictions), and its bins."""
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
        shown = [feature.to_json() for feature in bins]
        digest = hashlib.sha256(orjson.dumps(shown)).hexdigest()
        references = {"skew": baseline["training"], "drift": self._before(job.name, deployed_id, end, digest)}
        features: dict[str, dict[str, Any]] = {f.name: {"counts": counted[f.name].to_json()} for f in bins}
        for kind, part_name, thresholds, default in _KINDS:
            part = config["objectiveConfig"].get(part_name)
            reference = references[kind]
            if part is None or reference is None:
                continue
            held = {name: Counts.from_json(counts) for name, counts in reference.items()}
            for scored in score(counted, held, bins):
                threshold = jobs.threshold_of(part, scored.name, thresholds, default)
                if threshold is not None:
                    features[scored.name][kind] = {**scored.to_json(), "threshold": threshold}
        rows = next((counts.rows for counts in counted.values()), 0)
        body = {"features": features, "rows": rows, "bins": digest}
        return StoredWindow(job.name, deployed_id, start, end, body), shown

    def _before(self, name: str, deployed_id: str, end: float, digest: str) -> dict[str, Any] | None:
        """The counts of the window before the one that ends at `end`, where it was counted in the same bins."""
        with self._database.read() as connection:
            found = windows.listed(connection, name, deployed_id, end=end - 1e-6, limit=1)
        if not found or found[0].body["bins"] != digest:
            return None
        return {feature: about["counts"] for feature, about in found[0].body["features"].items()}

    def _instances(self, job: Resource, deployed_id: str, start: float, end: float) -> Iterator[Any]:
        """The instances that the deployed model was asked for in [start, end), as tables of features."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from portico.ml.tables import rows_to_batch

        first, last = (pa.scalar(round(at * 1e6), pa.timestamp("us", tz="UTC")) for at in (start, end))
        time = pc.field("logging_time")
        wanted = (pc.field("deployed_model_id") == deployed_id) & (time >= first) & (time < last)
        names = self._order(job)
        rows: list[dict[str, Any]] = []
        for table in self._segments.scan(stream_of(job.body["endpoint"]), start, end, _COLUMNS):
            for texts in table.filter(wanted)["request_payload"].to_pylist():
                rows += [_features(orjson.loads(text), names) for text in texts]
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
                resources.update(connection, current, self._rooms.clock.now())


_KINDS = (
    ("skew", "trainingPredictionSkewDetectionConfig", "skewThresholds", "defaultSkewThreshold"),
    ("drift", "predictionDriftDetectionConfig", "driftThresholds", "defaultDriftThreshold"),
)


def _exact(seconds: float) -> float:
    """As precise as a Timestamp, which is what times are compared with."""
    return round(seconds, 6)


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
