"""Which cells of a CSV file are which column's: by their places, or by its header (`sourceColumnMatch`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from portico.errors import InvalidArgument
from portico.warehouse.csv_cells import Cells
from portico.warehouse.types import Field


class Layout(NamedTuple):
    """`skip`: leading rows that are no data. `places`: of each column's cells, None for one that the file lacks; None
    where they are in order. `width`: cells of a row, where there are places."""

    skip: int
    places: list[int | None] | None = None
    width: int = 0


def layout(rows: Callable[[], Iterator[Cells]], fields: list[Field], options: Mapping[str, Any]) -> Layout:
    """By name where that is asked for, or where columns are detected and all that the header names are there, as
    Google's document has it; `rows` reads the file from its begin.

    Raises:
        InvalidArgument: columns are to be matched by name, and the header has one that is none.
    """
    said, match = options.get("skipLeadingRows"), str(options.get("sourceColumnMatch") or "").upper()
    told = None if said is None else int(said)  # a text in JSON
    detects = bool(options.get("autodetect"))
    asked = match == "NAME"
    if not asked and (not detects or told == 0):
        return Layout(told or 0)
    place = told or 1
    header = next(itertools.islice(rows(), place - 1, None), [])
    named = [clean(name or "", number).lower() for number, name in enumerate(header)]
    known = [one["name"].lower() for one in fields]
    unknown = [name for name in named if name not in known]
    if asked and unknown and not options.get("ignoreUnknownValues"):
        raise InvalidArgument(
            f"The header has no column of the table: {', '.join(unknown)}; set ignoreUnknownValues, or name it as in "
            "the schema",
            reason="invalid",
        )
    if match == "POSITION":
        return Layout(int(named == known) if told is None else told)
    if not named or (unknown and not asked):
        return Layout(told or 0)
    if named == known:
        return Layout(place)
    return Layout(place, [named.index(name) if name in named else None for name in known], len(named))


def clean(name: str, place: int) -> str:
    """A column's name of what a header says."""
    shown = "".join(
        character if character.isalnum() or character == "_" else "_" for character in name.strip()
    )
    if not shown:
        return f"string_field_{place}"
    return f"_{shown}" if shown[0].isdigit() else shown
