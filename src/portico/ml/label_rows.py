"""Rows of a table as labels: which column holds the truth, and which say whose truth it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from portico.ml import values

_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what; empty where none does. A prediction is named by `request_id` or by `key`."""

    truth: str
    request_id: str = ""
    index: str = ""
    key: tuple[str, ...] = ()
    time: str = ""
    observed: str = ""
    influenced: str = ""

    @property
    def names(self) -> list[str]:
        every = (
            self.truth,
            self.request_id,
            self.index,
            *self.key,
            self.time,
            self.observed,
            self.influenced,
        )
        return [name for name in every if name]


def label_of(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """A row as the JSON of a label: `truth`, `requestId` and `index` or `key`, `time`, `observedTime`, `influenced`.

    Text that is a number is that number, as CSV writes it.

    Raises:
        ValueError: the row is no label; the message names the column.
    """
    made: dict[str, Any] = {"truth": _truth(_present(row, columns.truth), columns.truth)}
    if columns.request_id:
        made["requestId"] = values.text(_present(row, columns.request_id))
        if columns.index:
            made["index"] = _index(_present(row, columns.index), columns.index)
    else:
        made["key"] = {name: _plain(row.get(name)) for name in columns.key}
        # Without its time a label would be that of every prediction of the key.
        if columns.time:
            made["time"] = _moment(_present(row, columns.time), columns.time)
    if columns.observed and not values.is_missing(row.get(columns.observed)):
        made["observedTime"] = _moment(row[columns.observed], columns.observed)
    if columns.influenced and not values.is_missing(row.get(columns.influenced)):
        made["influenced"] = _yes(row[columns.influenced], columns.influenced)
    return made


def _yes(cell: Any, name: str) -> bool:
    word = str(cell).strip().lower()
    if word not in _YES and word not in _NO:
        raise ValueError(f"{name} is {cell!r}; write true or false")
    return word in _YES


def _present(row: Mapping[str, Any], name: str) -> Any:
    cell = row.get(name)
    if values.is_missing(cell):
        raise ValueError(f"{name} is empty")
    return cell


def _truth(cell: Any, name: str) -> Any:
    if isinstance(cell, str):
        try:
            number = float(cell)
        except ValueError:
            return cell
        read = int(cell) if cell.lstrip("-").isdigit() else number
        return read if _is_json(read) else cell
    cell = _plain(cell)
    if not isinstance(cell, str | int | float):
        raise ValueError(f"{name} is no number and no text, but {str(cell)[:40]!r}")
    if not _is_json(cell):
        raise ValueError(f"{name} is {cell}, which JSON can't write")
    return cell


def _is_json(cell: Any) -> bool:
    if isinstance(cell, int):
        return -(2**63) <= cell < 2**63
    return not isinstance(cell, float) or math.isfinite(cell)


def _index(cell: Any, name: str) -> int:
    try:
        number = values.number(cell)
    except ValueError:
        number = -1.0
    if not number.is_integer() or not 0 <= number < 2**31:
        raise ValueError(f"{name} is {cell!r}, which is no place in a request")
    return int(number)


def _moment(cell: Any, name: str) -> str:
    """RFC 3339; a time without a zone is UTC."""
    try:
        found = datetime.fromtimestamp(values.timestamp(cell), UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {error}") from None
    return found.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _plain(cell: Any) -> Any:
    if isinstance(cell, Decimal):
        return int(cell) if cell == cell.to_integral_value() else float(cell)
    return cell.isoformat() if hasattr(cell, "isoformat") else cell
