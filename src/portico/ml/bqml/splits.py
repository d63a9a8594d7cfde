"""Which rows a model learns from and which it is measured on: DATA_SPLIT_METHOD and its kin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from portico.ml.bqml.options import Options
from portico.ml.errors import DataError

_FEW, _MANY, _EVALUATED = 500, 50_000, 10_000  # AUTO_SPLIT: below, none; above, so many rows
_SEED = 20_240_101

Places = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(slots=True)
class Split:
    """Places of rows. Without rows to evaluate on, a model is evaluated on those that it learnt from."""

    train: Places
    evaluate: Places
    test: Places


def split(table: pa.Table, options: Options) -> Split:
    """
    Raises:
        DataError: the column to split by is missing or of a wrong type, or no row is left to learn from.
    """
    rows, method = table.num_rows, str(options["data_split_method"])
    if options["data_split_col"] and method not in ("CUSTOM", "SEQ"):
        raise DataError("DATA_SPLIT_COL needs DATA_SPLIT_METHOD = 'CUSTOM' or 'SEQ'")
    everything, none = np.arange(rows), np.zeros(0, np.int64)
    fraction, tested = float(options["data_split_eval_fraction"]), float(options["data_split_test_fraction"])
    tuned = bool(options.get("num_trials"))
    if method in ("CUSTOM", "SEQ"):
        column = _column(table, options["data_split_col"], method)
        found = _custom(column) if method == "CUSTOM" else _ordered(column, fraction, tested)
    elif method == "NO_SPLIT":
        found = Split(everything, none, none)
    else:
        if method == "AUTO_SPLIT":
            if tuned:
                fraction, tested = 0.1, 0.1
            else:
                tested = 0.0
                fraction = 0.0 if rows < _FEW else 0.2 if rows <= _MANY else _EVALUATED / rows
        mixed = np.random.default_rng(_SEED).permutation(rows)
        first, second = round(rows * tested), round(rows * (tested + fraction))
        found = Split(np.sort(mixed[second:]), np.sort(mixed[first:second]), np.sort(mixed[:first]))
    if not len(found.train):
        raise DataError("The split leaves no row to train on")
    return found


def unused(options: Options) -> list[str]:
    """What is to be said of options that the method of the split does not use."""
    method = str(options["data_split_method"])
    said = []
    used = {"RANDOM": {"eval", "test"}, "SEQ": {"eval", "test"}}.get(method, set())
    for part, default in (("eval", 0.2), ("test", 0.0)):
        name = f"data_split_{part}_fraction"
        if part not in used and options.get(name, default) != default:
            said.append(f"{name.upper()} is not used by DATA_SPLIT_METHOD {method}.")
    return said


def _column(table: pa.Table, name: Any, method: str) -> pa.ChunkedArray:
    have = {one.lower(): one for one in table.column_names}
    if not name or str(name).lower() not in have:
        said = f"DATA_SPLIT_COL {name!r} is no column of the query" if name else "DATA_SPLIT_COL is missing"
        raise DataError(f"DATA_SPLIT_METHOD {method}: {said}")
    return table.column(have[str(name).lower()])


def _custom(column: pa.ChunkedArray) -> Split:
    if pa.types.is_boolean(column.type):
        held = np.array([one is not False for one in column.to_pylist()])
        return Split(np.flatnonzero(~held), np.flatnonzero(held), np.zeros(0, np.int64))
    if pa.types.is_string(column.type):
        said = np.array([str(one).upper() for one in column.to_pylist()])
        if strange := set(said) - {"TRAIN", "EVAL", "TEST"}:
            raise DataError(
                "DATA_SPLIT_COL of a CUSTOM split must be TRAIN, EVAL or TEST in every row; one has "
                f"{sorted(strange)[0]!r}"
            )
        train, evaluate, test = (np.flatnonzero(said == one) for one in ("TRAIN", "EVAL", "TEST"))
        return Split(train, evaluate, test)
    raise DataError("DATA_SPLIT_COL of a CUSTOM split must be BOOL or STRING")


def _ordered(column: pa.ChunkedArray, fraction: float, tested: float) -> Split:
    """The last rows by the column's order are held out; NULLs come first."""
    order = np.array(pa.compute.sort_indices(column, null_placement="at_start").to_pylist(), np.int64)
    rows = len(order)
    first, second = rows - round(rows * (fraction + tested)), rows - round(rows * tested)
    return Split(np.sort(order[:first]), np.sort(order[first:second]), np.sort(order[second:]))
