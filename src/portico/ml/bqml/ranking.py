"""How well a ranking of items puts those first that a user chose."""

from __future__ import annotations

import numpy as np

from portico.ml.bqml.als import Factors, Numbers, Ratings

_USERS = 5_000  # that are measured, at most
_BLOCK = 2_000_000  # scores at once


def measured(users: Factors, items: Factors, ratings: Ratings) -> tuple[dict[str, float | None], str]:
    """Of each user that has a rating, all items are ranked by their predicted confidence.

    Returns:
        The means over the users of the average precision, of the squared error against the preference (1 where there
        is a rating, else 0) and of the normalised discounted cumulative gain (gains are the ratings, discounts log₂);
        and the expected percentile rank of Hu, Koren and Volinsky (2008): Σ r rank / Σ r, ranks from 0 (first) to 1.
        And a warning, where not all users were measured.
    """
    known = (ratings.users >= 0) & (ratings.items >= 0)
    there = np.unique(ratings.users[known])
    warning = ""
    if len(there) > _USERS:
        warning = f"Evaluated on the first {_USERS:,} of {len(there):,} users."
        there = there[:_USERS]
    if not len(there):
        return dict.fromkeys(NAMES), warning
    rows = np.searchsorted(there, ratings.users[known])
    inside = (rows < len(there)) & (there[np.minimum(rows, len(there) - 1)] == ratings.users[known])
    rows, values = rows[inside], ratings.values[known][inside]
    columns = ratings.items[known][inside]
    step = max(1, _BLOCK // len(items.weights))

    def block(at: int) -> tuple[Numbers, ...]:
        mine = (rows >= at) & (rows < at + step)
        places = (rows[mine] - at, columns[mine])
        scores = users.weights[there[at : at + step]] @ items.weights.T
        gains, chosen = np.zeros(scores.shape), np.zeros(scores.shape, bool)
        np.add.at(gains, places, values[mine])
        chosen[places] = True
        return _block(scores, gains, chosen)

    parts = [block(at) for at in range(0, len(there), step)]
    precision, error, gain, ranks, total = (np.concatenate(one) for one in zip(*parts, strict=True))
    found = (precision.mean(), error.mean(), gain.mean(), ranks.sum() / total.sum() if total.sum() else None)
    return {
        name: None if one is None else float(one) for name, one in zip(NAMES, found, strict=True)
    }, warning


NAMES = (
    "mean_average_precision", "mean_squared_error", "normalized_discounted_cumulative_gain", "average_rank",
)  # fmt: skip


def _block(scores: Numbers, gains: Numbers, chosen: Numbers) -> tuple[Numbers, ...]:
    """(users,) each: average precision, squared error, NDCG, Σ r rank and Σ r."""
    count = scores.shape[1]
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = np.take_along_axis(chosen, order, axis=1)
    at = np.arange(1, count + 1)
    precision = (np.cumsum(hits, axis=1) / at * hits).sum(axis=1) / hits.sum(axis=1)
    sorted_gains = np.take_along_axis(gains, order, axis=1)
    discounts = 1 / np.log2(at + 1)
    best = -np.sort(-gains, axis=1) @ discounts
    gain = np.where(best > 0, sorted_gains @ discounts / np.where(best > 0, best, 1), 0.0)
    places = (at - 1) / max(1, count - 1)
    return precision, ((chosen - scores) ** 2).mean(axis=1), gain, sorted_gains @ places, gains.sum(axis=1)
