"""The experiment run of a custom job: the one that it names, or one of its own in the experiment that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.services.registry import metadata
from portico.store import lineage, resources
from portico.store.jobs import Job
from portico.store.resources import Resource

_STATES = {"SUCCEEDED": "COMPLETE", "FAILED": "FAILED", "CANCELLED": "CANCELLED"}


def run_of(spec: Mapping[str, Any], job: str) -> str:
    """The name of the run's context; "" for a job without an experiment."""
    if given := spec.get("experimentRun"):
        return str(given)
    return f"{spec['experiment']}-{job.rpartition('/')[2]}" if spec.get("experiment") else ""


def follow(connection: Connection, job: Job, custom_job: Resource) -> None:
    """Lets a job's run name it and have its execution, and lets a run of its own end with it."""
    spec = job.payload["spec"]
    name = run_of(spec, custom_job.name)
    if not name:
        return
    store, now = name.partition("/contexts/")[0], job.end_time or job.start_time or job.create_time
    run = resources.get(connection, name)
    if run is None:
        if spec.get("experimentRun") or resources.get(connection, spec["experiment"]) is None:
            return  # deleted meanwhile
        facts = {"_params": {}, "_metrics": {}, "_state": "RUNNING"}
        display = custom_job.name.rpartition("/")[2]
        run = metadata.add_context(
            connection, name, display, metadata.RUN, facts, now, parents=[spec["experiment"]]
        )
        assert run is not None
    held_facts = run.body.setdefault("metadata", {})
    given = held_facts.get("_custom_jobs")
    held = (
        [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    )  # anybody may write it
    if all(one.get("custom_job_resource_name") != custom_job.name for one in held):
        held.append({"custom_job_resource_name": custom_job.name, "custom_job_console_uri": ""})
    held_facts["_custom_jobs"] = held
    if not spec.get("experimentRun") and job.state in _STATES:
        held_facts["_state"] = _STATES[job.state]
    resources.update(connection, run, now)
    lineage.add(connection, name, "member", [f"{store}/executions/job-{job.id}"], now)
