"""Paired resampling of rows in blocks, and what losses come to on the resamples."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from portico.ml.measure.curves import Floats

_DRAWS = 1000
_MOST_BLOCKS = 1000
_LEAST_BLOCKS = 8
_BINS = 500


class Resample:
    """Bootstrap resamples of `rows` rows, the same for everything that is measured on them.

    Rows are drawn in blocks of `block_length` consecutive ones. For `block_length` 1, rows are drawn singly,
    beyond 1,000 rows in 1,000 random groups, which leaves the distribution of means as it is. Blocks are
    shortened where there would be fewer than 8. `repeated` (rows,) numbers the rows that say the same thing, from 0;
    -1 is for a row of its own. Those of a number are drawn together, wherever they lie: copies are no evidence.
    """

    def __init__(
        self, rows: int, block_length: int, seed: int, repeated: NDArray[np.int64] | None = None
    ) -> None:
        generator = np.random.default_rng(seed)
        length = max(1, min(block_length, rows // _LEAST_BLOCKS), -(-rows // _MOST_BLOCKS))
        self.block_length = 1 if block_length <= 1 else length
        self.blocks = -(-rows // length)
        self._block_of = np.arange(rows) // length
        if block_length <= 1:
            generator.shuffle(self._block_of)
        if repeated is not None:
            together = np.where(repeated >= 0, self.blocks + repeated, self._block_of)
            found, self._block_of = np.unique(together, return_inverse=True)
            self.blocks = len(found)
        # How often each block is in each resample, shape (draws, blocks).
        drawn = generator.integers(0, self.blocks, (_DRAWS, self.blocks))
        drawn += self.blocks * np.arange(_DRAWS)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=_DRAWS * self.blocks)
        self._counts = counts.reshape(_DRAWS, self.blocks).astype(float)

    def means(self, values: Floats, weights: Floats) -> Floats:
        """The weighted mean of `values` (rows,) on each resample; NaN where a resample has no weight."""
        sums = self._counts @ np.bincount(self._block_of, values * weights, self.blocks)
        masses = self._counts @ np.bincount(self._block_of, weights, self.blocks)
        return np.divide(sums, masses, out=np.full_like(sums, np.nan), where=masses > 0)

    def areas(
        self,
        positive: NDArray[np.bool_] | Floats,
        scores: Floats,
        weights: Floats,
        curve: Literal["roc", "prc"],
    ) -> Floats:
        """The area under the curve on each resample, with scores in up to 500 bins; NaN where undefined.

        `positive` (rows,) says which rows are, or with which probability each is. All may be (rows × K,), K in a row
        for each row, which are then drawn together.
        """
        edges = np.unique(np.quantile(scores, np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins = len(edges) + 1
        # The highest scores first, as a ranking goes.
        bin_of = bins - 1 - np.searchsorted(edges, scores, side="right")
        block_of = np.repeat(self._block_of, len(scores) // len(self._block_of))
        place = block_of * bins + bin_of

        def drawn(share: Floats) -> Floats:
            histogram = np.bincount(place, weights * share, self.blocks * bins)
            result: Floats = self._counts @ histogram.reshape(self.blocks, bins)
            return result

        share = np.asarray(positive, np.float64)
        hits, misses = drawn(share), drawn(1 - share)
        found = hits.cumsum(axis=1)
        if curve == "roc":
            above = found - hits / 2  # equal scores count half
            area, whole = (above * misses).sum(axis=1), found[:, -1] * misses.sum(axis=1)
        else:
            everything = found + misses.cumsum(axis=1)
            precision = np.divide(found, everything, out=np.ones_like(found), where=everything > 0)
            area, whole = (hits * precision).sum(axis=1), found[:, -1]
        areas: Floats = np.divide(area, whole, out=np.full_like(area, np.nan), where=whole > 0)
        return areas

    def interval(self, estimate: float, drawn: Floats) -> tuple[float, float] | None:
        """The 95% percentile interval of what was `drawn`; None where the resamples do not say.

        Expanded for few blocks, which make a percentile interval too narrow, by Student's t in place of the
        normal distribution and by sqrt(B / (B - 1)) (Hesterberg, The American Statistician 69, 2015).
        """
        from scipy.special import stdtrit

        drawn = drawn[np.isfinite(drawn)]
        if self.blocks < 2 or len(drawn) == 0:
            return None
        freedom = self.blocks - 1
        wider = float(stdtrit(freedom, 0.975)) / 1.959964 * (self.blocks / freedom) ** 0.5
        low, high = np.quantile(drawn, [0.025, 0.975])
        return float(estimate - (estimate - low) * wider), float(estimate + (high - estimate) * wider)
