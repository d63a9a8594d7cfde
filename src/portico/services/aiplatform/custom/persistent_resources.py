"""Persistent resources: workers that are kept warm, so that a job on them begins at once.

https://cloud.google.com/vertex-ai/docs/training/persistent-resource-overview. One is there as soon as it is made: it
holds no cores and no memory, and the jobs on it queue as others do. What it keeps is processes that wait
(`persistent_run`), as many as it has replicas.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, NotFound
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.call import Call, implements
from portico.services.standard import operations
from portico.services.standard.collection import After, Collection, register
from portico.services.standard.jobs import JobPrivate
from portico.services.standard.names import LABEL_ID
from portico.store import jobs, resources
from portico.store.jobs import Job, Resources
from portico.store.resources import Resource

_REPLICAS = 16
_FIXED = frozenset({"name", "network", "encryptionSpec", "reservedIpRanges", "resourceRuntimeSpec"})


class _PersistentResources(Collection):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        pools = resource.body.get("resourcePools") or []
        if not pools:
            raise InvalidArgument("A persistent resource needs a pool.", field="resourcePools")
        made = []
        for number, pool in enumerate(pools):
            if pool.get("autoscalingSpec"):
                least = int(pool["autoscalingSpec"].get("minReplicaCount") or 1)
                pool = {"replicaCount": str(least), **pool}
            if not 1 <= int(pool.get("replicaCount") or 1) <= _REPLICAS:
                raise InvalidArgument(
                    f"replicaCount is between 1 and {_REPLICAS} here.",
                    field=f"resourcePools[{number}].replicaCount",
                )
            made.append({"id": f"pool-{number}", "replicaCount": "1", **pool})
        resource.body["resourcePools"] = made
        if before is None:
            resource.body["state"] = "RUNNING"
            resource.body["startTime"] = rfc3339(call.rooms.clock.now())
            resource.private = JobPrivate()

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> After | None:
        if before is not None:
            return None
        _restart(call, connection, resource)
        return call.rooms.queue.wake

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        busy = on(connection, resource.name)
        if busy:
            raise FailedPrecondition(
                f"{len(busy)} jobs are on {resource.name}, such as {busy[0].resource}: cancel them first."
            )
        call.rooms.queue.cancel(connection, JobPrivate.of(resource).job)
        return call.rooms.queue.wake


PERSISTENT = _PersistentResources(
    "projects.locations.persistentResources",
    "PersistentResource",
    has_etag=False,
    ids=LABEL_ID,
    immutable=_FIXED,
)
register(PERSISTENT, "create", "get", "list", "patch", "delete")


def name_of(parent: str, spec: dict[str, Any]) -> str:
    """The persistent resource that a CustomJobSpec below the location `parent` names; "" where it names none."""
    found = str(spec.get("persistentResourceId") or "")
    return f"{parent}/persistentResources/{found.rpartition('/')[2]}" if found else ""


def require(connection: Connection, name: str, field: str = "jobSpec.persistentResourceId") -> None:
    """
    Raises:
        InvalidArgument: `name` is given, and there is no such persistent resource.
    """
    if name:
        try:
            PERSISTENT.require(connection, name)
        except NotFound as error:
            raise InvalidArgument(error.message, field=field) from None


def on(connection: Connection, name: str) -> list[Job]:
    """The custom jobs and trainings on a persistent resource, and the pipeline jobs whose tasks are, that have not
    ended."""
    kinds = ("customJobs", "trainingPipelines.custom", "pipelineJobs")
    found = (job for kind in kinds for job in jobs.active(connection, kind))
    return [job for job in found if job.payload.get("persistent") == name]


def replicas(body: dict[str, Any]) -> int:
    return sum(int(pool["replicaCount"]) for pool in body["resourcePools"])


@implements("aiplatform", PERSISTENT.method("reboot"))
def reboot(call: Call) -> dict[str, Any]:
    """Its processes are new; jobs that run on it end with them."""
    with call.rooms.database.write() as connection:
        found = PERSISTENT.require(connection, call.name)
        found.body.pop("error", None)
        found.body["state"] = "RUNNING"
        _restart(call, connection, found)
        answer = operations.done(
            call, connection, call.name, "RebootPersistentResourceOperationMetadata", PERSISTENT.message,
            PERSISTENT.render(found),
        )  # fmt: skip
    call.rooms.queue.wake()
    return answer


def _restart(call: Call, connection: Connection, resource: Resource) -> None:
    private = JobPrivate.of(resource)
    if private.job:
        call.rooms.queue.cancel(connection, private.job)
    private.job = call.rooms.queue.add(connection, "persistentResources", resource.name, {}, priority=1)
    resources.update(connection, resource, call.rooms.clock.now())


def _follow(connection: Connection, job: Job, now: float) -> None:
    resource = resources.get(connection, job.resource)
    if resource is None or job.state != "FAILED" or JobPrivate.of(resource).job != job.id:
        return
    resource.body["state"] = "ERROR"
    resource.body["error"] = job.error
    resources.update(connection, resource, now)


register_kind(
    JobKind(
        "persistentResources",
        "portico.services.aiplatform.custom.persistent_run:run",
        _follow,
        asks=Resources(cores=0.0, memory=0),
        stays=lambda job: True,
    )
)
