"""Which members to keep, and with what weights: greedy selection with replacement (Caruana et al. 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.learn.links import Link
from portico.ml.learn.task import Rows, Task

_ROUNDS = 30


@dataclass(slots=True)
class Blend:
    """`weights[member]` are shares of the member's margin in its space (they sum to 1 within each space)."""

    weights: dict[int, float]
    link: Link
    loss: float
    margins: Floats

    def output(self) -> Floats:
        return self.link.answer(self.margins)


def blend(
    task: Task, rows: Rows, margins: Sequence[Floats], spaces: Sequence[str], most: int, rounds: int = _ROUNDS
) -> Blend:
    """Of members with `margins` (rows, outputs) and `spaces` for `rows`, at most `most` different ones.

    Margins are averaged within a space and the spaces' values are mixed, as the one forest of a model does it.
    """
    counts: dict[int, int] = {}
    best: Blend | None = None
    for _ in range(rounds):
        candidates = range(len(margins)) if len(counts) < most else list(counts)
        found: tuple[Blend, int] | None = None
        for member in candidates:
            tried = counts | {member: counts.get(member, 0) + 1}
            made = _mix(task, rows, margins, spaces, tried)
            if found is None or made.loss < found[0].loss:
                found = made, member
        assert found is not None
        if best is not None and found[0].loss >= best.loss - 1e-6 * abs(best.loss):
            break
        best, member = found
        counts[member] = counts.get(member, 0) + 1
    assert best is not None
    return _tempered(task, rows, best) if task.objective == "minimize-log-loss" else best


def _tempered(task: Task, rows: Rows, made: Blend) -> Blend:
    """With its margins scaled as the rows' log loss asks for (temperature scaling, Guo et al. 2017)."""
    scales = np.linspace(0.8, 1.3, 11)
    links = [replace(made.link, scale=float(scale), shift=[0.0] * task.outputs) for scale in scales]
    losses = [task.loss(rows.target, link.answer(made.margins), rows.weights) for link in links]
    best = int(np.argmin(losses))
    if losses[best] >= made.loss:
        return made
    return Blend(made.weights, links[best], losses[best], made.margins)


def blend_as(
    task: Task,
    rows: Rows,
    margins: Sequence[Floats],
    spaces: Sequence[str],
    weights: dict[int, float],
    link: Link,
) -> Blend:
    """The blend with these weights, and this link."""
    joined = _joined(margins, spaces, weights)
    return Blend(weights, link, task.loss(rows.target, link.answer(joined), rows.weights), joined)


def _mix(
    task: Task, rows: Rows, margins: Sequence[Floats], spaces: Sequence[str], counts: dict[int, int]
) -> Blend:
    used = list(dict.fromkeys(spaces[member] for member in counts))
    total = sum(counts.values())
    in_space = {space: sum(n for member, n in counts.items() if spaces[member] == space) for space in used}
    weights = {member: n / in_space[spaces[member]] for member, n in counts.items()}
    if task.classes:
        link = Link("sigmoid" if task.classes == 2 else "softmax")
    else:
        link = Link("mixture", used, [in_space[space] / total for space in used])
    return blend_as(task, rows, margins, spaces, weights, link)


def _joined(margins: Sequence[Floats], spaces: Sequence[str], weights: dict[int, float]) -> Floats:
    """The members' margins as the forest has them: summed within each space, in the order of their first members."""
    columns = []
    for space in dict.fromkeys(spaces[member] for member in weights):
        parts = [margins[member] * weight for member, weight in weights.items() if spaces[member] == space]
        columns.append(np.sum(parts, axis=0))
    return np.concatenate(columns, axis=1)
