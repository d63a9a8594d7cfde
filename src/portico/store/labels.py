"""Ground truth as it came: a row a label, one of them valid for each name.

A label's `name` says which predictions it belongs to (see `services.portico.labels`). What happens to a second label
of the same name is defined here: the same truth again is counted and changes nothing; another truth contradicts, and
the one that was observed later holds (observed at the same time: the one that came later).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.log import labels as _table

_of = _table.c.endpoint == sa.bindparam("endpoint")
_newest = sa.select(sa.func.max(_table.c.change)).where(_of)
_since = (
    sa.select(*(_table.c[name] for name in ("name", "truth", "observed", "arrived", "influenced", "change")))
    .where(_of, _table.c.change > sa.bindparam("after"), _table.c.change <= sa.bindparam("until"))
    .order_by(_table.c.change)
)
_some = sa.select(_table).where(_of, _table.c.name.in_(sa.bindparam("names", expanding=True)))
_of_keys = sa.select(_table.c.name).where(_of, _table.c.key.in_(sa.bindparam("keys", expanding=True)))
_next_key = sa.select(sa.func.min(_table.c.key)).where(_of, _table.c.key > sa.bindparam("after"))

_AT_ONCE = 500  # names in one look-up
_LAST = 2**62  # no change has such a number


class Label(msgspec.Struct, frozen=True):
    """`truth` is any JSON value; `observed` and `arrived` are domain time, in seconds since the epoch.

    `influenced` says that the prediction was acted upon in a way that changed the truth.
    """

    name: str
    truth: Any
    observed: float
    arrived: float
    influenced: bool = False


@dataclass(slots=True)
class Added:
    """What became of labels: they were new, the same again, or contradicted one that was there."""

    new: int = 0
    repeated: int = 0
    contradicted: int = 0


def add(connection: Connection, endpoint: str, labels: Iterable[Label]) -> Added:
    """Takes labels in their order of arrival."""
    labels = list(labels)
    known = _known(connection, endpoint, {label.name for label in labels})
    fresh: dict[str, dict[str, Any]] = {}
    changed: set[str] = set()
    added = Added()
    change = newest(connection, endpoint)
    for label in labels:
        truth = orjson.dumps(label.truth)
        values = {
            "truth": truth, "observed": label.observed, "arrived": label.arrived, "influenced": label.influenced,
        }  # fmt: skip
        there = known.get(label.name)
        if there is None:
            added.new += 1
            change += 1
            known[label.name] = fresh[label.name] = {
                "endpoint": endpoint, "name": label.name, "repeated": 0, "contradicted": 0, "change": change,
                "key": key_of(label.name),
                **values,
            }  # fmt: skip
            continue
        changed.add(label.name)
        # 13 and 13.0 are one truth.
        same = there["truth"] == truth or orjson.loads(there["truth"]) == label.truth
        if same and bool(there["influenced"]) == label.influenced:
            added.repeated += 1
            there["repeated"] += 1
        else:
            added.contradicted += 1
            there["contradicted"] += 1
            if label.observed >= there["observed"]:
                change += 1
                there |= values | {"change": change}
    if fresh:
        connection.execute(sa.insert(_table), list(fresh.values()))
    for name in changed - fresh.keys():
        where = (_table.c.endpoint == endpoint, _table.c.name == name)
        connection.execute(sa.update(_table).where(*where).values(known[name]))
    return added


def newest(connection: Connection, endpoint: str) -> int:
    """The number of the newest change, 0 where there is no label."""
    return int(connection.execute(_newest, {"endpoint": endpoint}).scalar() or 0)


def _known(connection: Connection, endpoint: str, names: set[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    ordered = sorted(names)
    for start in range(0, len(ordered), _AT_ONCE):
        part = ordered[start : start + _AT_ONCE]
        rows = connection.execute(_some, {"endpoint": endpoint, "names": part})
        found |= {row.name: dict(row._mapping) for row in rows}
    return found


def named(connection: Connection, endpoint: str, names: set[str]) -> list[Label]:
    """The labels of those `names` that have one."""
    return [
        Label(name, orjson.loads(r["truth"]), r["observed"], r["arrived"], bool(r["influenced"]))
        for name, r in _known(connection, endpoint, names).items()
    ]


def names_of(connection: Connection, endpoint: str) -> list[str]:
    """The names of all labels."""
    return list(connection.execute(sa.select(_table.c.name).where(_table.c.endpoint == endpoint)).scalars())


def key_of(name: str) -> str:
    """The key ("key:…") in a label's name, with a time or without; "" in one by request id."""
    return "" if name.startswith("id:") else name[name.index("key:") :]


def of_keys(connection: Connection, endpoint: str, keys: set[str]) -> list[str]:
    """The names of the labels of these keys, with a time or without."""
    found: list[str] = []
    ordered = sorted(keys)
    for start in range(0, len(ordered), _AT_ONCE):
        part = {"endpoint": endpoint, "keys": ordered[start : start + _AT_ONCE]}
        found += connection.execute(_of_keys, part).scalars()
    return found


def next_key(connection: Connection, endpoint: str, after: str) -> str:
    """The first key behind `after`, in the order of their text, that a label has; "" behind the last one."""
    return str(connection.execute(_next_key, {"endpoint": endpoint, "after": after}).scalar() or "")


def since(
    connection: Connection, endpoint: str, change: int, until: int | None = None
) -> tuple[list[Label], int]:
    """The labels whose truth changed after `change` (-1: all) and not after `until`, in order of change; the newest."""
    found = []
    last = _LAST if until is None else until
    asked = {"endpoint": endpoint, "after": change, "until": last}
    for name, truth, observed, arrived, influenced, number in connection.execute(_since, asked):
        found.append(Label(name, orjson.loads(truth), observed, arrived, bool(influenced)))
        change = number
    return found, change


def truths_of(connection: Connection, endpoint: str) -> Iterator[tuple[str, Any]]:
    """The name and the truth of every label."""
    for row in connection.execute(
        sa.select(_table.c.name, _table.c.truth).where(_table.c.endpoint == endpoint)
    ):
        yield row.name, orjson.loads(row.truth)


def new_since(connection: Connection, endpoint: str, names: set[str], change: int) -> set[str]:
    """Those of the `names` whose label came after `change`; one that was corrected may have come before."""
    known = _known(connection, endpoint, names)
    return {name for name, row in known.items() if row["change"] > change and not row["contradicted"]}


def counts(connection: Connection, endpoint: str) -> Added:
    """How many names have a label, and how often a second one was the same or contradicted it."""
    row = connection.execute(
        sa.select(sa.func.count(), sa.func.sum(_table.c.repeated), sa.func.sum(_table.c.contradicted)).where(
            _table.c.endpoint == endpoint
        )
    ).one()
    return Added(int(row[0]), int(row[1] or 0), int(row[2] or 0))


def delete(connection: Connection, endpoint: str) -> None:
    connection.execute(sa.delete(_table).where(_table.c.endpoint == endpoint))
