"""Objects: one row a generation, one immutable file a row. The row's commit is what makes it visible.

Functions here take the connection of the caller's transaction. Those that take generations away return the
ids of the files that no row needs any more; the caller hands them to `objects_files.remove` once the
transaction has ended. A crash in between leaves files that `objects_files.sweep` finds.

A pinned generation (`pin`) keeps its row and file when it is overwritten or deleted: it is then HIDDEN,
seen only by those who ask for exactly this generation as `pinned`. Where the bucket has a soft delete policy, what
would go is SOFT_DELETED instead: see `soft_deleted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from portico.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from portico.store import events
from portico.store.objects import notices
from portico.store.objects.buckets import BucketRow
from portico.store.tables.storage import LIVE as LIVE
from portico.store.tables.storage import SOFT_DELETED as SOFT_DELETED
from portico.store.tables.storage import generations as _generations
from portico.store.tables.storage import objects
from portico.store.tables.storage import pins as _pins

NONCURRENT, HIDDEN = 2, 3
SEEN = objects.c.state.in_((LIVE, NONCURRENT))
RELEASED = "eventBasedHoldReleased"
"""Among an object's fields: when its event-based hold was released, in seconds since the epoch; it is not shown."""
WRITER = "writer"
"""Among an object's fields: who wrote it, as lists call them, where that is not the home's owner; shown as `owner`."""
SEALED = "customerEncryption"
"""Among an object's fields: under which key it is, by that key's SHA-256."""
TABLES = "bq"  # in the place of a bucket: what was read from BigQuery's tables; no bucket may be called so


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A finished file under `objects/`. `crc32c` and `md5` are base64, as Cloud Storage writes them;
    composed objects have no md5. A sealed one has no crc32c ("") where its key is not at hand."""

    id: str
    size: int
    crc32c: str
    md5: str | None

    @property
    def sealed(self) -> bool:
        return not self.crc32c


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One generation. `fields` is what the writer may set (contentType, metadata, ...), componentCount and
    customerEncryption: of an object under a key that its writer supplies no checksum is kept in the clear.

    `updated`, `deleted` and `hard_deleted` (when a soft-deleted one goes) are seconds since the epoch; `created`
    follows from the generation, which is the creation time in microseconds.
    """

    bucket: str
    name: str
    generation: int
    state: int
    metageneration: int
    file: str
    size: int
    crc32c: str
    md5: str | None
    updated: float
    deleted: float | None
    fields: dict[str, Any]
    hard_deleted: float | None = None

    @property
    def created(self) -> float:
        return self.generation / 1e6

    @property
    def sealed(self) -> bool:
        return SEALED in self.fields

    @property
    def uri(self) -> str:
        return f"bq://{self.name}" if self.bucket == TABLES else f"gs://{self.bucket}/{self.name}"


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The `if*` parameters of a request. The generation of an absent object is 0."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, row: ObjectRow | None, *, reading: bool = False) -> None:
        """Raises FailedPrecondition with status 412, or, for an unmet Not-Match of a `reading` call, 304."""
        generation = row.generation if row else 0
        metageneration = row.metageneration if row else 0
        if (self.generation_match is not None and self.generation_match != generation) or (
            self.metageneration_match is not None and self.metageneration_match != metageneration
        ):
            raise _unmet(412)
        if (self.generation_not_match is not None and self.generation_not_match == generation) or (
            self.metageneration_not_match is not None and self.metageneration_not_match == metageneration
        ):
            raise _unmet(304 if reading else 412)


ANY = Preconditions()


def _unmet(http_status: int) -> FailedPrecondition:
    return FailedPrecondition(
        "At least one of the pre-conditions you specified did not hold.",
        reason="conditionNotMet",
        http_status=http_status,
    )


def no_such_object(bucket: str, name: str) -> NotFound:
    return NotFound(f"No such object: {bucket}/{name}", reason="notFound")


def require_open(row: ObjectRow) -> None:
    """For what reads objects without anybody's key.

    Raises:
        InvalidArgument: the object is under one.
    """
    if row.sealed:
        raise InvalidArgument(
            f"The target object is encrypted by a customer-supplied encryption key: {row.uri}. Jobs, models and "
            "queries have no such key: rewrite the object without one for them.",
            reason="invalid",
        )


def find(
    connection: Connection, bucket: str, name: str, generation: int | None = None, *, pinned: bool = False
) -> ObjectRow | None:
    """The live generation, or exactly `generation` (live or noncurrent; with `pinned` also a hidden one)."""
    query = sa.select(objects).where(objects.c.bucket == bucket, objects.c.name == name)
    if generation is None:
        query = query.where(objects.c.state == LIVE)
    else:
        query = query.where(objects.c.generation == generation)
        held = sa.select(_pins.c.file).where(_pins.c.file == objects.c.file).exists()
        query = query.where(sa.or_(SEEN, held) if pinned else SEEN)
    found = connection.execute(query).first()
    return None if found is None else row_of(found)


