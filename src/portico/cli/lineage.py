"""`portico lineage`: what something came from and what was made of it, as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portico.client.lineage import Graph, Neighbours


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
