"""Pipeline jobs: what kfp compiles, as a run of durable jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform.pipelines import details, ir, progress
from portico.services.aiplatform.pipelines.turn import Turn
from portico.services.call import Call, implements
from portico.services.standard import operations
from portico.services.standard.collection import After, page, register, remove
from portico.services.standard.fields import camel
from portico.services.standard.filters import wanted
from portico.services.standard.jobs import JobCollection, JobPrivate
from portico.services.standard.names import IdRule
from portico.store import pipelines
from portico.store import resources as store
from portico.store.jobs import Job
from portico.store.pipelines import Task
from portico.store.resources import Resource

_CANCEL = "BatchCancelPipelineJobs"
_BATCH = 32  # jobs that one batch names at most: Google's
_ID = IdRule(
    r"[a-z][a-z0-9-]{0,127}", "at most 128 of lower-case letters, digits and '-', beginning with a letter"
)


class PipelinePrivate(JobPrivate):
    """`root` is the id of its root task, `facts` what its tasks know of the run (`Task.spec` of the root), `inputs`
    what the run gets."""

    root: int = 0
    facts: dict[str, Any] = {}
    inputs: dict[str, Any] = {}


@dataclass(frozen=True)
class _PipelineJobs(JobCollection):
    def complete(self, connection: Connection, shown: Sequence[dict[str, Any]]) -> None:
        specs = pipelines.specs(connection, [one["name"] for one in shown])
        for one in shown:
            if spec := specs.get(one["name"]):
                one["pipelineSpec"] = spec

    def get(self, call: Call) -> dict[str, Any]:
        with call.rooms.database.read() as connection:
            found = self.require(connection, call.name)
            return self.whole(connection, found)

    def answer(self, call: Call, connection: Connection, resource: Resource, did: str) -> dict[str, Any]:
        return self.whole(connection, resource)

    def whole(self, connection: Connection, job: Resource) -> dict[str, Any]:
        """A job as it is got: with its spec and its tasks."""
        shown = self.render(job)
        self.complete(connection, [shown])
        pipeline = PipelinePrivate.of(job).facts["pipeline"]
        shown["jobDetail"] = details.detail_of(connection, job.name, pipeline)
        return shown

    def list(self, call: Call) -> dict[str, Any]:
        """Without the tasks, as on Vertex AI, and without the spec where the mask leaves it out."""
        parent, mask = str(call.params["parent"]), str(call.params.get("readMask") or "")
        narrow = wanted(str(call.params.get("filter", "")), self.fields(call), self.filters)
        with call.rooms.database.read() as connection:

            def complete(shown: Sequence[dict[str, Any]]) -> None:
                if not mask or _asks(mask, "pipelineSpec"):
                    self.complete(connection, shown)
                for one in shown:
                    pipeline = one.pop("pipelineName")
                    if mask and _asks(mask, "jobDetail"):
                        one["jobDetail"] = details.contexts_of(connection, one["name"], pipeline)

            return page(call, self, lambda after, limit: (
                {**self.render(found), "pipelineName": PipelinePrivate.of(found).facts["pipeline"]}
                for found in store.listed(connection, self.kind, parent, after=after, limit=limit, wanted=narrow)
            ), complete=complete)  # fmt: skip

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        after = super().deleting(call, connection, resource)
        pipelines.forget(connection, resource.name)
        return after

    def follow(self, connection: Connection, job: Job, now: float) -> None:
        super().follow(connection, job, now)
        if job.state in ("CANCELLED", "FAILED"):
            resource = store.get(connection, job.resource)
            turn = Turn(connection, now)
            root = turn.find(PipelinePrivate.of(resource).root) if resource else None
            if root is not None and not root.has_ended:
                progress.cancel(turn, root)
                turn.settle()


PIPELINE_JOBS = _PipelineJobs(
    "projects.locations.pipelineJobs",
    "PipelineJob",
    has_etag=False,
    ids=_ID,
    private=PipelinePrivate,
    states="PIPELINE_STATE",
    filters={"pipelineName": lambda shown: shown["pipelineName"]},
)
register(PIPELINE_JOBS, "get", "list", "cancel", "delete")
register_kind(
    JobKind(
        "pipelineJobs", "portico.services.aiplatform.pipelines.run:run", PIPELINE_JOBS.follow, lane="thread"
    )
)
register_kind(
    JobKind(
        progress.TASK_JOBS,
        "portico.services.aiplatform.pipelines.task_run:run",
        progress.follow_job,
        prepares=True,
    )
)


def root_of(job: Resource, durable: str) -> Task:
    """The root task of a job's run."""
    private = PipelinePrivate.of(job)
    return Task(
        private.root, job.name, private.root, None, ir.ROOT, "dag", ir.ROOT, dict(private.facts), job.create_time,
        inputs=private.inputs, job=durable,
    )  # fmt: skip


def _asks(mask: str, field: str) -> bool:
    """Whether a read mask names a field, or something in it."""
    heads = {camel(path.strip().partition(".")[0]) for path in mask.split(",")}
    return bool({"*", field} & heads)


def _names(call: Call) -> list[str]:
    names = list(call.body.get("names") or [])
    if len(names) > _BATCH:
        raise InvalidArgument(f"At most {_BATCH} names are taken at once.", field="names")
    parent = str(call.params["parent"])
    for name in names:
        if not name.startswith(f"{parent}/pipelineJobs/"):
            raise InvalidArgument(f"{name!r} is no pipeline job in {parent}.", field="names")
    return names


@implements("aiplatform", PIPELINE_JOBS.method("batchDelete"))
def batch_delete(call: Call) -> dict[str, Any]:
    """All of them or none."""
    names, afters, shown = _names(call), [], []
    with call.rooms.database.write() as connection:
        for name in names:
            found = PIPELINE_JOBS.require(connection, name)
            shown.append(PIPELINE_JOBS.render(found))
            afters.append(remove(call, connection, found))
        answer = _done(call, connection, "BatchDeletePipelineJobs", "DeleteOperationMetadata", shown)
    for after in filter(None, afters):
        after()
    return answer


@implements("aiplatform", PIPELINE_JOBS.method("batchCancel"))
def batch_cancel(call: Call) -> dict[str, Any]:
    """All of them or none; what has ended stays as it is."""
    names, shown = _names(call), []
    with call.rooms.database.write() as connection:
        for name in names:
            found = PIPELINE_JOBS.require(connection, name)
            if not PIPELINE_JOBS.has_ended(found):
                call.rooms.queue.cancel(connection, PipelinePrivate.of(found).job)
                found.body["state"] = PIPELINE_JOBS.state("CANCELLING")
                store.update(connection, found, call.rooms.clock.now())
            shown.append(PIPELINE_JOBS.render(found))
        answer = _done(call, connection, _CANCEL, f"{_CANCEL}OperationMetadata", shown)
    call.rooms.queue.wake()
    return answer


def _done(
    call: Call, connection: Connection, did: str, metadata_type: str, shown: list[dict[str, Any]]
) -> dict[str, Any]:
    parent, response = str(call.params["parent"]), {"pipelineJobs": shown}
    return operations.done(call, connection, parent, metadata_type, f"{did}Response", response)
