"""Triggers: what starts a pipeline when something happens: a new object, a new dataset version, an alert.

What is noted where it happens (`store.events`) is answered in `trigger_runs`, by the scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.services.call import Call
from portico.services.registry import pipeline_runs
from portico.services.standard.collection import Collection, register
from portico.services.standard.names import LABEL_ID, check_same_location
from portico.store import events, resources
from portico.store.gcs import parse_uri
from portico.store.objects import buckets
from portico.store.resources import Resource

_CAUSES: Final = ("object", "datasetVersion", "alert")
_DATASETS: Final = "aiplatform:datasets"
_ALERTING: Final = {
    "portico:stewards",
    "aiplatform:modelMonitors",
    "aiplatform:modelDeploymentMonitoringJobs",
}
# What a pipeline's parameters can be given of an event, with a value of its type.
_ALWAYS: Final = {"event": "1", "trigger": "projects/…", "time": "2026-01-01T00:00:00Z"}
FACTS: Final[dict[str, dict[str, Any]]] = {
    "object": {"uri": "gs://…", "bucket": "…", "object": "…", "generation": "1", "size": 1, "contentType": ""},
    "datasetVersion": {"datasetVersion": "projects/…", "dataset": "projects/…", "displayName": "…"},
    "alert": {"source": "projects/…", "alert": "projects/…", "message": "…", "metric": "", "details": []},
}  # fmt: skip


class Triggers(Collection):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        if before is None:
            body["firedCount"] = "0"
        cause = _cause_of(body)
        _subject(connection, resource.parent, cause, body[cause])
        pipeline = body.get("pipeline") or {}
        if not pipeline:
            raise InvalidArgument("pipeline is missing: what the trigger is to start.", field="pipeline")
        samples = {**_ALWAYS, **FACTS[cause]}
        for name, fact in (pipeline.get("eventParameters") or {}).items():
            if fact not in samples:
                raise InvalidArgument(
                    f"pipeline.eventParameters[{name}] is {fact!r}; of such an event there are "
                    f"{', '.join(sorted(samples))}.",
                    field="pipeline.eventParameters",
                )
        job = pipeline_job(body, samples)
        asked = pipeline_runs.pipelines().ask(call.rooms, connection, resource.parent, job)
        told = body.get("object") or {}
        if told and not told.get("uriSuffix") and f"{asked.root}/".startswith(told["uriPrefix"]):
            raise InvalidArgument(
                f"The pipeline writes below {asked.root}, which begins with object.uriPrefix: it would start itself "
                "again and again. Give another pipelineRoot, or a uriSuffix.",
                field="pipeline.pipelineRoot",
            )

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        """It waits for its events, or for none while it is disabled."""
        body = resource.body
        if body.get("disabled"):
            events.unwatch(connection, resource.name)
            return
        cause = _cause_of(body)
        kind, subject, prefix = _subject(connection, resource.parent, cause, body[cause])
        events.watch(connection, resource.name, kind, subject, prefix, body[cause].get("uriSuffix", ""))

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> None:
        events.forget(connection, resource.name)


TRIGGERS = Triggers(
    "projects.locations.triggers",
    "Trigger",
    api="portico",
    output_only=frozenset({"firedCount", "lastFireTime"}),
    ids=LABEL_ID,
    cascade=True,
)
register(TRIGGERS, "create", "get", "list", "patch", "delete")
TRIGGER_RUNS = Collection("projects.locations.triggers.runs", "TriggerRun", api="portico", has_etag=False)
register(TRIGGER_RUNS, "get", "list")


def pipeline_job(body: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The PipelineJob that a trigger of this body starts for an event."""
    pipeline = body["pipeline"]
    told = {
        name: facts[fact] for name, fact in (pipeline.get("eventParameters") or {}).items() if fact in facts
    }
    job = pipeline_runs.job_of(pipeline, told)
    if body.get("displayName"):
        job["displayName"] = body["displayName"]
    return job


def _cause_of(body: Mapping[str, Any]) -> str:
    given = [cause for cause in _CAUSES if body.get(cause)]
    if len(given) != 1:
        raise InvalidArgument(
            f"Give one of {', '.join(_CAUSES)}: what the trigger waits for.", field=_CAUSES[0]
        )
    return given[0]


def _subject(
    connection: Connection, parent: str, cause: str, told: Mapping[str, Any]
) -> tuple[str, str, str]:
    """Kind and subject of the events, and how an object's name begins.

    Raises:
        InvalidArgument, NotFound: there is no such thing; names the field.
    """
    if cause == "object":
        bucket, prefix = parse_uri(str(told.get("uriPrefix", "")))
        buckets.get(connection, bucket)
        return events.OBJECT, bucket, prefix
    key, kinds, kind = (
        ("dataset", {_DATASETS}, events.DATASET_VERSION)
        if cause == "datasetVersion"
        else ("source", _ALERTING, events.ALERT)
    )
    name, field = str(told.get(key, "")), f"{cause}.{key}"
    check_same_location(parent, name, field)
    found = resources.get(connection, name)
    if found is None or found.kind not in kinds:
        words = (
            "a dataset"
            if key == "dataset"
            else "a steward, a model monitor or a model deployment monitoring job"
        )
        raise InvalidArgument(
            f"{field} is {name!r}; there is no such thing: it must be {words}.", field=field
        )
    return kind, name, ""
