"""Gradient boosted trees by LightGBM (Ke et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np

from portico.ml import openmp
from portico.ml.learn.forest import steps
from portico.ml.learn.spec import QUANTILE_OBJECTIVE
from portico.ml.learn.task import Fitted, Recipe, Rows, Task

openmp.be_patient()  # before LightGBM is loaded

_MAX_ROUNDS = 4000
_MAX_TREES_OF_CLASSES = 2500  # of several classes each has a tree a round, and a row passes them all
POOL = 512  # MiB for histograms: those of a wide table's leaves would take a GiB for each 10,000 columns
# A leaf whose rows are all but certain has next to no curvature, and Newton's step from it no bound: with many classes
# and few rows of each, boosting has run away so, to margins of 36,000.
_LONGEST_STEP = 10.0
_CLASS_METRICS = {"minimize-log-loss": "binary_logloss", "maximize-au-roc": "auc"}


class LightGBM:
    def fit(self, task: Task, training: Rows, validation: Rows, recipe: Recipe, deadline: float) -> Fitted:
        import lightgbm as lgb

        train_set = _dataset(task, training, recipe)
        valid_set = train_set.create_valid(
            validation.matrix, validation.target, weight=validation.weights, params=train_set.params
        )
        params = _params(task, recipe)
        if task.classes == 2 and validation.target.min() == validation.target.max():
            params["metric"] = "binary_logloss"  # of one class there is no area
        booster = lgb.Booster(params, train_set)
        booster.add_valid(valid_set, "validation")
        patience = int(min(max(2.0 / float(recipe.params["learning_rate"]), 20), 100))
        best, best_iteration, iteration, out_of_time = float("inf"), 0, 0, False
        most = _MAX_ROUNDS if task.outputs == 1 else max(_MAX_TREES_OF_CLASSES // task.outputs, 30)
        while iteration < most and iteration - best_iteration < patience:
            task.check_stop()
            finished = booster.update()
            iteration += 1
            task.budget.iteration()
            [result] = booster.eval_valid()
            score = -result[2] if result[3] else result[2]
            if score < best:
                best, best_iteration = score, iteration
            out_of_time = task.budget.remaining(deadline) <= 0
            if finished or out_of_time:
                break
        best_iteration = max(best_iteration, 1)
        margins = booster.predict(validation.matrix, raw_score=True, num_iteration=best_iteration)
        # The booster would keep its data and its histograms, of a wide table a quarter of a GiB.
        text = str(booster.model_to_string(num_iteration=best_iteration))
        return Fitted(
            lambda: text,
            lambda: steps(text),
            np.asarray(margins).reshape(len(validation), task.outputs),
            best_iteration,
            out_of_time or (task.outputs > 1 and iteration == most),
            out_of_time,
        )

    def refit(self, task: Task, rows: Rows, recipe: Recipe, iterations: int, deadline: float) -> str | None:
        import lightgbm as lgb

        booster = lgb.Booster(_params(task, recipe) | {"metric": "none"}, _dataset(task, rows, recipe))
        for _ in range(iterations):
            task.check_stop()
            task.budget.iteration()
            if booster.update():
                break
            if task.budget.remaining(deadline) <= 0 and booster.current_iteration() < 0.9 * iterations:
                return None
        return str(booster.model_to_string())


def _dataset(task: Task, rows: Rows, recipe: Recipe) -> Any:
    import lightgbm as lgb

    return lgb.Dataset(
        rows.matrix,
        rows.target,
        weight=None if (rows.weights == 1).all() else rows.weights,
        categorical_feature=task.categorical,
        params=_params(task, recipe),
    )


def _params(task: Task, recipe: Recipe) -> dict[str, Any]:
    if task.classes:
        objective = "binary" if task.classes == 2 else "multiclass"
        metric = _CLASS_METRICS.get(task.objective, "average_precision")
        if task.classes > 2:
            metric = "multi_logloss"
    else:
        absolute = task.objective == "minimize-mae"
        objective = "regression_l1" if absolute else "poisson" if recipe.space == "exp" else "regression"
        metric = "l1" if absolute else "rmse"
        if task.objective == QUANTILE_OBJECTIVE:
            objective = metric = "quantile"
    made = {
        "objective": objective,
        "metric": metric,
        "num_threads": task.threads,
        "seed": task.seed,
        "deterministic": True,
        "force_col_wise": True,
        "histogram_pool_size": POOL,
        "verbosity": -1,
    }
    if task.classes:
        made["max_delta_step"] = _LONGEST_STEP
    if task.classes > 2:
        made["num_class"] = task.classes
    if objective == "quantile":
        made["alpha"] = task.quantile
    return made | recipe.params
