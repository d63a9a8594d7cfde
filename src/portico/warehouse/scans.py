"""How many bytes a statement reads, by BigQuery's rule: of every column that it names, the whole column.

https://cloud.google.com/bigquery/docs/estimate-costs. What a statement names is read off its names alone, so this is
an upper bound; a partition that a filter leaves out is counted all the same.
"""

from __future__ import annotations

import threading

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import catalog, sizes
from portico.warehouse.catalog import Cursor, Entry, key_of

_MEBI = 1 << 20
_LEAST = 10 * _MEBI  # that a table costs
_REMEMBERED = 10_000  # columns

Scans = dict[tuple[str, str, str], tuple[Entry, set[str]]]
"""The tables that are read, each with the names of its columns (lower case)."""

_known: dict[tuple[str, int, str], int] = {}
_lock = threading.Lock()


def note(scans: Scans, entry: Entry, node: exp.Table) -> None:
    """Adds what the statement in which `node` names a table reads of that."""
    fields = {str(one["name"]).lower() for one in entry.fields}
    root = node.root()
    named = {one.name.lower() for one in root.find_all(exp.Column)}
    named |= {one.name.lower() for join in root.find_all(exp.Join) for one in join.args.get("using") or ()}
    whole = node.alias_or_name.lower() in named or any(
        isinstance(one.parent, exp.Select | exp.Column) for one in root.find_all(exp.Star)
    )
    wanted = fields if whole else fields & named
    before = scans.get(key_of(entry))
    scans[key_of(entry)] = (entry, wanted | (before[1] if before else set()))


def read(cursor: Cursor, scans: Scans) -> list[int]:
    """The bytes that are read of each table."""
    return [_of(cursor, entry, names) for entry, names in scans.values()]


def _of(cursor: Cursor, entry: Entry, names: set[str]) -> int:
    version = catalog.version(entry)
    fields = [one for one in entry.fields if str(one["name"]).lower() in names]
    new = [one for one in fields if (entry.storage, version, one["name"]) not in _known]
    if new:
        told = catalog.first(
            cursor, f"SELECT {', '.join(sizes.total([one]) for one in new)} FROM {entry.place}"
        ) or [0] * len(new)
        with _lock:
            if len(_known) > _REMEMBERED:
                _known.clear()
            _known.update(
                {
                    (entry.storage, version, one["name"]): int(size)
                    for one, size in zip(new, told, strict=True)
                }
            )
    return sum(_known.get((entry.storage, version, one["name"]), 0) for one in fields)


def billed(bytes_: list[int]) -> int:
    """What BigQuery would bill for tables of which so much is read: whole MiB, ten of each table at the least."""
    return sum(max(_LEAST, -(-one // _MEBI) * _MEBI) for one in bytes_)


def check(bytes_: list[int], most: int) -> None:
    """
    Raises:
        InvalidArgument: more than `most` would be billed.
    """
    if (wanted := billed(bytes_)) > most:
        raise InvalidArgument(
            f"Query exceeded limit for bytes billed: {most}. {wanted} or higher required.",
            reason="bytesBilledLimitExceeded",
        )
