"""What a learner gets and gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from portico.ml import objectives
from portico.ml.arrays import Floats
from portico.ml.errors import TrainingStopped


@dataclass(slots=True)
class Rows:
    """Encoded rows: `matrix` (rows, width), `target` (rows,) in the space that is learned, `weights` (rows,)."""

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
    """One problem. `outputs` margins per row; `link` makes them an answer (see `objectives.link`)."""

    objective: str
    link: str
    outputs: int
    cardinalities: list[int]
    loss: objectives.Loss
    seed: int
    threads: int
    should_stop: Callable[[], bool]

    @property
    def classes(self) -> int:
        return {"sigmoid": 2, "softmax": self.outputs}.get(self.link, 0)

    @property
    def categorical(self) -> list[int]:
        return [index for index, size in enumerate(self.cardinalities) if size]

    def loss_of_margins(self, rows: Rows, margins: Floats) -> float:
        """The objective's loss (lower is better) on `rows`; targets learned as log1p are measured as such."""
        output = objectives.link("identity" if self.link == "expm1" else self.link, margins)
        return self.loss(rows.target, output, rows.weights)

    def check_stop(self) -> None:
        if self.should_stop():
            raise TrainingStopped("training was stopped")


@dataclass(slots=True)
class Fitted:
    """A trained member: `member` can be saved and predicted, `iterations` says how long it learned."""

    member: Any
    margins: Floats
    iterations: int
    seconds: float


class Learner(Protocol):
    name: str

    def fit(
        self, task: Task, training: Rows, validation: Rows, params: dict[str, Any], deadline: float
    ) -> Fitted:
        """Learns on `training`, chooses its length on `validation`; `margins` are those of `validation`.

        Ends near `deadline` (time.monotonic()). Raises TrainingStopped.
        """
        ...

    def refit(self, task: Task, rows: Rows, params: dict[str, Any], iterations: int, deadline: float) -> Any:
        """The member learned on all `rows` for `iterations`; None if `deadline` came too early for it to be of use."""
        ...


def remaining(deadline: float) -> float:
    return deadline - time.monotonic()
