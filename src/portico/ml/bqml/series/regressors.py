"""ARIMA_PLUS_XREG's regressors: columns as numbers, and their weights under autocorrelated errors.

The weights are those of a linear regression in which neither the seasons nor the errors' own memory speak: seasons are
taken off both sides, and both are filtered by an autoregression of the residuals (Cochrane & Orcutt 1949), differenced
first where the residuals are not stationary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from portico.ml.arrays import Floats
from portico.ml.bqml.series import auto_arima, calendar, columns, seasons
from portico.ml.bqml.series.calendar import Grid, Times
from portico.ml.errors import DataError

INTERCEPT = "__INTERCEPT__"
_MOST_CATEGORIES = 1000
_MEMORY = 3  # the order of the residuals' autoregression
_ROUNDS = 3


@dataclass(frozen=True)
class Regressor:
    """One input column: a number whose NULLs are its mean, or categories as 0 and 1, all but the first."""

    name: str
    mean: float
    categories: tuple[str, ...]

    @property
    def width(self) -> int:
        return max(len(self.categories) - 1, 0) if self.categories else 1

    def encode(self, table: pa.Table) -> Floats:
        """(rows, width). NULL is the mean, or, as an unknown category is, the first category."""
        cells = columns.column(table, self.name)
        if self.categories:
            words = _words(cells)
            return np.array(
                [[float(word == category) for category in self.categories[1:]] for word in words]
            ).reshape(len(words), self.width)
        found = columns.numbers(cells, self.name)
        return np.where(np.isfinite(found), found, self.mean)[:, None]


def regressors(table: pa.Table, others: Sequence[str]) -> tuple[Regressor, ...]:
    """All columns but the `others` as regressors.

    Raises:
        DataError: there is none, or one whose type is neither a number nor text nor BOOL.
    """
    taken = {name.lower() for name in others}
    found = tuple(_regressor(table, name) for name in table.column_names if name.lower() not in taken)
    if not found:
        raise DataError(
            "ARIMA_PLUS_XREG needs at least one feature: a column beside the time stamp, the data and the ids."
        )
    return found


def on_grid(grid: Grid, times: Times, encoded: Floats, count: int, first: int = 0) -> Floats:
    """Encoded rows at the positions `first` to `first + count` of the grid; missing ones are NaN."""
    positions = grid.positions(times) - first
    inside = (positions >= 0) & (positions < count)
    hits = np.bincount(positions[inside], minlength=count)
    sums = [np.bincount(positions[inside], part[inside], count) for part in encoded.T]
    with np.errstate(invalid="ignore"):
        return np.where(hits[:, None] > 0, np.column_stack(sums) / hits[:, None], np.nan)


def weights(series: Floats, features: Floats, grid: Grid, asked: Sequence[str]) -> tuple[Floats, float]:
    """The regression's weights, one a column of `features` (no gaps), and its intercept."""
    spread = features.std(0)
    used = spread > 1e-12 * np.maximum(np.abs(features).max(0), 1e-300)
    found = np.zeros(features.shape[1])
    if used.any():
        scaled = (features[:, used] - features[:, used].mean(0)) / spread[used]
        found[used] = _solve(series, scaled, grid, asked) / spread[used]
    return found, float((series - features @ found).mean())


def _solve(series: Floats, features: Floats, grid: Grid, asked: Sequence[str]) -> Floats:
    from scipy.signal import lfilter

    names = seasons.detect(series, grid, tuple(asked))
    both = np.column_stack([series - series.mean(), features])
    for number in range(both.shape[1]) if names else ():
        for season in seasons.decompose(both[:, number], grid, names):
            both[:, number] -= season.history
    solution = _least(both)
    for _ in range(auto_arima.differences(both[:, 0] - both[:, 1:] @ solution)):
        both = np.diff(both, axis=0)
    both = both - both.mean(0)
    for _ in range(_ROUNDS if len(both) > 4 * _MEMORY + features.shape[1] else 0):
        left = both[:, 0] - both[:, 1:] @ solution
        past = np.column_stack([left[_MEMORY - lag : len(left) - lag] for lag in range(1, _MEMORY + 1)])
        memory = np.linalg.lstsq(past, left[_MEMORY:], rcond=None)[0]
        solution = _least(lfilter(np.r_[1.0, -memory], [1.0], both, axis=0)[_MEMORY:])
    return solution


def _least(both: Floats) -> Floats:
    return np.asarray(np.linalg.lstsq(both[:, 1:], both[:, 0], rcond=1e-8)[0])


def filled(features: Floats) -> Floats:
    return np.column_stack([calendar.filled(part) for part in features.T]) if features.shape[1] else features


def _regressor(table: pa.Table, name: str) -> Regressor:
    cells = columns.column(table, name)
    kind = cells.type
    if columns.is_text(kind) or pa.types.is_boolean(kind):
        categories = sorted({word for word in _words(cells) if word is not None})
        if len(categories) > _MOST_CATEGORIES:
            raise DataError(
                f"The feature {name!r} has {len(categories)} categories; at most {_MOST_CATEGORIES} can be used.",
                field=name,
            )
        return Regressor(name, 0.0, tuple(categories) or ("",))
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(
            f"The feature {name!r} is {kind}; features are numbers, STRING or BOOL. CAST it, or leave it out.",
            field=name,
        )
    found = columns.numbers(cells, name)
    found = found[np.isfinite(found)]
    return Regressor(name, float(found.mean()) if len(found) else 0.0, ())


def _words(cells: pa.ChunkedArray) -> list[str | None]:
    return [
        None if cell is None else cell if isinstance(cell, str) else str(cell).lower()
        for cell in cells.to_pylist()
    ]
