"""Tries recipes within the budget, keeps those that help, and refits them on all rows that may be learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats
from portico.ml.errors import DataError, TrainingStopped
from portico.ml.learn import objectives, recipes
from portico.ml.learn.blend import Blend, blend
from portico.ml.learn.catgbm import CatBoost
from portico.ml.learn.forest import join
from portico.ml.learn.gbm import LightGBM
from portico.ml.learn.links import SPACES, Link, spaces_for
from portico.ml.learn.randomforest import RandomForest
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.task import Fitted, Learner, Recipe, Rows, Task, with_every_class

_LEARNERS: dict[str, Learner] = {"lightgbm": LightGBM(), "catboost": CatBoost(), "forest": RandomForest()}
_SEARCH_SHARE = 0.6  # of the time at least; the rest refits
_SMALL = 8_000  # below so many rows every one of them validates, in folds
_FOLDS = 5
_MOST_MEMBERS = 6
_MOST_SEEDS = 8
# A row is to be predicted within half a millisecond (some 15,000 trees a millisecond; all rows make them a quarter
# more). Of several classes each has trees of its own.
_MOST_TREES = 2_500
_MOST_TREES_OF_CLASSES = 6_000
_MOST_FAILURES = 20
_PLATEAU_TRIALS = 25
_PLATEAU_GAIN = 1e-4

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(slots=True)
class Found:
    """The chosen forest and link; its `output` for the validation rows at `positions` of the joined rows, its loss.

    That output is from members that did not learn from those rows; the forest itself did learn from them. `cut_short`
    says in words that the budget ended most of it before it stopped improving; "" where it did not. `dropped` names the
    learners that could not learn from these rows and says why.
    """

    forest: str
    link: Link
    output: Floats
    positions: NDArray[np.int64]
    loss: float
    leaderboard: list[dict[str, Any]]
    cut_short: str
    dropped: dict[str, str]


@dataclass(slots=True)
class Trial:
    recipe: Recipe
    fits: list[Fitted]
    margins: Floats
    loss: float
    seconds: float

    @property
    def trees(self) -> int:
        return int(self.iterations * self.margins.shape[1])

    def own_forest(self, width: int) -> str:
        """The mean of the forests that it learned on the folds."""
        return join([[(fit.text(), 1.0 / len(self.fits)) for fit in self.fits]], width)

    @property
    def cut_short(self) -> bool:
        return any(fit.cut_short for fit in self.fits)

    @property
    def out_of_time(self) -> bool:
        return any(fit.out_of_time for fit in self.fits)

    @property
    def iterations(self) -> float:
        return float(np.mean([fit.iterations for fit in self.fits]))


def search(
    task: Task,
    training: Rows,
    validation: Rows,
    spec: TrainSpec,
    deadline: float,
    progress: Callable[[float, str], None],
) -> Found:
    """Learns from `training` and chooses by `validation`; all rows are learned from at the end.

    With few rows and a random split both sets together are cross-validated in folds.
    """
    rows = training.joined(validation)
    folds = _folds(task, rows, len(training), spec)
    validated = np.concatenate([outside for _, outside in folds])
    trials, dropped = _try_recipes(task, rows, folds, spec, deadline, progress)
    made, chosen = _choose(task, rows.take(validated), trials)
    progress(0.65, f"{len(chosen)} of {len(trials)} trials are kept; learning them on all rows")
    groups = _learn_again(
        task, rows, made, chosen, len(training) if len(folds) == 1 else 0, deadline, progress
    )
    in_all = dict(zip(made.link.spaces, made.link.weights, strict=True))
    weight_of = {id(trial): weight * in_all.get(trial.recipe.space, 1.0) for trial, weight in chosen}
    board = [
        {
            "name": trial.recipe.learner,
            "params": trial.recipe.params,
            "space": trial.recipe.space,
            "loss": trial.loss,
            "iterations": round(trial.iterations),
            "seconds": trial.seconds,
            "weight": weight_of.get(id(trial), 0.0),
            "cutShort": trial.out_of_time,
        }
        for trial in _ranked(trials)
    ]
    forest = join(groups, rows.matrix.shape[1])
    return Found(
        forest,
        made.link,
        made.output(),
        validated,
        made.loss,
        board,
        _cut_short(task, chosen, weight_of),
        dropped,
    )


def _cut_short(task: Task, chosen: list[tuple[Trial, float]], weight_of: dict[int, float]) -> str:
    ended = [trial for trial, _ in chosen if trial.out_of_time]
    if sum(weight_of[id(trial)] for trial in ended) < 0.5 * sum(weight_of.values()):
        return ""
    lengths = ", ".join(str(round(trial.iterations)) for trial in ended)
    budget = task.budget
    words = (
        f"The training was cut short: its budget of {budget.seconds:.3g} node seconds ended before the model stopped "
        f"improving ({len(ended)} of its {len(chosen)} members, after {lengths} iterations)."
    )
    if budget.bound_by_wall:
        words += (
            f" The machine was busy: in {budget.wall():.0f} s it gave the training {budget.node_seconds():.1f} "
            "node seconds."
        )
    return words


def _folds(task: Task, rows: Rows, train_size: int, spec: TrainSpec) -> list[Fold]:
    everything = np.arange(len(rows))
    if len(rows) >= _SMALL or spec.split.kind in ("timestamp", "predefined"):
        return [(everything[:train_size], everything[train_size:])]
    order = np.random.default_rng(task.seed).permutation(len(rows))
    if task.classes:  # each fold mirrors the classes
        order = order[np.argsort(rows.target[order], kind="stable")]
    fold = np.empty(len(rows), np.int64)
    fold[order] = everything % _FOLDS
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(_FOLDS)]


def _try_recipes(
    task: Task,
    rows: Rows,
    folds: Sequence[Fold],
    spec: TrainSpec,
    deadline: float,
    progress: Callable[[float, str], None],
) -> tuple[list[Trial], dict[str, str]]:
    started = task.budget.spent()
    until = started + _SEARCH_SHARE * (deadline - started)
    spaces = [] if task.classes else spaces_for(rows.target, task.objective)
    rate = 0.1 if until - started < 8 else 0.05
    generator = np.random.default_rng(task.seed)
    queue = list(recipes.first(spaces, rate, fast=task.classes > 20))
    validated = rows.take(np.concatenate([outside for _, outside in folds]))
    trials: list[Trial] = []
    best_blends: list[float] = []
    dropped: dict[str, str] = {}
    failures = 0
    shortest = 0.0
    while not trials or task.budget.remaining(until) > max(0.8 * shortest, 0.05 * (until - started)):
        ranked = [trial.recipe for trial in _ranked(trials)]
        recipe = queue.pop(0) if queue else recipes.vary(ranked[:4], rate, generator)
        if recipe.space == "*":
            recipe = Recipe(recipe.learner, recipe.params, ranked[0].space if ranked else (*spaces, "")[0])
        if recipe.learner == "forest" and recipe.space == "exp":
            recipe.space = "identity"  # means have no link
        if recipe.learner == "lightgbm":
            recipe.params["learning_rate"] = rate
        share = max(0.4 * task.budget.remaining(until), min(1.5 * shortest, task.budget.remaining(until)))
        task.budget.iteration()
        try:
            trial = _try(task, rows, folds, recipe, task.budget.spent() + share)
        except (TrainingStopped, MemoryError):
            raise
        except Exception as error:  # the libraries have no class of their own for data that they can't take
            name = f"{recipe.learner} in the space {recipe.space}" if recipe.space else recipe.learner
            dropped[name] = " ".join(str(error).split())[:300] or type(error).__name__
            progress(0.1, f"{name} drops out: {dropped[name]}")
            queue = [one for one in queue if (one.learner, one.space) != (recipe.learner, recipe.space)]
            failures += 1
            if failures >= _MOST_FAILURES or not (queue or trials):
                break
            continue
        if trial.cut_short and rate < 0.2:
            rate *= 2  # shorter boosters, which end within their time
        shortest = min(shortest, trial.seconds) if trials else trial.seconds
        trials.append(trial)
        until = max(until, deadline - _refits_take(trials, task.budget.spent() - started))
        best = min(trials, key=lambda trial: trial.loss)
        spent = (task.budget.spent() - started) / (until - started)
        progress(
            0.1 + 0.5 * min(spent, 1.0),
            f"{len(trials)} trials; best {objectives.describe(task.objective, best.loss)} by {best.recipe.learner}",
        )
        if not spec.disable_early_stopping:
            best_blends.append(_quick_blend(task, validated, trials))
            if len(best_blends) > _PLATEAU_TRIALS and not queue:
                before, now = best_blends[-_PLATEAU_TRIALS - 1], best_blends[-1]
                if before - now < _PLATEAU_GAIN * abs(before):
                    break
    if not trials:
        reasons = "; ".join(f"{name}: {words}" for name, words in dropped.items())
        raise DataError(f"no learner can learn from these data ({reasons})")
    return trials, dropped


def _refits_take(trials: list[Trial], searched: float) -> float:
    """Node seconds to keep for learning the best again on all rows, from two seeds."""
    best = sum(trial.seconds / len(trial.fits) for trial in _ranked(trials)[:_MOST_MEMBERS])
    return max(2 * 1.5 * best, 0.1 * searched)


def _try(task: Task, rows: Rows, folds: Sequence[Fold], recipe: Recipe, deadline: float) -> Trial:
    started = task.budget.spent()
    learner = _LEARNERS[recipe.learner]
    forward = SPACES[recipe.space][0] if recipe.space else None
    fits = []
    for number, (inside, outside) in enumerate(folds):
        task.check_stop()
        training, validation = with_every_class(task, rows.take(inside)), rows.take(outside)
        if forward is not None:
            training = Rows(training.matrix, forward(training.target), training.weights)
            validation = Rows(validation.matrix, forward(validation.target), validation.weights)
        share = task.budget.remaining(deadline) / (len(folds) - number)
        fits.append(learner.fit(task, training, validation, recipe, task.budget.spent() + share))
    margins = np.concatenate([fit.margins for fit in fits])
    if not np.isfinite(margins).all():
        raise ValueError("its answers are not finite numbers")
    link = Link("mixture", [recipe.space], [1.0])
    if task.classes:
        link = Link("sigmoid" if task.classes == 2 else "softmax")
    validated = rows.take(np.concatenate([outside for _, outside in folds]))
    loss = task.loss(validated.target, link.answer(margins), validated.weights)
    return Trial(recipe, fits, margins, loss, task.budget.spent() - started)


def _choose(task: Task, validated: Rows, trials: list[Trial]) -> tuple[Blend, list[tuple[Trial, float]]]:
    """A blend of the best trials whose trees together are few enough to serve fast."""
    ranked = _ranked(trials)[:20]
    margins, spaces = [trial.margins for trial in ranked], [trial.recipe.space for trial in ranked]
    limit = _most_trees(task)
    for most in range(_MOST_MEMBERS, 0, -1):
        made = blend(task, validated, margins, spaces, most)
        chosen = [(ranked[member], weight) for member, weight in made.weights.items()]
        if sum(trial.trees for trial, _ in chosen) <= limit:
            break
    return made, chosen


def _most_trees(task: Task) -> int:
    return _MOST_TREES if task.outputs == 1 else _MOST_TREES_OF_CLASSES


def _quick_blend(task: Task, validated: Rows, trials: list[Trial]) -> float:
    """The loss of a small blend: what the search watches for a plateau."""
    ranked = _ranked(trials)[:6]
    return blend(
        task, validated, [t.margins for t in ranked], [t.recipe.space for t in ranked], 4, rounds=6
    ).loss


def _ranked(trials: list[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: trial.loss)


def _learn_again(
    task: Task,
    rows: Rows,
    made: Blend,
    chosen: list[tuple[Trial, float]],
    train_size: int,
    deadline: float,
    progress: Callable[[float, str], None],
) -> list[list[tuple[str, float]]]:
    """The chosen members learned on all rows, as groups of (text, weight) by space.

    In the time that is left they are learned again from other seeds: the mean of several is steadier than one.
    """
    order = sorted(chosen, key=lambda pair: -pair[1])
    texts = {id(trial): [_refit(task, rows, trial, train_size, deadline, 0)] for trial, _ in order}
    trees = sum(trial.trees for trial, _ in order)
    progress(0.85, f"{len(order)} learned on all rows")
    for seed in range(1, _MOST_SEEDS):
        for trial, _ in order:
            if trees + trial.trees > _most_trees(task):
                continue
            text = _refit(task, rows, trial, train_size, deadline, seed)
            if text:
                texts[id(trial)].append(text)
                trees += trial.trees
    groups: dict[str, list[tuple[str, float]]] = {space: [] for space in made.link.spaces or [""]}
    for trial, weight in order:
        learned = [text for text in texts[id(trial)] if text] or [trial.own_forest(rows.matrix.shape[1])]
        groups[trial.recipe.space] += [(text, weight / len(learned)) for text in learned]
    return list(groups.values())


def _refit(task: Task, rows: Rows, trial: Trial, train_size: int, deadline: float, seed: int) -> str:
    """The trial's recipe learned on all rows; "" where time is too short for that."""
    grown = len(rows) / train_size if train_size else _FOLDS / (_FOLDS - 1)
    iterations = max(round(trial.iterations * min(grown, 1.25)), 1)
    if task.budget.remaining(deadline) < 1.3 * trial.seconds / len(trial.fits) * grown:
        return ""
    forward = SPACES[trial.recipe.space][0] if trial.recipe.space else None
    again = Rows(rows.matrix, rows.target if forward is None else forward(rows.target), rows.weights)
    learner, seeded = _LEARNERS[trial.recipe.learner], replace(task, seed=task.seed + seed)
    try:
        made = learner.refit(seeded, with_every_class(task, again), trial.recipe, iterations, deadline)
    except (TrainingStopped, MemoryError):
        raise
    except Exception:  # it learned from parts of these rows; those forests stand for it
        return ""
    return made or ""
