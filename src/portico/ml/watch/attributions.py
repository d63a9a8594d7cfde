"""How much each feature moves a model's answers, and how far that is from what it was.

A feature's score is the mean over rows of the absolute value of its attribution, over the sum of all features' means: 0
to 1, as Vertex AI's. The distance of two windows is the absolute difference of a feature's scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

_BLOCKS: Final = 10


@dataclass(frozen=True, slots=True)
class Attributions:
    """Of a sample of `rows`. By feature: its `scores`; `spread`, the standard deviation over rows of a row's influence
    on the score; and `between`, that of the means of ten blocks of rows, beyond what the spread of rows explains."""

    rows: int
    scores: dict[str, float]
    spread: dict[str, float]
    between: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Attributions:
        return cls(**body)


def measure(rows: Sequence[Mapping[str, float]]) -> Attributions | None:
    """From the attributions of each row, in the order of their time; None where there are none, or all are 0."""
    names = sorted({name for row in rows for name in row})
    if not rows or not names:
        return None
    sizes = np.abs([[row.get(name, 0.0) for name in names] for row in rows])
    whole = sizes.sum(axis=1)
    if not whole.mean() > 0:
        return None
    scores = sizes.mean(axis=0) / whole.mean()
    # The influence function of a ratio of means (Cochran 1977, chapter 6).
    influence = (sizes - scores * whole[:, None]) / whole.mean()
    spread = influence.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(len(names))
    between = np.zeros(len(names))
    if len(rows) >= 2 * _BLOCKS:
        # One-way analysis of variance, by moments (Searle, Casella & McCulloch 1992).
        means = np.array([block.mean(axis=0) for block in np.array_split(influence, _BLOCKS)])
        between = np.sqrt(np.maximum(means.var(axis=0, ddof=1) - spread**2 * _BLOCKS / len(rows), 0))
    return Attributions(
        len(rows),
        *(
            dict(zip(names, column.tolist(), strict=True))
            for column in (scores, spread, between)
        ),
    )  # fmt: skip


def distance_threshold(
    feature: str, now: Attributions, before: Attributions, baseline: Attributions, tests: int, rate: float
) -> float:
    """The distance of a feature's scores that chance exceeds, in `rate` of the windows for any of `tests` features.

    By Student's quantile of the standard errors of both samples, with what their blocks differ by (batch means: Law &
    Carson 1979), and of what blocks of the `baseline` differ by, once for each.
    """
    from scipy.special import stdtrit

    errors = 2 * baseline.between.get(feature, 0.0) ** 2
    for sample in (now, before):
        errors += sample.spread.get(feature, 0.0) ** 2 / sample.rows
        errors += sample.between.get(feature, 0.0) ** 2 / _BLOCKS
    return float(min(stdtrit(_BLOCKS - 1, 1 - rate / max(tests, 1) / 2) * math.sqrt(errors), 1.0))
