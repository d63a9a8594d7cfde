"""Tries learners within the budget, keeps what helps, and refits it on all the rows that may be learned from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portico.ml import objectives
from portico.ml.arrays import Floats
from portico.ml.gbm import LightGBM
from portico.ml.spec import TrainSpec
from portico.ml.task import Rows, Task


@dataclass(slots=True)
class Found:
    """The chosen members (model texts with weights), their joint margins and loss on the validation rows."""

    members: list[tuple[str, float]]
    margins: Floats
    loss: float
    leaderboard: list[dict[str, Any]]


def search(
    task: Task,
    training: Rows,
    validation: Rows,
    spec: TrainSpec,
    deadline: float,
    progress: Callable[[float, str], None],
) -> Found:
    now = time.monotonic()
    learner = LightGBM()
    params = {"learning_rate": 0.05, "num_leaves": 31}
    fitted = learner.fit(task, training, validation, params, now + 0.5 * (deadline - now))
    loss = task.loss_of_margins(validation, fitted.margins)
    progress(0.5, f"{learner.name}: {objectives.describe(task.objective, loss)}")
    again = learner.refit(task, training.joined(validation), params, fitted.iterations, deadline)
    board = [{"name": learner.name, "params": params, "loss": loss, "seconds": fitted.seconds, "weight": 1.0}]
    return Found([(again or fitted.member, 1.0)], fitted.margins, loss, board)
