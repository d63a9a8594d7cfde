"""Monitoring of what is deployed on an endpoint: create, update, pause, resume, delete.

The work is in `deployment_run`; what it found is told by `search_anomalies`.
"""

from __future__ import annotations

import logging
import math
import re
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds, rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.prediction.prediction_log import stream_of
from portico.services.aiplatform.thresholds import DRIFT, SKEW, check_thresholds, check_training
from portico.services.call import Call, implements
from portico.services.standard import bq, standing
from portico.services.standard.collection import After, Collection, register
from portico.services.standard.names import check_same_location
from portico.services.standard.serving import ENDPOINTS, EndpointPrivate, await_served, sample
from portico.store import domain_clock, resources, windows
from portico.store.resources import Private, Resource
from portico.store.served import ServedModel

NATIVE: Final = frozenset(
    {"portico", "lightgbm", "onnx"}
)  # a user's code never runs where windows are counted
OBJECTIVES: Final = "modelDeploymentMonitoringObjectiveConfigs"
_HOUR = 3600.0
_PARTS = (SKEW, DRIFT)
log = logging.getLogger(__name__)
_SCHEDULE = "modelDeploymentMonitoringScheduleConfig"


class JobPrivate(Private):
    """`baselines` has by deployed model when what its windows are compared with (`store.windows`) was made, once it
    is."""

    baselines: dict[str, str] = {}


class Jobs(Collection):
    def create(self, call: Call) -> dict[str, Any]:
        """With the table of the requests that it samples: that of the endpoint's log, under Vertex AI's name. The
        warehouse is not started for it."""
        with call.rooms.database.read() as connection:
            _endpoint(connection, str(call.params["parent"]), call.body, None)
        name = str(call.body["endpoint"])
        for kind in _log_types(call.body):
            bq.check_log(call.rooms.home, _table(name, kind), stream_of(name))
        return super().create(call)

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        endpoint = _endpoint(connection, resource.parent, body, before)
        if before is None:
            body["state"] = "JOB_STATE_PENDING"
        held = (before or {}).get("bigqueryTables") or []
        more = _log_types(body)[len(held) :]  # a table that was made stays the job's
        body["bigqueryTables"] = held + [
            {
                "logSource": "SERVING",
                "logType": kind,
                "bigqueryTablePath": bq.SCHEME + _table(endpoint.name, kind).path,
            }
            for kind in more
        ]
        if before is None or schedule_of(before) != schedule_of(body):
            _schedule(call, connection, body)
        if before is not None and before[OBJECTIVES] != body[OBJECTIVES]:
            resource.private = JobPrivate()

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> After:
        endpoint = ENDPOINTS.require(connection, resource.body["endpoint"])
        endpoint.body["modelDeploymentMonitoringJob"] = resource.name
        version = sample(call, connection, endpoint, "monitoring", _sampling_rate(resource.body))
        held = (before or {}).get("bigqueryTables") or []
        for one in resource.body["bigqueryTables"][len(held) :]:
            bq.want_log(connection, _table(endpoint.name, one["logType"]), stream_of(endpoint.name))

        def after() -> None:
            await_served(call, version)
            bq.make_logs(call.rooms.home)
            for line in _unwatched(resource.body):
                log.warning("%s: %s", resource.name, line)

        return after

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After:
        """What it counted goes with it."""
        standing.end(connection, resource.name)
        windows.delete(connection, resource.name)
        endpoint = resources.get(connection, resource.body["endpoint"])
        if endpoint is None:
            return call.rooms.queue.wake
        endpoint.body.pop("modelDeploymentMonitoringJob", None)
        version = sample(call, connection, endpoint, "monitoring", 0.0)

        def after() -> None:
            call.rooms.queue.wake()
            await_served(call, version)

        return after


