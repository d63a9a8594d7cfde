"""The audit log: entries that only grow, each bound to the one before, so that what was cut, edited or put elsewhere
is noticed.

An entry's digest is HMAC-SHA256 (RFC 2104) of its number, the digest before it and its bytes, under a key that lies
beside the database (`HOME/audit.key`): who can write the database alone can't forge one. `HOME/audit.head` has the
number and the digest of the last, so that entries cut off at the end are missed too.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.store.tables.audit import entries as _table
from portico.store.tables.audit import forgotten as _forgotten

KEPT: Final = 400 * 24 * 3600.0  # seconds, as in Google's bucket `_Required`
KEY: Final = "audit.key"
LOGS: Final = "/logs/cloudaudit.googleapis.com"
"""What the names of its logs have."""
_HEAD = "audit.head"
_SIZE = 32  # bytes of a key, and of a digest
_NONE = bytes(_SIZE)
_SEAL = b"forgotten"  # in place of an entry's bytes
_PAGE = 500
_last = sa.select(_table.c.number, _table.c.digest).order_by(_table.c.number.desc()).limit(1)
_removed = sa.select(_forgotten.c.number, _forgotten.c.digest, _forgotten.c.seal)
_insert = sa.insert(_table)


@dataclass(frozen=True, slots=True)
class Entry:
    """`owner` "projects/P", `log` "projects/P/logs/L", `time` in seconds since the epoch, `resource` the name of what
    it is about, `body` the LogEntry."""

    owner: str
    log: str
    time: float
    insert_id: str
    resource: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the whole chain found: `entries` that hold, from number `first` to `last`, whose digest is
    `digest` (hexadecimal); where it is broken, `why`, and the first number that does not hold."""

    entries: int
    first: int
    last: int
    digest: str
    broken: int = 0
    why: str = ""


class Trail:
    """Writes to the audit log of `home`. Make one a process; safe for threads."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._key = b""
        self._head = -1

    def insert(self, connection: Connection, entry: Entry) -> tuple[int, bytes]:
        """Adds an entry within the caller's write transaction; its number and digest, for `kept`."""
        row = connection.execute(_last).first() or connection.execute(_removed).first()
        number, before = (row[0] + 1, row[1]) if row else (1, _NONE)
        body = orjson.dumps(entry.body)
        digest = self._digest(number, before, body)
        values = {
            "number": number, "time": entry.time, "owner": entry.owner, "log": entry.log,
            "insert_id": entry.insert_id, "resource": entry.resource, "digest": digest, "body": body,
        }  # fmt: skip
        connection.execute(_insert, values)
        return number, digest

    def kept(self, number: int, digest: bytes) -> None:
        """Notes beside the database that it has this entry. Called while other writers wait."""
        with contextlib.suppress(OSError):  # a full disk: the entry itself is there
            if self._head < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._head = os.open(self._home / _HEAD, flags, 0o600)
            os.pwrite(self._head, number.to_bytes(8, "big") + digest, 0)

    def verify(self, connection: Connection) -> Verdict:
        """Looks at every entry, in the order in which they were written."""
        number, before, seal = connection.execute(_removed).first() or (0, _NONE, b"")
        first, known = number + 1, self._known()
        if number and not hmac.compare_digest(seal, self._digest(number, before, _SEAL)):
            return Verdict(0, 1, 0, "", 1, f"the entries up to {number} are missing")
        while True:
            page = sa.select(_table).where(_table.c.number > number).order_by(_table.c.number).limit(_PAGE)
            rows = connection.execute(page).all()
            for row in rows:
                if row.number != number + 1:
                    return self._told(first, number, before, f"entry {number + 1} is missing")
                if not hmac.compare_digest(row.digest, self._digest(row.number, before, row.body)):
                    why = f"entry {row.number}, or the one before it, is not what was written"
                    return self._told(first, number, before, why)
                if not _is_found_by_its_own(row):
                    why = f"entry {row.number} is filed as another one than it is, and is not shown where it belongs"
                    return self._told(first, number, before, why)
                number, before = row.number, row.digest
                if known and known[0] == number and known[1] != before:
                    return self._told(first, number - 1, before, f"entry {number} was replaced")
            if len(rows) < _PAGE:
                break
        if known and known[0] > number:
            return self._told(
                first, number, before, f"the entries from {number + 1} to {known[0]} are missing"
            )
        return self._told(first, number, before, "")

    def forget(self, connection: Connection, now: float) -> int:
        """Removes what is older than `KEPT`, from the beginning; how many entries. The chain of the rest holds."""
        young = sa.select(sa.func.min(_table.c.number)).where(_table.c.time >= now - KEPT)
        last = sa.select(sa.func.max(_table.c.number))
        end = (connection.execute(young).scalar() or connection.execute(last).scalar() or 0) - 1
        digest = connection.execute(sa.select(_table.c.digest).where(_table.c.number == end)).scalar()
        if digest is None:
            return 0
        connection.execute(sa.delete(_forgotten))
        seal = self._digest(end, digest, _SEAL)
        connection.execute(sa.insert(_forgotten).values(number=end, digest=digest, seal=seal))
        return connection.execute(sa.delete(_table).where(_table.c.number <= end)).rowcount

    def _digest(self, number: int, before: bytes, body: bytes) -> bytes:
        self._key = self._key or _key(self._home / KEY)
        return hmac.digest(self._key, number.to_bytes(8, "big") + before + body, hashlib.sha256)

    def _known(self) -> tuple[int, bytes] | None:
        """The last entry, as it was noted beside the database."""
        try:
            told = (self._home / _HEAD).read_bytes()
        except FileNotFoundError:
            return None
        return (int.from_bytes(told[:8], "big"), told[8:]) if len(told) == 8 + _SIZE else None

    def _told(self, first: int, last: int, digest: bytes, why: str) -> Verdict:
        count = last - first + 1
        return Verdict(count, first, last, digest.hex() if last else "", last + 1 if why else 0, why)


