"""HIERARCHICAL_TIME_SERIES_COLS, bottom up: a parent is the sum of its series; its ids below its level are NULL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import numpy as np

from portico.ml.bqml.series.columns import Key
from portico.ml.bqml.series.model import TimeSeriesModel
from portico.ml.bqml.series.one import Ahead, Series
from portico.ml.errors import DataError


def families(model: TimeSeriesModel) -> Iterator[tuple[Key, dict[Key, Series]]]:
    """Each sum's ids, and its series by theirs; the highest level first."""
    ids = model.options.ids
    for depth in range(len(model.options.hierarchy)):
        rolled = {ids.index(name) for name in model.options.hierarchy[depth:]}
        found: dict[Key, dict[Key, Series]] = {}
        for entry, series in model.fitted:
            key = tuple(None if place in rolled else cell for place, cell in enumerate(entry.key))
            found.setdefault(key, {})[entry.key] = series
        yield from found.items()


def ahead(model: TimeSeriesModel, members: Collection[Series], steps: int) -> list[Ahead]:
    """The members' forecasts of the same `steps` time points: those after the latest end of theirs.

    Raises:
        DataError: they have no time points in common.
    """
    latest = max(int(series.times[-1]) for series in members)
    found = []
    for series in members:
        behind = int(series.grid.positions(np.array([latest]))[0]) - series.count + 1
        found.append(_after(series.ahead(model.holidays, behind + steps), behind))
        if (found[-1].times != found[0].times).any():
            raise DataError(
                "The hierarchy's series do not share their time points, so that their forecasts cannot be summed. "
                "Truncate their times to one frequency."
            )
    return found


def common(members: Collection[Series]) -> Callable[[Series], slice]:
    """The rows of a member's history in the time that all have a history of."""
    first = max(int(series.times[0]) for series in members)
    last = min(int(series.times[-1]) for series in members)

    def rows(series: Series) -> slice:
        return slice(*np.searchsorted(series.times, [first, last + 1]).tolist())

    return rows


def _after(forecast: Ahead, rows: int) -> Ahead:
    return replace(
        forecast,
        times=forecast.times[rows:],
        trend=forecast.trend[rows:],
        errors=forecast.errors[rows:],
        seasons={name: part[rows:] for name, part in forecast.seasons.items()},
        holidays={name: part[rows:] for name, part in forecast.holidays.items()},
    )