JOBS = Jobs(
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
register(JOBS, "create", "get", "list", "patch", "delete")
KIND = register_kind(
    JobKind(
        "modelDeploymentMonitoringJobs.run",
        "portico.services.aiplatform.monitoring.deployment_run:run",
        lambda *_: None,
        lane="watch",
    )
).name


def served(endpoint: Resource | None, deployed_id: str) -> ServedModel | None:
    """What the fronts serve as `deployed_id`; None where it is deployed no more."""
    return EndpointPrivate.of(endpoint).served.get(deployed_id) if endpoint else None


def schedule_of(body: dict[str, Any]) -> tuple[float, float]:
    """Interval (whole hours, rounded up as Google does) and window of a job, in seconds."""
    config = body.get(_SCHEDULE) or {}
    interval = math.ceil(duration_seconds(config.get("monitorInterval", "")) / _HOUR) * _HOUR
    window = duration_seconds(config.get("monitorWindow", "")) or interval
    return interval, window


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


def _schedule(call: Call, connection: Connection, body: dict[str, Any]) -> None:
    """The next run is an interval from now, in domain time."""
    next_run = domain_clock.now(connection, call.rooms.clock) + schedule_of(body)[0]
    body |= {"scheduleState": "PENDING", "nextScheduleTime": rfc3339(next_run)}


def _sampling_rate(body: dict[str, Any]) -> float:
    config = (body.get("loggingSamplingStrategy") or {}).get("randomSampleConfig") or {}
    return float(config.get("sampleRate", 1.0))


def _endpoint(
    connection: Connection, parent: str, body: dict[str, Any], before: dict[str, Any] | None
) -> Resource:
    """The endpoint that a job of this body monitors, once all is checked.

    Raises:
        InvalidArgument: naming the field. FailedPrecondition: another job monitors it. Unimplemented
    """
    check_same_location(parent, body["endpoint"], "endpoint")
    endpoint = ENDPOINTS.require(connection, body["endpoint"])
    other = endpoint.body.get("modelDeploymentMonitoringJob")
    if before is None and other:
        raise FailedPrecondition(
            f"The Endpoint {endpoint.name} is monitored by {other} already; delete that first."
        )
    _check(body, endpoint)
    return endpoint


def _log_types(body: dict[str, Any]) -> list[str]:
    """Of what the job has tables: of explanations where it watches attributions. Trainings send no requests here, so
    that there is none of theirs."""
    explained = any(
        ((config.get("objectiveConfig") or {}).get("explanationConfig") or {}).get("enableFeatureAttributes")
        for config in body.get(OBJECTIVES) or []
    )
    return ["PREDICT", "EXPLAIN"] if explained else ["PREDICT"]


def _table(endpoint: str, log_type: str) -> bq.Name:
    """Where the sampled requests to an endpoint of this name are."""
    _, project, _, _, _, number = endpoint.split("/")
    dataset = re.sub(r"\W", "_", f"model_deployment_monitoring_{number}")
    return bq.Name(project, dataset, f"serving_{log_type.lower()}")


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
    for position, config in enumerate(body[OBJECTIVES]):
        field = f"{OBJECTIVES}[{position}]"
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
    if not (SKEW in config or DRIFT in config):
        raise InvalidArgument(f"Neither {SKEW} nor {DRIFT} is given.", field=field)
    check_attributions(config, model, field)
    if SKEW in config:
        check_training(config.get("trainingDataset") or {}, f"{field}.trainingDataset")
    for part in _PARTS:
        check_thresholds(config.get(part) or {}, f"{field}.{part}")


def _unwatched(body: dict[str, Any]) -> list[str]:
    """What is said of thresholds of attributions that nobody computes: Google takes and keeps these, too."""
    lines = []
    for position, one in enumerate(body[OBJECTIVES]):
        config = one.get("objectiveConfig") or {}
        if (config.get("explanationConfig") or {}).get("enableFeatureAttributes"):
            continue
        lines += [
            f"{OBJECTIVES}[{position}].objectiveConfig.{part}.{key} is not watched; set "
            "explanationConfig.enableFeatureAttributes to true."
            for part in _PARTS
            for key, value in (config.get(part) or {}).items()
            if key.startswith("attributionScore") and value
        ]
    return lines


def check_attributions(config: dict[str, Any], model: ServedModel | None, field: str) -> None:
    """`model` is what the fronts serve (see `served`).

    Raises:
        FailedPrecondition: the model's need an explanation spec, which it lacks. Unimplemented: what is not built.
    """
    explanation = config.get("explanationConfig") or {}
    if explanation.get("explanationBaseline"):
        raise Unimplemented(
            "explanationBaseline is not built in Portico yet; leave it out, and attributions are compared with those "
            "of a sample of the training data."
        )
    if not explanation.get("enableFeatureAttributes"):
        return
    by_spec = model is not None and (model.format == "onnx" or model.format not in NATIVE)
    if model is None or (by_spec and not model.explanation):
        raise FailedPrecondition(
            "The model was deployed without an explanation spec, which its attributions need; deploy it with "
            "explanationMetadata and explanationParameters."
        )
