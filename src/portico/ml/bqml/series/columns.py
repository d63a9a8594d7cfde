"""The columns that time series are read from: times, data and ids, checked for type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from portico.ml.arrays import Floats
from portico.ml.bqml.series.calendar import Times
from portico.ml.errors import DataError

Key = tuple[str | int | None, ...]


@dataclass(frozen=True)
class Rows:
    """A table's rows for time series: which belong to which series, their times, and data where it was asked for."""

    table: pa.Table
    times: Times
    data: Floats
    groups: dict[Key, Times]  # the rows of each series, in ascending order of its ids


def read(table: pa.Table, timestamp: str, ids: Sequence[str], data: str | None) -> Rows:
    """The rows of `table`; without `data` that is all NaN.

    Raises:
        DataError: a column that is missing or of a type that cannot serve, or a NULL time.
    """
    times = _times(column(table, timestamp), timestamp)
    values = np.full(table.num_rows, np.nan) if data is None else numbers(column(table, data), data)
    return Rows(table, times, values, _groups(table, ids))


def column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """The column of that name, in any case."""
    for position, own in enumerate(table.column_names):
        if own.lower() == name.lower():
            return table.column(position)
    raise DataError(
        f"The column {name!r} is not in the input data; it has {', '.join(table.column_names) or 'no columns'}.",
        field=name,
    )


def numbers(cells: pa.ChunkedArray, name: str) -> Floats:
    """float64, NULL as NaN."""
    kind = cells.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(
            f"The column {name!r} is {kind}; it must be INT64, NUMERIC, BIGNUMERIC or FLOAT64.", field=name
        )
    return np.asarray(cells.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(), np.float64)


def timestamps(times: Times) -> pa.Array:
    """µs since 1970 as TIMESTAMP."""
    if len(times) and int(times.max()) > 253_402_300_799_999_999:
        raise DataError("The forecast goes beyond the year 9999; ask for a shorter horizon.", field="horizon")
    return pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC"))


def id_columns(table: pa.Table, ids: Sequence[str]) -> dict[str, pa.DataType]:
    """The ids' types.

    Raises:
        DataError: an id that is neither STRING nor INT64.
    """
    found = {}
    for name in ids:
        kind = column(table, name).type
        if not (is_text(kind) or pa.types.is_int64(kind)):
            raise DataError(f"TIME_SERIES_ID_COL {name!r} is {kind}; it must be STRING or INT64.", field=name)
        found[name] = kind
    return found


def _times(cells: pa.ChunkedArray, name: str) -> Times:
    kind = cells.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise DataError(f"The column {name!r} is {kind}; it must be TIMESTAMP, DATE or DATETIME.", field=name)
    if cells.null_count:
        raise DataError(
            f"The column {name!r} has {cells.null_count} NULLs; every row needs a time.", field=name
        )
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    return np.asarray(cells.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64()).to_numpy(), np.int64)


def _groups(table: pa.Table, ids: Sequence[str]) -> dict[Key, Times]:
    if not ids:
        return {(): np.arange(table.num_rows)}
    keys = pa.table({name: column(table, name) for name in ids}).append_column(
        "__row__", pa.array(np.arange(table.num_rows))
    )
    found = keys.group_by(list(ids)).aggregate([("__row__", "list")])
    found = found.sort_by([(name, "ascending") for name in ids])
    rows = found.column("__row___list").to_pylist()
    parts = [found.column(name).to_pylist() for name in ids]
    return {
        key: np.array(sorted(row))
        for *key_parts, row in zip(*parts, rows, strict=True)
        for key in [tuple(key_parts)]
    }


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
