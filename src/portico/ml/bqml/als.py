"""Alternating least squares: factors of users and items from ratings.

Explicit: Σ (r − g − bᵤ − bᵢ − pᵤ·qᵢ)² + λ Σ (|pᵤ|² + bᵤ² + |qᵢ|² + bᵢ²), with g the mean rating.
Implicit (Hu, Koren and Volinsky 2008): Σ over all pairs c (x − pᵤ·qᵢ)² + λ Σ (|pᵤ|² + |qᵢ|²), with x = 1 where there is
a rating, c = 1 + α r there, and x = 0 and c = 1 elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, Any]
_PADDED = 4_000_000  # numbers in a block of entities that are solved together


@dataclass(slots=True)
class Ratings:
    """(ratings,) places of users and of items, and the numbers."""

    users: Numbers
    items: Numbers
    values: Numbers


@dataclass(slots=True)
class Factors:
    """Of users or items: (entities, factors) and (entities,)."""

    weights: Numbers
    intercepts: Numbers


@dataclass(slots=True)
class Blocks:
    """The ratings of each entity beside each other, entities with about as many ratings together.

    `parts`: (entities,) of a block, (entities, most ratings) places of the others and of the ratings, −1 for none.
    """

    parts: list[tuple[Numbers, Numbers, Numbers]]

    @classmethod
    def of(cls, own: Numbers, others: Numbers, count: int, factors: int) -> Blocks:
        sizes = np.bincount(own, minlength=count)
        order = np.argsort(own, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)])
        known = np.argsort(sizes, kind="stable")
        known = known[sizes[known] > 0]
        parts = []
        for block in _cut(known, sizes, factors):
            width = int(sizes[block].max())
            steps = np.arange(width)
            there = steps < sizes[block][:, None]
            at = np.where(there, order[np.minimum(starts[block][:, None] + steps, len(order) - 1)], -1)
            parts.append((block, np.where(there, others[at], -1), at))
        return cls(parts)


def _cut(known: Numbers, sizes: Numbers, factors: int) -> Iterator[Numbers]:
    """Runs of entities, by size ascending, that padded to the largest of them are at most `_PADDED` numbers."""
    first = 0
    while first < len(known):
        last = first + 1
        while last < len(known):
            padded = (last + 1 - first) * int(sizes[known[last]]) * (factors + 1)
            wasted = int(sizes[known[last]]) > 2 * int(sizes[known[first]]) + 8
            if padded > _PADDED or wasted:
                break
            last += 1
        yield known[first:last]
        first = last


def explicit(
    mine: Factors, theirs: Factors, blocks: Blocks, values: Numbers, mean: float, penalty: float
) -> None:
    """Solves `mine` for what `theirs` are."""
    wide = np.column_stack([theirs.weights, np.ones(len(theirs.weights))])
    wide = np.concatenate([wide, np.zeros((1, wide.shape[1]))])  # for places of −1
    own = np.append(theirs.intercepts, 0.0)
    rest = np.append(values - mean, 0.0)
    ridge = penalty * np.eye(wide.shape[1])
    for block, others, at in blocks.parts:
        design = wide[others]
        wanted = np.where(at >= 0, rest[at] - own[others], 0.0)
        left = design.transpose(0, 2, 1) @ design + ridge
        right = np.einsum("bnk,bn->bk", design, wanted)
        found = np.linalg.solve(left, right[:, :, None])[:, :, 0]
        mine.weights[block], mine.intercepts[block] = found[:, :-1], found[:, -1]


def implicit(
    mine: Factors, theirs: Factors, blocks: Blocks, values: Numbers, alpha: float, penalty: float
) -> None:
    """Solves `mine` for what `theirs` are."""
    wide = np.concatenate([theirs.weights, np.zeros((1, theirs.weights.shape[1]))])
    sure = np.append(alpha * values, 0.0)
    every = theirs.weights.T @ theirs.weights + penalty * np.eye(wide.shape[1])
    for block, others, at in blocks.parts:
        design = wide[others]
        more = np.where(at >= 0, sure[at], 0.0)
        weighed = design * more[:, :, None]
        left = weighed.transpose(0, 2, 1) @ design + every
        right = np.einsum("bnk,bn->bk", design, np.where(at >= 0, 1 + more, 0.0))
        mine.weights[block] = np.linalg.solve(left, right[:, :, None])[:, :, 0]


def predicted(users: Factors, items: Factors, mean: float, one: Numbers, other: Numbers) -> Numbers:
    """(pairs,) of places; −1 is an unknown user or item, of which nothing is known."""
    known = (one >= 0) & (other >= 0)
    product = np.einsum("ij,ij->i", users.weights[one], items.weights[other])
    return np.asarray(
        mean
        + np.where(one >= 0, users.intercepts[one], 0.0)
        + np.where(other >= 0, items.intercepts[other], 0.0)
        + np.where(known, product, 0.0)
    )


def unweighted_loss(users: Factors, items: Factors, ratings: Ratings, alpha: float) -> float:
    """The implicit loss without its penalty, a pair."""
    found = np.einsum("ij,ij->i", users.weights[ratings.users], items.weights[ratings.items])
    every = float(((users.weights.T @ users.weights) * (items.weights.T @ items.weights)).sum())
    seen = float(((1 + alpha * ratings.values) * (1 - found) ** 2 - found**2).sum())
    return (every + seen) / (len(users.weights) * len(items.weights))
