"""How nested JSON values are: a few bytes of text can ask for gigabytes of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

_DEEP: Final = 16  # levels; Arrow's type for a value grows with the square of the depth
_CELLS: Final = 1 << 22  # of one nested column in a batch


def is_costly(cells: Sequence[Any]) -> bool:
    """Whether as nested columns the values would take many times their own size: deep ones, objects of ever other keys.

    A struct column has a place for each key that any of its rows has.
    """
    level: list[Any] = [cell for cell in cells if isinstance(cell, (dict, list))]
    rows = len(cells)
    for _ in range(_DEEP):
        if not level:
            return False
        keys = {key for each in level if isinstance(each, dict) for key in each}
        rows = max(rows, len(level))
        if len(keys) * rows > _CELLS:
            return True
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
    return bool(level)
