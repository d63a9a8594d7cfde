"""A lineage as SVG: a column for each step from the thing that was asked for, what it came from on its left."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from portico.cli.lineage import in_words
from portico.client.lineage import Graph

_WIDTH, _HEIGHT = 190, 44  # of a box
_ACROSS, _DOWN = 60, 18  # between boxes
_EDGE = 20
_LETTERS = 26  # of a line in a box
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .kind { font-size: 10px; fill: #59636e }
rect { stroke: #59636e; fill: #fff } .run rect { fill: #e8eef7 } .start rect { stroke-width: 2.5; stroke: #0b57d0 }
.run.failed rect { fill: #f9dedc } path { fill: none; stroke: #8c959f; marker-end: url(#tip) }
"""


def drawing(graph: Graph) -> str:
    """The SVG document."""
    places = _places(graph)
    width = max(x for x, _ in places.values()) + _WIDTH + _EDGE
    height = max(y for _, y in places.values()) + _HEIGHT + _EDGE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
            f"<style>{_STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<polygon points="0 0 8 4 0 8" fill="#8c959f"/></marker></defs>',
            *_edges(graph, places),
            *(_box(graph, name, *place) for name, place in places.items()),
            "</svg>\n",
        ]
    )


def _places(graph: Graph) -> dict[str, tuple[int, int]]:
    """Where each box's corner is. In a column a box stands beside the middle of its neighbours nearer to the start."""
    columns: dict[int, list[str]] = {}
    distances = graph.distances()
    for name, distance in distances.items():
        columns.setdefault(distance, []).append(name)
    left, tallest = min(columns), max(map(len, columns.values()))
    row: dict[str, float] = {}
    places: dict[str, tuple[int, int]] = {}
    for distance in sorted(columns, key=abs):
        nearer = graph.below if distance < 0 else graph.above

        def middle(name: str, nearer: dict[str, list[str]] = nearer) -> float:
            known = [row[other] for other in nearer.get(name, []) if other in row]
            return sum(known) / len(known) if known else 0.0

        names = sorted(columns[distance], key=middle)
        start = (tallest - len(names)) / 2
        for number, name in enumerate(names):
            row[name] = start + number
            x = _EDGE + (distance - left) * (_WIDTH + _ACROSS)
            places[name] = (x, round(_EDGE + row[name] * (_HEIGHT + _DOWN)))
    return places


def _edges(graph: Graph, places: dict[str, tuple[int, int]]) -> Iterator[str]:
    for one, others in graph.below.items():
        for two in others:
            if one in places and two in places:
                (x1, y1), (x2, y2) = places[one], places[two]
                x1, y1, y2 = x1 + _WIDTH, y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
                middle = (x1 + x2) // 2
                yield f'<path d="M {x1} {y1} C {middle} {y1}, {middle} {y2}, {x2} {y2}"/>'


def _box(graph: Graph, name: str, x: int, y: int) -> str:
    node = graph.nodes[name]
    run = "/executions/" in name
    marks = " ".join(filter(None, (
        "run" if run else "", "start" if name == graph.start else "", node.get("state", "").lower() if run else "",
    )))  # fmt: skip
    shown = _cut(node.get("displayName") or name.rpartition("/")[2])
    return (
        f'<g class="{marks}"><title>{escape(in_words(node))}</title>'
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="{3 if run else 12}"/>'
        f'<text x="{x + 10}" y="{y + 19}">{escape(shown)}</text>'
        f'<text class="kind" x="{x + 10}" y="{y + 34}">{escape(_cut(_kind(node)))}</text></g>'
    )


def _kind(node: dict[str, Any]) -> str:
    generation = (node.get("metadata") or {}).get("generation")
    return f"generation {generation}" if generation else str(node.get("schemaTitle", ""))


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
