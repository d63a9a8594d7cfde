"""Whether inputs, truth, or what ties them together moved between two spans of rows: tests with a controlled error.

Each asks the same of columns of numbers: is their mean another in the window? Rows that follow each other are alike, so
whole blocks of rows are exchanged between the two spans, at random, to see what chance makes of it: a permutation test.
The largest of many standardised differences is compared with the largest of theirs, which keeps the error over all of
them (Westfall and Young, Resampling-Based Multiple Testing, 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from portico.ml import arrays, values
from portico.ml.arrays import Column, Floats, Mask
from portico.ml.measure.baseline import block_length_of
from portico.ml.measure.estimate_loss import FOLDS, fit_trees, predict_trees, spans

_EXCHANGES = 1999
_LEAST_BLOCKS = 5  # in the window
_CATEGORIES = 12  # named of a feature; the others together
_FARTHEST: Final = 50.0  # times as frequent in the window as before: nothing before is like it


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows in order of time: `features` (N rows), `truth` (N,) values or positions among the classes, the model's
    `output` (N,) or scores (N, K), and `times` (N,) in seconds."""

    features: pa.Table
    truth: Floats
    output: Floats
    times: Floats

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True, slots=True)
class Coded:
    """A feature of both spans, the rows before first: `values` (N,) for trees, `codes` (N,) the band of each row, and
    in words what each band is."""

    name: str
    ordered: bool
    values: Floats
    codes: NDArray[np.int64]
    labels: list[str]


@dataclass(frozen=True, slots=True)
class Moved:
    """`p` is the probability of so much or more by chance; `sizes` (J,) are the standardised differences behind it."""

    p: float
    sizes: Floats


def coded(before: pa.Table, now: pa.Table, kinds: Mapping[str, str], bands: int) -> list[Coded]:
    """The numeric features in bands of about equal counts, the categorical ones by value; other kinds are left out."""
    made = []
    for name, kind in kinds.items():
        if kind not in ("numeric", "categorical", "high_cardinality"):
            continue
        sides = [t[name] if name in t.column_names else pa.nulls(t.num_rows) for t in (before, now)]
        made.append(_numeric(name, sides, bands) if kind == "numeric" else _categorical(name, sides))
    return made


def _numeric(name: str, sides: Sequence[Column], bands: int) -> Coded:
    cells = np.concatenate([arrays.numbers(side)[0] for side in sides])
    known = cells[np.isfinite(cells)]
    cuts = np.quantile(known, np.linspace(0, 1, bands + 1)[1:-1]) if len(known) else np.zeros(0)
    edges = np.unique(cuts[cuts > known.min()]) if len(known) else cuts
    codes = np.where(np.isfinite(cells), np.searchsorted(edges, cells, side="right") + 1, 0)
    words = [f"{edge:.4g}" for edge in edges]
    inner = [f"{name} from {low} to {high}" for low, high in pairwise(words)]
    ends = [f"{name} below {words[0]}", *inner, f"{name} from {words[-1]} on"] if words else [f"{name} known"]
    return Coded(name, True, cells, codes.astype(np.int64), [f"{name} missing", *ends])


def _categorical(name: str, sides: Sequence[Column]) -> Coded:
    found = []
    for side in sides:
        codes, cells = arrays.factorize(side)
        named = np.array([_category(cell) for cell in cells], object)
        found.append(named[codes])
    every = np.concatenate(found)
    words, place, counts = np.unique(every.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(words), np.int64)
    rank[order] = np.arange(len(words))
    codes = np.minimum(rank[place], _CATEGORIES)
    labels = [f"{name}={words[position]}" for position in order[:_CATEGORIES]]
    more = [f"{name}: other values"] if len(words) > _CATEGORIES else []
    return Coded(name, False, rank[place].astype(float), codes, labels + more)


def _category(cell: Any) -> str:
    try:
        found = None if values.is_missing(cell) else values.category(cell)
    except ValueError:
        found = None
    return "(missing)" if found is None else found


