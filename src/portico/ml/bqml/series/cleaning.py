"""Spikes, dips and step changes, by the outlier tests of Chen and Liu (1993).

An autoregression of the series tells what it expected of each value. How well the errors from a point on look like
those that one odd value (an additive outlier) or a shifted level would leave is a t statistic for each point, and the
larger ones are taken, the largest first, until none is left.
"""

from __future__ import annotations

import numpy as np

from portico.ml.arrays import Floats, Mask
from portico.ml.bqml.series.calendar import filled

_SPIKE, _STEP = (
    5.0,
    6.0,
)  # the least t statistics; Chen and Liu take 3 to 4, for series that somebody looks at
_ROUNDS = 8
_MOST = 0.05  # share of the points that may be spikes or dips; what is more frequent belongs to the series
_ORDER = 7
_LEAST, _SIDE = (
    8,
    28,
)  # points that a step must have on each side: at least, and in a series that has room for them
_LASTING = 0.6  # share of a step by which the medians of the two sides must differ


def outliers(series: Floats, *, spikes: bool, steps: bool) -> tuple[Mask, Floats]:
    """Which points are spikes or dips, and the steps: what to subtract so that all has the last level.

    `series` has no gaps, and no seasons or holidays any more.
    """
    count = len(series)
    odd = np.zeros(count, bool)
    shift = np.zeros(count)
    if count < 3 * _LEAST or not (spikes or steps):
        return odd, shift
    allowed = max(int(_MOST * count), 1)
    for _ in range(_ROUNDS):
        clean = series - shift
        clean[odd] = np.nan
        spike, step, size = _statistics(filled(clean))
        spike[odd] = 0.0
        best = int(np.abs(step).argmax())
        if steps and abs(step[best]) > max(_STEP, np.abs(spike).max() if spikes else 0.0):
            if _lasts(clean, best, size[best]):
                shift[:best] -= size[best]
                continue
            steps = False
        if not spikes or not _mark(odd, spike, step, allowed):
            break
    return odd, shift


def _lasts(series: Floats, start: int, size: float) -> bool:
    """The level before and after differs too, not only the way from the one to the other."""
    side = _side(len(series))
    change = np.nanmedian(series[start : start + side]) - np.nanmedian(series[max(start - side, 0) : start])
    return bool(change * np.sign(size) > _LASTING * abs(size))


def _side(count: int) -> int:
    return max(_LEAST, min(_SIDE, count // 8))


def _mark(odd: Mask, spike: Floats, step: Floats, allowed: int) -> bool:
    """The largest of each run of neighbouring points beyond the threshold become odd; tells if there were any.

    Where a step explains the errors better than a spike does, there is none.
    """
    from scipy.ndimage import maximum_filter1d

    strength = np.abs(spike)
    beyond = (strength > _SPIKE) & (strength >= maximum_filter1d(np.abs(step), 3))
    neighbours = np.maximum(np.r_[0.0, strength[:-1]], np.r_[strength[1:], 0.0])
    found = np.flatnonzero(beyond & (strength >= neighbours))
    room = allowed - int(odd.sum())
    if not len(found) or room <= 0:
        return False
    odd[found[np.argsort(strength[found])[::-1][:room]]] = True
    return True


def _statistics(series: Floats) -> tuple[Floats, Floats, Floats]:
    """t of a spike and of a step at each point, and the step's size."""
    from scipy.signal import lfilter

    weights = _autoregression(series)
    errors = lfilter(weights, [1.0], series - np.median(series))
    errors[: len(weights) - 1] = 0.0
    scale = 1.4826 * float(np.median(np.abs(errors - np.median(errors))))
    count = len(series)
    if scale <= 1e-9 * max(float(np.abs(series).max()), 1e-300):
        return np.zeros(count), np.zeros(count), np.zeros(count)
    spike, _ = _regressed(errors, weights, scale)
    step, size = _regressed(errors, np.r_[np.cumsum(weights), np.full(count, weights.sum())][:count], scale)
    side = _side(count)
    step[:side] = step[-side:] = 0.0
    return spike, step, size


def _regressed(errors: Floats, pattern: Floats, scale: float) -> tuple[Floats, Floats]:
    """The errors from each point on, regressed on the pattern: t statistics and coefficients."""
    from scipy.signal import lfilter

    count = len(errors)
    along = (
        lfilter(pattern[:count], [1.0], errors[::-1])[::-1] if len(pattern) < 64 else _tail(errors, pattern)
    )
    squares = np.zeros(count)
    sums = np.cumsum(pattern[:count] ** 2)
    squares = sums[np.minimum(count - 1 - np.arange(count), len(sums) - 1)]
    squares = np.maximum(squares, 1e-12)
    return along / (scale * np.sqrt(squares)), along / squares


def _tail(errors: Floats, pattern: Floats) -> Floats:
    """sum over j of pattern[j]·errors[t + j], for a pattern that is constant after its first few values."""
    from scipy.signal import lfilter

    head, rest = pattern[: _ORDER + 1], float(pattern[-1])
    later = np.cumsum(errors[::-1])[::-1]
    return np.asarray(lfilter(head - rest, [1.0], errors[::-1])[::-1] + rest * later)


def _autoregression(series: Floats) -> Floats:
    """[1, -φ1, …] of an AR by least squares, outliers weighing little (two rounds of Huber's weights)."""
    order = min(_ORDER, len(series) // 8)
    centred = series - np.median(series)
    target = centred[order:]
    past = np.column_stack([centred[order - lag : len(centred) - lag] for lag in range(1, order + 1)])
    weight: Floats = np.ones(len(target))
    found: Floats = np.zeros(order)
    for _ in range(3):
        root = np.sqrt(weight)[:, None]
        found = np.asarray(np.linalg.lstsq(past * root, target * root[:, 0], rcond=None)[0], np.float64)
        left = np.abs(target - past @ found)
        scale = 1.4826 * float(np.median(left)) or 1e-300
        weight = np.asarray(2.0 * scale / np.maximum(left, 2.0 * scale), np.float64)
    return np.concatenate([[1.0], -found])
