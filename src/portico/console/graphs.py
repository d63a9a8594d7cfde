"""Graphs of what comes from what, as SVG: a column for each step, boxes that are links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 200, 46  # of a box
_ACROSS, _DOWN = 60, 16  # between boxes
_EDGE = 12
_LETTERS = 26  # of a line in a box


@dataclass(frozen=True, slots=True)
class Box:
    """`marks`: classes of the sheet's ("run", "here", and those of a state's badge)."""

    words: str
    kind: str = ""
    to: str = ""
    marks: str = ""


def drawing(boxes: Mapping[str, Box], edges: Sequence[tuple[str, str]], label: str) -> Markup:
    """The boxes by their keys, an edge from what comes before to what comes after."""
    if not boxes:
        return Markup("")
    edges = [(a, b) for a, b in dict.fromkeys(edges) if a in boxes and b in boxes and a != b]
    places = _places(list(boxes), edges)
    width = max(x for x, _ in places.values()) + _WIDTH + _EDGE
    height = max(y for _, y in places.values()) + _HEIGHT + _EDGE
    parts = [
        Markup(
            '<svg viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="group" aria-label="{label}">'
        ).format(w=width, h=height, label=label)
    ]
    for a, b in edges:
        (x1, y1), (x2, y2) = places[a], places[b]
        x1, y1, y2 = x1 + _WIDTH, y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
        middle = (x1 + x2) // 2
        parts.append(
            Markup('<path d="M{} {}C{} {},{} {},{} {}"/><polygon points="{} {},{} {},{} {}"/>').format(
                x1, y1, middle, y1, middle, y2, x2 - 5, y2, x2, y2, x2 - 7, y2 - 4, x2 - 7, y2 + 4
            )
        )
    parts += [_box(boxes[key], *place) for key, place in places.items()]
    return (
        Markup('<div class="graph" tabindex="0" role="region" aria-label="{}">').format(label)
        + Markup("").join(parts)
        + Markup("</svg></div>")
    )


def _places(keys: list[str], edges: Sequence[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Each box's corner. A box's column is one behind the last of what comes before it; in its column it stands beside
    the middle of those."""
    before: dict[str, list[str]] = {key: [] for key in keys}
    for a, b in edges:
        before[b].append(a)
    column: dict[str, int] = {}

    def deep(key: str, above: frozenset[str]) -> int:
        if key not in column:
            column[key] = max((deep(o, above | {key}) + 1 for o in before[key] if o not in above), default=0)
        return column[key]

    for key in keys:
        deep(key, frozenset({key}))
    columns: dict[int, list[str]] = {}
    for key in keys:
        columns.setdefault(column[key], []).append(key)
    tallest = max(map(len, columns.values()))
    row: dict[str, float] = {}
    places: dict[str, tuple[int, int]] = {}
    for number in sorted(columns):
        names = sorted(
            columns[number],
            key=lambda key: (
                sum(known) / len(known) if (known := [row[o] for o in before[key] if o in row]) else 0.0
            ),
        )
        start = (tallest - len(names)) / 2
        for at, key in enumerate(names):
            row[key] = start + at
            places[key] = (_EDGE + number * (_WIDTH + _ACROSS), round(_EDGE + row[key] * (_HEIGHT + _DOWN)))
    return places


def _box(box: Box, x: int, y: int) -> Markup:
    inner = Markup(
        '<g class="{marks}"><title>{words} {kind}</title><rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{rx}"/>'
        '<text x="{tx}" y="{ty}">{shown}</text><text class="kind" x="{tx}" y="{ky}">{kind_shown}</text></g>'
    ).format(
        marks=box.marks,
        words=box.words,
        kind=box.kind,
        x=x,
        y=y,
        w=_WIDTH,
        h=_HEIGHT,
        rx=4 if "run" in box.marks.split() else 12,
        tx=x + 11,
        ty=y + 20,
        ky=y + 36,
        shown=_cut(box.words),
        kind_shown=_cut(box.kind),
    )
    return Markup('<a href="{}">{}</a>').format(box.to, inner) if box.to else inner


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