def get(
    connection: Connection, bucket: str, name: str, generation: int | None = None, *, pinned: bool = False
) -> ObjectRow:
    """As `find`; raises NotFound."""
    row = find(connection, bucket, name, generation, pinned=pinned)
    if row is None:
        raise no_such_object(bucket, name)
    return row


def put(
    connection: Connection,
    bucket: BucketRow,
    name: str,
    file: StoredFile,
    fields: Mapping[str, Any],
    now: float,
    preconditions: Preconditions = ANY,
) -> tuple[ObjectRow, list[str]]:
    """Makes `file` the live generation of `name`; the generation before becomes noncurrent or goes.

    Raises:
        FailedPrecondition: `preconditions` do not hold of the live generation (412), or the bucket takes no objects
            that are encrypted so.
        PermissionDenied: a hold or the bucket's retention policy protects it.
    """
    _check_encryption(bucket, SEALED in fields)
    file = replace(file, crc32c="", md5=None) if SEALED in fields else file
    current = find(connection, bucket.name, name)
    preconditions.check(current)
    generation = _next_generation(connection, now)
    garbage = _retire(connection, bucket, current, now, by=generation) if current else []
    row = ObjectRow(
        bucket=bucket.name,
        name=name,
        generation=generation,
        state=LIVE,
        metageneration=1,
        file=file.id,
        size=file.size,
        crc32c=file.crc32c,
        md5=file.md5,
        updated=now,
        deleted=None,
        fields=dict(fields),
    )
    values = {column.name: getattr(row, column.name) for column in objects.c}
    connection.execute(sa.insert(objects).values(values | {"fields": orjson.dumps(row.fields)}))
    facts = {
        "uri": f"gs://{row.bucket}/{name}",
        "bucket": row.bucket,
        "object": name,
        "generation": str(row.generation),
        "size": row.size,
        "contentType": row.fields.get("contentType", ""),
    }
    events.note(connection, events.OBJECT, row.bucket, facts, now, name)
    overwrote = current.generation if current else None
    notices.note(connection, notices.FINALIZE, row, now, overwroteGeneration=overwrote)
    return row, garbage


def _check_encryption(bucket: BucketRow, sealed: bool) -> None:
    config = "customerSupplied" if sealed else "googleManaged"
    if not bucket.restricts(config):
        return
    what, or_send = ("customer-supplied", "") if sealed else ("standard", "send a key of yours, or ")
    raise FailedPrecondition(
        f"The bucket {bucket.name} restricts objects with {what} encryption: {or_send}set its "
        f"encryption.{config}EncryptionEnforcementConfig to NotRestricted to write this one.",
        reason="conditionNotMet",
        http_status=412,
    )


def update(connection: Connection, row: ObjectRow, fields: Mapping[str, Any], now: float) -> ObjectRow:
    """Replaces what the writer may set; counts the metageneration up."""
    connection.execute(
        sa.update(objects)
        .where(*_is(row))
        .values(fields=orjson.dumps(fields), metageneration=row.metageneration + 1, updated=now)
    )
    updated = get(connection, row.bucket, row.name, row.generation)
    notices.note(connection, notices.METADATA_UPDATE, updated, now)
    return updated


def delete(
    connection: Connection, bucket: BucketRow, row: ObjectRow, now: float, *, for_good: bool = False
) -> list[str]:
    """Deletes a generation: for good when it was asked for by its number, else as versioning says.

    Raises:
        PermissionDenied: a hold or the bucket's retention policy protects it.
    """
    if for_good:
        _check_protection(bucket, row, now)
        notices.note(connection, notices.DELETE, row, now)
        return _remove(connection, bucket, row, now)
    return _retire(connection, bucket, row, now)


def newer(connection: Connection, row: ObjectRow) -> int:
    """How many generations of its name came after it."""
    later = (objects.c.generation > row.generation, SEEN)
    query = sa.select(sa.func.count()).where(
        objects.c.bucket == row.bucket, objects.c.name == row.name, *later
    )
    return int(connection.execute(query).scalar_one())


def is_empty(connection: Connection, bucket: str) -> bool:
    """Whether the bucket has neither live nor noncurrent generations."""
    query = sa.select(objects.c.name).where(objects.c.bucket == bucket, SEEN).limit(1)
    return connection.execute(query).first() is None


def pin(connection: Connection, row: ObjectRow, holder: str) -> None:
    """Keeps the data of `row` for `holder` (a resource name), whatever happens to the object."""
    held = sa.select(_pins.c.file).where(_pins.c.file == row.file, _pins.c.holder == holder)
    if connection.execute(held).first() is None:
        connection.execute(sa.insert(_pins).values(file=row.file, holder=holder))


