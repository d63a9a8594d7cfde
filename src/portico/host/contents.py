"""What a home consists of, beside its database: the files that the rows of a database name, and whether they are whole.

Backup, restore and check ask this; paths are relative to the home. Scratch, environments, caches and what the taps have
not handed over yet do not belong to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.services.portico.steward import evidence
from portico.services.portico.stewards import EPISODES, evidence_of
from portico.services.registry import model_store
from portico.store import audit, resources, segments
from portico.store.database import Database
from portico.store.objects import files as objects_files
from portico.store.objects.hashes import encode_crc32c
from portico.store.tables.storage import objects

_PIECE = 1 << 20
KEYS = ("credentials.json", audit.KEY)


@dataclass(frozen=True, slots=True)
class Part:
    """A file, or a model's folder, that a row names. `size` in bytes and `crc32c` in base64, where the row knows them;
    `rows` those of a segment; `what` is its name for people."""

    path: str
    what: str
    size: int | None = None
    crc32c: str | None = None
    rows: int | None = None


def parts(home: Path, connection: Connection) -> Iterator[Part]:
    """All that the database of `connection` names, each file once."""
    found = connection.execute(sa.select(objects).order_by(objects.c.bucket, objects.c.name))
    for row in found.mappings():
        path = objects_files.path_of(home, row["file"])
        what = f"gs://{row['bucket']}/{row['name']}#{row['generation']}"
        # What is under a writer's key has its size and sums inside, where only that key reads them.
        size, crc32c = (row["size"], row["crc32c"]) if row["crc32c"] else (None, None)
        yield Part(_relative(home, path), what, size, crc32c)
    for segment in segments.every(connection):
        path = segments.folder(home) / segment.file
        yield Part(_relative(home, path), f"the log of {segment.stream}", rows=segment.rows)
    artifacts: dict[str, str] = {}
    for version in resources.listed(connection, model_store.VERSION_KIND):
        if artifact := model_store.VersionPrivate.of(version).artifact:
            artifacts.setdefault(artifact, version.name)
    for artifact, name in artifacts.items():
        yield Part(_relative(home, model_store.folder(home, artifact)), name)
    for episode in resources.listed(connection, EPISODES.kind):
        for file in evidence_of(episode):
            yield Part(_relative(home, evidence.folder(home) / file), f"the evidence of {episode.name}")


def fault(home: Path, part: Part) -> str:
    """What is wrong with it: "" when nothing is."""
    path = home / part.path
    try:
        if part.rows is not None:
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                rows = pq.read_table(path, use_threads=False).num_rows
            except pa.ArrowException as error:
                return f"can't be read ({error})"
            return "" if rows == part.rows else f"has {rows} rows, not {part.rows}"
        if path.is_dir():
            return "" if any(path.iterdir()) else "is empty"
        size = path.stat().st_size
        if part.size is not None and size != part.size:
            return f"has {size:,} bytes, not {part.size:,}"
        if part.crc32c is not None and checksum(path) != part.crc32c:
            return "has other bytes than were written"
        return ""
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can't be read ({error.strerror or error})"


def checksum(path: Path) -> str:
    """The crc32c of a file, in base64."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            value = google_crc32c.extend(value, piece)
    return encode_crc32c(value)


def orphans(home: Path, database: Database) -> list[str]:
    """Files in the home's folders that no row names: what crashes left, or another database's."""
    from portico.store.objects import uploads as objects_uploads

    with database.read() as connection:
        named = {part.path for part in parts(home, connection)}
        named |= {
            _relative(home, objects_files.path_of(home, file))
            for file in objects_uploads.files_with_rows(connection, "0", "g")
        }
        named |= {_relative(home, segments.folder(home) / file) for file in segments.left(connection)}
    there = list((home / "objects").glob("*/*"))
    there += [*segments.folder(home).glob("*.parquet"), *evidence.folder(home).glob("*.parquet")]
    there += list((home / "models").glob("*"))
    return sorted({_relative(home, path) for path in there} - named)


def _relative(home: Path, path: Path) -> str:
    return path.relative_to(home).as_posix()
