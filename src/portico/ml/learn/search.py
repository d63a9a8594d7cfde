"""Tries recipes within the budget, keeps those that help, and refits them on all rows that may be learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from portico.ml.errors import DataError, TrainingStopped
from portico.ml.learn import objectives, recipes
from portico.ml.learn.blend import Blend, blend
from portico.ml.learn.budget import Budget
from portico.ml.learn.links import spaces_for
from portico.ml.learn.members import MOST_STEPS, Fold, Refit, Trial, attempt, ran_away, refit
from portico.ml.learn.plan import Chosen, Found, found_of, weights_of
from portico.ml.learn.spec import QUANTILE_OBJECTIVE, TrainSpec
from portico.ml.learn.task import Recipe, Rows, Task

_SEARCH_SHARE = 0.6  # of the time at least; the rest refits
_SMALL = 8_000  # below so many rows every one of them validates, in folds
_FOLDS = 5
_MOST_MEMBERS = 6
_MOST_SEEDS = 8
_ALIKE = 0.002  # of the loss
_OF_SEEDS = 0.6  # of the steps, for the same from other seeds: that wins less than another member does
_MOST_FAILURES = 20
_WIDE = 4_000  # columns, for each of which CatBoost takes 200 KiB and half a millisecond a tree
_PLATEAU_TRIALS = 25
_PLATEAU_GAIN = 1e-4


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
    folds = folds_of(task, rows, len(training), spec)
    validated = np.concatenate([outside for _, outside in folds])
    trials, dropped = _try_recipes(task, rows, folds, spec, deadline, progress)
    made, chosen = _choose(task, rows.take(validated), trials)
    if _are_bagged(task, [trial for trial, _ in chosen]):
        progress(0.85, f"{len(chosen)} of {len(trials)} trials are kept, each as the mean of its folds")
        refits: list[list[Refit]] = [[] for _ in chosen]
    else:
        progress(0.65, f"{len(chosen)} of {len(trials)} trials are kept; learning them on all rows")
        refits = _learn_again(task, rows, chosen, len(training) if len(folds) == 1 else 0, deadline, progress)
    cut_short = _cut_short(task, chosen, weights_of(made.link, chosen))
    return found_of(made, chosen, refits, trials, validated, rows.matrix.shape[1], cut_short, dropped)


def _cut_short(task: Task, chosen: Chosen, weight_of: dict[int, float]) -> str:
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


def _are_bagged(task: Task, trials: Sequence[Trial]) -> bool:
    """Whether the means of what members learned on the folds serve, in place of what they learn on all rows: of two
    classes, where these forests are small enough. (Losses on test rows of credit, cells and telco, seven splits
    in all: 0.9% less so; of many classes, and of values, more.)"""
    steps = sum(trial.steps * len(trial.fits) for trial in trials)
    return task.classes == 2 and len(trials[0].fits) > 1 and steps <= MOST_STEPS


def folds_of(task: Task, rows: Rows, train_size: int, spec: TrainSpec) -> list[Fold]:
    """What is learned from and what validates, as positions of all rows, of which `train_size` are training rows."""
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
    fast = task.classes > 20 or rows.matrix.shape[1] > _WIDE
    queue = list(recipes.first(spaces, rate, fast, means=task.objective != QUANTILE_OBJECTIVE))
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
            trial = attempt(task, rows, folds, recipe, _shared(task.budget, share, len(folds)))
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
        bagged = _are_bagged(task, _ranked(trials)[:1])
        refits = 0.0 if bagged else _refits_take(trials, task.budget.spent() - started)
        until = max(until, deadline - refits)
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
    """Node seconds to keep for learning the best again on all rows, from two seeds where these are few enough to serve
    fast: what is kept for more than that is lost to the search."""
    best = _ranked(trials)[:_MOST_MEMBERS]
    steps = seconds = 0.0
    for trial in best:
        if not steps or steps + trial.steps <= MOST_STEPS:
            steps += trial.steps
            seconds += trial.seconds / len(trial.fits)
    longest = max(trial.seconds / len(trial.fits) for trial in best)
    seconds = max(seconds, longest + best[0].seconds / len(best[0].fits))
    seeds = 2 if 2 * steps <= _OF_SEEDS * MOST_STEPS else 1
    return max(seeds * 1.5 * seconds, 0.1 * searched)


def _shared(budget: Budget, share: float, folds: int) -> Callable[[int], float]:
    """The deadline of each fold, of what is then left of `share` node seconds for all of them."""
    until = budget.spent() + share
    return lambda number: budget.spent() + budget.remaining(until) / (folds - number)


def _choose(task: Task, validated: Rows, trials: list[Trial]) -> tuple[Blend, list[tuple[Trial, float]]]:
    """A blend of the best trials whose forests together are small enough to serve fast; of those that validation hardly
    tells apart, the one that answers soonest, but for bags of small forests, which are soon enough."""
    ranked = _ranked(trials)[:20]
    margins, spaces = [trial.margins for trial in ranked], [trial.recipe.space for trial in ranked]
    found: list[tuple[float, Blend, list[tuple[Trial, float]]]] = []
    for most in range(1, _MOST_MEMBERS + 1):
        made = blend(task, validated, margins, spaces, most)
        chosen = [(ranked[member], weight) for member, weight in made.weights.items()]
        steps = sum(trial.steps for trial, _ in chosen)
        if most == 1 or steps <= MOST_STEPS:
            found.append((steps, made, chosen))
    best = min(made.loss for _, made, _ in found)
    bags = [one for one in found if _are_bagged(task, [trial for trial, _ in one[2]])]
    if bags:
        _, made, chosen = min(bags, key=lambda one: one[1].loss)
        if made.loss <= best + _ALIKE * abs(best):
            return made, chosen
    alike = [one for one in found if one[1].loss <= best + _ALIKE * abs(best)]
    _, made, chosen = min(alike, key=lambda one: one[0])
    return made, chosen


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
    chosen: Chosen,
    train_size: int,
    deadline: float,
    progress: Callable[[float, str], None],
) -> list[list[Refit]]:
    """What was learned of each chosen member on all rows.

    In the time that is left they are learned again from other seeds: the mean of several is steadier than one.
    """
    order = sorted(chosen, key=lambda pair: -pair[1])
    found: dict[int, list[Refit]] = {id(trial): [] for trial, _ in order}
    steps = 0.0
    for seed in range(_MOST_SEEDS):
        for trial, _ in order:
            if seed and steps + trial.steps > _OF_SEEDS * MOST_STEPS:
                continue
            made = _refit(task, rows, trial, train_size, deadline, seed)
            if made:
                found[id(trial)].append(made)
            if made or not seed:
                steps += trial.steps
        if not seed:
            progress(0.85, f"{len(order)} learned on all rows")
    return [found[id(trial)] for trial, _ in chosen]


def _refit(task: Task, rows: Rows, trial: Trial, train_size: int, deadline: float, seed: int) -> Refit | None:
    """The trial's recipe learned on all rows; None where time is too short for that, or the learning ran away."""
    grown = len(rows) / train_size if train_size else _FOLDS / (_FOLDS - 1)
    rounds = max(round(trial.iterations * min(grown, 1.25)), 1)
    if task.budget.remaining(deadline) < 1.3 * trial.seconds / len(trial.fits) * grown:
        return None
    made = refit(task, rows, trial.recipe, rounds, seed, deadline)
    return None if made is None or ran_away(task, rows, trial, made.text) else made
