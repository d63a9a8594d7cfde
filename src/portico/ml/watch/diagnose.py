"""Which kind of change a window of labelled rows shows, how sure that is, and where to look first.

With inputs X and truth Y: P(X) moved (covariate drift); P(Y) moved and the inputs within each class did not
(prevalence, or label shift); P(Y|X) moved (concept drift). See `diagnose_tests` for how each is tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.errors import DataError
from portico.ml.measure.baseline_bootstrap import Resample
from portico.ml.watch.diagnose_slices import SliceChange, slice_changes
from portico.ml.watch.diagnose_tests import (
    Coded,
    Labelled,
    Spans,
    beyond_inputs,
    coded,
    comparable,
    indicators,
    inputs_moved,
    relation_moved,
)

ERROR: Final = 0.05  # how often a change is claimed at most where there is none
_EACH = ERROR / 3
_WELL, _LIKELY = 0.15, 0.7
_BANDS, _SLICES = 8, 4
_MOST_CLASSES = 6  # whose errors are looked at one by one, the most frequent
_LEAST = (100, 50)

NONE, COVARIATE, PREVALENCE, CONCEPT = "none", "covariate", "prevalence", "concept"
BOTH = "covariate and concept"

_SENTENCES: Final = {
    NONE: "Neither the features, nor the truth, nor what ties them together moved by more than chance.",
    COVARIATE: "The features moved, and the truth given them did not: covariate drift.",
    PREVALENCE: "The classes are more or less frequent than before, and each looks as it did: a changed prevalence.",
    CONCEPT: "The features did not move and the truth given them did: concept drift.",
    BOTH: "The features moved, and the truth given them too: covariate and concept drift.",
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`kind` is none, covariate, prevalence, concept, or covariate and concept.

    `sure` (0 to 1) is of what is said to have moved: what is not said was not seen, which a small window may be too
    small for. Of none it is how usual such differences are where nothing moved. `evidence` has the numbers;
    `contributors` the features that moved most (for a concept: where the truth did), most first; `slices` those that
    add most to the change of the loss.
    """

    kind: str
    sure: float
    sentence: str
    evidence: dict[str, Any]
    contributors: list[str]
    slices: list[SliceChange]
    look_first: str


def diagnose(before: Labelled, now: Labelled, kinds: Mapping[str, str], seed: int = 0) -> Diagnosis:
    """What changed between the rows `before` a window and those of it.

    `kinds` has the kinds of the features ("numeric", "categorical", "high_cardinality"; others are left out). A change
    is claimed where there is none in at most 5% of windows, over all three tests together. Rows may depend on each
    other; where they stay alike for longer than a twentieth of the window, it is up to three times as many.

    Raises:
        DataError: fewer than 100 rows before, or 50 in the window, or outputs of different shapes.
    """
    if len(before) < _LEAST[0] or len(now) < _LEAST[1]:
        raise DataError(
            f"{len(before)} rows before and {len(now)} in the window are too few; "
            f"{_LEAST[0]} and {_LEAST[1]} are needed"
        )
    if before.output.shape[1:] != now.output.shape[1:]:
        raise DataError("the outputs before and in the window have different shapes")
    cut = len(before)
    truth, output = np.concatenate([before.truth, now.truth]), np.concatenate([before.output, now.output])
    features = coded(before.features, now.features, kinds, _BANDS)
    slices = coded(before.features, now.features, kinds, _SLICES)
    parts = Spans(before, now, features, seed)
    columns, owners = indicators(features)
    p_inputs, auc, ratio, sizes = 1.0, 0.5, np.ones(len(truth)), np.zeros(0)
    if features:
        moved, auc, ratio = inputs_moved(parts, features, columns)
        p_inputs, sizes = moved.p, moved.sizes
    p_truth = _truth_moved(parts, truth, output.ndim == 2)
    signals = _signals(truth, output)
    rest = beyond_inputs(parts, before, now, features, signals)
    weights = np.minimum(ratio[:cut], 20.0) if p_inputs <= _EACH else None
    kept = comparable(ratio[cut:]) if p_inputs <= _EACH else np.ones(len(now), bool)
    bands, band_owners = indicators([Coded(s.name, False, s.values, s.codes, s.labels) for s in slices])
    p_relation, band_sizes = 1.0, np.zeros(len(band_owners))
    if kept.mean() >= 0.25:
        tested, band_sizes = relation_moved(parts, rest, bands, weights, kept)
        p_relation = tested.p
    p_within, prior_odds = 0.0, 0.0
    if output.ndim == 2:
        p_within, prior_odds = _classes_explain(parts, truth, output, columns)
    kind, sure = _decide(p_inputs, p_truth, p_relation, p_within, prior_odds, output.ndim == 2)
    losses = signals[:, -1]
    changes = slice_changes(losses[:cut], losses[cut:], slices, parts.block_length, seed)
    ranked = (band_sizes, band_owners, slices) if kind == CONCEPT else (sizes, owners, features)
    evidence = {
        "pFeatures": p_inputs,
        "pTruth": p_truth,
        "pRelation": p_relation,
        "pWithinClasses": p_within if output.ndim == 2 else None,
        "domainAuRoc": auc,
        "comparable": float(kept.mean()),
        "lossBefore": float(losses[:cut].mean()),
        "loss": float(losses[cut:].mean()),
        **_beyond(parts, rest[:, -1], weights, kept),
        "rowsBefore": cut,
        "rows": len(now),
        "blockLength": parts.block_length,
    }
    names = _ranked(*ranked)
    return Diagnosis(kind, sure, _SENTENCES[kind], evidence, names, changes, _look(kind, names, changes))