def put_pinned(
    connection: Connection, table: str, file: StoredFile, fields: Mapping[str, Any], holder: str, now: float
) -> ObjectRow:
    """Keeps the rows that `table` (PROJECT.DATASET.TABLE) had at one moment, as a file, for as long as it is pinned."""
    bucket = BucketRow(TABLES, "", 1, now, now, {})
    row, _ = put(connection, bucket, table, file, fields, now)
    pin(connection, row, holder)
    delete(connection, bucket, row, now)
    return row


def pinned(connection: Connection, holder: str) -> list[ObjectRow]:
    """The generations that `holder` has pinned, by name."""
    held = sa.select(_pins.c.file).where(_pins.c.holder == holder)
    query = sa.select(objects).where(objects.c.file.in_(held)).order_by(objects.c.bucket, objects.c.name)
    return [row_of(found) for found in connection.execute(query).all()]


def unpin(connection: Connection, holder: str) -> list[str]:
    """Gives up all that `holder` has pinned."""
    files = connection.execute(sa.select(_pins.c.file).where(_pins.c.holder == holder)).scalars().all()
    connection.execute(sa.delete(_pins).where(_pins.c.holder == holder))
    hidden = sa.select(objects).where(objects.c.file.in_(files), objects.c.state == HIDDEN)
    garbage: list[str] = []
    for found in connection.execute(hidden).all():
        garbage += drop(connection, row_of(found))
    return garbage


def files_with_rows(connection: Connection, low: str, high: str) -> set[str]:
    """The ids in [low, high) of the files that rows need."""
    query = sa.select(objects.c.file).where(objects.c.file >= low, objects.c.file < high)
    return set(connection.execute(query).scalars())


def row_of(found: Row[Any]) -> ObjectRow:
    """The typed form of a row selected from `objects`."""
    values = dict(found._mapping)
    return ObjectRow(**(values | {"fields": orjson.loads(values["fields"])}))


def _retire(
    connection: Connection, bucket: BucketRow, row: ObjectRow, now: float, by: int | None = None
) -> list[str]:
    """`by`: the generation that takes its place."""
    if bucket.versioning:
        values = {"state": NONCURRENT, "deleted": now}
        connection.execute(sa.update(objects).where(*_is(row)).values(values))
        archived = replace(row, state=NONCURRENT, deleted=now)
        notices.note(connection, notices.ARCHIVE, archived, now, overwrittenByGeneration=by)
        return []
    _check_protection(bucket, row, now)
    notices.note(connection, notices.DELETE, row, now, overwrittenByGeneration=by)
    return _remove(connection, bucket, row, now)


def _remove(connection: Connection, bucket: BucketRow, row: ObjectRow, now: float) -> list[str]:
    if not bucket.soft_delete_seconds:
        return drop(connection, row)
    values = {"state": SOFT_DELETED, "deleted": now, "hard_deleted": now + bucket.soft_delete_seconds}
    connection.execute(sa.update(objects).where(*_is(row)).values(values))
    return []


def drop(connection: Connection, row: ObjectRow) -> list[str]:
    """Takes a generation away for good; one that somebody has pinned is hidden."""
    if connection.execute(sa.select(_pins.c.file).where(_pins.c.file == row.file).limit(1)).first():
        connection.execute(sa.update(objects).where(*_is(row)).values(state=HIDDEN, hard_deleted=None))
        return []
    connection.execute(sa.delete(objects).where(*_is(row)))
    return [row.file]


def _check_protection(bucket: BucketRow, row: ObjectRow, now: float) -> None:
    for field, hold in (("temporaryHold", "Temporary"), ("eventBasedHold", "Event-Based")):
        if row.fields.get(field):
            raise PermissionDenied(
                f"Object '{row.bucket}/{row.name}' is under active {hold} hold and cannot be deleted, "
                "overwritten or archived until hold is removed.",
                reason="forbidden",
            )
    if bucket.retention_seconds and now < retained_until(bucket, row):
        raise PermissionDenied(
            f"Object '{row.bucket}/{row.name}' is subject to bucket's retention policy and cannot be "
            f"deleted, overwritten or archived until it is {bucket.retention_seconds} seconds old.",
            reason="retentionPolicyNotMet",
        )


def retained_until(bucket: BucketRow, row: ObjectRow) -> float:
    """When the bucket's retention policy lets the object go, in seconds since the epoch. Its time begins when the
    object is made, and again when an event-based hold is released."""
    return float(max(row.created, row.fields.get(RELEASED, 0.0)) + bucket.retention_seconds)


def _next_generation(connection: Connection, now: float) -> int:
    wanted = int(now * 1e6)
    last = connection.execute(sa.select(_generations.c.last)).scalar()
    if last is None:
        connection.execute(sa.insert(_generations).values(id=1, last=wanted))
        return wanted
    generation = max(wanted, int(last) + 1)
    connection.execute(sa.update(_generations).values(last=generation))
    return generation


def _is(row: ObjectRow) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        objects.c.bucket == row.bucket,
        objects.c.name == row.name,
        objects.c.generation == row.generation,
    )
