"""Durable jobs: long work is a row before it starts (design decision 4).

QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED, and RUNNING -> WAITING -> QUEUED for a job that waits for others,
its children, or for a time, and holds nothing meanwhile. A job whose worker fails goes back to QUEUED until its
attempts are used up; an attempt that went down with the machine or the server (`lost`) does not count as one of
these. Every transition is made inside the caller's write transaction, together with what follows the job (its
resource, its operation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store import resources, usage
from portico.store.tables.jobs import jobs

Lane = Literal["thread", "watch", "process"]
State = Literal["QUEUED", "RUNNING", "WAITING", "SUCCEEDED", "FAILED", "CANCELLED"]
ACTIVE: tuple[State, ...] = ("QUEUED", "RUNNING", "WAITING")
ENDED: frozenset[str] = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class Resources:
    """What a job asks for, or what there is: `memory` in bytes."""

    cores: float = 1.0
    memory: int = 0
    accelerators: int = 0

    def holds(self, asked: Resources) -> bool:
        return (
            asked.cores <= self.cores
            and asked.memory <= self.memory
            and asked.accelerators <= self.accelerators
        )

    def without(self, asked: Resources) -> Resources:
        """What is left beside `asked`; none of what there is less of."""
        return Resources(
            max(0.0, self.cores - asked.cores),
            max(0, self.memory - asked.memory),
            max(0, self.accelerators - asked.accelerators),
        )

    def __str__(self) -> str:
        return f"{self.cores:g} cores, {self.memory / 2**30:.3g} GiB of memory and {self.accelerators} accelerators"


_LITTLE = Resources()
_insert = sa.insert(jobs)
_get = sa.select(jobs).where(jobs.c.id == sa.bindparam("id"))
_in_state = (
    sa.select(jobs)
    .where(jobs.c.state.in_(sa.bindparam("states", expanding=True)))
    .order_by(jobs.c.create_time, jobs.c.id)
)
_next = (
    sa.select(jobs)
    .where(jobs.c.state == "QUEUED", jobs.c.lane == sa.bindparam("of"))
    .order_by(jobs.c.priority.desc(), jobs.c.create_time, jobs.c.id)
    .limit(sa.bindparam("most"))
)
_cancelled = sa.select(jobs).where(jobs.c.state == sa.bindparam("of"), jobs.c.cancel_requested == sa.true())
_news = sa.select(
    sa.exists().where(jobs.c.state == "QUEUED"),
    sa.exists().where(jobs.c.state == "WAITING", jobs.c.wake_at <= sa.bindparam("now")),
    sa.exists().where(jobs.c.state.in_(ACTIVE), jobs.c.cancel_requested == sa.true()),
)
_children_at_work = (
    sa.select(jobs.c.id)
    .where(jobs.c.parent == sa.bindparam("of"), jobs.c.state.in_(ACTIVE))
    .limit(sa.bindparam("most"))
)
_child = jobs.alias("child")
_standing = sa.select(
    jobs.c.resource,
    jobs.c.state,
    jobs.c.cancel_requested,
    jobs.c.wake_at,
    sa.exists().where(_child.c.parent == jobs.c.id, _child.c.state.in_(ACTIVE)),
).where(jobs.c.kind == sa.bindparam("of"), jobs.c.state.in_(ACTIVE))
_active = sa.select(jobs).where(jobs.c.kind.in_(sa.bindparam("of", expanding=True)), jobs.c.state.in_(ACTIVE))


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
    lane: Lane
    priority: int
    cores: float
    memory: int
    accelerators: int
    parent: str | None
    wake_at: float | None
    turn_time: float | None = None

    @property
    def asks(self) -> Resources:
        return Resources(self.cores, self.memory, self.accelerators)


def insert(
    connection: Connection, *, id: str, kind: str, resource: str, payload: dict[str, Any], now: float,
    lane: Lane = "process", priority: int = 0, asks: Resources = _LITTLE, parent: str | None = None,
) -> None:  # fmt: skip
    row = {
        "id": id, "kind": kind, "resource": resource, "payload": orjson.dumps(payload), "state": "QUEUED",
        "attempts": 0, "cancel_requested": False, "progress": 0.0, "message": "", "create_time": now, "lane": lane,
        "priority": priority, "cores": asks.cores, "memory": asks.memory, "accelerators": asks.accelerators,
        "parent": parent,
    }  # fmt: skip
    connection.execute(_insert, row)


def get(connection: Connection, job_id: str) -> Job | None:
    row = connection.execute(_get, {"id": job_id}).first()
    return None if row is None else _job(row)


def of_resource(connection: Connection, resource: str) -> list[Job]:
    """The jobs of `resource`, newest first."""
    chosen = sa.select(jobs).where(jobs.c.resource == resource).order_by(jobs.c.create_time.desc())
    return [_job(row) for row in connection.execute(chosen)]


def newest_resource(connection: Connection, last: str, within: str = "") -> str | None:
    """Of the resources whose name ends with `/last`, and begins with `within`, the one with the newest job."""
    names = sa.select(jobs.c.resource).where(jobs.c.resource.endswith(f"/{last}", autoescape=True))
    names = names.where(jobs.c.resource.startswith(within, autoescape=True))
    return connection.execute(names.order_by(jobs.c.create_time.desc()).limit(1)).scalar()


class News(NamedTuple):
    """Whether there are queued jobs, waiting ones whose time has come, and active ones that somebody asked to end."""

    queued: bool
    due: bool
    cancelled: bool


def news(connection: Connection, now: float) -> News:
    return News(*map(bool, connection.execute(_news, {"now": now}).one()))


def in_state(connection: Connection, *states: State) -> Iterator[Job]:
    """Jobs in one of `states`, oldest first."""
    for row in connection.execute(_in_state, {"states": states}):
        yield _job(row)


def next_queued(connection: Connection, lane: Lane, most: int) -> list[Job]:
    """The first `most` queued jobs of `lane`: those of the highest priority, of these the oldest."""
    return [_job(row) for row in connection.execute(_next, {"of": lane, "most": most})]


def cancelled(connection: Connection, state: State) -> list[Job]:
    """The jobs in `state` that somebody has asked to end."""
    return [_job(row) for row in connection.execute(_cancelled, {"of": state})]


def active(connection: Connection, *kinds: str) -> list[Job]:
    """The jobs of these kinds that have not ended."""
    return [_job(row) for row in connection.execute(_active, {"of": kinds})]


def unended(connection: Connection, most: int, within: str = "") -> list[Job]:
    """The first `most` jobs that have not ended, of resources whose name begins with `within`: what runs, what waits
    for others, what is queued, as it will start."""
    order = sa.case({"RUNNING": 0, "WAITING": 1}, value=jobs.c.state, else_=2)
    chosen = sa.select(jobs).where(
        jobs.c.state.in_(ACTIVE), jobs.c.resource.startswith(within, autoescape=True)
    )
    chosen = chosen.order_by(order, jobs.c.priority.desc(), jobs.c.create_time, jobs.c.id).limit(most)
    return [_job(row) for row in connection.execute(chosen)]


class Stand(NamedTuple):
    """An active job; `has_children` that are active."""

    resource: str
    state: State
    cancel_requested: bool
    wake_at: float | None
    has_children: bool


def standing(connection: Connection, kind: str) -> list[Stand]:
    """As `active`, only how they stand."""
    return [Stand(*row) for row in connection.execute(_standing, {"of": kind})]


def has_children_at_work(connection: Connection, job_id: str, least: int = 1) -> bool:
    """Whether at least so many of its children have not ended."""
    return len(connection.execute(_children_at_work, {"of": job_id, "most": least}).all()) >= least


def lease(connection: Connection, job: Job, owner: str, now: float, seconds: float) -> None:
    """QUEUED -> RUNNING, owned by `owner` for `seconds` from now."""
    job.state, job.owner, job.lease_until = "RUNNING", owner, now + seconds
    job.attempts += 1
    job.start_time, job.turn_time = job.start_time or now, now
    _write(
        connection, job.id, state="RUNNING", owner=owner, lease_until=job.lease_until,
        attempts=job.attempts, start_time=job.start_time, turn_time=now,
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


def note_why(connection: Connection, why: Mapping[str, str]) -> None:
    """Records why queued jobs wait, by id."""
    waiting = sa.and_(jobs.c.id == sa.bindparam("of"), jobs.c.state == "QUEUED")
    noted = sa.update(jobs).where(waiting).values(message=sa.bindparam("words"))
    connection.execute(noted, [{"of": job_id, "words": words} for job_id, words in why.items()])


def requeue(connection: Connection, job: Job) -> None:
    """RUNNING -> QUEUED: its worker is lost, or there was too little beside others; with what it asks for now."""
    job.state, job.owner, job.lease_until = "QUEUED", None, None
    _write(
        connection, job.id, state="QUEUED", owner=None, lease_until=None, attempts=job.attempts, lost=job.lost,
        memory=job.memory,
    )  # fmt: skip


def wait(
    connection: Connection,
    job: Job,
    until: float | None,
    beside: int = 1,
    why: str = "",
    limit: float | None = None,
) -> None:
    """RUNNING -> WAITING: until all its children have ended, and to the time `until` at the longest. A job that has
    nothing to wait for, no such time and fewer than `beside` children at work, is queued again at once; one that waits
    for children does so to the time `limit` at the longest. `why` is for people."""
    job.attempts = job.lost = 0  # a turn that ends so has not failed, and what had is made up for
    if until is None and not has_children_at_work(connection, job.id, beside):
        requeue(connection, job)
        return
    until = limit if until is None else until
    job.state, job.owner, job.lease_until, job.wake_at = "WAITING", None, None, until
    _write(
        connection, job.id, state="WAITING", owner=None, lease_until=None, wake_at=until,
        attempts=0, lost=0, **({"message": why} if why else {}),
    )  # fmt: skip


def due(connection: Connection, now: float) -> list[str]:
    """Waiting jobs whose time has come."""
    chosen = sa.select(jobs.c.id).where(jobs.c.state == "WAITING", jobs.c.wake_at <= now)
    return list(connection.execute(chosen).scalars())


def wake(connection: Connection, job_ids: list[str], payload: dict[str, Any] | None = None) -> None:
    """WAITING -> QUEUED, with another `payload` where one is given."""
    waiting = sa.and_(jobs.c.id.in_(job_ids), jobs.c.state == "WAITING")
    values: dict[str, Any] = {"state": "QUEUED", "wake_at": None}
    if payload is not None:
        values["payload"] = orjson.dumps(payload)
    connection.execute(sa.update(jobs).where(waiting).values(values))


def rest(connection: Connection, job_id: str) -> None:
    """QUEUED -> WAITING, for a parent that the end of a child has woken while others were started in the same
    transaction: it would only wait again."""
    woken = sa.and_(jobs.c.id == job_id, jobs.c.state == "QUEUED", jobs.c.start_time.is_not(None))
    connection.execute(sa.update(jobs).where(woken).values(state="WAITING"))


def children(connection: Connection, parent: str) -> list[Job]:
    """Oldest first."""
    chosen = sa.select(jobs).where(jobs.c.parent == parent).order_by(jobs.c.create_time, jobs.c.id)
    return [_job(row) for row in connection.execute(chosen)]


def request_cancel(connection: Connection, job_id: str) -> None:
    """Also of its children, and theirs."""
    family = sa.select(jobs.c.id).where(jobs.c.id == job_id).cte("family", recursive=True)
    child = jobs.alias("child")
    family = family.union(sa.select(child.c.id).where(child.c.parent == family.c.id))
    chosen = sa.and_(jobs.c.id.in_(sa.select(family.c.id)), jobs.c.state.in_(ACTIVE))
    connection.execute(sa.update(jobs).where(chosen).values(cancel_requested=True))


def end(
    connection: Connection, job: Job, state: State, now: float, *, result: Any = None,
    error: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Any state -> an ended one. A parent that waited only for this one is queued; what a parent that fails has
    started is asked to end."""
    meter(connection, job, now)
    job.state, job.result, job.error, job.end_time = state, result, error, now
    job.owner = job.lease_until = None
    _write(
        connection, job.id, state=state, owner=None, lease_until=None, end_time=now,
        progress=1.0 if state == "SUCCEEDED" else job.progress,
        result=None if result is None else orjson.dumps(result),
        error=None if error is None else orjson.dumps(error),
    )  # fmt: skip
    if state != "SUCCEEDED" and has_children_at_work(connection, job.id):
        request_cancel(connection, job.id)
    if job.parent and not has_children_at_work(connection, job.parent):
        wake(connection, [job.parent])


def meter(connection: Connection, job: Job, now: float) -> None:
    """Adds what a turn of a job that computes has used, which ends at `now`."""
    project = job.resource.split("/")[1] if job.resource.startswith("projects/") else ""
    if job.state != "RUNNING" or job.lane != "process" or job.turn_time is None or not project:
        return
    seconds, named = now - job.turn_time, resources.get(connection, job.resource)
    labels = named.body.get("labels") if named else None
    for sku, amount in ((usage.CORES, job.cores), (usage.MEMORY, job.memory / 2**30)):
        usage.add(connection, now, project, sku, job.resource, seconds * amount, labels)


def _write(connection: Connection, job_id: str, **values: Any) -> None:
    connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(**values))


def _job(row: sa.Row[Any]) -> Job:
    values = dict(row._mapping)
    values["payload"] = orjson.loads(values["payload"])
    for key in ("result", "error"):
        values[key] = None if values[key] is None else orjson.loads(values[key])
    return Job(**values)