def _signals(truth: Floats, output: Floats) -> Floats:
    """(N, S): signed errors, of a classifier class by class; the loss last (absolute error, or Brier's score)."""
    if output.ndim == 1:
        return np.column_stack([truth - output, np.abs(truth - output)])
    hit = np.eye(output.shape[1])[truth.astype(int)]
    order = np.argsort(-hit.sum(axis=0), kind="stable")[:_MOST_CLASSES]
    chosen = order[1:] if output.shape[1] == 2 else order
    return np.column_stack([(hit - output)[:, chosen], ((hit - output) ** 2).sum(axis=1)])


def _truth_moved(parts: Spans, truth: Floats, classes: bool) -> float:
    """P(Y): the largest difference of a class's share, or of the distribution function at 19 quantiles."""
    if classes:
        columns = (truth[:, None] == np.unique(truth)).astype(float)
    else:
        columns = (truth[:, None] <= np.unique(np.quantile(truth, np.linspace(0.05, 0.95, 19)))).astype(float)
    centred = columns - columns[: parts.before].mean(axis=0)
    return parts.test(centred[: parts.before], centred[parts.before :]).p


def _classes_explain(parts: Spans, truth: Floats, output: Floats, columns: Floats) -> tuple[float, float]:
    """Whether the classes' new shares alone explain the new inputs and outputs (label shift).

    Returns the p-value of "each class looks as it did", over features and scores; and how likely new shares are rather
    than an unmoved distribution of the scores, 0 to 1. That compares the mean scores with what both would make of them,
    as black box shift estimation does the other way around (Lipton, Wang and Smola, ICML 2018).
    """
    cut = parts.before
    place = truth.astype(int)
    shares = [np.bincount(place[rows], minlength=output.shape[1]) for rows in (slice(cut), slice(cut, None))]
    old, new = shares[0] / cut, shares[1] / parts.now
    scores = output[:, 1:]
    levels = np.quantile(scores, np.linspace(0, 1, _BANDS + 1)[1:-1], axis=0)
    own = np.concatenate([scores <= level for level in levels], axis=1).astype(float)
    made = []
    for given in (columns, np.column_stack([scores, own])):
        centred = given.copy()
        for number in range(output.shape[1]):
            earlier = (place == number)[:cut]
            centred[place == number] -= given[:cut][earlier].mean(axis=0) if earlier.any() else 0.0
        made.append(centred)
    weights = np.divide(new, old, out=np.zeros_like(new), where=old > 0)[place[:cut]]
    known = old[place[cut:]] > 0
    p = min(
        2 * min(parts.test(c[:cut], c[cut:], weights, known).p for c in made if c.shape[1]),
        1.0,
    )
    within = parts.test(made[1][:cut, : scores.shape[1]], made[1][cut:, : scores.shape[1]], weights, known)
    centred = scores - scores[:cut].mean(axis=0)
    unmoved = parts.test(centred[:cut], centred[cut:])
    odds = float(np.exp(np.clip((unmoved.sizes.max() ** 2 - within.sizes.max() ** 2) / 2, -50, 50)))
    return p, odds / (1 + odds)


