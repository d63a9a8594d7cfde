"""What is deleted and still kept: objects and buckets, until their hard deletion.

How long, the bucket's softDeletePolicy says when something is deleted, and a later policy changes nothing about that,
but one of 0 seconds: it frees at once what the bucket has kept. A disk of one's own must not stay full for a week.

Source: https://cloud.google.com/storage/docs/soft-delete
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.errors import AlreadyExists, NotFound
from portico.store.database import Database, bump
from portico.store.objects import buckets, files, generations
from portico.store.objects.buckets import BucketRow
from portico.store.objects.generations import HIDDEN, SOFT_DELETED, ObjectRow, no_such_object, row_of
from portico.store.policies import TOPIC
from portico.store.tables.storage import buckets as _live
from portico.store.tables.storage import objects, pins
from portico.store.tables.storage import soft_deleted_buckets as _buckets

_AT_ONCE: Final = 500  # objects that go in one transaction


def get(connection: Connection, bucket: str, name: str, generation: int, now: float) -> ObjectRow:
    """Raises NotFound."""
    query = sa.select(objects).where(
        objects.c.bucket == bucket,
        objects.c.name == name,
        objects.c.generation == generation,
        objects.c.state == SOFT_DELETED,
        objects.c.hard_deleted > now,
    )
    found = connection.execute(query).first()
    if found is None:
        raise no_such_object(bucket, f"{name}#{generation} (soft-deleted)")
    return row_of(found)


def free(connection: Connection, bucket: str) -> list[str]:
    """Takes all that the bucket keeps away for good; the files that no row needs any more."""
    return _drop(connection, objects.c.bucket == bucket)


def delete_bucket(connection: Connection, row: BucketRow, now: float) -> None:
    """Keeps a bucket that is empty but for what it keeps itself, as long as its policy says and as any of these."""
    last = sa.select(sa.func.max(objects.c.hard_deleted)).where(
        objects.c.bucket == row.name, objects.c.state == SOFT_DELETED
    )
    until = max(now + row.soft_delete_seconds, connection.execute(last).scalar() or 0.0)
    held = connection.execute(sa.select(_live).where(_live.c.name == row.name)).one()
    kept = {**held._mapping, "generation": row.generation, "deleted": now, "hard_deleted": until}
    connection.execute(sa.insert(_buckets).values(kept))
    # What is pinned is found by its bucket's name: it stays there, for who pinned it alone.
    pinned = sa.select(pins.c.file).where(pins.c.file == objects.c.file).exists()
    of_it = (objects.c.bucket == row.name, objects.c.state == SOFT_DELETED)
    connection.execute(sa.update(objects).where(*of_it, pinned).values(state=HIDDEN, hard_deleted=None))
    connection.execute(sa.update(objects).where(*of_it).values(bucket=place(row.name, row.generation)))
    buckets.delete(connection, row.name)


def get_bucket(connection: Connection, name: str, generation: int, now: float) -> BucketRow:
    """Raises NotFound."""
    query = sa.select(_buckets).where(_buckets.c.name == name, _buckets.c.generation == generation)
    found = connection.execute(query.where(_buckets.c.hard_deleted > now)).first()
    if found is None:
        raise NotFound(
            f"The specified bucket does not exist: {name}#{generation} (soft-deleted).", reason="notFound"
        )
    return buckets.row_of(found)


def project_of(connection: Connection, name: str, generation: str) -> str:
    """Whose a soft-deleted bucket is; "" where there is none."""
    if not generation.isdecimal():
        return ""
    query = sa.select(_buckets.c.project)
    found = connection.execute(
        query.where(_buckets.c.name == name, _buckets.c.generation == min(int(generation), 2**63 - 1))
    )
    return str(found.scalar() or "")


def restore_bucket(connection: Connection, name: str, generation: int, now: float) -> BucketRow:
    """Makes it a bucket again, with its settings and policy, and what it keeps; its objects stay deleted.

    Raises:
        NotFound. AlreadyExists: there is a bucket of its name.
    """
    row = get_bucket(connection, name, generation, now)
    if buckets.find(connection, name) is not None:
        raise AlreadyExists(
            f"The bucket {name} can't be restored: there is a bucket of this name. Delete that one first.",
            reason="conflict",
        )
    of_it = (_buckets.c.name == name, _buckets.c.generation == generation)
    held = connection.execute(sa.select(_buckets).where(*of_it)).one()._mapping
    connection.execute(sa.insert(_live).values({column.name: held[column.name] for column in _live.c}))
    connection.execute(sa.delete(_buckets).where(*of_it))
    there = objects.c.bucket == place(name, generation)
    connection.execute(sa.update(objects).where(there).values(bucket=name))
    bump(connection, TOPIC)
    return buckets.get(connection, row.name)


def list_buckets(
    connection: Connection, project: str, prefix: str, after: tuple[str, int], limit: int, now: float
) -> list[BucketRow]:
    """At most `limit` of `project` whose names begin with `prefix`, by name and generation, those behind `after`."""
    name, generation = _buckets.c.name, _buckets.c.generation
    query = sa.select(_buckets).where(
        _buckets.c.project == project,
        _buckets.c.hard_deleted > now,
        sa.or_(name > after[0], sa.and_(name == after[0], generation > after[1])),
    )
    if prefix:
        query = query.where(name.startswith(prefix, autoescape=True))
    found = connection.execute(query.order_by(name, generation).limit(limit))
    return [buckets.row_of(row) for row in found]


def size(connection: Connection) -> int:
    """The bytes of all objects that are kept."""
    query = sa.select(sa.func.sum(objects.c.size)).where(objects.c.state == SOFT_DELETED)
    return int(connection.execute(query).scalar() or 0)


def expire(database: Database, home: Path, now: float) -> int:
    """Takes away what is to be kept no longer at `now` (seconds since the epoch); how many objects went."""
    gone = 0
    while True:
        with database.write() as connection:
            due = sa.select(objects.c.file).where(
                objects.c.state == SOFT_DELETED, objects.c.hard_deleted <= now
            )
            some = list(connection.execute(due.limit(_AT_ONCE)).scalars())
            garbage = _drop(connection, objects.c.file.in_(some)) if some else []
            if not some:
                connection.execute(sa.delete(_buckets).where(_buckets.c.hard_deleted <= now))
        files.remove(home, garbage)
        if not some:
            return gone
        gone += len(some)


def place(bucket: str, generation: int) -> str:
    """What the objects of a soft-deleted bucket have for their bucket; none may be called so."""
    return f"{bucket}#{generation}"


def _drop(connection: Connection, which: sa.ColumnElement[bool]) -> list[str]:
    query = sa.select(objects).where(which, objects.c.state == SOFT_DELETED)
    garbage: list[str] = []
    for found in connection.execute(query).all():
        garbage += generations.drop(connection, row_of(found))
    return garbage
