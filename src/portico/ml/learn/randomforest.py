"""Random forests (Breiman 2001) and extremely randomised trees (Geurts et al. 2006) for values, grown by LightGBM.

They err in other ways than boosted trees do, which is what a blend lives on. Each tree learns from a sample of the rows
and from some features a split; the answer is the trees' mean, which is a sum of trees whose leaves are scaled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from portico.ml.learn.forest import join, steps
from portico.ml.learn.gbm import POOL
from portico.ml.learn.task import Fitted, Recipe, Rows, Task

_TREES = 100
_FEWEST = 20  # fewer of them are no mean


class RandomForest:
    def fit(self, task: Task, training: Rows, validation: Rows, recipe: Recipe, deadline: float) -> Fitted:
        booster = _grow(task, training, recipe, _TREES, deadline)
        grown = booster.current_iteration()
        margins = (
            booster.predict(validation.matrix, raw_score=True) / grown
        )  # raw, a random forest's are sums
        text = str(booster.model_to_string())
        return Fitted(
            lambda: _as_sum(text, grown, validation.matrix.shape[1]),
            lambda: steps(text),
            np.asarray(margins).reshape(len(validation), 1),
            grown,
            grown < _TREES,
            grown < _FEWEST,
        )

    def refit(self, task: Task, rows: Rows, recipe: Recipe, iterations: int, deadline: float) -> str | None:
        booster = _grow(task, rows, recipe, _TREES, deadline)
        grown = booster.current_iteration()
        if grown < _FEWEST:
            return None
        return _as_sum(str(booster.model_to_string()), grown, rows.matrix.shape[1])


def _grow(task: Task, rows: Rows, recipe: Recipe, trees: int, deadline: float) -> Any:
    import lightgbm as lgb

    params = {
        "boosting": "rf",
        "objective": "regression_l1" if task.objective == "minimize-mae" else "regression",
        "metric": "none",
        "bagging_freq": 1,
        "bagging_fraction": 0.7,
        "num_threads": task.threads,
        "seed": task.seed,
        "deterministic": True,
        "force_col_wise": True,
        "histogram_pool_size": POOL,
        "verbosity": -1,
        **recipe.params,
    }
    data = lgb.Dataset(
        rows.matrix,
        rows.target,
        weight=None if (rows.weights == 1).all() else rows.weights,
        categorical_feature=task.categorical,
        params=params,
    )
    booster = lgb.Booster(params, data)
    for _ in range(trees):
        task.check_stop()
        task.budget.iteration()
        if booster.update() or task.budget.remaining(deadline) <= 0:
            break
    return booster


def _as_sum(text: str, trees: int, width: int) -> str:
    """The forest's text as a sum: LightGBM's own says that it is to be averaged."""
    return join([[(text, 1.0 / max(trees, 1))]], width)