class Spans:
    """Two spans of rows, cut into blocks: `before` rows, then those of the window."""

    def __init__(self, before: Labelled, now: Labelled, features: Sequence[Coded], seed: int = 0) -> None:
        self.before, self.now, self.seed = len(before), len(now), seed
        self.block_length = _block_length(before, now, features)
        self._starts = [np.arange(0, rows, self.block_length) for rows in (self.before, self.now)]
        old, new = (len(starts) for starts in self._starts)
        drawn = np.random.default_rng(seed).random((_EXCHANGES, old + new)).argsort(axis=1) >= old
        # Which blocks count as the window's: first as it is, then exchanged; shape (1 + exchanges, blocks).
        self._window = np.vstack([np.arange(old + new) >= old, drawn]).astype(float)

    def folds(self) -> NDArray[np.int64]:
        """A fold for each row of both spans: stretches of either, so that few rows have neighbours in other folds."""
        return np.concatenate([spans(self.before), spans(self.now)])

    def test(
        self, before: Floats, now: Floats, weights: Floats | None = None, kept: Mask | None = None, *,
        one_sided: bool = False, studentised: bool = False,
    ) -> Moved:  # fmt: skip
        """Whether the mean of `now` (rows, J) is another than that of `before` (rows, J), in any of the J columns.

        `weights` (rows,) are those of the rows before, `kept` the rows of the window that count. `studentised` is for
        spans that may differ in variance and not in mean (Janssen, Statistics & Probability Letters 36, 1997); it sees
        less of a change that began within the window.
        """
        weight = np.ones(self.before) if weights is None else weights / weights.mean()
        count = np.ones(self.now) if kept is None else kept.astype(float)
        pairs = ((before, weight, self._starts[0]), (now, count, self._starts[1]))
        sums = np.concatenate([np.add.reduceat(rows * mass[:, None], at) for rows, mass, at in pairs])
        masses = np.concatenate([np.add.reduceat(mass, at) for _, mass, at in pairs])[:, None]
        inside, outside = (self._means(chosen, sums, masses) for chosen in (self._window, 1 - self._window))
        apart, variance = inside[0] - outside[0], inside[1] + outside[1]
        chance = apart[1:].var(axis=0)
        # Where a side has hardly any rows of a kind, its own variance says nothing.
        variance = (
            np.maximum(variance, 0.25 * chance) if studentised else np.broadcast_to(chance, apart.shape)
        )
        sizes = np.divide(apart, np.sqrt(variance), out=np.zeros_like(apart), where=variance > 1e-18)
        sizes[0] /= np.sqrt(self._neighbours(sums, masses))
        sizes = sizes if one_sided else np.abs(sizes)
        beyond = int((sizes[1:].max(axis=1) >= sizes[0].max() - 1e-9).sum())
        return Moved((1 + beyond) / (1 + _EXCHANGES), sizes[0])

    def _neighbours(self, sums: Floats, masses: Floats) -> Floats:
        """By how much (J,) the mean over neighbouring blocks varies more than that over scattered ones, by what
        neighbours before the window have in common."""
        old = len(self._starts[0])
        off = sums[:old] - masses[:old] * sums[:old].sum(axis=0) / max(float(masses[:old].sum()), 1e-12)
        spread = (off**2).sum(axis=0)
        common = (off[1:] * off[:-1]).sum(axis=0)
        alike = np.divide(common, spread, out=np.zeros_like(spread), where=spread > 1e-12)
        return np.asarray(1 + 2 * np.maximum(alike, 0.0) * (1 - 1 / len(self._starts[1])))

    @staticmethod
    def _means(chosen: Floats, sums: Floats, masses: Floats) -> tuple[Floats, Floats]:
        """The means over the `chosen` blocks (draws, blocks), and their variances by blocks (draws, J)."""
        total = np.maximum(chosen @ masses, 1e-12)
        mean = chosen @ sums / total
        squares = chosen @ sums**2 - 2 * mean * (chosen @ (sums * masses)) + mean**2 * (chosen @ masses**2)
        return mean, np.maximum(squares, 0.0) / total**2