def _is_found_by_its_own(row: Any) -> bool:
    """Whether the columns by which an entry is looked up say what it says itself; the digest is of that alone."""
    body = orjson.loads(row.body)
    told = body["logName"], body["insertId"], body["timestamp"], body["protoPayload"]["resourceName"]
    columns = row.log, row.insert_id, rfc3339(row.time), row.resource
    return columns == told and row.owner == row.log.partition("/logs/")[0]


def _key(path: Path) -> bytes:
    """The key of this home, made where there is none; of several processes that make one, the first's is everyone's."""
    made = path.with_name(f"{path.name}.{os.getpid()}")
    if not path.exists():
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SIZE))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    return path.read_bytes()


def read(
    connection: Connection,
    owner: str,
    since: float,
    until: float,
    resource: str | None,
    *,
    newest_first: bool,
) -> Iterator[Entry]:
    """Those of `owner` with a time in [since, until], by time; of one resource, where that is named."""
    place = sa.tuple_(_table.c.time, _table.c.number)
    order = [c.desc() if newest_first else c for c in (_table.c.time, _table.c.number)]
    chosen = sa.select(_table).where(_table.c.owner == owner, _table.c.time >= since, _table.c.time <= until)
    if resource is not None:
        chosen = chosen.where(_table.c.resource == resource)
    chosen, after = chosen.order_by(*order).limit(_PAGE), None
    while True:
        page = chosen if after is None else chosen.where(place < after if newest_first else place > after)
        rows = connection.execute(page).all()
        for row in rows:
            body = orjson.loads(row.body)
            yield Entry(row.owner, row.log, row.time, row.insert_id, row.resource, body)
        if len(rows) < _PAGE:
            return
        after = sa.tuple_(*map(sa.literal, (rows[-1].time, rows[-1].number)))


def owners(connection: Connection) -> list[str]:
    """Whose entries there are: "projects/P"."""
    return list(connection.execute(sa.select(_table.c.owner).distinct()).scalars())


def every(connection: Connection) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, digest and bytes of each entry, as they were written."""
    number = -1
    columns = (
        sa.select(_table.c.number, _table.c.digest, _table.c.body).order_by(_table.c.number).limit(_PAGE)
    )
    while rows := connection.execute(columns.where(_table.c.number > number)).all():
        yield from map(tuple, rows)
        number = rows[-1].number


def digest_of(connection: Connection, number: int) -> str:
    """Hexadecimal; empty where there is no such entry."""
    found = connection.execute(sa.select(_table.c.digest).where(_table.c.number == number)).scalar()
    return found.hex() if found else ""


def logs(connection: Connection, owner: str) -> list[str]:
    chosen = sa.select(_table.c.log).where(_table.c.owner == owner).distinct().order_by(_table.c.log)
    return list(connection.execute(chosen).scalars())
