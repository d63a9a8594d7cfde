"""Each learner's text is the forest that it validated; blends are tempered where the log loss asks for it."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from portico.ml.learn import members, objectives
from portico.ml.learn.blend import blend
from portico.ml.learn.budget import Budget
from portico.ml.learn.fastbooster import FastBooster
from portico.ml.learn.forest import join, steps
from portico.ml.learn.links import Link
from portico.ml.learn.members import _LEARNERS, attempt, joined, ran_away
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.task import Recipe, Rows, Task

RECIPES = {
    "lightgbm": Recipe("lightgbm", {"learning_rate": 0.2}, "identity"),
    "catboost": Recipe("catboost", {"depth": 4}, "identity"),
    "forest": Recipe("forest", {"extra_trees": True, "num_leaves": 40}, "identity"),
}


def task_of(objective: str, classes: int = 0) -> Task:
    loss = objectives.loss_of(objective, TrainSpec("regression", "y"))
    return Task(objective, classes, [0, 0, 4], loss, 0, 1, Budget(2, 1), lambda: False)


def some_rows(count: int, seed: int) -> Rows:
    generator = np.random.default_rng(seed)
    matrix = np.column_stack([generator.normal(size=(count, 2)), generator.integers(0, 4, count)])
    matrix[::9, 0] = np.nan
    target = 20 + np.nan_to_num(matrix[:, 0]) + matrix[:, 1] ** 2 + matrix[:, 2]
    return Rows(matrix, target, np.ones(count))


@pytest.mark.parametrize("name", _LEARNERS)
def test_a_learners_text_answers_as_it_was_validated(name: str) -> None:
    task, training, validation = task_of("minimize-rmse"), some_rows(400, 0), some_rows(100, 1)
    learner = _LEARNERS[name]
    fitted = learner.fit(task, training, validation, RECIPES[name], 2.0)
    assert task.loss(validation.target, fitted.margins[:, 0], validation.weights) < validation.target.std()
    served = FastBooster(fitted.text(), raw_score=True).predict_matrix(validation.matrix)
    same = np.isclose(served, fitted.margins[:, 0], rtol=1e-9)
    assert same.mean() > 0.95  # CatBoost's leaves that no training row came to are left out
    assert same.all() or name == "catboost"
    again = learner.refit(task, training.joined(validation), RECIPES[name], fitted.iterations, 4.0)
    assert again is not None
    assert (
        np.corrcoef(FastBooster(again, raw_score=True).predict_matrix(validation.matrix), served)[0, 1] > 0.9
    )


@pytest.mark.parametrize("name", ["lightgbm", "forest"])
def test_what_was_learned_keeps_no_data_and_no_histograms(name: str) -> None:
    """They are a quarter of a GiB for 10,000 columns, and a search tries dozens of recipes on five folds each."""
    ended: list[str] = []
    real = lightgbm.Booster.__del__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightgbm.Booster, "__del__", lambda booster: (real(booster), ended.append(name)))
        fitted = _LEARNERS[name].fit(
            task_of("minimize-rmse"), some_rows(400, 0), some_rows(100, 1), RECIPES[name], 2.0
        )
    assert ended == [name] and fitted.steps() == steps(fitted.text()) > 0


def test_scores_that_are_too_sure_are_tempered() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=2000)
    y = (generator.random(2000) < 1 / (1 + np.exp(-truth))).astype(float)
    task = task_of("minimize-log-loss", 2)
    rows = Rows(np.zeros((2000, 1)), y, np.ones(2000))
    made = blend(task, rows, [1.25 * truth[:, None]], [""], 1)
    assert 0.75 <= made.link.scale < 1
    assert made.loss < task.loss(
        y, blend(task_of("maximize-au-roc", 2), rows, [1.25 * truth[:, None]], [""], 1).output(), rows.weights
    )


def test_a_forest_that_ran_away_is_not_served() -> None:
    task, rows = task_of("minimize-rmse"), some_rows(400, 0)
    everything = np.arange(400)
    fold = (everything[:300], everything[300:])
    trial = attempt(task, rows, [fold], RECIPES["lightgbm"], lambda number: 2.0)
    [fit] = trial.fits
    assert not ran_away(task, rows, trial, fit.text())
    assert ran_away(task, rows, trial, join([[(fit.text(), 20.0)]], 3))
    assert ran_away(task, rows, trial, join([[(fit.text(), float("inf"))]], 3))


def test_no_leaf_of_classes_steps_without_bound() -> None:
    """Forty rows of each of thirty classes, soon all but certain: Newton's steps from there have no bound (11,735)."""
    generator = np.random.default_rng(0)
    target = np.repeat(np.arange(30.0), 40)
    matrix = generator.normal(size=(30, 10))[target.astype(int)] + generator.normal(0, 0.3, (1200, 10))
    task = task_of("minimize-log-loss", 30)
    task.cardinalities = [0] * 10
    sampled = {"feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1}
    grown = {"learning_rate": 0.2, "num_leaves": 15, "min_data_in_leaf": 3}
    recipe = Recipe("lightgbm", grown | sampled, "")
    text = _LEARNERS["lightgbm"].refit(task, Rows(matrix, target, np.ones(1200)), recipe, 25, 60.0)
    assert text is not None
    leaves = [float(cell) for line in text.splitlines() if line.startswith("leaf_value=")
              for cell in line.partition("=")[2].split()]  # fmt: skip
    assert max(map(abs, leaves)) < 10


def test_each_members_folds_serve_where_they_are_fast_enough_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, rows = task_of("minimize-rmse"), some_rows(400, 0)
    halves = np.arange(200), np.arange(200, 400)
    folds = [halves, halves[::-1]]
    small = Recipe("lightgbm", {"learning_rate": 0.2, "num_leaves": 2}, "identity")
    trials = [attempt(task, rows, folds, one, lambda number: 60.0) for one in (RECIPES["lightgbm"], small)]
    monkeypatch.setattr(members, "MOST_STEPS", 2 * sum(trial.steps for trial in trials))
    text = joined(Link("mixture", ["identity"], [1.0]), [(trial, 0.5) for trial in trials], [[], []], 3)
    trees = [fit.text().count("Tree=") for trial in trials for fit in trial.fits]
    assert text.count("Tree=") == sum(trees)