def _block_length(before: Labelled, now: Labelled, features: Sequence[Coded]) -> int:
    """That of `baseline.block_length_of`, or three times as long as the numbers before stay alike, if that is longer.

    How long is the variance of long blocks' means beside that of single rows' (the integrated autocorrelation time);
    below 2 it may be chance.
    """
    most = max(len(now) // _LEAST_BLOCKS, 1)
    blocks = len(before) // most
    series = [f.values[: len(before)] for f in features if f.ordered] + [before.truth]
    alike = [0.0]
    for one in series if blocks >= 8 else []:
        centred = np.nan_to_num(one - np.nanmean(one)) if np.isfinite(one).any() else np.zeros(len(one))
        spread = float(np.mean(centred**2))
        means = centred[: blocks * most].reshape(blocks, most).mean(axis=1)
        alike.append(most * float(np.mean(means**2)) / spread if spread > 0 else 0.0)
    longer = 3 * max(alike) if max(alike) > 2 else 0.0
    usual = block_length_of(np.concatenate([before.times, now.times]))
    return max(1, min(max(usual, round(longer)), most))


def indicators(features: Sequence[Coded]) -> tuple[Floats, NDArray[np.int64]]:
    """(N, J): whether a row is in a category, or at or below a band; and of each of the J columns the feature."""
    columns, owners = [], []
    for number, feature in enumerate(features):
        for code in range(len(feature.labels) - (1 if feature.ordered else 0)):
            inside = feature.codes <= code if feature.ordered else feature.codes == code
            columns.append(inside.astype(float))
            owners.append(number)
    rows = len(features[0].codes) if features else 0
    return (np.column_stack(columns) if columns else np.zeros((rows, 0))), np.array(owners, np.int64)


def inputs_moved(parts: Spans, features: Sequence[Coded], columns: Floats) -> tuple[Moved, float, Floats]:
    """P(X): feature by feature (a Kolmogorov-Smirnov or L-infinity distance in `columns`, see `indicators`), and all
    together by a classifier that tells the two spans apart (Lopez-Paz and Oquab, ICLR 2017), out of fold.

    Returns the test (its `sizes` are the columns'), the classifier's AUC, and for each row how many times as frequent
    rows like it are in the window as before.
    """
    cut = parts.before
    centred = columns - columns[:cut].mean(axis=0)
    single = parts.test(centred[:cut], centred[cut:])
    matrix = np.column_stack([feature.values for feature in features])
    later = np.repeat([0.0, 1.0], [cut, parts.now])
    fold, chance, place = parts.folds(), np.empty(len(later)), np.empty(len(later))
    for number in range(FOLDS):
        inside = fold == number
        text = fit_trees(matrix[~inside], later[~inside], "binary", parts.seed)
        chance[inside] = predict_trees(text, matrix[inside])
        # Where a row stands among the fold's rows from before: 0 to 1.
        earlier = np.sort(chance[inside & (later == 0)])
        below, most = (np.searchsorted(earlier, chance[inside], side=side) for side in ("left", "right"))
        place[inside] = (below + most) / 2 / max(len(earlier), 1)
    place -= place[:cut].mean()
    joint = parts.test(place[:cut, None], place[cut:, None], one_sided=True)
    ratio = np.clip(chance, 1e-6, 1 - 1e-6)
    ratio = ratio / (1 - ratio) * cut / parts.now
    p = min(1.0, 2 * min(single.p, joint.p))
    return Moved(p, single.sizes), float(0.5 + place[cut:].mean()), ratio


def beyond_inputs(
    parts: Spans, before: Labelled, now: Labelled, features: Sequence[Coded], signals: Floats
) -> Floats:
    """What the inputs do not tell of the `signals` (N, S) of a model's errors: the rest after trees that learned them
    from the rows before, out of fold (N, S)."""
    cut = parts.before
    output = np.concatenate([before.output, now.output])
    matrix = np.column_stack([*(feature.values for feature in features), output])
    fold, rest = spans(cut), signals.copy()
    for number in range(FOLDS):
        inside = np.flatnonzero(fold == number)
        others = np.flatnonzero(fold != number)
        for column in range(signals.shape[1]):
            text = fit_trees(matrix[others], signals[others, column], seed=parts.seed)
            rest[inside, column] -= predict_trees(text, matrix[inside])
            rest[cut:, column] -= predict_trees(text, matrix[cut:]) / FOLDS
    return rest


def relation_moved(
    parts: Spans, rest: Floats, bands: Floats, weights: Floats | None, kept: Mask
) -> tuple[Moved, Floats]:
    """P(Y|X): whether the `rest` (see `beyond_inputs`) is another in the window, over all rows or within any band.

    With `weights` the rows before count as they are frequent in the window, so that what the trees did not learn weighs
    on both sides alike (a doubly robust comparison). Returns the test and the sizes of the bands' columns.
    """
    cut = parts.before
    unlike = weights is not None
    over_all = parts.test(rest[:cut], rest[cut:], weights, kept, studentised=unlike)
    if not bands.shape[1]:
        return over_all, np.zeros(0)
    within = np.concatenate([bands * rest[:, [column]] for column in range(rest.shape[1])], axis=1)
    by_band = parts.test(within[:cut], within[cut:], weights, kept, studentised=unlike)
    sizes = by_band.sizes.reshape(rest.shape[1], -1).max(axis=0)
    return Moved(min(1.0, 2 * min(over_all.p, by_band.p)), over_all.sizes), sizes


def comparable(ratio: Floats) -> Mask:
    """Rows that have their like before."""
    return ratio < _FARTHEST
