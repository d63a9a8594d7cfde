"""Monitoring of what is deployed on an endpoint: create, update, pause, resume, delete, and what was found.

The work is in `monitoring_run`. Under "_" of a job: `baselines`, by deployed model the token of what its windows are
compared with, once that is read (`store.windows`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds, parse_rfc3339, rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from portico.services.aiplatform.endpoints import ENDPOINTS, await_served, publish
from portico.services.aiplatform.names import check_same_location
from portico.services.call import Call, implements
from portico.services.standard import operations, pages
from portico.services.standard.collection import Collection, register
from portico.store import domain_clock, resources, windows
from portico.store.resources import Resource
from portico.store.windows import StoredWindow

JOBS = Collection(
    "projects.locations.modelDeploymentMonitoringJobs",
    "ModelDeploymentMonitoringJob",
    output_only=frozenset(
        {
            "state",
            "scheduleState",
            "latestMonitoringPipelineMetadata",
            "nextScheduleTime",
            "bigqueryTables",
            "error",
        }
    ),
    immutable=frozenset({"endpoint", "encryptionSpec"}),
    has_etag=False,
)
register(JOBS, "get", "list")

DEFAULT_THRESHOLD = 0.3  # Vertex AI's, for a feature's distance, where there is too little data to calibrate
_HOUR = 3600.0
_OBJECTIVES = "modelDeploymentMonitoringObjectiveConfigs"
_SCHEDULE = "modelDeploymentMonitoringScheduleConfig"
_FOUND = {"RAW_FEATURE_SKEW": "skew", "RAW_FEATURE_DRIFT": "drift"}


def schedule_of(body: dict[str, Any]) -> tuple[float, float]:
    """Interval (whole hours, rounded up as Google does) and window of a job, in seconds."""
    config = body.get(_SCHEDULE) or {}
    interval = math.ceil(duration_seconds(config.get("monitorInterval", "")) / _HOUR) * _HOUR
    window = duration_seconds(config.get("monitorWindow", "")) or interval
    return interval, window


def threshold_of(
    config: dict[str, Any], feature: str, thresholds: str, default: str
) -> tuple[bool, float | None]:
    """Whether a feature's distance is watched, and the threshold that the config gives it: its own, else the default.

    A config without any threshold watches every feature, at thresholds that the run calibrates.
    """
    own = (config.get(thresholds) or {}).get(feature)
    if own is not None:
        return True, float(own.get("value", 0.0))
    if config.get(default):
        return True, float(config[default].get("value", 0.0))
    return not config.get(thresholds), None


@implements("aiplatform", JOBS.method("create"))
def create(call: Call) -> dict[str, Any]:
    parent, body = str(call.params["parent"]), dict(call.body)
    check_same_location(parent, body["endpoint"], "endpoint")
    name = f"{parent}/modelDeploymentMonitoringJobs/{call.rooms.ids.number()}"
    with call.rooms.database.write() as connection:
        endpoint = ENDPOINTS.require(connection, body["endpoint"])
        if endpoint.body.get("modelDeploymentMonitoringJob"):
            raise FailedPrecondition(
                f"The Endpoint {endpoint.name} is monitored by {endpoint.body['modelDeploymentMonitoringJob']} "
                "already; delete that first."
            )
        _check(body, endpoint)
        body |= {"state": "JOB_STATE_PENDING", "_": {"baselines": {}}}
        _schedule(call, connection, body)
        made = JOBS.create(call, connection, name, parent, body)
        version = _publish(call, connection, endpoint, name, body)
        shown = JOBS.render(made)
    await_served(call, version)
    return shown


@implements("aiplatform", JOBS.method("patch"))
def patch(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        job = JOBS.require(connection, call.name)
        before = job.body
        job.body = JOBS.patched(call, job.body)
        endpoint = ENDPOINTS.require(connection, job.body["endpoint"])
        _check(job.body, endpoint)
        if schedule_of(before) != schedule_of(job.body):
            _schedule(call, connection, job.body)
        if before[_OBJECTIVES] != job.body[_OBJECTIVES]:
            job.body["_"] = {"baselines": {}}
        version = _publish(call, connection, endpoint, job.name, job.body)
        resources.update(connection, job, call.rooms.clock.now())
        answer = operations.done(
            call, connection, job.name, "UpdateModelDeploymentMonitoringJobOperationMetadata",
            "ModelDeploymentMonitoringJob", JOBS.render(job),
        )  # fmt: skip
    await_served(call, version)
    return answer


@implements("aiplatform", JOBS.method("pause"))
def pause(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        job = JOBS.require(connection, call.name)
        job.body |= {"state": "JOB_STATE_PAUSED", "scheduleState": "OFFLINE"}
        resources.update(connection, job, call.rooms.clock.now())
    return {}


@implements("aiplatform", JOBS.method("resume"))
def resume(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        job = JOBS.require(connection, call.name)
        if job.body["state"] != "JOB_STATE_PAUSED":
            raise FailedPrecondition(f"{job.name} is not paused: its state is {job.body['state']}.")
        job.body["state"] = "JOB_STATE_RUNNING" if job.body["_"]["baselines"] else "JOB_STATE_PENDING"
        _schedule(call, connection, job.body)
        resources.update(connection, job, call.rooms.clock.now())
    return {}


@implements("aiplatform", JOBS.method("delete"))
def delete(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        job = JOBS.require(connection, call.name)
        endpoint = resources.get(connection, job.body["endpoint"])
        version = None
        if endpoint is not None:
            version = _publish(call, connection, endpoint, "", {})
        windows.delete(connection, job.name)
        resources.delete(connection, job.name)
        answer = operations.done(call, connection, job.name, "DeleteOperationMetadata", None)
    if version is not None:
        await_served(call, version)
    return answer


def _schedule(call: Call, connection: Connection, body: dict[str, Any]) -> None:
    """The next run is an interval from now, in domain time."""
    next_run = domain_clock.now(connection, call.rooms.clock) + schedule_of(body)[0]
    body |= {"scheduleState": "PENDING", "nextScheduleTime": rfc3339(next_run)}


def _publish(call: Call, connection: Connection, endpoint: Resource, name: str, body: dict[str, Any]) -> int:
    """Lets the fronts log what the job `name` samples; nothing for it where there is none. As `publish`."""
    endpoint.body.pop("modelDeploymentMonitoringJob", None)
    if name:
        endpoint.body["modelDeploymentMonitoringJob"] = name
    endpoint.body.setdefault("_", {})["samplingRate"] = _sampling_rate(body) if name else 0.0
    resources.update(connection, endpoint, call.rooms.clock.now())
    return publish(connection, endpoint)


@implements("aiplatform", JOBS.method("searchModelDeploymentMonitoringStatsAnomalies"))
def search(call: Call) -> dict[str, Any]:
    name, body = str(call.params["modelDeploymentMonitoringJob"]), call.body
    deployed_id = body["deployedModelId"]
    asked = [objective.get("type", "") for objective in body.get("objectives") or []]
    for objective in asked:
        if objective not in _FOUND:
            raise Unimplemented(f"{objective or 'An objective without a type'} is not built in Portico yet.")
    with call.rooms.database.read() as connection:
        job = JOBS.require(connection, name)
        configs = {c["deployedModelId"]: c["objectiveConfig"] for c in job.body[_OBJECTIVES]}
        if deployed_id not in configs:
            raise NotFound(
                f"{name} does not monitor the deployed model {deployed_id!r}; it does {', '.join(configs)}."
            )
        start, end = (parse_rfc3339(body[k]) if body.get(k) else None for k in ("startTime", "endTime"))
        found = windows.listed(connection, name, deployed_id, start=start, end=end)
    wanted = body.get("featureDisplayName", "")
    every = [(o, shown) for o in asked for shown in _stats(_FOUND[o], wanted, found)]
    size = pages.page_size(body.get("pageSize"), default=100, maximum=1000)
    query = (name, deployed_id, *asked)
    at = int(pages.read_token(body.get("pageToken", ""), "monitoringStats", *query) or 0)
    answer: dict[str, Any] = {"monitoringStats": _grouped(deployed_id, every[at : at + size])}
    if len(every) > at + size:
        answer["nextPageToken"] = pages.write_token(at + size, "monitoringStats", *query)
    return answer


def _stats(kind: str, wanted: str, found: list[StoredWindow]) -> Iterator[dict[str, Any]]:
    """The statistics of the feature `wanted` (of each, by name, where it is empty), the newest window first."""
    for name in sorted({name for window in found for name in window.body["features"]}):
        if wanted and name != wanted:
            continue
        results = [(window, window.body["features"].get(name, {}).get(kind)) for window in found]
        history = [
            {
                "distributionDeviation": result["distance"],
                "anomalyDetectionThreshold": result["threshold"],
                "startTime": rfc3339(window.start),
                "endTime": rfc3339(window.end),
            }
            for window, result in results
            if result is not None
        ]
        if history:
            yield {
                "featureDisplayName": name,
                "threshold": {"value": history[0]["anomalyDetectionThreshold"]},
                "predictionStats": history,
            }


def _grouped(deployed_id: str, stats: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    made = []
    for objective in dict.fromkeys(objective for objective, _ in stats):
        features = [feature for of, feature in stats if of == objective]
        anomalies = sum(
            entry["distributionDeviation"] > entry["anomalyDetectionThreshold"]
            for feature in features
            for entry in feature["predictionStats"]
        )
        made.append(
            {
                "objective": objective,
                "deployedModelId": deployed_id,
                "anomalyCount": anomalies,
                "featureStats": features,
            }
        )
    return made


def _sampling_rate(body: dict[str, Any]) -> float:
    config = (body.get("loggingSamplingStrategy") or {}).get("randomSampleConfig") or {}
    return float(config.get("sampleRate", 1.0))


def _check(body: dict[str, Any], endpoint: Resource) -> None:
    """
    Raises:
        InvalidArgument: naming the field. Unimplemented: what is not built.
    """
    if not 0 < _sampling_rate(body) <= 1:
        raise InvalidArgument(
            f"sampleRate is {_sampling_rate(body)}; it must be above 0 and at most 1.",
            field="loggingSamplingStrategy.randomSampleConfig.sampleRate",
        )
    if schedule_of(body)[0] <= 0:
        raise InvalidArgument("monitorInterval must be above 0s.", field=f"{_SCHEDULE}.monitorInterval")
    deployed = {d["id"] for d in endpoint.body.get("deployedModels") or []}
    seen: set[str] = set()
    for position, config in enumerate(body[_OBJECTIVES]):
        field = f"{_OBJECTIVES}[{position}]"
        deployed_id = config.get("deployedModelId", "")
        if deployed_id not in deployed or deployed_id in seen:
            raise InvalidArgument(
                f"deployedModelId is {deployed_id!r}; each must be another one of the endpoint's: "
                f"{', '.join(sorted(deployed)) or 'nothing is deployed'}.",
                field=f"{field}.deployedModelId",
            )
        seen.add(deployed_id)
        _check_objective(config.get("objectiveConfig") or {}, f"{field}.objectiveConfig")


def _check_objective(config: dict[str, Any], field: str) -> None:
    skew, drift = "trainingPredictionSkewDetectionConfig", "predictionDriftDetectionConfig"
    if not (skew in config or drift in config):
        raise InvalidArgument(f"Neither {skew} nor {drift} is given.", field=field)
    attributions = (config.get("explanationConfig") or {}).get("enableFeatureAttributes") or any(
        key.startswith("attributionScore") and value
        for part in (skew, drift)
        for key, value in (config.get(part) or {}).items()
    )
    if attributions:
        raise Unimplemented(
            "Monitoring of attributions is not built in Portico yet; leave explanationConfig and the attribution "
            "thresholds out."
        )
    data = config.get("trainingDataset") or {}
    if skew in config:
        if data.get("bigquerySource"):
            raise Unimplemented(
                "Training data in BigQuery are not built in Portico yet; use gcsSource or dataset."
            )
        if not (data.get("dataset") or (data.get("gcsSource") or {}).get("uris")):
            raise InvalidArgument(
                "Skew needs the training data: dataset or gcsSource.uris.", field=f"{field}.trainingDataset"
            )
    for part in (skew, drift):
        for key, value in (config.get(part) or {}).items():
            named = {"": value} if key.startswith("default") else value
            for feature, threshold in named.items():
                if not 0 <= float(threshold.get("value", 0.0)) <= 1:
                    raise InvalidArgument(
                        f"The threshold {threshold.get('value')} of {feature or 'all features'} is not in 0 to 1.",
                        field=f"{field}.{part}.{key}",
                    )


def monitored(connection: Connection) -> list[Resource]:
    """Every job that is not paused."""
    found = resources.listed(connection, JOBS.kind)
    return [job for job in found if job.body["state"] != "JOB_STATE_PAUSED"]
