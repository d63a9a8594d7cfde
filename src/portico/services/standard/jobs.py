"""Collections whose resources are long work (a training, a batch prediction): each follows a durable job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import FailedPrecondition
from portico.services.call import Call
from portico.services.standard import operations
from portico.services.standard.collection import After, Collection, Made
from portico.store import jobs, resources
from portico.store.jobs import Job
from portico.store.objects import generations as objects
from portico.store.objects.files import remove
from portico.store.resources import Private, Resource

Queued = Callable[[Connection, dict[str, Any]], "JobPrivate"]
"""What queues the job of a new resource in the transaction of its create: it may complete the body, and returns what is
kept of the job."""
_ENDED = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})


class JobPrivate(Private):
    """`job` is the durable job. A collection that knows more of its resources has a subclass."""

    job: str = ""


@dataclass(frozen=True)
class JobCollection(Collection):
    """Adds states, cancel, what may be deleted, and how a resource and an operation follow the job: `follow` is that of
    its `JobKind`s.

    private: what only the service knows of a resource.
    states: what its states begin with.
    waiting: the state before it runs.
    late_cancel_fails: whether cancelling what has ended is an error.
    """

    private: type[JobPrivate] = JobPrivate
    states: str = "JOB_STATE"
    waiting: str = "PENDING"
    late_cancel_fails: bool = False

    # --- hooks ---

    def asked(self, call: Call, name: str) -> Queued:
        """Checks what a create asks for, before its transaction. A collection without it has a `making` of its own."""
        raise NotImplementedError

    def succeeded(self, connection: Connection, resource: Resource, job: Job, now: float) -> None:
        """What a job's success makes of its resource, in the transaction of the job's end."""

    def release(self, connection: Connection, job: Job) -> None:
        """What an ended job lets go, also where its resource is gone and a crash kept it from doing so."""

    def stamp(self, body: dict[str, Any], job: Job, now: float) -> None:
        """Notes times and error where the message has them."""
        if job.state == "RUNNING":
            body.setdefault("startTime", rfc3339(now))
        if job.state in jobs.ENDED:
            body["endTime"] = rfc3339(now)
            if job.error:
                body["error"] = job.error

    # --- states ---

    def state(self, words: str) -> str:
        """`words` as the message writes a state: "JOB_STATE_FAILED"."""
        return f"{self.states}_{words}"

    def has_ended(self, resource: Resource) -> bool:
        return resource.body["state"].removeprefix(f"{self.states}_") in _ENDED

    # --- methods ---

    def making(self, call: Call, name: str) -> Made:
        queued, body = self.asked(call, name), dict(call.body)

        def made(connection: Connection) -> tuple[Resource, After]:
            private = queued(connection, body)
            body["state"] = self.state(self.waiting)
            new = self.insert(call, connection, name, str(call.params["parent"]), body, private)
            return new, call.rooms.queue.wake

        return made

    def cancel(self, call: Call) -> dict[str, Any]:
        with call.rooms.database.write() as connection:
            resource = self.require(connection, call.name)
            if self.has_ended(resource):
                if not self.late_cancel_fails:
                    return {}
                raise FailedPrecondition(f"{resource.name} has ended already ({resource.body['state']}).")
            call.rooms.queue.cancel(connection, self.private.of(resource).job)
            resource.body["state"] = self.state("CANCELLING")
            resources.update(connection, resource, call.rooms.clock.now())
        call.rooms.queue.wake()
        return {}

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        """What it has pinned goes with it."""
        if not self.has_ended(resource):
            raise FailedPrecondition(
                f"{resource.name} has not ended ({resource.body['state']}); it is still running: cancel it first."
            )
        dropped = objects.unpin(connection, resource.name)
        return lambda: remove(call.rooms.home, dropped)

    def follow(self, connection: Connection, job: Job, now: float) -> None:
        """Lets a resource follow its job, in the transaction of each of the job's moves, and an operation with it."""
        if job.state in jobs.ENDED:
            self.release(connection, job)
        resource = resources.get(connection, job.resource)
        if resource is None:
            return
        if job.state in jobs.ENDED or resource.body["state"] != self.state("CANCELLING"):
            # What waits for others goes on as far as anybody can see.
            words = {"QUEUED": self.waiting, "WAITING": "RUNNING"}.get(job.state, job.state)
            resource.body["state"] = self.state(words)
        self.stamp(resource.body, job, now)
        if job.state == "SUCCEEDED":
            self.succeeded(connection, resource, job, now)
        resources.update(connection, resource, now)
        operations.follow(connection, job, now, self.message, self.render(resource))
