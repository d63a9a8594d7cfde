"""Boosted oblivious trees by CatBoost (Prokhorenkova et al. 2018), kept as a LightGBM forest.

Categorical columns go in as their codes, which stand in the order of the target's mean; CatBoost's own encodings of
categories are not used, because they could not be kept in the forest.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from portico.ml.learn.oblivious import forest_text
from portico.ml.learn.spec import QUANTILE_OBJECTIVE
from portico.ml.learn.task import Fitted, Recipe, Rows, Task

_MAX_ROUNDS = 2000


class CatBoost:
    def fit(self, task: Task, training: Rows, validation: Rows, recipe: Recipe, deadline: float) -> Fitted:
        model = _train(task, training, recipe, deadline, _MAX_ROUNDS, validation)
        out_of_time = task.budget.remaining(deadline) <= 0
        margins = model.predict(validation.matrix, prediction_type="RawFormulaVal")
        return Fitted(
            lambda: _text(model, validation.matrix.shape[1]),
            lambda: float(model.tree_count_) * task.outputs * (2 + int(recipe.params["depth"])),
            np.asarray(margins).reshape(len(validation), task.outputs),
            int(model.tree_count_),
            out_of_time,
            out_of_time,
        )

    def refit(self, task: Task, rows: Rows, recipe: Recipe, iterations: int, deadline: float) -> str | None:
        model = _train(task, rows, recipe, deadline, iterations, None)
        if model.tree_count_ < 0.9 * iterations:
            return None
        return _text(model, rows.matrix.shape[1])


class _Watch:
    """Ends the boosting at the deadline."""

    def __init__(self, task: Task, deadline: float) -> None:
        self.task, self.deadline = task, deadline

    def after_iteration(self, _info: Any) -> bool:
        self.task.budget.iteration()
        return self.task.budget.remaining(self.deadline) > 0 and not self.task.should_stop()


def _train(
    task: Task, rows: Rows, recipe: Recipe, deadline: float, iterations: int, validation: Rows | None
) -> Any:
    import catboost

    if task.classes:
        loss = "Logloss" if task.classes == 2 else "MultiClass"
    elif recipe.space == "exp":
        loss = "Poisson"
    elif task.objective == QUANTILE_OBJECTIVE:
        loss = f"Quantile:alpha={task.quantile}"
    else:
        loss = "MAE" if task.objective == "minimize-mae" else "RMSE"
    params: dict[str, Any] = {
        "loss_function": loss,
        "iterations": iterations,
        "thread_count": task.threads,
        "random_seed": task.seed,
        "verbose": False,
        "allow_writing_files": False,
        "boosting_type": "Plain",
        **recipe.params,
    }
    if loss == "Logloss":
        params["boost_from_average"] = True  # else a few rounds leave a rare class far too likely
    if validation is not None:
        params |= {"od_type": "Iter", "od_wait": 50, "use_best_model": True}
        if task.objective == "maximize-au-roc" and validation.target.min() < validation.target.max():
            params["eval_metric"] = "AUC"
    model = catboost.CatBoost(params)
    watched = None if validation is None else _pool(validation)
    model.fit(_pool(rows), eval_set=watched, callbacks=[_Watch(task, deadline)])
    task.check_stop()
    return model


def _pool(rows: Rows) -> Any:
    import catboost

    return catboost.Pool(rows.matrix, rows.target, weight=rows.weights)


def _text(model: Any, width: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        return forest_text(json.loads(path.read_text()), width)
