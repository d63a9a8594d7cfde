"""What a column holds: its kind, recognised from its values, and its statistics."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml import arrays, values
from portico.ml.arrays import Column
from portico.ml.pace import Pace, Progress

Kind = Literal[
    "numeric", "categorical", "high_cardinality", "text", "timestamp", "constant", "missing", "unsupported"
]

# Above this many categories a code per category overfits; see `encoders.TargetEncoder`.
MANY_CATEGORIES = 60
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_LOOK_AT = 20_000


@dataclass(slots=True)
class ColumnSchema:
    """One column: its kind and its statistics over all rows.

    `distinct` counts the distinct present values; `top` holds the most frequent with their counts. Numeric columns
    have `mean`, `std` (population), `min`, `max` and `quantiles`; timestamps have `min` and `max` in seconds since
    the epoch.
    """

    name: str
    kind: Kind
    count: int
    missing: int
    distinct: int
    invalid: int = 0
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None
    quantiles: dict[str, float] = field(default_factory=dict)
    top: list[tuple[str, int]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value not in (None, {}, [])}


def describe(table: pa.Table, progress: Progress = lambda fraction, message: None) -> list[ColumnSchema]:
    """The schema and the statistics of every column of `table`."""
    found, pace = [], Pace(progress, "describing column", table.num_columns)
    for name in table.column_names:
        found.append(describe_column(name, table[name]))
        pace(len(found))
    return found


def describe_column(name: str, column: Column) -> ColumnSchema:
    """The statistics of one column, whose kind is recognised."""
    if plain := _plain_numbers(name, column):
        return plain
    codes, cells = arrays.factorize(column)
    counts = np.bincount(codes, minlength=len(cells)) if len(cells) else np.zeros(0, np.int64)
    present: Counter[str] = Counter()
    absent = 0
    if pa.types.is_nested(column.type):
        return ColumnSchema(name, "unsupported", len(column), column.null_count, 0)
    for cell, count in zip(cells, counts.tolist(), strict=True):
        if values.is_missing(cell):
            absent += count
        elif count:
            present[_label(cell)] += count
    found = _recognise(column.type, [cell for cell in cells if not values.is_missing(cell)], present)
    result = ColumnSchema(name, found, len(column), absent, len(present))
    if found == "numeric":
        _add_numbers(result, column)
    elif found == "timestamp":
        seconds, _, bad = arrays.distinct(column, values.timestamp, 1)
        result.invalid = int(bad.sum())
        if not np.isnan(seconds).all():
            result.min, result.max = float(np.nanmin(seconds)), float(np.nanmax(seconds))
    if found in ("categorical", "high_cardinality", "constant"):
        result.top = present.most_common(20)
    return result


def _label(cell: Any) -> str:
    try:
        return values.category(cell) or ""
    except ValueError:
        return str(cell)


def _plain_numbers(name: str, column: Column) -> ColumnSchema | None:
    """The statistics of a column of nothing but finite numbers and gaps, without a look at each cell in Python.

    None where there is anything else in it, or something that the cells' spelling decides: codes such as "007",
    integers that a float would round, less than two values.
    """
    kind = column.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    try:
        cells = arrays.doubles(column.cast(pa.float64(), safe=text))
    except pa.ArrowInvalid:
        return None
    present = cells[~np.isnan(cells)]
    if not np.isfinite(present).all() or (len(present) and np.abs(present).max() >= 2**53):
        return None
    if text and (
        len(cells) - len(present) != column.null_count
        or pc.any(pc.match_substring_regex(column, r"^\s*[+-]*0[0-9]+\s*$")).as_py()
    ):
        return None
    distinct = len(np.unique(present))
    if distinct < 2:
        return None
    result = ColumnSchema(name, "numeric", len(cells), len(cells) - len(present), distinct)
    _measure(result, present)
    return result


def _add_numbers(result: ColumnSchema, column: Column) -> None:
    cells, bad = arrays.numbers(column)
    result.invalid = int(bad.sum())
    _measure(result, cells[np.isfinite(cells)])


def _measure(result: ColumnSchema, cells: arrays.Floats) -> None:
    if len(cells):
        result.mean, result.std = float(cells.mean()), float(cells.std())
        result.min, result.max = float(cells.min()), float(cells.max())
        result.quantiles = {
            str(q): float(v) for q, v in zip(_QUANTILES, np.quantile(cells, _QUANTILES), strict=True)
        }


def _recognise(type_: pa.DataType, cells: list[Any], present: Counter[str]) -> Kind:
    if not cells:
        return "missing"
    if len(present) == 1:
        return "constant"
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if pa.types.is_temporal(type_):
        return "timestamp" if pa.types.is_timestamp(type_) or pa.types.is_date(type_) else "unsupported"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "numeric"
    if pa.types.is_boolean(type_):
        return "categorical"
    if not (pa.types.is_string(type_) or pa.types.is_large_string(type_)):
        return "unsupported"
    looked_at = cells[:_LOOK_AT]
    if present.keys() <= {"true", "false"}:
        return "categorical"
    if _share(looked_at, _is_plain_number) >= 0.98:
        return "numeric"
    if _share(looked_at, _is_time) >= 0.98:
        return "timestamp"
    average_words = sum(len(values.words(cell)) for cell in looked_at) / len(looked_at)
    rows_per_value = sum(present.values()) / len(present)
    if average_words >= 4 and len(present) > MANY_CATEGORIES and rows_per_value < 20:
        return "text"
    return "high_cardinality" if len(present) > MANY_CATEGORIES else "categorical"


def _share(cells: list[Any], test: Any) -> float:
    return sum(1 for cell in cells if test(cell)) / len(cells)


def _is_plain_number(cell: str) -> bool:
    """A number, and not a code such as "02139" that only looks like one."""
    stripped = cell.strip().lstrip("+-")
    if len(stripped) > 1 and stripped[0] == "0" and stripped.isdigit():
        return False
    if values.is_infinite(cell):  # refused later as a bad number, with its row
        return True
    try:
        return math.isfinite(values.number(cell)) or cell.strip().lower() in ("na", "n/a", "null", "none")
    except ValueError:
        return False


def _is_time(cell: str) -> bool:
    if len(cell) < 8 or not cell[:1].isdigit():
        return False
    try:
        values.timestamp(cell)
    except ValueError:
        return False
    return True
