"""A candidate of a search: a recipe learned on each fold, and learned again on all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats
from portico.ml.errors import TrainingStopped
from portico.ml.learn.catgbm import CatBoost
from portico.ml.learn.forest import join
from portico.ml.learn.gbm import LightGBM
from portico.ml.learn.links import SPACES, Link
from portico.ml.learn.randomforest import RandomForest
from portico.ml.learn.task import Fitted, Learner, Recipe, Rows, Task, with_every_class

_LEARNERS: dict[str, Learner] = {"lightgbm": LightGBM(), "catboost": CatBoost(), "forest": RandomForest()}

# A row passes so many nodes in some fifth of a millisecond; all rows make the trees up to a quarter more.
MOST_STEPS = 24_000
_LOOKED_AT = 5_000  # rows
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(slots=True)
class Trial:
    """A recipe as it was learned on the folds, on each of which it `ran` so many rounds. `margins` are those of the
    folds' own rows, `loss` is that of their answer."""

    recipe: Recipe
    fits: list[Fitted]
    ran: list[int]
    margins: Floats
    loss: float
    seconds: float
    _steps: float = 0.0

    @property
    def steps(self) -> float:
        """How many nodes a row passes in one of its forests, about (see `forest.steps`)."""
        if not self._steps:
            self._steps = self.fits[0].steps()
        return self._steps

    def own_forest(self, width: int, most: int) -> str:
        """The mean of the forests that it learned on the folds, of `most` of them at most."""
        fits = self.fits[: max(1, most)]
        return join([[(fit.text(), 1.0 / len(fits)) for fit in fits]], width)

    @property
    def cut_short(self) -> bool:
        return any(fit.cut_short for fit in self.fits)

    @property
    def out_of_time(self) -> bool:
        return any(fit.out_of_time for fit in self.fits)

    @property
    def iterations(self) -> float:
        return float(np.mean([fit.iterations for fit in self.fits]))


@dataclass(frozen=True, slots=True)
class Refit:
    """A recipe learned on all rows: from the task's seed and `seed`, for `rounds`, of which it `ran` so many; `text` is
    its forest's."""

    seed: int
    rounds: int
    ran: int
    text: str


def attempt(
    task: Task, rows: Rows, folds: Sequence[Fold], recipe: Recipe, deadline_of: Callable[[int], float]
) -> Trial:
    """Learns `recipe` on each fold, up to the deadline of its number.

    Raises:
        TrainingStopped. ValueError: its answers are not finite. Whatever the libraries raise for data that they can't
        take.
    """
    started = task.budget.spent()
    fits: list[Fitted] = []
    ran: list[int] = []
    for number, (inside, outside) in enumerate(folds):
        task.check_stop()
        training = _in_space(with_every_class(task, rows.take(inside)), recipe.space)
        validation = _in_space(rows.take(outside), recipe.space)
        before = task.budget.iterations
        fits.append(_LEARNERS[recipe.learner].fit(task, training, validation, recipe, deadline_of(number)))
        ran.append(task.budget.iterations - before)
    margins = np.concatenate([fit.margins for fit in fits])
    if not np.isfinite(margins).all():
        raise ValueError("its answers are not finite numbers")
    validated = rows.take(np.concatenate([outside for _, outside in folds]))
    loss = task.loss(validated.target, _link(task, recipe.space).answer(margins), validated.weights)
    return Trial(recipe, fits, ran, margins, loss, task.budget.spent() - started)


def refit(task: Task, rows: Rows, recipe: Recipe, rounds: int, seed: int, deadline: float) -> Refit | None:
    """`recipe` learned on all rows; None where time was too short for that, or the learner can't."""
    seeded = replace(task, seed=task.seed + seed)
    again = with_every_class(task, _in_space(rows, recipe.space))
    before = task.budget.iterations
    try:
        text = _LEARNERS[recipe.learner].refit(seeded, again, recipe, rounds, deadline)
    except (TrainingStopped, MemoryError):
        raise
    except Exception:  # it learned from parts of these rows; those forests stand for it
        return None
    return Refit(seed, rounds, task.budget.iterations - before, text) if text else None


def ran_away(task: Task, rows: Rows, trial: Trial, text: str) -> bool:
    """Whether a forest learned by the trial's recipe answers the `rows` that it learned from much worse than the trial
    answered rows that it had not seen: boosting can diverge, and then stands for nothing."""
    import lightgbm as lgb

    seen = rows.take(np.random.default_rng(task.seed).permutation(len(rows))[:_LOOKED_AT])
    margins = np.asarray(lgb.Booster(model_str=text).predict(seen.matrix, raw_score=True))
    answer = _link(task, trial.recipe.space).answer(margins.reshape(len(seen), task.outputs))
    loss = task.loss(seen.target, answer, seen.weights)
    return not loss <= trial.loss + 0.5 * abs(trial.loss)  # also where it is no number


def joined(
    link: Link, chosen: Sequence[tuple[Trial, float]], refits: Sequence[Sequence[Refit]], width: int
) -> str:
    """The one forest of the `chosen` members (each with its weight, and what was learned of it on all rows)."""
    groups: dict[str, list[tuple[str, float]]] = {space: [] for space in link.spaces or [""]}
    pairs = sorted(zip(chosen, refits, strict=True), key=lambda pair: -pair[0][1])
    folds = int(
        MOST_STEPS / max(sum(trial.steps for trial, _ in chosen), 1.0)
    )  # of each, that are together fast enough
    for (trial, weight), made in pairs:
        learned = [one.text for one in made] or [trial.own_forest(width, folds)]
        groups[trial.recipe.space] += [(text, weight / len(learned)) for text in learned]
    return join(list(groups.values()), width)


def _link(task: Task, space: str) -> Link:
    """What makes answers of the margins of one recipe alone."""
    if task.classes:
        return Link("sigmoid" if task.classes == 2 else "softmax")
    return Link("mixture", [space], [1.0])


def _in_space(rows: Rows, space: str) -> Rows:
    return Rows(rows.matrix, SPACES[space][0](rows.target), rows.weights) if space else rows
