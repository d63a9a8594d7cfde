"""The edges between artifacts, executions and contexts: events, members of contexts, children of contexts.

Functions take the caller's open connection. Nodes are names of resources; what is at an edge's ends is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
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
_there = sa.select(_e.other).where(
    _e.node == sa.bindparam("from"),
    _e.relation.in_(sa.bindparam("as", expanding=True)),
    _e.other.in_(sa.bindparam("among", expanding=True)),
)
_beside = sa.select(_e.other).where(
    _e.node.in_(sa.bindparam("of", expanding=True)), _e.relation.in_(_BOTH_WAYS)
)
_drop = sa.delete(edges).where(_e.node == sa.bindparam("of"))
_drop_mirrored = sa.delete(edges).where(
    _e.node == sa.bindparam("from"), _e.relation == sa.bindparam("as"), _e.other == sa.bindparam("to")
)


def add(
    connection: Connection,
    node: str,
    relation: Relation,
    others: Iterable[str],
    now: float,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Adds edges from `node`; what is there already is passed over, and of events there is one between two nodes."""
    wanted, same = list(dict.fromkeys(others)), _EVENTS if relation in _EVENTS else (relation,)
    there = {
        found
        for some in batched(wanted)
        for found in connection.execute(_there, {"from": node, "as": same, "among": some}).scalars()
    }
    packed = orjson.dumps(dict(labels)) if labels else None
    rows = [
        {"node": one, "relation": name, "other": two, "time": now, "labels": packed}
        for new in wanted
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


def connected(artifact: str) -> sa.Select[Any]:
    """All nodes that events connect with an artifact, however far, the artifact among them where it has an event."""
    start = sa.select(_e.node).where(_e.node == artifact).distinct()
    reached = start.cte("reached", recursive=True)
    step = sa.select(_e.other).where(_e.node == reached.c.node, _e.relation.in_(_BOTH_WAYS))
    return sa.select(reached.union(step).c.node)


def beside(connection: Connection, nodes: Iterable[str]) -> set[str]:
    """The nodes one event away from any of `nodes`."""
    return {other for some in batched(nodes) for other in connection.execute(_beside, {"of": some}).scalars()}


def events(
    connection: Connection, among: sa.Select[Any]
) -> Sequence[tuple[str, str, str, float, bytes | None]]:
    """The events of the executions among the nodes that `among` selects, the oldest first: execution, relation
    ("input", "output"), artifact, time (seconds since the epoch) and labels (JSON)."""
    names = among.subquery()
    chosen = sa.select(_e.node, _e.relation, _e.other, _e.time, _e.labels)
    chosen = chosen.join_from(names, edges, sa.and_(_e.node == names.c[0], _e.relation.in_(_EVENTS)))
    return sorted(connection.execute(chosen).all(), key=itemgetter(3, 0, 2))
