"""Results that are given again while nothing they were made of has changed.

https://cloud.google.com/bigquery/docs/cached-results: not of queries that mean something else each time they run, nor
of wildcards, external tables, row access policies; and for a day at most. A result is a file of its own here, beside
that of its job; the cache begins anew with the process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlglot import exp

from portico.warehouse import access, catalog
from portico.warehouse.catalog import Cursor, Entry, key_of

_LIFETIME = 24 * 3600.0  # seconds
_MOST = 1_000  # results
_BYTES = 1 << 30  # of them all
_RANDOM = (
    exp.CurrentDate, exp.CurrentTime, exp.CurrentDatetime, exp.CurrentTimestamp, exp.SessionUser, exp.TableSample,
)  # fmt: skip
_NAMES = (
    "RAND", "GENERATE_UUID", "SESSION_USER", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_DATETIME", "CURRENT_TIMESTAMP",
)  # fmt: skip
_SPACES = ("KEYS__", "AEAD__", "DETERMINISTIC_ENCRYPT__")


def is_random(tree: exp.Expr) -> bool:
    """Whether a tree has what gives something else each time, or to each caller."""
    return any(
        isinstance(node, _RANDOM) or str(node.this).upper() in _NAMES or str(node.this).startswith(_SPACES)
        for node in tree.find_all(*_RANDOM, exp.Anonymous)
    )


def is_steady(entry: Entry) -> bool:
    """Whether all callers see the same rows of a table, until it is changed."""
    expires = (entry.body.get("timePartitioning") or {}).get("expirationMs")
    return not expires and not access.policies(entry) and entry.body.get("type") != "EXTERNAL"


@dataclass(slots=True)
class _Kept:
    file: Path
    size: int
    until: float
    versions: dict[tuple[str, str, str], int]
    answer: dict[str, Any]


class CachedResults:
    """Of one warehouse; from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0
        self._number = 0
        self._lock = threading.Lock()

    def find(self, cursor: Cursor, key: str, target: Path) -> dict[str, Any] | None:
        """What the query of this key was answered, its rows now at `target` too; None where it has to run."""
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until < time.monotonic() or not _unchanged(cursor, kept.versions):
            self._forget(key)
            return None
        try:
            os.link(kept.file, target)
        except OSError:
            return None
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
        return kept.answer

    def keep(self, key: str, file: Path, read: list[Entry], answer: dict[str, Any]) -> None:
        """Keeps the result in `file` for as long as what it was `read` from stays as it was."""
        versions = {key_of(one): catalog.version(one) for one in read}
        self._forget(key)
        with self._lock:
            self._number += 1
            made = self._folder / f"{self._number}.arrow"
        os.link(file, made)
        kept = _Kept(made, made.stat().st_size, time.monotonic() + _LIFETIME, versions, answer)
        with self._lock:
            self._kept[key] = kept
            self._size += kept.size
            oldest = []
            while len(self._kept) > _MOST or (self._size > _BYTES and self._kept):
                _, gone = self._kept.popitem(last=False)
                self._size -= gone.size
                oldest.append(gone)
        _remove(oldest)

    def _forget(self, key: str) -> None:
        with self._lock:
            gone = self._kept.pop(key, None)
            if gone is not None:
                self._size -= gone.size
        _remove([gone] if gone is not None else [])


def _unchanged(cursor: Cursor, versions: dict[tuple[str, str, str], int]) -> bool:
    for key, version in versions.items():
        found = catalog.find(cursor, *key)
        if found is None or catalog.version(found) != version:
            return False
    return True


def _remove(kept: list[_Kept]) -> None:
    for one in kept:
        with contextlib.suppress(FileNotFoundError):
            one.file.unlink()
