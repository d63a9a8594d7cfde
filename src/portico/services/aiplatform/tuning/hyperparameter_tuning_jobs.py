"""Hyperparameter tuning jobs: many custom jobs of one spec, each with parameters that a study suggests."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, Unimplemented
from portico.jobs.engines import machine
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform.custom import spec
from portico.services.aiplatform.custom.custom_jobs import CUSTOM_JOBS
from portico.services.aiplatform.tensorboard import event_logs
from portico.services.aiplatform.tuning import trials
from portico.services.aiplatform.vizier import study_spec
from portico.services.call import Call
from portico.services.standard import sources
from portico.services.standard.collection import register
from portico.services.standard.jobs import JobCollection, JobPrivate, Queued
from portico.store import jobs, resources
from portico.store.jobs import Job, Resources

_MOST = 1000  # trials
_WORKERS = "hyperparameterTuningJobs.workers"


class TuningPrivate(JobPrivate):
    """`workers` is the job that keeps processes from which trials are forked."""

    workers: str = ""


class _TuningJobs(JobCollection):
    def asked(self, call: Call, name: str) -> Queued:
        body = call.body
        study_spec.check(body["studySpec"], "studySpec")
        gcs = sources.gcs_of(call.rooms)
        spec.check(body["trialJobSpec"], "trialJobSpec", gcs)
        event_logs.check(call.rooms, str(call.params["parent"]), body["trialJobSpec"], "trialJobSpec")
        if body["trialJobSpec"].get("persistentResourceId"):
            raise Unimplemented(
                "Trials don't run on persistent resources in Portico yet.",
                field="trialJobSpec.persistentResourceId",
            )
        for key, least in (("maxTrialCount", 1), ("parallelTrialCount", 1), ("maxFailedTrialCount", 0)):
            if not least <= body.get(key, least) <= _MOST:
                raise InvalidArgument(f"{key} is from {least} to {_MOST}.", field=key)
        python = spec.is_python(body["trialJobSpec"], gcs) and not machine.elsewhere(call.rooms.home)

        def queued(connection: Connection, body: dict[str, Any]) -> TuningPrivate:
            private = TuningPrivate(
                job=call.rooms.queue.add(connection, "hyperparameterTuningJobs", name, {})
            )
            if python:
                kept = {"replicas": body["parallelTrialCount"]}
                private.workers = call.rooms.queue.add(
                    connection, _WORKERS, f"{name}/workers", kept, priority=1
                )
            body["trialJobSpec"] = spec.shown(body["trialJobSpec"])
            return private

        return queued

    def release(self, connection: Connection, job: Job) -> None:
        if resource := resources.get(connection, job.resource):
            jobs.request_cancel(connection, TuningPrivate.of(resource).workers)


TUNING_JOBS = _TuningJobs(
    "projects.locations.hyperparameterTuningJobs",
    "HyperparameterTuningJob",
    has_etag=False,
    private=TuningPrivate,
)
register(TUNING_JOBS, "create", "get", "list", "cancel", "delete")


def _follow_trial(connection: Connection, job: Job, now: float) -> None:
    """Lets a trial follow its custom job, and tells the tuning job of its end."""
    CUSTOM_JOBS.follow(connection, job, now)
    tuning = resources.get(connection, job.payload["tuning"])
    if tuning is not None:
        trials.follow(tuning.body, job, now)
        resources.update(connection, tuning, now)
    if job.state in jobs.ENDED and job.parent:
        jobs.wake(connection, [job.parent])


# What suggests waits for trials, and must not wait for the cores that they use.
_RUN = "portico.services.aiplatform.tuning.run"
register_kind(JobKind("hyperparameterTuningJobs", f"{_RUN}:run_tuning", TUNING_JOBS.follow, lane="thread"))
register_kind(JobKind("hyperparameterTuningJobs.trials", f"{_RUN}:run_trial", _follow_trial, prepares=True))
register_kind(
    JobKind(
        _WORKERS,
        "portico.services.aiplatform.custom.persistent_run:run",
        lambda connection, job, now: None,
        asks=Resources(cores=0.0, memory=0),
        stays=lambda job: True,
    )
)
