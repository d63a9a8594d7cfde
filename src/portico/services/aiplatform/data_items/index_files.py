"""Index files of image and text datasets, CSV or JSON lines, as Vertex AI reads them.

CSV: `[ml_use,]item,label…`, for bounding boxes `[ml_use,]item,label,x,y,x,y,x,y,x,y` with a row each, for sentiments
`[ml_use,]item,sentiment,sentimentMax`; the item is a gs:// name, or a text as it stands. JSON lines:
https://cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data,
https://cloud.google.com/vertex-ai/docs/image-data/object-detection/prepare-data
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from portico.services.aiplatform.data_items.formats import ML_USE, Format

_USES = {
    "train": "training", "training": "training", "validate": "validation", "validation": "validation", "test": "test",
    "unassigned": "",
}  # fmt: skip
_MOST_LABEL = 128  # characters; an AnnotationSpec's displayName


class Bad(Exception):
    """A line that says no item; in words."""


@dataclass(slots=True)
class Item:
    """`content` is a gs:// name, or with `inline` a text. Annotations: payload (JSON of its schema) and labels."""

    content: str
    inline: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    annotations: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)


def read(path: Path, name: str, format: Format) -> Iterator[tuple[int, Item | Bad]]:
    """The items of the file at `path`, called `name`, with the numbers of their lines."""
    as_json = name.endswith((".jsonl", ".json"))
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows: Iterator[Any] = iter(file) if as_json else csv.reader(file)
        number = 0
        while True:
            number += 1
            try:
                row = next(rows, None)
                if row is None:
                    return
                if row.strip() if as_json else any(row):
                    yield number, _of_json(row, format) if as_json else _of_cells(row, format)
            except Bad as error:
                yield number, error
            except csv.Error as error:  # a cell without an end, such as of a file that is none
                yield number, Bad(str(error))


def _of_cells(row: Sequence[str], format: Format) -> Item:
    told = _TOLD_IN_CELLS.get(format.key)
    if told is None:
        raise Bad(f"annotations of {format.annotation} are read from JSON lines alone; name the file .jsonl")
    cells = [cell.strip() for cell in row]
    use = _USES.get(cells[0].lower()) if len(cells) > 1 else None
    content, *others = cells if use is None else cells[1:]
    item = _item(content, format)
    if use:
        item.labels[ML_USE] = use
    item.annotations = [(payload, {}) for payload in told(others)]
    return _checked(item, format)


def _labels(cells: list[str]) -> list[dict[str, Any]]:
    return [{"displayName": label} for label in cells if label]


def _box(cells: list[str]) -> list[dict[str, Any]]:
    """A label and a box by its vertices, two opposite ones (the other cells are empty) or all four: shares of the
    image's width and height. No label and no vertices: an image in which nothing is."""
    label, *vertices = cells or [""]
    if not any(cells):
        return []
    try:
        if not label or len(vertices) > 8:
            raise ValueError
        xs, ys = ([float(cell) for cell in vertices[first::2] if cell] for first in (0, 1))
        if not 2 <= len(xs) == len(ys) or not all(0 <= one <= 1 for one in (*xs, *ys)):
            raise ValueError
    except ValueError:
        raise Bad(
            "a row of bounding boxes has a label and x_min,y_min,,,x_max,y_max,, as numbers from 0 to 1 "
            f"after the item; not {','.join(cells)[:100]}"
        ) from None
    return [{"displayName": label, "xMin": min(xs), "xMax": max(xs), "yMin": min(ys), "yMax": max(ys)}]


def _sentiment(cells: list[str]) -> list[dict[str, Any]]:
    if not any(cells):
        return []
    try:
        sentiment, most = map(int, cells)
        if not 0 <= sentiment <= most:
            raise ValueError
    except ValueError:
        raise Bad(
            "a row of sentiments has the sentiment, a whole number from 0, and the highest one after the item; not "
            f"{','.join(cells)[:100]}"
        ) from None
    return [{"sentiment": sentiment, "sentimentMax": most}]


_TOLD_IN_CELLS: Final[Mapping[str, Callable[[list[str]], list[dict[str, Any]]]]] = {
    "classificationAnnotation": _labels,
    "boundingBoxAnnotation": _box,
    "sentimentAnnotation": _sentiment,
}


def _of_json(line: str, format: Format) -> Item:
    try:
        told = json.loads(line)
        content = next(
            told[key]
            for key in (f"{format.kind}GcsUri", f"{format.kind}Content")
            if isinstance(told.get(key), str)
        )
        item = _item(content, format)
        item.labels = _texts(told.get("dataItemResourceLabels"))
        several = told.get(f"{format.key}s") or []
        for one in [*several, *([told[format.key]] if told.get(format.key) else [])]:
            payload = {key: value for key, value in one.items() if key != "annotationResourceLabels"}
            item.annotations.append((payload, _texts(one.get("annotationResourceLabels"))))
    except StopIteration:
        raise Bad(f"it has no {format.kind}GcsUri") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Bad(f"it is no JSON object of an item with {format.key}") from None
    use = _USES.get(item.labels.get(ML_USE, "").lower(), "")
    item.labels = {**{k: v for k, v in item.labels.items() if k != ML_USE}, **({ML_USE: use} if use else {})}
    return _checked(item, format)


def _item(content: str, format: Format) -> Item:
    inline = not content.startswith("gs://")
    if not content or (inline and format.kind != "text"):
        raise Bad(f"{content!r} is no gs:// name of an item")
    return Item(content, inline)


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in value.items()} if isinstance(value, Mapping) else {}


def _checked(item: Item, format: Format) -> Item:
    if format.single and len(item.annotations) > 1:
        raise Bad(f"it has {len(item.annotations)} annotations, and of {format.problem} an item has one")
    for payload, _ in item.annotations:
        name = payload.get("displayName")
        if format.labels and (not isinstance(name, str) or not name):
            raise Bad("an annotation has no displayName")
        if len(str(name or "")) > _MOST_LABEL:
            raise Bad(f"the label {str(name)[:20]}… is longer than {_MOST_LABEL} characters")
    return item
