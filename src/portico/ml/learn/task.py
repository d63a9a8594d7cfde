"""What a learner gets and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats
from portico.ml.errors import TrainingStopped
from portico.ml.learn.budget import Budget
from portico.ml.learn.objectives import Loss

_TRACE = 0.01


@dataclass(slots=True)
class Rows:
    """Encoded rows: `matrix` (rows, width), `target` (rows,) values or positions of classes, `weights` (rows,)."""

    matrix: Floats
    target: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: NDArray[Any]) -> Rows:
        return Rows(self.matrix[rows], self.target[rows], self.weights[rows])

    def joined(self, other: Rows) -> Rows:
        return Rows(
            np.concatenate([self.matrix, other.matrix]),
            np.concatenate([self.target, other.target]),
            np.concatenate([self.weights, other.weights]),
        )


@dataclass(slots=True)
class Task:
    """One problem: `classes` is 0 for a regression; `cardinalities` has the number of codes of each categorical column
    and 0 for numbers; `loss` is the objective's, lower is better; `quantile` is what a quantile
    objective is about."""

    objective: str
    classes: int
    cardinalities: list[int]
    loss: Loss
    seed: int
    threads: int
    budget: Budget
    should_stop: Callable[[], bool]
    quantile: float = 0.5

    @property
    def outputs(self) -> int:
        """How many margins a member makes for a row."""
        return self.classes if self.classes > 2 else 1

    @property
    def categorical(self) -> list[int]:
        return [index for index, size in enumerate(self.cardinalities) if size]

    def check_stop(self) -> None:
        if self.should_stop():
            raise TrainingStopped("training was stopped")


def with_every_class(task: Task, rows: Rows) -> Rows:
    """`rows` and, for each class that none of them has, a hundredth of a row of it: learners know all classes then,
    and give one that they were never shown a small probability and not none."""
    present = (
        np.bincount(rows.target.astype(np.int64), minlength=task.classes) if task.classes else np.ones(1)
    )
    absent = np.flatnonzero(present == 0).astype(np.float64)
    if len(absent) == 0:
        return rows
    matrix = np.repeat(rows.matrix[:1], len(absent), axis=0)
    return rows.joined(Rows(matrix, absent, np.full(len(absent), _TRACE * rows.weights.mean())))


@dataclass(slots=True)
class Recipe:
    """What to try: a learner, its parameters, and for a regression the space it learns in (see `links.SPACES`)."""

    learner: str
    params: dict[str, Any] = field(default_factory=dict)
    space: str = ""


@dataclass(slots=True)
class Fitted:
    """A trained member: its forest's text and its steps (see `forest.steps`) when they are asked for, its margins
    (rows, outputs) of the validation rows, and its length; `cut_short` when the deadline, or the most trees that a
    model may have, ended it, `out_of_time` when it was the deadline."""

    text: Callable[[], str]
    steps: Callable[[], float]
    margins: Floats
    iterations: int
    cut_short: bool
    out_of_time: bool


class Learner(Protocol):
    def fit(self, task: Task, training: Rows, validation: Rows, recipe: Recipe, deadline: float) -> Fitted:
        """Learns on `training` and chooses its length on `validation`; ends near `deadline` (node seconds, see Budget).

        The targets of both are already in the recipe's space. Raises TrainingStopped.
        """
        ...

    def refit(self, task: Task, rows: Rows, recipe: Recipe, iterations: int, deadline: float) -> str | None:
        """The text learned on all `rows` for `iterations`; None if `deadline` came too early for it to be of use."""
        ...
