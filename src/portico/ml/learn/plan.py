"""What a search came to, with the plan that trains the same model again: counted in rounds, not by the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats
from portico.ml.learn.blend import Blend, blend_as
from portico.ml.learn.budget import Budget
from portico.ml.learn.links import Link
from portico.ml.learn.members import Fold, Refit, Trial, attempt, joined, refit
from portico.ml.learn.task import Recipe, Rows, Task


@dataclass(frozen=True, slots=True)
class Member:
    """A candidate that the model is made of: its recipe, its `weight` within its space, the rounds that it ran on each
    of the `folds`, and [seed, rounds asked for, rounds run] of each time that it was learned on all rows."""

    learner: str
    params: dict[str, Any]
    space: str
    weight: float
    folds: list[int]
    refits: list[list[int]]


@dataclass(frozen=True, slots=True)
class Plan:
    """`members` in the blend's order, and the `link` of their sum. `cut_short` is what was said of the first training
    (see `search.Found`)."""

    members: list[Member]
    link: dict[str, Any]
    cut_short: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Plan:
        return cls([Member(**one) for one in told["members"]], dict(told["link"]), told["cut_short"])

    @property
    def rounds(self) -> int:
        """Of all trainings together."""
        return sum(sum(one.folds) + sum(ran for *_, ran in one.refits) for one in self.members)


@dataclass(slots=True)
class Found:
    """The chosen forest and link; its `output` for the validation rows at `positions` of the joined rows, its loss.

    That output is from members that did not learn from those rows; the forest itself did learn from them. `cut_short`
    says in words that the budget ended most of it before it stopped improving; "" where it did not. `dropped` names the
    learners that could not learn from these rows and says why. `plan` trains it again.
    """

    forest: str
    link: Link
    output: Floats
    positions: NDArray[np.int64]
    loss: float
    leaderboard: list[dict[str, Any]]
    cut_short: str
    dropped: dict[str, str]
    plan: Plan


Chosen = Sequence[tuple[Trial, float]]


def found_of(
    made: Blend,
    chosen: Chosen,
    refits: Sequence[Sequence[Refit]],
    trials: Sequence[Trial],
    positions: NDArray[np.int64],
    width: int,
    cut_short: str,
    dropped: Mapping[str, str],
) -> Found:
    """Of the `chosen` members (each with its weight within its space, and what was learned of it on all rows) of all
    `trials`, as `made` blends them."""
    weights = weights_of(made.link, chosen)
    board = [
        {
            "name": trial.recipe.learner,
            "params": trial.recipe.params,
            "space": trial.recipe.space,
            "loss": trial.loss,
            "iterations": round(trial.iterations),
            "seconds": trial.seconds,
            "weight": weights.get(id(trial), 0.0),
            "cutShort": trial.out_of_time,
        }
        for trial in sorted(trials, key=lambda trial: trial.loss)
    ]
    members = [
        Member(
            trial.recipe.learner, trial.recipe.params, trial.recipe.space, weight, trial.ran,
            [[one.seed, one.rounds, one.ran] for one in again],
        )
        for (trial, weight), again in zip(chosen, refits, strict=True)
    ]  # fmt: skip
    forest = joined(made.link, chosen, refits, width)
    plan = Plan(members, asdict(made.link), cut_short)
    return Found(
        forest, made.link, made.output(), positions, made.loss, board, cut_short, dict(dropped), plan
    )


def weights_of(link: Link, chosen: Chosen) -> dict[int, float]:
    """By the `id` of a chosen trial, its weight in all of the blend."""
    in_all = dict(zip(link.spaces, link.weights, strict=True))
    return {id(trial): weight * in_all.get(trial.recipe.space, 1.0) for trial, weight in chosen}


def replay(
    task: Task, rows: Rows, folds: Sequence[Fold], plan: Plan, progress: Callable[[float, str], None]
) -> Found:
    """Learns the members of `plan` again, each for as many rounds as at first, and joins them as it says.

    `task.budget` must be that of `budget_of`.
    """
    chosen: list[tuple[Trial, float]] = []
    refits: list[list[Refit]] = []
    for number, member in enumerate(plan.members):
        progress(
            0.1 + 0.8 * number / len(plan.members),
            f"member {number + 1} of the plan's {len(plan.members)}, {member.learner}",
        )
        trial, again = _learned(task, rows, folds, member)
        chosen.append((trial, member.weight))
        refits.append(again)
    positions = np.concatenate([outside for _, outside in folds])
    margins = [trial.margins for trial, _ in chosen]
    weights = {position: weight for position, (_, weight) in enumerate(chosen)}
    made = blend_as(task, rows.take(positions), margins, [one.space for one in plan.members], weights,
                    Link(**plan.link))  # fmt: skip
    trials = [trial for trial, _ in chosen]
    return found_of(made, chosen, refits, trials, positions, rows.matrix.shape[1], plan.cut_short, {})


def _learned(task: Task, rows: Rows, folds: Sequence[Fold], member: Member) -> tuple[Trial, list[Refit]]:
    recipe = Recipe(member.learner, dict(member.params), member.space)
    spent = task.budget.spent
    trial = attempt(task, rows, folds, recipe, lambda number: spent() + member.folds[number])
    made = [refit(task, rows, recipe, rounds, seed, spent() + ran) for seed, rounds, ran in member.refits]
    return trial, [one for one in made if one is not None]


def budget_of(plan: Plan, threads: int) -> Budget:
    """One whose node second is a round, with as many as the plan has."""
    return Budget(float(plan.rounds), threads, counted=1.0)
