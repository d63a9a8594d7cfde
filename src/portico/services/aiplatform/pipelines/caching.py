"""Whether what a task would do has been done already."""

from __future__ import annotations

from typing import Any

from portico.services.aiplatform.pipelines import rerunning
from portico.services.aiplatform.pipelines.turn import Turn
from portico.store.pipelines import Task


def found(turn: Turn, task: Task) -> dict[str, Any] | None:
    """The outputs of a task whose component, inputs and environment are those of `task`, where it may take them.

    Only a rerun has such tasks so far: those that its request lets it skip.
    """
    return rerunning.outputs_of(turn, task)
