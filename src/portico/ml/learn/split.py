"""Which rows train, which choose the model (validation) and which only measure it (test)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from portico.ml import arrays, values
from portico.ml.errors import DataError

Rows = NDArray[np.int64]
# The values of a predefined split's column, in any case (AutoML Tables wrote them in upper case).
_NAMES = {"training": 0, "train": 0, "validation": 1, "validate": 1, "valid": 1, "test": 2}


@dataclass(frozen=True, slots=True)
class SplitSpec:
    """How to split; the fractions are of all rows and sum to at most 1 (a rest is unused)."""

    kind: Literal["fraction", "predefined", "timestamp", "stratified"] = "fraction"
    column: str = ""
    training: float = 0.8
    validation: float = 0.1
    test: float = 0.1
    time_format: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Split:
    """Positions of rows. `times` are the split column's seconds since the epoch for all rows (timestamp splits).

    `ignored` counts the rows that a predefined or timestamp split leaves out because their cell says nothing, and
    `invalid` shows those of the cells that are not empty, with how often they occur.
    """

    training: Rows
    validation: Rows
    test: Rows
    times: NDArray[np.float64] | None = field(default=None, compare=False)
    ignored: int = 0
    invalid: dict[str, int] = field(default_factory=dict)


def split_rows(table: pa.Table, spec: SplitSpec, rows: Rows | None = None) -> Split:
    """Splits `rows` (default: all) of `table`.

    Raises:
        DataError: fractions or the split's column cannot be used; `field` names it.
    """
    rows = np.arange(table.num_rows) if rows is None else rows
    if spec.kind != "fraction" and spec.column not in table.column_names:
        raise DataError(f"the split's column {spec.column!r} is not in the data", field=spec.column)
    if spec.kind == "predefined":
        return _predefined(table, spec, rows)
    _check_fractions(spec)
    generator = np.random.default_rng(spec.seed)
    if spec.kind == "timestamp":
        return _timestamp(table, spec, rows)
    if spec.kind == "stratified":
        return _stratified(table, spec, rows, generator)
    return _cut(generator.permutation(rows), spec)


def _check_fractions(spec: SplitSpec) -> None:
    for name in ("training", "validation", "test"):
        value = getattr(spec, name)
        if not 0 <= value <= 1:
            raise DataError(f"{name}Fraction is {value}; it must be between 0 and 1", field=f"{name}Fraction")
    total = spec.training + spec.validation + spec.test
    if total > 1 + 1e-9:
        raise DataError(
            f"the split's fractions sum to {total:g}; at most 1 is possible", field="trainingFraction"
        )
    if spec.training == 0:
        raise DataError(
            "the split leaves nothing to train on: trainingFraction is 0", field="trainingFraction"
        )


def _cut(rows: Rows, spec: SplitSpec) -> Split:
    """`rows` in their order: the first train, the last test. Set sizes are cumulative fractions, rounded."""
    ends = np.cumsum([spec.training, spec.validation, spec.test]) * len(rows)
    first, second, third = np.rint(ends).astype(int)
    return Split(rows[:first], rows[first:second], rows[second:third])


def _timestamp(table: pa.Table, spec: SplitSpec, rows: Rows) -> Split:
    """Google's chronological split; rows without a valid time are in no set."""
    column = table[spec.column]
    times, errors, _ = arrays.distinct(column, lambda cell: values.timestamp(cell, spec.time_format), 1)
    known = np.isfinite(times[rows])
    if not known.any():
        why = errors[0] if errors else "it is empty in every row"
        raise DataError(f"the timestamp split's column {spec.column!r}: {why}", field=spec.column)
    dated, left_out = rows[known], rows[~known]
    cut = _cut(dated[np.argsort(times[dated], kind="stable")], spec)
    return Split(cut.training, cut.validation, cut.test, times, len(left_out), _shown(column, left_out))


def _predefined(table: pa.Table, spec: SplitSpec, rows: Rows) -> Split:
    """Google's manual split: rows whose cell is empty, UNASSIGNED or anything else are in no set."""
    column = table[spec.column]
    codes, cells = arrays.factorize(column)
    names = ["" if values.is_missing(cell) else str(cell).strip().lower() for cell in cells]
    sets = np.array([_NAMES.get(name, -1) for name in names])[codes][rows]
    training, validation, test = (rows[sets == number] for number in range(3))
    left_out = rows[sets == -1]
    if len(training) == 0:
        found = ", ".join(map(repr, _shown(column, left_out))) or "nothing else"
        raise DataError(
            f"the predefined split's column {spec.column!r} marks no row as training; its values must be training, "
            f"validation or test, and it holds {found}",
            field=spec.column,
        )
    return Split(training, validation, test, None, len(left_out), _shown(column, left_out))


def _shown(column: pa.ChunkedArray, rows: Rows) -> dict[str, int]:
    """The ten most frequent cells in `rows` that are not empty, with their counts."""
    codes, cells = arrays.factorize(column)
    counts = np.bincount(codes[rows], minlength=len(cells))
    order = np.argsort(-counts, kind="stable")[:50].tolist()
    seen = [
        (str(cells[at])[:80], int(counts[at]))
        for at in order
        if counts[at] and not values.is_missing(cells[at])
    ]
    return dict(seen[:10])


def _stratified(table: pa.Table, spec: SplitSpec, rows: Rows, generator: np.random.Generator) -> Split:
    codes, cells = arrays.factorize(table[spec.column])
    labels: dict[str | None, int] = {}
    try:
        strata = np.array([labels.setdefault(values.category(cell), len(labels)) for cell in cells])[codes][
            rows
        ]
    except ValueError as error:
        raise DataError(
            f"the stratified split's column {spec.column!r}: {error}", field=spec.column
        ) from None
    if len(set(strata.tolist())) > max(len(rows) // 3, 1):
        raise DataError(
            f"the stratified split's column {spec.column!r} has {len(labels)} values for {len(rows)} rows; it must "
            "be categorical",
            field=spec.column,
        )
    # Each stratum's rows get evenly spaced places in one order, and the order is cut: every cut mirrors the strata.
    place = np.empty(len(rows))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        place[generator.permutation(members)] = (np.arange(len(members)) + generator.random()) / len(members)
    cut = _cut(np.argsort(place, kind="stable"), spec)
    parts = (generator.permutation(part) for part in (cut.training, cut.validation, cut.test))
    training, validation, test = (rows[part] for part in parts)
    return Split(training, validation, test)
