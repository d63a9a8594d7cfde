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
from portico.services.call import Call, implements
from portico.services.standard.collection import register
from portico.services.standard.jobs import JobCollection, JobPrivate
from portico.store import jobs, resources
from portico.store.jobs import Job, Resources

_MOST = 1000  # trials
_WORKERS = "hyperparameterTuningJobs.workers"


class TuningPrivate(JobPrivate):
    """`workers` is the job that keeps processes from which trials are forked."""

    workers: str = ""


class _TuningJobs(JobCollection):
    def release(self, connection: Connection, job: Job) -> None:
        if resource := resources.get(connection, job.resource):
            jobs.request_cancel(connection, TuningPrivate.of(resource).workers)


TUNING_JOBS = _TuningJobs(
    "projects.locations.hyperparameterTuningJobs",
    "HyperparameterTuningJob",
    has_etag=False,
    private=TuningPrivate,
)
register(TUNING_JOBS, "get", "list", "cancel", "delete")


@implements("aiplatform", TUNING_JOBS.method("create"))
def create(call: Call) -> dict[str, Any]:
    parent, body = str(call.params["parent"]), call.body
    study_spec.check(body["studySpec"], "studySpec")
    spec.check(body["trialJobSpec"], "trialJobSpec")
    event_logs.check(call.rooms, parent, body["trialJobSpec"], "trialJobSpec")
    if body["trialJobSpec"].get("persistentResourceId"):
        raise Unimplemented(
            "Trials don't run on persistent resources in Portico yet.",
            field="trialJobSpec.persistentResourceId",
        )
    for key, least in (("maxTrialCount", 1), ("parallelTrialCount", 1), ("maxFailedTrialCount", 0)):
        if not least <= body.get(key, least) <= _MOST:
            raise InvalidArgument(f"{key} is from {least} to {_MOST}.", field=key)
    name = f"{parent}/hyperparameterTuningJobs/{call.rooms.ids.number()}"
    with call.rooms.database.write() as connection:
        job = call.rooms.queue.add(connection, "hyperparameterTuningJobs", name, {})
        shown = {
            **body,
            "trialJobSpec": spec.shown(body["trialJobSpec"]),
            "state": TUNING_JOBS.state("PENDING"),
        }
        workers = ""
        if spec.is_python(body["trialJobSpec"]) and not machine.elsewhere(call.rooms.home):
            kept = {"replicas": body["parallelTrialCount"]}
            workers = call.rooms.queue.add(connection, _WORKERS, f"{name}/workers", kept, priority=1)
        private = TuningPrivate(job=job, workers=workers)
        made = TUNING_JOBS.insert(call, connection, name, parent, shown, private)
        answer = TUNING_JOBS.render(made)
    call.rooms.queue.wake()
    return answer


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
