"""Carries out the lifecycle rules of buckets: what is old enough, or otherwise as a rule says, is deleted, gets another
storage class, or is an upload that is given up.

Source: https://cloud.google.com/storage/docs/lifecycle. An object to which a deletion and a change of class apply is
deleted; of several changes the one to the cheapest class is made, and none to a dearer one. What is held or retained
stays. A rule is checked when the bucket gets it (`settings`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339
from portico.errors import PermissionDenied
from portico.services.storage.render import milliseconds
from portico.store.database import Database
from portico.store.objects import buckets, files, listing, uploads
from portico.store.objects import generations as objects
from portico.store.objects.buckets import BucketRow
from portico.store.objects.generations import LIVE, ObjectRow
from portico.store.objects.uploads import Upload

_DAY: Final = 86400.0
_PAGE: Final = 500  # objects that are looked at in one transaction
_DEAREST_FIRST: Final = ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE")  # older names cost as STANDARD does
_DELETE: Final = "Delete"
_ABORT: Final = "AbortIncompleteMultipartUpload"

# Of uploads those alone are taken that ask for what both have (`settings`).
_CONDITIONS: Final[Mapping[str, Callable[[Any, Any, float], bool]]] = {
    "age": lambda days, row, now: row.created + int(days) * _DAY <= now,
    "createdBefore": lambda date, row, now: row.created < _midnight(date),
    "customTimeBefore": lambda date, row, now: _custom(row) < _midnight(date),
    "daysSinceCustomTime": lambda days, row, now: _custom(row) + int(days) * _DAY <= now,
    "daysSinceNoncurrentTime": lambda days, row, now: _gone(row) + int(days) * _DAY <= now,
    "noncurrentTimeBefore": lambda date, row, now: _gone(row) < _midnight(date),
    "isLive": lambda live, row, now: live == (row.state == LIVE),
    "matchesStorageClass": lambda classes, row, now: _class(row) in classes,
    "matchesPrefix": lambda starts, row, now: row.name.startswith(tuple(starts)),
    "matchesSuffix": lambda ends, row, now: row.name.endswith(tuple(ends)),
    "sizeAboveBytes": lambda size, row, now: row.size > int(size),
    "sizeBelowBytes": lambda size, row, now: row.size < int(size),
}


def carry_out(home: Path, database: Database, now: float) -> int:
    """What all rules want at `now` (seconds since the epoch); to how many objects and uploads something was done."""
    with database.read() as connection:
        found = [buckets.find(connection, name) for name in buckets.names(connection)]
    done = 0
    for bucket in found:
        if bucket and (rules := (bucket.fields.get("lifecycle") or {}).get("rule")):
            done += _objects(home, database, bucket, rules, now)
            done += _uploads(home, database, bucket, rules, now)
    return done


def _objects(
    home: Path, database: Database, bucket: BucketRow, rules: list[dict[str, Any]], now: float
) -> int:
    query, at, done = listing.Query(bucket.name, versions=True), None, 0
    while True:
        with database.read() as connection:
            page = listing.list_page(connection, query, _PAGE, at)
            wanted = list(_wanted(connection, page.items, rules, now))
        if wanted:
            garbage: list[str] = []
            with database.write() as connection:
                for row, action in wanted:
                    if objects.find(connection, row.bucket, row.name, row.generation) == row:
                        done += _do(connection, bucket, row, action, now, garbage)
            files.remove(home, garbage)
        if page.next is None:
            return done
        at = page.next


def _wanted(
    connection: Connection, rows: list[ObjectRow], rules: list[dict[str, Any]], now: float
) -> Iterator[tuple[ObjectRow, str]]:
    """With each object to which something is to be done, `Delete` or its new storage class."""
    for row in rows:
        actions = {
            rule["action"].get("storageClass", _DELETE)
            for rule in rules
            if rule["action"]["type"] != _ABORT and _applies(connection, rule, row, now)
        }
        if _DELETE in actions:
            yield row, _DELETE
        elif actions and _rank(cheapest := max(actions, key=_rank)) > _rank(_class(row)):
            yield row, cheapest


def _applies(connection: Connection, rule: Mapping[str, Any], to: ObjectRow | Upload, now: float) -> bool:
    asked = {name: value for name, value in rule["condition"].items() if value not in (None, [])}
    newer = asked.pop("numNewerVersions", None)
    return all(_CONDITIONS[name](value, to, now) for name, value in asked.items()) and (
        newer is None or (isinstance(to, ObjectRow) and objects.newer(connection, to) >= int(newer))
    )


def _do(
    connection: Connection, bucket: BucketRow, row: ObjectRow, action: str, now: float, garbage: list[str]
) -> int:
    if action == _DELETE:
        if row.fields.get("temporaryHold") or row.fields.get("eventBasedHold"):
            return 0
        try:
            garbage += objects.delete(connection, bucket, row, now, for_good=row.state != LIVE)
        except PermissionDenied:  # it is retained
            return 0
    else:
        made = {"storageClass": action, "timeStorageClassUpdated": milliseconds(now)}
        objects.update(connection, row, row.fields | made, now)
    return 1


def _uploads(
    home: Path, database: Database, bucket: BucketRow, rules: list[dict[str, Any]], now: float
) -> int:
    """Multipart uploads alone are given up; a session that is resumed ends by itself."""
    aborting = [rule for rule in rules if rule["action"]["type"] == _ABORT]
    if not aborting:
        return 0
    garbage: list[str] = []
    count = 0
    with database.write() as connection:
        for upload in uploads.of_bucket(connection, bucket.name):
            if not upload.file and any(_applies(connection, rule, upload, now) for rule in aborting):
                garbage += uploads.cancel(connection, upload)
                count += 1
    files.remove(home, garbage)
    return count


def _midnight(date: str) -> float:
    return parse_rfc3339(f"{date}T00:00:00Z")


def _custom(row: ObjectRow) -> float:
    return parse_rfc3339(row.fields["customTime"]) if row.fields.get("customTime") else float("inf")


def _gone(row: ObjectRow) -> float:
    """When it became noncurrent."""
    return row.deleted if row.deleted is not None and row.state != LIVE else float("inf")


def _class(row: ObjectRow) -> str:
    return str(row.fields.get("storageClass") or _DEAREST_FIRST[0])


def _rank(storage_class: str) -> int:
    return _DEAREST_FIRST.index(storage_class) if storage_class in _DEAREST_FIRST else 0
