"""`portico lineage`: what something came from and what was made of it, as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from portico.client.api import Client

Neighbours = dict[str, list[str]]


@dataclass(slots=True)
class Graph:
    """The nodes above and below `start`: artifacts and executions by name, and the edges by both ends, in the order of
    their events. An edge leads from an input to its execution and from there to an output."""

    start: str
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    above: Neighbours = field(default_factory=dict)
    below: Neighbours = field(default_factory=dict)

    def distances(self) -> dict[str, int]:
        """How far each node is above (negative) or below the start; no further than it must be."""
        found = {self.start: 0}
        for neighbours, step in ((self.above, -1), (self.below, 1)):
            newest = [self.start]
            while newest:
                newest = [
                    other
                    for node in newest
                    for other in neighbours.get(node, [])
                    if found.setdefault(other, found[node] + step) == found[node] + step and other != node
                ]
                newest = list(dict.fromkeys(newest))
        return found

    def as_json(self) -> dict[str, Any]:
        near = self.distances()
        edges = [
            {"from": one, "to": two}
            for one, others in self.below.items()
            for two in others
            if {one, two} <= near.keys()
        ]
        return {"start": self.start, "nodes": [self.nodes[name] for name in near], "edges": edges}


def around(client: Client, name: str) -> Graph:
    """
    Raises:
        NotFound: nothing is recorded of `name`.
    """
    start, found = client.lineage(name)
    graph = Graph(start["name"])
    for node in (*found.get("artifacts", []), *found.get("executions", [])):
        graph.nodes[node["name"]] = node
    for event in found.get("events", []):
        ends = (event["artifact"], event["execution"])
        one, two = ends if event["type"] == "INPUT" else ends[::-1]
        graph.below.setdefault(one, []).append(two)
        graph.above.setdefault(two, []).append(one)
    return graph


def tree(graph: Graph) -> Iterator[str]:
    """The lines of the tree: first what it came from, then what was made of it. What stands above already is not told
    again."""
    yield in_words(graph.nodes[graph.start])
    parts = [(words, of) for words, of in (("from", graph.above), ("to", graph.below)) if of.get(graph.start)]
    for number, (words, neighbours) in enumerate(parts):
        last = number == len(parts) - 1
        yield f"{'└' if last else '├'}─ {words}"
        yield from _branches(graph, neighbours, "   " if last else "│  ")


def _branches(graph: Graph, neighbours: Neighbours, indent: str) -> Iterator[str]:
    told = {graph.start}
    left = [(other, indent, False) for other in _turned(neighbours, graph.start)]
    left = _with_last(left)
    while left:
        name, before, last = left.pop()
        again = name in told
        told.add(name)
        yield f"{before}{'└' if last else '├'}─ {in_words(graph.nodes[name])}{' (above)' if again else ''}"
        if not again:
            inner = before + ("   " if last else "│  ")
            left += _with_last([(other, inner, False) for other in _turned(neighbours, name)])


def _turned(neighbours: Neighbours, name: str) -> list[str]:
    """The last first, as a stack wants them."""
    return neighbours.get(name, [])[::-1]


def _with_last(siblings: list[tuple[str, str, bool]]) -> list[tuple[str, str, bool]]:
    return [(name, indent, number == 0) for number, (name, indent, _) in enumerate(siblings)]


def in_words(node: dict[str, Any]) -> str:
    """A node on a line."""
    name = node.get("displayName") or node["name"].rpartition("/")[2]
    metadata = node.get("metadata") or {}
    if "/executions/" in node["name"]:
        return f"[{name}] {node.get('state', '').lower()} {node['createTime'][:19].replace('T', ' ')}"
    where = metadata.get("resourceName") or node.get("uri", "")
    if generation := metadata.get("generation"):
        where += f"#{generation}"
    return "  ".join(filter(None, (name, node.get("schemaTitle", ""), where)))
