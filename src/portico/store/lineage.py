"""The edges between artifacts, executions and contexts: events, members of contexts, children of contexts.

Functions take the caller's open connection. Nodes are names of resources; what is at an edge's ends is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.resources import batched
from portico.store.tables.lineage import edges

Relation = Literal["input", "output", "member", "child"]

# From the execution or context, and the same edge from its other end.
_BACK: Final[Mapping[str, str]] = {
    "input": "input of",
    "output": "output of",
    "member": "member of",
    "child": "child of",
}
_FORTH: Final = {back: relation for relation, back in _BACK.items()}
_EVENTS: Final = ("input", "output")
_BOTH_WAYS: Final = (*_EVENTS, "input of", "output of")
_e = edges.c
_there = sa.select(_e.other).where(_e.node == sa.bindparam("from"), _e.relation.in_(_EVENTS))
_beside = sa.select(_e.other).where(_e.node == sa.bindparam("from"), _e.relation.in_(_BOTH_WAYS))
_events = sa.select(edges).where(_e.node.in_(sa.bindparam("of", expanding=True)), _e.relation.in_(_EVENTS))
_drop = sa.delete(edges).where(_e.node == sa.bindparam("of"))
_drop_mirrored = sa.delete(edges).where(
    _e.node == sa.bindparam("from"), _e.relation == sa.bindparam("as"), _e.other == sa.bindparam("to")
)


@dataclass(frozen=True, slots=True)
class Event:
    """`relation` is "input" or "output", `time` seconds since the epoch."""

    execution: str
    relation: str
    artifact: str
    time: float
    labels: dict[str, str]


def add(
    connection: Connection,
    node: str,
    relation: Relation,
    others: Iterable[str],
    now: float,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Adds edges from `node`; what is there already is passed over, and of events there is one between two nodes."""
    if relation in _EVENTS:
        there = set(connection.execute(_there, {"from": node}).scalars())
    else:
        there = set(connection.execute(other(node, relation)).scalars())
    packed = orjson.dumps(dict(labels)) if labels else None
    rows = [
        {"node": one, "relation": name, "other": two, "time": now, "labels": packed}
        for new in dict.fromkeys(others)
        if new not in there
        for one, name, two in ((node, relation, new), (new, _BACK[relation], node))
    ]
    if rows:
        connection.execute(sa.insert(edges), rows)


def remove(connection: Connection, node: str, relation: Relation, others: Iterable[str]) -> None:
    """Removes edges from `node`; what isn't there is passed over."""
    for gone in others:
        connection.execute(_drop_mirrored, {"from": node, "as": relation, "to": gone})
        connection.execute(_drop_mirrored, {"from": gone, "as": _BACK[relation], "to": node})


def forget(connection: Connection, node: str) -> None:
    """Removes all edges of a node that is deleted."""
    for row in connection.execute(sa.select(_e.relation, _e.other).where(_e.node == node)).all():
        mirrored = _BACK.get(row.relation) or _FORTH[row.relation]
        connection.execute(_drop_mirrored, {"from": row.other, "as": mirrored, "to": node})
    connection.execute(_drop, {"of": node})


def other(node: str, relation: Relation) -> sa.Select[Any]:
    """The nodes to which `relation` leads from `node`."""
    return sa.select(_e.other).where(_e.node == node, _e.relation == relation)


def back(node: str, relation: Relation) -> sa.Select[Any]:
    """The nodes from which `relation` leads to `node`."""
    return sa.select(_e.other).where(_e.node == node, _e.relation == _BACK[relation])


def connected(connection: Connection, artifact: str) -> list[str]:
    """All nodes that events connect with an artifact, however far, the artifact among them where it has an event."""
    start = sa.select(_e.node).where(_e.node == artifact).distinct()
    reached = start.cte("reached", recursive=True)
    step = sa.select(_e.other).where(_e.node == reached.c.node, _e.relation.in_(_BOTH_WAYS))
    return list(connection.execute(sa.select(reached.union(step).c.node)).scalars())


def beside(connection: Connection, nodes: Iterable[str]) -> set[str]:
    """The nodes one event away from any of `nodes`."""
    return {other for node in nodes for other in connection.execute(_beside, {"from": node}).scalars()}


def events(connection: Connection, executions: Iterable[str]) -> list[Event]:
    """The events of executions, the oldest first."""
    found = [
        Event(row.node, row.relation, row.other, row.time, orjson.loads(row.labels) if row.labels else {})
        for some in batched(executions)
        for row in connection.execute(_events, {"of": some}).all()
    ]
    return sorted(found, key=lambda event: (event.time, event.execution, event.artifact))
