"""Gradient boosted trees by LightGBM (Ke et al. 2017)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from portico.ml.task import Fitted, Rows, Task, remaining

# Early stopping watches the objective's own metric where LightGBM has it.
_METRICS = {
    "minimize-log-loss": {"sigmoid": "binary_logloss", "softmax": "multi_logloss"},
    "maximize-au-roc": {"sigmoid": "auc"},
    "maximize-au-prc": {"sigmoid": "average_precision"},
    "maximize-precision-at-recall": {"sigmoid": "average_precision"},
    "maximize-recall-at-precision": {"sigmoid": "average_precision"},
    "minimize-rmse": {"identity": "rmse"},
    "minimize-mae": {"identity": "l1"},
    "minimize-rmsle": {"expm1": "rmse"},
}
_MAX_ROUNDS = 5000


class LightGBM:
    name = "lightgbm"

    def fit(
        self, task: Task, training: Rows, validation: Rows, params: dict[str, Any], deadline: float
    ) -> Fitted:
        import lightgbm as lgb

        started = time.monotonic()
        train_set = _dataset(task, training)
        valid_set = train_set.create_valid(
            validation.matrix, validation.target, weight=validation.weights, params=train_set.params
        )
        booster = lgb.Booster(_params(task, params), train_set)
        booster.add_valid(valid_set, "validation")
        patience = int(min(max(2.0 / float(params.get("learning_rate", 0.1)), 20), 150))
        best, best_iteration, iteration = float("inf"), 0, 0
        while iteration < _MAX_ROUNDS and iteration - best_iteration < patience:
            task.check_stop()
            finished = booster.update()
            iteration += 1
            [result] = booster.eval_valid()
            score = -result[2] if result[3] else result[2]
            if score < best:
                best, best_iteration = score, iteration
            if finished or remaining(deadline) <= 0:
                break
        margins = booster.predict(validation.matrix, raw_score=True, num_iteration=best_iteration)
        return Fitted(
            booster.model_to_string(num_iteration=best_iteration),
            np.asarray(margins).reshape(len(validation), task.outputs),
            best_iteration,
            time.monotonic() - started,
        )

    def refit(
        self, task: Task, rows: Rows, params: dict[str, Any], iterations: int, deadline: float
    ) -> str | None:
        import lightgbm as lgb

        booster = lgb.Booster(_params(task, params) | {"metric": "none"}, _dataset(task, rows))
        for _ in range(iterations):
            task.check_stop()
            if booster.update() or remaining(deadline) <= 0:
                break
        if booster.current_iteration() < 0.8 * iterations and remaining(deadline) <= 0:
            return None
        return str(booster.model_to_string())


def _dataset(task: Task, rows: Rows) -> Any:
    import lightgbm as lgb

    return lgb.Dataset(
        rows.matrix,
        rows.target,
        weight=None if (rows.weights == 1).all() else rows.weights,
        categorical_feature=task.categorical,
        params=_quiet() | {"num_threads": task.threads, "max_bin": 255},
        free_raw_data=False,
    )


def _quiet() -> dict[str, Any]:
    return {"verbosity": -1}


def _params(task: Task, params: dict[str, Any]) -> dict[str, Any]:
    objective = {"sigmoid": "binary", "softmax": "multiclass"}.get(task.link, "regression")
    if task.objective == "minimize-mae":
        objective = "regression_l1"
    made = _quiet() | {
        "objective": objective,
        "metric": _METRICS[task.objective][task.link],
        "num_threads": task.threads,
        "seed": task.seed,
        "deterministic": True,
        "force_col_wise": True,
        "boost_from_average": True,
    }
    if task.link == "softmax":
        made["num_class"] = task.outputs
    return made | params
