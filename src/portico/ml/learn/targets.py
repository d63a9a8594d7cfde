"""The target and the weights of the rows, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from portico.ml import arrays, values
from portico.ml.arrays import Floats
from portico.ml.errors import DataError
from portico.ml.learn.spec import TrainSpec

MAX_CLASSES = 500  # Google's limit
LARGEST = 1e100  # squares of errors must be numbers


@dataclass(slots=True)
class Target:
    """`cells` (rows,) float64: the value, or the position of the label in `labels`; `rows` have a target and a weight.

    `labels` is empty for regression. `weights` (rows,) is over all rows of the table.
    """

    cells: Floats
    labels: list[str]
    weights: Floats
    rows: NDArray[np.int64]
    dropped: int


def read_target(table: pa.Table, spec: TrainSpec) -> Target:
    """Raises DataError: the target or weight column is absent, or holds what it must not."""
    if spec.target not in table.column_names:
        raise DataError(f"the target column {spec.target!r} is not in the data", field=spec.target)
    column = table[spec.target]
    absent = arrays.missing(column)
    if absent.all():
        raise DataError(f"the target column {spec.target!r} is empty in every row", field=spec.target)
    labels: list[str] = []
    if spec.prediction_type == "classification":
        cells, labels = _classes(column, spec.target)
    else:
        cells, bad = arrays.numbers(column)
        bad |= ~np.isfinite(cells) & ~absent
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"the target column {spec.target!r} must be numeric for regression; it holds "
                f"{column[row].as_py()!r}",
                field=spec.target,
                row=row,
            )
        huge = np.abs(cells) > LARGEST
        if huge.any():
            row = int(np.flatnonzero(huge)[0])
            raise DataError(
                f"the target column {spec.target!r} must hold numbers between -{LARGEST:g} and {LARGEST:g}; it "
                f"holds {column[row].as_py()!r}. Rescale it",
                field=spec.target,
                row=row,
            )
        if spec.optimization_objective == "minimize-rmsle" and np.nanmin(cells) < 0:
            raise DataError(
                f"minimize-rmsle needs values of at least 0 in {spec.target!r}; the least is {np.nanmin(cells):g}",
                field=spec.target,
            )
    weights = _weights(table, spec)
    rows = np.flatnonzero(~absent & (weights > 0))
    if len(rows) == 0:
        raise DataError("no row has both a target and a weight above 0", field=spec.weight_column)
    if not labels and cells[rows].min() == cells[rows].max():
        raise DataError(
            f"the target column {spec.target!r} holds only {cells[rows[0]]:g}; there is nothing to learn",
            field=spec.target,
        )
    return Target(cells, labels, weights, rows, table.num_rows - len(rows))


def conditioning(values: Floats) -> tuple[float, float]:
    """(shift, scale) so that learners, which hold targets as float32, can tell (value - shift) / scale apart.

    (0, 1) where they can tell the values themselves; not so near 2**62, where float32 goes in steps of 5e11.
    """
    largest = float(np.abs(values).max())
    spread = float((values / largest).std() * largest) if largest else 0.0
    if spread == 0 or (1e-12 < largest < 1e12 and spread > 1e-3 * largest):
        return 0.0, 1.0
    return float(values.mean()), spread


def label_text(cell: Any) -> str:
    """A class label as it was written; numbers without a needless `.0`."""
    if isinstance(cell, str):
        return cell
    return values.category(cell) or ""


def _classes(column: arrays.Column, name: str) -> tuple[Floats, list[str]]:
    codes, cells = arrays.factorize(column)
    try:
        texts = [None if values.is_missing(cell) else label_text(cell) for cell in cells]
    except ValueError as error:
        raise DataError(f"the target column {name!r}: {error}", field=name) from None
    present = np.bincount(codes, minlength=len(cells)) > 0
    labels = sorted({t for t, p in zip(texts, present, strict=True) if t is not None and p}, key=_label_order)
    if len(labels) < 2:
        raise DataError(
            f"the target column {name!r} holds only {labels[0]!r}; classification needs two classes",
            field=name,
        )
    if len(labels) > MAX_CLASSES:
        raise DataError(
            f"the target column {name!r} has {len(labels)} distinct values; classification takes up to "
            f"{MAX_CLASSES}. For a quantity use regression",
            field=name,
        )
    position = {label: float(index) for index, label in enumerate(labels)}
    return np.array([position.get(t, np.nan) if t is not None else np.nan for t in texts])[codes], labels


def _label_order(label: str) -> tuple[int, float, str]:
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def _weights(table: pa.Table, spec: TrainSpec) -> Floats:
    name = spec.weight_column
    if not name:
        return np.ones(table.num_rows)
    if name not in table.column_names:
        raise DataError(f"the weight column {name!r} is not in the data", field=name)
    cells, bad = arrays.numbers(table[name])
    wrong = bad | ~((cells >= 0) & (cells <= 10_000))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"the weight column {name!r} must hold numbers from 0 to 10000; it holds "
            f"{table[name][row].as_py()!r}",
            field=name,
            row=row,
        )
    return cells
