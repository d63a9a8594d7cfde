"""Durable jobs and their logs: what `portico logs` asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import InvalidArgument, NotFound
from portico.jobs.worker import log_path
from portico.services.call import Call, implements
from portico.store import jobs, resources
from portico.store.jobs import ENDED, Job

_MOST = 1 << 20  # bytes of a log in one answer
_SHOWN = 1000  # jobs that have not ended


@implements("portico", "jobs.get")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return shown(_job(connection, call))


@implements("portico", "jobs.list")
def listed(call: Call) -> dict[str, Any]:
    wanted, project = str(call.params.get("resource", "")), str(call.params.get("project", ""))
    within = f"projects/{project}/" if project else ""
    with call.rooms.database.read() as connection:
        found = jobs.of_resource(connection, wanted) if wanted else jobs.unended(connection, _SHOWN, within)
        if wanted and not found and (resource := resources.get(connection, wanted)):  # one behind another
            held = jobs.get(connection, resources.private_json(resource).get("job", ""))
            found = [held] if held else []
        if wanted and not found and (name := jobs.newest_resource(connection, wanted, within)):
            found = jobs.of_resource(connection, name)
    return {"jobs": [shown(job) for job in found]}


@implements("portico", "jobs.readLog")
def read_log(call: Call) -> dict[str, Any]:
    offset = int(call.params.get("offset", 0))
    if offset < 0:
        raise InvalidArgument("offset is not negative.", field="offset")
    with call.rooms.database.read() as connection:
        job = _job(connection, call)  # before the file: what an ended job wrote is then in it
    new = _read(log_path(call.rooms.home, job.id), offset)
    ended, more = job.state in ENDED, len(new) == _MOST
    if more or not ended:  # a line is cut only where it is longer than an answer
        new = new[: new.rfind(b"\n") + 1] or (new if more else b"")
    text, offset = new.decode("utf-8", "replace"), offset + len(new)
    return {"text": text, "nextOffset": str(offset), "atEnd": ended and not more, "job": shown(job)}


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(_MOST)
    except FileNotFoundError:
        return b""


def _job(connection: Connection, call: Call) -> Job:
    name = str(call.params["name"])
    job = jobs.get(connection, name.removeprefix("jobs/"))
    if job is None:
        raise NotFound(f"There is no job {name!r}.")
    return job


def shown(job: Job) -> dict[str, Any]:
    """A job as the API shows it."""
    times = {"createTime": job.create_time, "startTime": job.start_time, "endTime": job.end_time}
    return {
        "name": f"jobs/{job.id}",
        "kind": job.kind,
        "resource": job.resource,
        "state": job.state,
        "attempts": job.attempts,
        "lost": job.lost,
        "progress": job.progress,
        "message": "" if job.state == "RUNNING" and job.message.startswith("waits ") else job.message,
        **({"error": job.error} if job.error else {}),
        **{name: rfc3339(value) for name, value in times.items() if value is not None},
    }
