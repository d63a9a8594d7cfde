"""Which slices of the rows a change of the loss comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.measure.baseline_bootstrap import Resample
from portico.ml.watch.diagnose_tests import Coded

Interval = tuple[float, float]

_LEAST = 20  # rows on either side


@dataclass(frozen=True, slots=True)
class SliceChange:
    """A value of a category or a band of a number, and its part in the change of the mean loss.

    `rows` are those in the window; `loss` and `loss_before` the mean losses of the slice's rows. `contribution` is the
    sum of what came from its share of the rows (`moved`) and from the loss within it (`worse`). `excess` is by how much
    that is more than its share of the rows would have, with its 95% interval; it is `certain` where it is above 0 with
    5% of error over all slices together (Bonferroni).
    """

    slice: str
    feature: str
    rows: int
    loss: float
    loss_before: float
    moved: float
    worse: float
    excess: float
    interval: Interval | None
    certain: bool

    @property
    def contribution(self) -> float:
        return self.moved + self.worse

    def to_json(self) -> dict[str, Any]:
        return {
            "slice": self.slice,
            "rows": self.rows,
            "loss": self.loss,
            "lossBefore": self.loss_before,
            "contribution": self.contribution,
        }


def slice_changes(
    before: Floats, now: Floats, bands: Sequence[Coded], block_length: int, seed: int = 0
) -> list[SliceChange]:
    """All slices of `bands`, the one with the greatest excess first; losses `before` (M,) and `now` (N,).

    Of a feature's slices, with shares p of the rows before and q now, and mean losses a before and b now, the change of
    the mean loss is the sum of (q - p) * (a - mean before) + q * (b - a): a rate and a mix effect (Kitagawa, Journal
    of the American Statistical Association 50, 1955). Slices with fewer than 20 rows on a side are left out.
    """
    from scipy.special import stdtrit

    old, new = Resample(len(before), block_length, seed), Resample(len(now), block_length, seed + 1)
    cut = len(before)
    loss_before, change = float(before.mean()), float(now.mean() - before.mean())
    ones_old, ones_new = np.ones(len(before)), np.ones(len(now))
    drawn_before = old.means(before, ones_old)
    drawn_change = new.means(now, ones_new) - drawn_before
    inside = {
        (label, feature.name): np.split(feature.codes == code, [cut])
        for feature in bands
        for code, label in enumerate(feature.labels)
    }
    large = {key: sides for key, sides in inside.items() if min(side.sum() for side in sides) >= _LEAST}
    far = float(stdtrit(max(new.blocks - 1, 1), 1 - 0.05 / max(len(large), 1)))
    made = []
    for (label, name), sides in large.items():
        a, b = (side.astype(float) for side in sides)
        p, q = a.mean(), b.mean()
        own_before, own = float(before @ a / a.sum()), float(now @ b / b.sum())
        moved, worse = (q - p) * (own_before - loss_before), q * (own - own_before)
        excess = float(moved + worse - q * change)
        drawn_a, drawn_b = old.means(before, a), new.means(now, b)
        drawn_p, drawn_q = old.means(a, ones_old), new.means(b, ones_new)
        drawn = (drawn_q - drawn_p) * (drawn_a - drawn_before) + drawn_q * (drawn_b - drawn_a - drawn_change)
        certain = bool(excess > far * np.nanstd(drawn))
        bounds = new.interval(excess, drawn)
        made.append(
            SliceChange(
                label,
                name,
                int(b.sum()),
                own,
                own_before,
                float(moved),
                float(worse),
                excess,
                bounds,
                certain,
            )
        )
    return sorted(made, key=lambda one: -one.excess)
