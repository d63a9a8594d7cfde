"""What jobs change, in the audit log: an entry for each transaction in which a job changes a resource that is not its
own, such as the model that a training registers, or its own where no call has asked for that, as a steward's
deployment."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.engine import Connection

from portico.jobs import worker
from portico.jobs.engines import machine
from portico.jobs.worker import Context
from portico.services.audit.entry import made, service_agent, shown
from portico.store import jobs
from portico.store.audit import KEY, Trail

_PROJECT = re.compile(r"projects/([^/]+)")
_OF_EXPERIMENTS = re.compile(r".*/(metadataStores|tensorboards)/.*")  # data, not configuration


class _OfJob:
    """One run of a job (a `store.beside.Beside`)."""

    def __init__(self, context: Context, project: str) -> None:
        self._context, self._project = context, project
        self._trail = Trail(context.home)
        self._changed: list[str] = []
        self._own = False
        self._written: tuple[int, bytes] | None = None

    def changed(self, name: str) -> None:
        own = self._context.job.resource
        if name == own:
            self._own = True
        elif not name.startswith(f"{own}/") and not _OF_EXPERIMENTS.fullmatch(name):
            self._changed.append(name)

    def write(self, connection: Connection) -> None:
        job, context, changed = self._context.job, self._context, list(dict.fromkeys(self._changed))
        if self._own and job.parent:
            parent = jobs.get(connection, job.parent)
            if parent is not None and parent.resource != job.resource:
                changed.append(job.resource)
        if not changed:
            return
        told: dict[str, Any] = {
            "methodName": f"portico.jobs.{job.kind}",
            "authenticationInfo": {"principalEmail": service_agent(self._project)},
            "request": {"resource": job.resource, "job": job.id, "payload": shown(job.payload)},
        }
        if len(changed) > 1:
            told["metadata"] = {"changed": changed}
        service = "aiplatform.googleapis.com"
        entry = made(self._project, service, changed[0], told, context.clock.now(), context.ids.token())
        self._written = self._trail.insert(connection, entry)

    def kept(self) -> None:
        if self._written:
            self._trail.kept(*self._written)
        self.dropped()

    def dropped(self) -> None:
        self._changed.clear()
        self._own, self._written = False, None


def _record(context: Context) -> _OfJob | None:
    project = _PROJECT.match(context.job.resource)
    if machine.elsewhere(context.home) and not (context.home / KEY).exists():
        return None  # a cluster's machine without the home's files can't write to its log
    return _OfJob(context, project[1]) if project else None


worker.record_by(_record)
