"""The CustomJob behind a training pipeline of a user's own code, as Vertex AI makes one: clients link to it, and ask it
for what it runs. Both follow one durable job. A pipeline that is deleted leaves it, as on Vertex AI: Google's own
operators of Airflow delete the one and then the other."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy.engine import Connection

from portico.services.aiplatform.custom import pipeline as custom
from portico.services.aiplatform.custom import spec
from portico.services.aiplatform.custom.custom_jobs import CUSTOM_JOBS
from portico.services.call import Call, Rooms
from portico.services.standard.fields import FieldTypes
from portico.services.standard.jobs import JobPrivate
from portico.services.standard.names import location_of
from portico.store import resources
from portico.store.jobs import Job

_SUFFIX = "-custom-job"  # of its display name, as on Vertex AI


def name_of(pipeline: str) -> str:
    """It has the pipeline's number: so the job's id in the code's environment and in its log is that of both."""
    return f"{location_of(pipeline)}/customJobs/{pipeline.rpartition('/')[2]}"


def spec_fields(rooms: Rooms) -> FieldTypes:
    """Those of a CustomJobSpec."""
    return rooms.fields("aiplatform", "v1", "GoogleCloudAiplatformV1CustomJobSpec")


def add(call: Call, connection: Connection, pipeline: str, body: dict[str, Any], private: JobPrivate) -> None:
    """Makes it, in the transaction that makes the pipeline with this name and body, which names it from then on."""
    name = name_of(pipeline)
    made = {
        "displayName": f"{body['displayName'][: 128 - len(_SUFFIX)]}{_SUFFIX}",
        "jobSpec": spec.shown(custom.spec_of(body)),
        **({"labels": body["labels"]} if body.get("labels") else {}),
        "state": CUSTOM_JOBS.state("PENDING"),
    }
    CUSTOM_JOBS.insert(call, connection, name, location_of(pipeline), made, private)
    body["trainingTaskMetadata"] = {"backingCustomJob": name}


def follow(connection: Connection, job: Job, now: float) -> None:
    """Lets it follow the pipeline's job. Pipelines of older homes have none."""
    name = name_of(job.resource)
    found = resources.get(connection, name)
    if found is not None and JobPrivate.of(found).job == job.id:
        CUSTOM_JOBS.follow(connection, dataclasses.replace(job, resource=name), now)
