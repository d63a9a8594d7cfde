"""Durable jobs: long work is a row before it starts (design decision 3).

QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED. A job whose worker fails goes back to QUEUED until its attempts
are used up; an attempt that went down with the machine or the server (`lost`) does not count as one of these. Every
transition is made inside the caller's write transaction, together with what follows the job (its resource, its
operation).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.database import metadata

State = Literal["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
ENDED: frozenset[str] = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("resource", sa.String, nullable=False, index=True),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("lost", sa.Integer, nullable=False, server_default="0"),
    sa.Column("owner", sa.String),
    sa.Column("lease_until", sa.Float),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("message", sa.String, nullable=False),
    sa.Column("result", sa.LargeBinary),
    sa.Column("error", sa.LargeBinary),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("start_time", sa.Float),
    sa.Column("end_time", sa.Float),
)


_get = sa.select(jobs).where(jobs.c.id == sa.bindparam("id"))
_in_state = (
    sa.select(jobs)
    .where(jobs.c.state.in_(sa.bindparam("states", expanding=True)))
    .order_by(jobs.c.create_time, jobs.c.id)
)


@dataclass(slots=True)
class Job:
    """`resource` is the name of what the job works on; `payload` what its handler needs; `progress` is 0 to 1;
    `error` is a google.rpc.Status. Of its `attempts`, `lost` went down with the machine or the server. Times are
    seconds since the epoch."""

    id: str
    kind: str
    resource: str
    payload: dict[str, Any]
    state: State
    attempts: int
    lost: int
    owner: str | None
    lease_until: float | None
    cancel_requested: bool
    progress: float
    message: str
    result: Any
    error: dict[str, Any] | None
    create_time: float
    start_time: float | None
    end_time: float | None


def insert(
    connection: Connection, *, id: str, kind: str, resource: str, payload: dict[str, Any], now: float
) -> None:
    connection.execute(
        sa.insert(jobs).values(
            id=id,
            kind=kind,
            resource=resource,
            payload=orjson.dumps(payload),
            state="QUEUED",
            attempts=0,
            cancel_requested=False,
            progress=0.0,
            message="",
            create_time=now,
        )
    )


def get(connection: Connection, job_id: str) -> Job | None:
    row = connection.execute(_get, {"id": job_id}).first()
    return None if row is None else _job(row)


def of_resource(connection: Connection, resource: str) -> list[Job]:
    """The jobs of `resource`, newest first."""
    chosen = sa.select(jobs).where(jobs.c.resource == resource).order_by(jobs.c.create_time.desc())
    return [_job(row) for row in connection.execute(chosen)]


def in_state(connection: Connection, *states: State) -> Iterator[Job]:
    """Jobs in one of `states`, oldest first."""
    for row in connection.execute(_in_state, {"states": states}):
        yield _job(row)


def lease(connection: Connection, job: Job, owner: str, now: float, seconds: float) -> None:
    """QUEUED -> RUNNING, owned by `owner` for `seconds` from now."""
    job.state, job.owner, job.lease_until = "RUNNING", owner, now + seconds
    job.attempts += 1
    job.start_time = job.start_time or now
    _write(
        connection, job.id, state="RUNNING", owner=owner, lease_until=job.lease_until,
        attempts=job.attempts, start_time=job.start_time,
    )  # fmt: skip


def lapsed(connection: Connection, now: float) -> list[str]:
    """Running jobs whose lease nobody has renewed in time."""
    gone = sa.select(jobs.c.id).where(jobs.c.state == "RUNNING", jobs.c.lease_until < now)
    return list(connection.execute(gone).scalars())


def renew(connection: Connection, job_ids: list[str], until: float) -> None:
    """Those of the jobs that run stay leased until the time `until`."""
    connection.execute(
        sa.update(jobs).where(jobs.c.id.in_(job_ids), jobs.c.state == "RUNNING").values(lease_until=until)
    )


def note(connection: Connection, job_id: str, progress: float, message: str) -> None:
    """Records how far a running job is."""
    _write(connection, job_id, progress=progress, message=message)


def requeue(connection: Connection, job: Job) -> None:
    """RUNNING -> QUEUED: its worker is lost."""
    job.state, job.owner, job.lease_until = "QUEUED", None, None
    _write(
        connection, job.id, state="QUEUED", owner=None, lease_until=None, attempts=job.attempts, lost=job.lost
    )


def request_cancel(connection: Connection, job_id: str) -> None:
    _write(connection, job_id, cancel_requested=True)


def end(
    connection: Connection, job: Job, state: State, now: float, *, result: Any = None,
    error: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Any state -> an ended one."""
    job.state, job.result, job.error, job.end_time = state, result, error, now
    job.owner = job.lease_until = None
    _write(
        connection, job.id, state=state, owner=None, lease_until=None, end_time=now,
        progress=1.0 if state == "SUCCEEDED" else job.progress,
        result=None if result is None else orjson.dumps(result),
        error=None if error is None else orjson.dumps(error),
    )  # fmt: skip


def _write(connection: Connection, job_id: str, **values: Any) -> None:
    connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(**values))


def _job(row: sa.Row[Any]) -> Job:
    values = dict(row._mapping)
    values["payload"] = orjson.loads(values["payload"])
    for key in ("result", "error"):
        values[key] = None if values[key] is None else orjson.loads(values[key])
    return Job(**values)
