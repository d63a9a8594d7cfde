"""The simple answers that a model has to beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from portico.ml.measure.curves import Floats

Ints = NDArray[np.int64]

WEEK = 7 * 86400.0


def regression_baselines(
    train_true: Floats,
    test_true: Floats,
    *,
    objective: str = "minimize-rmse",
    train_times: Floats | None = None,
    test_times: Floats | None = None,
    horizon: float | None = None,
) -> dict[str, Floats]:
    """Simple predictions for the test rows, by a name that says what they are; each of shape (test rows,).

    Always the mean of the training rows (their median where the objective is minimize-mae, the mean of
    logarithms where it is minimize-rmsle). With times (seconds, shapes as the targets'): the last value known
    `horizon` seconds before a row, and the value at the same time a week before. Both look among training and
    test rows alike, since a test row's past is known when it is predicted; rows of one time are averaged. The
    horizon defaults to the usual step between times. Where a week before is missing, up to four weeks before
    are tried; rows without any get the mean, and a baseline that most rows lack is left out.
    """
    centre, name = _centre(train_true, objective)
    found = {name: np.full(len(test_true), centre)}
    if train_times is None or test_times is None:
        return found
    history = _History(np.concatenate((train_times, test_times)), np.concatenate((train_true, test_true)))
    if history.step is None:
        return found
    ahead = max(horizon or 0.0, history.step)
    last = history.latest(test_times - ahead)
    if np.isfinite(last).mean() > 0.5:
        found[f"the last value, {_duration(ahead)} before"] = np.where(np.isfinite(last), last, centre)
    if history.step <= WEEK and ahead <= WEEK:
        weekly = np.full(len(test_true), np.nan)
        for weeks in range(1, 5):
            missing = ~np.isfinite(weekly)
            weekly[missing] = history.at(test_times[missing] - weeks * WEEK)
        if np.isfinite(weekly).mean() > 0.5:
            same = "day" if history.step >= 86400 else "hour" if history.step >= 3600 else "time"
            found[f"the same {same} a week before"] = np.where(np.isfinite(weekly), weekly, centre)
    return found


def classification_baselines(
    train_true: Ints,
    test_true: Ints,
    classes: int,
    *,
    train_times: Floats | None = None,
    test_times: Floats | None = None,
) -> dict[str, Floats]:
    """Simple scores for the test rows, each of shape (test rows, classes).

    Always the classes' shares in training, one more row each (Laplace), so that none is impossible; their
    highest is the majority class. With times (seconds), where rows come one a time: the last class, with the
    probability at which training rows repeat the one before.
    """
    mass = np.bincount(train_true, minlength=classes) + 1.0
    shares = mass / mass.sum()
    found = {"the classes' shares in training": np.tile(shares, (len(test_true), 1))}
    if train_times is None or test_times is None or len(train_true) < 2:
        return found
    times = np.concatenate((train_times, test_times))
    if len(np.unique(times)) < len(times):
        return found
    in_order = train_true[np.argsort(train_times)]
    repeats = (np.sum(in_order[1:] == in_order[:-1]) + 1.0) / (len(in_order) + 1.0)
    history = _History(times, np.concatenate((train_true, test_true)).astype(float))
    last = history.latest(test_times, before=True)
    scores = np.tile(shares, (len(test_true), 1))
    known = np.flatnonzero(np.isfinite(last))
    of_last = last[known].astype(int)
    scores[known] *= ((1 - repeats) / (1 - shares[of_last]))[:, None]
    scores[known, of_last] = repeats
    found["the last class before"] = scores
    return found


class _History:
    """What was known when: the mean true value at each time. `step` is the usual distance, None for one time."""

    def __init__(self, times: Floats, values: Floats) -> None:
        known = np.isfinite(times) & np.isfinite(values)
        self.times, place = np.unique(times[known], return_inverse=True)
        self.values = np.bincount(place, values[known]) / np.bincount(place)
        self.step = float(np.median(np.diff(self.times))) if len(self.times) > 1 else None

    def latest(self, times: Floats, *, before: bool = False) -> Floats:
        """The last value at `times` or earlier (strictly `before` them); NaN where there is none."""
        place = np.searchsorted(self.times, times, side="left" if before else "right") - 1
        return np.where((place >= 0) & np.isfinite(times), self.values[np.maximum(place, 0)], np.nan)

    def at(self, times: Floats) -> Floats:
        """The value at `times`, to within half a step; NaN where there is none."""
        assert self.step is not None
        after = np.clip(np.searchsorted(self.times, times), 1, len(self.times) - 1)
        nearer = np.where(times - self.times[after - 1] <= self.times[after] - times, after - 1, after)
        close = np.abs(self.times[nearer] - times) <= self.step / 2
        return np.where(close, self.values[nearer], np.nan)


def _centre(values: Floats, objective: str) -> tuple[float, str]:
    """The one number with the least loss, and its name."""
    if objective == "minimize-mae":
        return float(np.sort(values)[(len(values) - 1) // 2]), "the median of the training rows"
    if objective == "minimize-rmsle" and (values >= 0).all():
        return float(np.expm1(np.log1p(values).mean())), "the mean of the training rows (of logarithms)"
    return float(values.mean()), "the mean of the training rows"


def _duration(seconds: float) -> str:
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = round(seconds / size, 1)
            return f"{count:g} {word}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"
