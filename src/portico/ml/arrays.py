"""Arrow columns as NumPy arrays, read cell by cell as `values` says, but only once per distinct value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from portico.ml import values

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Column: TypeAlias = pa.Array | pa.ChunkedArray


def numbers(column: Column) -> tuple[Floats, Mask]:
    """The column as float64 (missing is NaN) and the mask of cells that are no finite numbers (NaN too)."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _finite(doubles(column.cast(pa.float64(), safe=False)))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            return _finite(doubles(column.cast(pa.float64())))
        except pa.ArrowInvalid:
            pass
    return distinct(column, values.number, 1)[::2]


def distinct(column: Column, read: Callable[[Any], Any], width: int) -> tuple[Floats, list[str], Mask]:
    """`read` of each cell, as (rows, `width`) float64 ((rows,) for a width of 1), errors, and the mask of bad cells.

    `read` is called once per distinct value and returns a float, or a tuple of `width` floats; a ValueError
    makes the cell bad: NaN, with its message in the list (one per distinct bad value).
    """
    codes, cells = factorize(column)
    table = np.empty((len(cells), width), np.float64)
    bad = np.zeros(len(cells), bool)
    errors = []
    for position, cell in enumerate(cells):
        try:
            table[position] = read(cell)
        except ValueError as error:
            table[position] = np.nan
            bad[position] = True
            errors.append(str(error))
    rows = table[codes]
    return (rows[:, 0] if width == 1 else rows), errors, bad[codes]


def factorize(column: Column) -> tuple[NDArray[np.int64], list[Any]]:
    """For each row the position of its value in the list of distinct values; null is one of them."""
    if len(column) == 0:
        return np.zeros(0, np.int64), []
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
    if pa.types.is_nested(column.type):
        return np.arange(len(column)), column.to_pylist()
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    cells = _cells(column.dictionary)
    codes = column.indices.cast(pa.int64()).fill_null(len(cells)).to_numpy(zero_copy_only=False)
    return codes, [*cells, None]


def _finite(cells: Floats) -> tuple[Floats, Mask]:
    infinite = np.isinf(cells)
    return (np.where(infinite, np.nan, cells) if infinite.any() else cells), infinite


def _cells(column: pa.Array) -> list[Any]:
    """Python's values; a time that Python has none for (before the year 1, after 9999) as text that says so."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (OverflowError, ValueError):
        return [cell_of(cell) for cell in column]


def cell_of(cell: pa.Scalar) -> Any:
    """`as_py`, and text for a time that Python has none for."""
    try:
        return cell.as_py()
    except (OverflowError, ValueError):
        return f"{cell.value} ({cell.type}) out of range"


def missing(column: Column) -> Mask:
    """Which cells are empty, null or NaN."""
    codes, cells = factorize(column)
    return np.array([values.is_missing(cell) for cell in cells], bool)[codes]


def doubles(column: Column) -> Floats:
    """A column of float64 as an array; null is NaN."""
    if isinstance(column, pa.ChunkedArray):  # its own to_numpy imports pandas
        column = (
            column.chunk(0)
            if column.num_chunks == 1
            else pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])
        )
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
