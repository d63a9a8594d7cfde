"""Small boosted trees on encoded features, and direct loss estimation with them.

Direct loss estimation (NannyML's DLE; Białek et al., 2024): a second model learns from reference rows how large the
first one's loss is for such features and such an answer; its mean over new rows is their expected loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats
from portico.ml.learn.fastbooster import FastBooster

FOLDS: Final = 5

# Metric -> what is learned of each row: a loss (N, 1), or the two parts of a ratio of sums (N, 2).
LOSSES: Final[dict[str, Callable[[Floats, Floats], Floats]]] = {
    "meanAbsoluteError": lambda t, p: np.abs(p - t)[:, None],
    "rootMeanSquaredError": lambda t, p: ((p - t) ** 2)[:, None],
    "rootMeanSquaredLogError": lambda t, p: ((np.log1p(np.maximum(p, 0)) - np.log1p(np.maximum(t, 0))) ** 2)[
        :, None
    ],
    "meanAbsolutePercentageError": lambda t, p: np.column_stack(
        [np.where(t != 0, 100 * np.abs(p - t) / np.where(t != 0, np.abs(t), 1), 0), t != 0]
    ),
    "weightedAbsolutePercentageError": lambda t, p: np.column_stack([100 * np.abs(p - t), np.abs(t)]),
}

_ROUNDS = 60
_PARAMETERS: Final[dict[str, Any]] = {
    "learning_rate": 0.1,
    "num_leaves": 8,
    "min_data_in_leaf": 20,
    "lambda_l2": 1.0,
    "max_bin": 63,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


def fit_trees(features: Floats, target: Floats, objective: str = "regression", seed: int = 0) -> str:
    """60 trees of 8 leaves by LightGBM on one thread, as text; `features` (N, D) may hold NaN, `target` (N,) not.

    `objective` is regression (the mean) or binary (the probability of 1). The same rows give the same trees.
    """
    import lightgbm as lgb

    parameters = {**_PARAMETERS, "objective": objective, "seed": seed}
    parameters["min_data_in_leaf"] = int(min(20, max(len(target) // 20, 1)))
    data = lgb.Dataset(features, target, params=parameters)
    booster = lgb.train(
        parameters, data, _ROUNDS, keep_training_booster=True
    )  # else it is written and read first
    return str(booster.model_to_string())


def predict_trees(text: str, features: Floats) -> Floats:
    """(N,) of rows (N, D); needs only LightGBM's library, not its package."""
    made = FastBooster(text).predict_matrix(np.ascontiguousarray(features, np.float64))
    return np.asarray(made, np.float64).reshape(len(features))


def spans(rows: int) -> NDArray[np.int64]:
    """The fold (N,) of each row: 5 spans, so that rows alike because they follow each other are in one fold."""
    return np.arange(rows, dtype=np.int64) * FOLDS // max(rows, 1)


def out_of_fold(features: Floats, target: Floats, fold: NDArray[np.int64], seed: int = 0) -> Floats:
    """What trees fitted on the other folds say of each row (N,)."""
    made = np.empty(len(target))
    for number in np.unique(fold):
        inside = fold == number
        text = fit_trees(features[~inside], target[~inside], seed=seed)
        made[inside] = predict_trees(text, features[inside])
    return made


def with_output(features: Floats, output: Floats) -> Floats:
    """The columns that a loss is learned from: the features and the model's own answer."""
    return np.column_stack([features, output]).astype(np.float64)