def _decide(
    inputs: float, truth: float, relation: float, within: float, by_shares: float, classes: bool
) -> tuple[str, float]:
    """The kind, and how sure: see `_sure` for one test; the least of those that a kind needs."""
    x, y, c = (p <= _EACH for p in (inputs, truth, relation))
    if not (x or y or c):
        return NONE, min(1.0, 3 * min(inputs, truth, relation))
    # Where the relation moved too, new shares must explain that well, or it is more than they.
    if classes and y and within > (_WELL if c else ERROR):
        if x and not c:
            return (PREVALENCE if within >= relation else COVARIATE), _sure(inputs) * max(by_shares, 0.5)
        if x or by_shares > _LIKELY:
            return PREVALENCE, _sure(truth) * max(by_shares, 0.5)
        return CONCEPT, _sure(min(truth, relation)) * (1 - by_shares)
    if x and c:
        return BOTH, min(_sure(inputs), _sure(relation))
    if x:
        return COVARIATE, _sure(inputs)
    # The truth moved and the inputs did not: then it is the truth given them.
    return CONCEPT, _sure(min(relation, truth))


def _sure(p: float) -> float:
    """1 minus the least probability, after seeing `p`, that nothing moved, if it was even odds before.

    Sellke, Bayarri and Berger (The American Statistician 55, 2001); over the three tests together.
    """
    p = min(3 * p, 1.0)
    return float(1 / (1 - np.e * p * np.log(p))) if p < 1 / np.e else 0.5


def _beyond(parts: Spans, rest: Floats, weights: Floats | None, kept: Any) -> dict[str, Any]:
    """By how much the loss changed beyond what the inputs explain, with a block bootstrap's 95% interval."""
    cut = parts.before
    weight = np.ones(cut) if weights is None else weights
    old, new = (Resample(n, parts.block_length, parts.seed) for n in (cut, parts.now))
    if not kept.any():
        return {"lossBeyondFeatures": None, "lossBeyondFeaturesInterval": None}
    value = float(np.average(rest[cut:], weights=kept) - np.average(rest[:cut], weights=weight))
    drawn = new.means(rest[cut:], kept.astype(float)) - old.means(rest[:cut], weight)
    bounds = new.interval(value, drawn)
    return {
        "lossBeyondFeatures": value,
        "lossBeyondFeaturesInterval": None if bounds is None else list(bounds),
    }


def _ranked(sizes: Floats, owners: Any, features: Sequence[Coded]) -> list[str]:
    most = [float(sizes[owners == number].max(initial=0.0)) for number in range(len(features))]
    return [features[number].name for number in np.argsort(-np.array(most), kind="stable")]


def _look(kind: str, names: list[str], changes: list[SliceChange]) -> str:
    worst = next((one for one in changes if one.certain and one.contribution > 0), None)
    rows = "" if worst is None else f"the rows with {worst.slice}"
    if kind in (COVARIATE, BOTH) and names:
        return f"Look first at {names[0]}" + (f", and at {rows}." if rows else ".")
    if kind == PREVALENCE:
        return "Look first at why the classes' shares changed" + (f", and at {rows}." if rows else ".")
    if kind == NONE and not rows:
        return "Look first at single large errors, and at more rows."
    return f"Look first at {rows or 'the labels themselves, and what the features do not tell'}."
