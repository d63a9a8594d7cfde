"""Monitoring of what is deployed on an endpoint: create, update, pause, resume, delete.

The work is in `deployment_run`; what it found is told by `search_anomalies`.
"""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds, rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform.monitoring.deployed_models import NATIVE, served
from portico.services.call import Call, implements
from portico.services.standard import operations, standing
from portico.services.standard.collection import Collection, register
from portico.services.standard.names import check_same_location
from portico.services.standard.serving import ENDPOINTS, await_served, sample
from portico.store import domain_clock, resources, windows
from portico.store.resources import Private, Resource
from portico.store.served import ServedModel

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
KIND = register_kind(
    JobKind(
        "modelDeploymentMonitoringJobs.run",
        "portico.services.aiplatform.monitoring.deployment_run:run",
        lambda *_: None,
        lane="watch",
    )
).name


class JobPrivate(Private):
    """`baselines` has by deployed model the token of what its windows are compared with (`store.windows`), once that is
    made."""

    baselines: dict[str, str] = {}


DEFAULT_THRESHOLD = 0.3  # Vertex AI's, for a feature's distance, where there is too little data to calibrate
_HOUR = 3600.0
_OBJECTIVES = "modelDeploymentMonitoringObjectiveConfigs"
_PARTS = ("trainingPredictionSkewDetectionConfig", "predictionDriftDetectionConfig")
_SCHEDULE = "modelDeploymentMonitoringScheduleConfig"


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
        body["state"] = "JOB_STATE_PENDING"
        _schedule(call, connection, body)
        made = JOBS.insert(call, connection, name, parent, body)
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
            job.private = JobPrivate()
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
        job.body["state"] = "JOB_STATE_RUNNING" if JobPrivate.of(job).baselines else "JOB_STATE_PENDING"
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
        standing.end(connection, job.name)
        windows.delete(connection, job.name)
        resources.delete(connection, job.name)
        answer = operations.done(call, connection, job.name, "DeleteOperationMetadata", None)
    call.rooms.queue.wake()
    if version is not None:
        await_served(call, version)
    return answer


def _schedule(call: Call, connection: Connection, body: dict[str, Any]) -> None:
    """The next run is an interval from now, in domain time."""
    next_run = domain_clock.now(connection, call.rooms.clock) + schedule_of(body)[0]
    body |= {"scheduleState": "PENDING", "nextScheduleTime": rfc3339(next_run)}


def _publish(call: Call, connection: Connection, endpoint: Resource, name: str, body: dict[str, Any]) -> int:
    """Lets the fronts log what the job `name` samples; nothing for it where there is none. As `sample`."""
    endpoint.body.pop("modelDeploymentMonitoringJob", None)
    if name:
        endpoint.body["modelDeploymentMonitoringJob"] = name
    return sample(call, connection, endpoint, "monitoring", _sampling_rate(body) if name else 0.0)


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
        model = served(endpoint, deployed_id)
        _check_objective(config.get("objectiveConfig") or {}, model, f"{field}.objectiveConfig")


def _check_objective(config: dict[str, Any], model: ServedModel | None, field: str) -> None:
    skew, drift = _PARTS
    if not (skew in config or drift in config):
        raise InvalidArgument(f"Neither {skew} nor {drift} is given.", field=field)
    check_attributions(config, model, field)
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


def check_attributions(config: dict[str, Any], model: ServedModel | None, field: str) -> None:
    """`model` is what the fronts serve (see `deployed_models.served`).

    Raises:
        InvalidArgument: thresholds of attributions that nobody computes. FailedPrecondition: the model's need an
            explanation spec, which it lacks. Unimplemented: what is not built.
    """
    explanation = config.get("explanationConfig") or {}
    if explanation.get("explanationBaseline"):
        raise Unimplemented(
            "explanationBaseline is not built in Portico yet; leave it out, and attributions are compared with those "
            "of a sample of the training data."
        )
    if not explanation.get("enableFeatureAttributes"):
        for part in _PARTS:
            for key, value in (config.get(part) or {}).items():
                if key.startswith("attributionScore") and value:
                    raise InvalidArgument(
                        f"{key} needs explanationConfig.enableFeatureAttributes; set that to true.",
                        field=f"{field}.{part}.{key}",
                    )
        return
    if model is None or model.format not in NATIVE:
        raise Unimplemented(
            "Attributions of a model that runs in a Python environment of its own are not monitored in Portico yet; "
            "leave explanationConfig out. Those of LightGBM, ONNX and AutoML models are."
        )
    if model.format == "onnx" and not model.explanation:
        raise FailedPrecondition(
            "The ONNX model was deployed without an explanation spec, which its attributions need; deploy it with "
            "explanationMetadata and explanationParameters."
        )


def monitored(connection: Connection) -> list[Resource]:
    """Every job that is not paused."""
    found = resources.listed(connection, JOBS.kind)
    return [job for job in found if job.body["state"] != "JOB_STATE_PAUSED"]
