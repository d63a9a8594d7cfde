"""How far a window's counts are from a reference's, by the measures that monitoring people use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.watch.bins import Counts, FeatureBins, Window

JENSEN_SHANNON: Final = "jensen_shannon_divergence"
L_INFINITY: Final = "l_infinity"
_SMOOTH = 0.5  # pseudo-rows a bin for PSI, whose logarithm has no answer for an empty one


@dataclass(frozen=True, slots=True)
class FeatureScore:
    """One feature of a window beside a reference.

    `distance` is Google's: Jensen-Shannon for numbers, L-infinity for categories. `psi` is the population stability
    index; `kolmogorov_smirnov` and `wasserstein` (in units of the reference's interquartile range) are None for
    categories. Shares are of all rows; `new` is the share in bins that training did not have (new categories, or
    outside the range). `most` names what moved most, in words.
    """

    name: str
    kind: str
    distance: float
    psi: float
    kolmogorov_smirnov: float | None
    wasserstein: float | None
    missing: float
    missing_before: float
    new: float
    invalid: float
    rows: int
    rows_before: int
    most: str

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def score(window: Window, reference: Window, bins: list[FeatureBins]) -> list[FeatureScore]:
    """Every feature of `window` against `reference`, both counted in `bins`. Empty ones have the distance 0."""
    return [score_column(feature, window[feature.name], reference[feature.name]) for feature in bins]


def score_column(feature: FeatureBins, now: Counts, before: Counts, measure: str = "") -> FeatureScore:
    """`measure` is the name of the distance, JENSEN_SHANNON or L_INFINITY; empty: Google's for the feature's kind."""
    labels = _labels(feature, now, before)
    p, q = _vector(feature, now, labels), _vector(feature, before, labels)
    numeric = feature.kind == "numeric"
    shares, shares_before = _shares(p), _shares(q)
    wanted = measure or (JENSEN_SHANNON if numeric else L_INFINITY)
    distance = jensen_shannon(p, q) if wanted == JENSEN_SHANNON else l_infinity(p, q)
    most = ""
    if len(labels) and p.sum() and q.sum():
        at = int(np.argmax(np.abs(shares - shares_before)))
        most = f"{labels[at]}: {shares_before[at]:.1%} before, {shares[at]:.1%} now"
    rows, rows_before = max(now.rows, 1), max(before.rows, 1)
    return FeatureScore(
        feature.name,
        feature.kind,
        distance,
        psi(p, q),
        kolmogorov_smirnov(p, q) if numeric else None,
        _wasserstein(feature, p, q) if numeric else None,
        now.missing / rows,
        before.missing / rows_before,
        now.unbinned / rows,
        now.invalid / rows,
        now.rows,
        before.rows,
        most,
    )


def jensen_shannon(p: Floats, q: Floats) -> float:
    """The Jensen-Shannon divergence of two count vectors, with logarithms to base 2: 0 to 1 (Lin 1991).

    That is what Vertex AI and TensorFlow Data Validation report for numeric features. 0 where either is empty.
    """
    if not p.sum() or not q.sum():
        return 0.0
    a, b = _shares(p), _shares(q)
    middle = (a + b) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(a > 0, a * np.log2(a / middle), 0) + np.where(b > 0, b * np.log2(b / middle), 0)
    return float(np.clip(parts.sum() / 2, 0, 1))


def l_infinity(p: Floats, q: Floats) -> float:
    """The largest difference of a share: what Vertex AI reports for categorical features. 0 where either is empty."""
    if not p.sum() or not q.sum():
        return 0.0
    return float(np.abs(_shares(p) - _shares(q)).max())


def psi(p: Floats, q: Floats) -> float:
    """The population stability index, sum of (a - b) ln(a / b), with half a row added to every bin."""
    if not p.sum() or not q.sum():
        return 0.0
    a, b = _shares(p + _SMOOTH), _shares(q + _SMOOTH)
    return float(((a - b) * np.log(a / b)).sum())


def kolmogorov_smirnov(p: Floats, q: Floats) -> float:
    """The largest difference of the distribution functions, at the bins' edges."""
    if not p.sum() or not q.sum():
        return 0.0
    return float(np.abs(np.cumsum(_shares(p)) - np.cumsum(_shares(q))).max())


def _wasserstein(feature: FeatureBins, p: Floats, q: Floats) -> float:
    """The earth mover's distance with every bin's rows at its middle, in units of the interquartile range.

    What lies under or over the range counts as lying at its edge, so the distance is a lower bound.
    """
    edges = np.asarray(feature.edges)
    if len(edges) < 2 or not p.sum() or not q.sum():
        return 0.0
    places = np.concatenate([edges[:1], (edges[:-1] + edges[1:]) / 2, edges[-1:]])
    difference = np.cumsum(_shares(p) - _shares(q))[:-1]
    cumulated = np.cumsum(_shares(q))
    low, high = (places[min(int(np.searchsorted(cumulated, s)), len(places) - 1)] for s in (0.25, 0.75))
    spread = high - low or edges[-1] - edges[0]
    return float((np.abs(difference) * np.diff(places)).sum() / spread) if spread else 0.0


def _labels(feature: FeatureBins, now: Counts, before: Counts) -> list[str]:
    """What each place of the vectors stands for, in words."""
    if feature.kind == "categorical":
        new = sorted(now.new.keys() | before.new.keys())
        return [*feature.categories, *new, "other categories"]
    edges = feature.edges
    if not edges:
        return ["no bin"]
    inner = [f"{low:.6g} to {high:.6g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:.6g}", *inner, f"above {edges[-1]:.6g}"]


def _vector(feature: FeatureBins, counts: Counts, labels: list[str]) -> Floats:
    if feature.kind == "numeric":
        found = [counts.under, *counts.bins, counts.over] if feature.edges else [counts.over]
        return np.array(found, np.float64)
    new: Mapping[str, int] = counts.new
    tail = [new.get(name, 0) for name in labels[len(feature.categories) : -1]]
    return np.array([*counts.bins, *tail, counts.other_new], np.float64)


def _shares(counts: Floats) -> Floats:
    total = counts.sum()
    return counts / total if total else counts
