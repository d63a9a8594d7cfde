"""Uploads that take more than one request: resumable sessions, and XML multipart uploads with their parts.

A session's data is a file that grows; how much of it was received is the file's size, so a chunk needs no
transaction, and an interrupted one is resumed where the file ends. A part is a finished file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.errors import NotFound
from portico.store.objects.generations import StoredFile
from portico.store.tables.storage import parts as _parts
from portico.store.tables.storage import uploads as _uploads

LIFETIME = 7 * 86400.0  # seconds; after that Cloud Storage, too, forgets a session
_STEP = 2 * 3600.0  # seconds by which a session is older at most since it was last looked at (every hour)


@dataclass(frozen=True, slots=True)
class Upload:
    """A session. `request` is what its start asked for; `file` its growing file (none: it has parts);
    `generation` what it has become, once it is finished. `age` (seconds) is counted by `grow_older`, which `looked` at
    it last at that time."""

    id: str
    bucket: str
    name: str
    file: str | None
    created: float
    request: dict[str, Any]
    generation: int | None
    age: float
    looked: float | None


@dataclass(frozen=True, slots=True)
class Part:
    number: int
    stored: StoredFile
    created: float


def start(
    connection: Connection,
    upload: str,
    bucket: str,
    name: str,
    request: Mapping[str, Any],
    now: float,
    file: str | None,
) -> None:
    connection.execute(
        sa.insert(_uploads).values(
            id=upload, bucket=bucket, name=name, file=file, created=now, request=orjson.dumps(request)
        )
    )


def get(connection: Connection, upload: str) -> Upload:
    """Raises NotFound: there is none, or it was cancelled, or is older than a week."""
    row = connection.execute(sa.select(_uploads).where(_uploads.c.id == upload)).first()
    if row is None:
        raise NotFound(
            f"No upload session {upload}: it never began, was cancelled, or is too old.", reason="notFound"
        )
    return Upload(**(dict(row._mapping) | {"request": orjson.loads(row.request)}))


def finish(connection: Connection, upload: str, generation: int) -> None:
    """The session's file now belongs to the object; the session stays to answer a repeated last request."""
    connection.execute(
        sa.update(_uploads).where(_uploads.c.id == upload).values(file=None, generation=generation)
    )


def complete(connection: Connection, upload: str, generation: int) -> list[str]:
    """As `finish`, for a multipart upload; returns the files of its parts."""
    files = list(connection.execute(sa.select(_parts.c.file).where(_parts.c.upload == upload)).scalars())
    connection.execute(sa.delete(_parts).where(_parts.c.upload == upload))
    finish(connection, upload, generation)
    return files


def cancel(connection: Connection, upload: Upload) -> list[str]:
    """Forgets a session or multipart upload; returns the files that nobody needs any more."""
    files = list(connection.execute(sa.select(_parts.c.file).where(_parts.c.upload == upload.id)).scalars())
    connection.execute(sa.delete(_parts).where(_parts.c.upload == upload.id))
    connection.execute(sa.delete(_uploads).where(_uploads.c.id == upload.id))
    return files + ([upload.file] if upload.file else [])


def put_part(connection: Connection, upload: str, part: Part) -> list[str]:
    """Adds a part, in place of one with its number; returns the file of that."""
    same = (_parts.c.upload == upload, _parts.c.number == part.number)
    garbage = list(connection.execute(sa.select(_parts.c.file).where(*same)).scalars())
    connection.execute(sa.delete(_parts).where(*same))
    connection.execute(
        sa.insert(_parts).values(
            upload=upload,
            number=part.number,
            file=part.stored.id,
            size=part.stored.size,
            crc32c=part.stored.crc32c,
            md5=part.stored.md5,
            created=part.created,
        )
    )
    return garbage


def parts(connection: Connection, upload: str) -> list[Part]:
    """By number."""
    rows = connection.execute(sa.select(_parts).where(_parts.c.upload == upload).order_by(_parts.c.number))
    return [Part(r.number, StoredFile(r.file, r.size, r.crc32c, r.md5), r.created) for r in rows]


def of_bucket(connection: Connection, bucket: str) -> list[Upload]:
    """The uploads into `bucket` that are not finished, by name."""
    query = sa.select(_uploads).where(_uploads.c.bucket == bucket, _uploads.c.generation.is_(None))
    rows = connection.execute(query.order_by(_uploads.c.name, _uploads.c.created))
    return [Upload(**(dict(row._mapping) | {"request": orjson.loads(row.request)})) for row in rows]


def grow_older(connection: Connection, now: float) -> None:
    """Counts the time since the last look. The wall clock may have jumped meanwhile, or the machine been off: what is
    beyond two hours is not counted, nor what is below none."""
    since = now - sa.func.coalesce(_uploads.c.looked, _uploads.c.created)
    counted = sa.case((since < 0.0, 0.0), (since > _STEP, _STEP), else_=since)
    connection.execute(sa.update(_uploads).values(age=_uploads.c.age + counted, looked=now))


def expired(connection: Connection) -> list[Upload]:
    query = sa.select(_uploads).where(_uploads.c.age > LIFETIME)
    rows = connection.execute(query)
    return [Upload(**(dict(row._mapping) | {"request": orjson.loads(row.request)})) for row in rows]


def files_with_rows(connection: Connection, low: str, high: str) -> set[str]:
    """The ids in [low, high) of the files that sessions and parts need."""
    found: set[str] = set()
    for column in (_uploads.c.file, _parts.c.file):
        query = sa.select(column).where(column >= low, column < high)
        found.update(connection.execute(query).scalars())
    return found
