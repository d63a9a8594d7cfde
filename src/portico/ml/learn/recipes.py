"""What to try, in which order: a few recipes that are good on most tables, then variations of the best so far.

The parameters' ranges are those that won on census, bike, flight, house, employment and digits data, and on Friedman's
first function (1,030 rows: CatBoost's error at depth 4 is a tenth less than at 6, and the less the slower it learns).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from portico.ml.learn.task import Recipe

_LIGHTGBM = {"num_leaves": 31, "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1}

_FOREST = {"num_leaves": 500, "min_data_in_leaf": 3}


def first(spaces: Sequence[str], learning_rate: float, fast: bool, means: bool = True) -> Iterator[Recipe]:
    """The fixed beginning. `spaces` is empty for classes; `fast` leaves CatBoost out (many classes, or columns), no
    `means` the random forests, whose answers are means."""

    def lightgbm(space: str, **params: Any) -> Recipe:
        return Recipe("lightgbm", {"learning_rate": learning_rate, **_LIGHTGBM, **params}, space)

    for space in spaces or [""]:
        yield lightgbm(space)
    yield lightgbm("*", num_leaves=15, feature_fraction=0.5, min_data_in_leaf=10)
    if not fast:
        yield Recipe("catboost", {"depth": 6, "learning_rate": 0.08}, "*")
        yield Recipe("catboost", {"depth": 4, "learning_rate": 0.05}, "*")
    if spaces and means:
        yield Recipe("forest", {"extra_trees": True, **_FOREST}, "*")
        yield Recipe("forest", {"feature_fraction_bynode": 0.4, **_FOREST}, "*")
    yield lightgbm("*", num_leaves=63, feature_fraction=0.5, lambda_l2=3.0)
    yield lightgbm("*", extra_trees=True, num_leaves=63, feature_fraction=0.9)


def vary(best: Sequence[Recipe], learning_rate: float, generator: np.random.Generator) -> Recipe:
    """A variation of one of the `best` recipes (best first), or one of its own."""
    choice = generator.random()
    parent = best[min(int(generator.exponential(1.0)), len(best) - 1)]
    if parent.learner == "catboost" and choice < 0.5:
        depth = int(generator.integers(4, 9))
        params = {
            "depth": depth,
            "learning_rate": float(generator.choice([0.03, 0.05, 0.08, 0.12])),
            "l2_leaf_reg": float(np.round(10 ** generator.uniform(-0.3, 1.2), 2)),
            "random_strength": float(np.round(generator.uniform(0, 2), 2)),
        }
        return Recipe("catboost", params, parent.space)
    if parent.learner == "forest" and choice < 0.3:
        grown = {
            "num_leaves": int(2 ** generator.uniform(6, 10)),
            "min_data_in_leaf": int(generator.choice([1, 2, 4, 8, 16])),
            "feature_fraction_bynode": float(np.round(generator.uniform(0.3, 1.0), 2)),
            "extra_trees": bool(generator.random() < 0.6),
        }
        return Recipe("forest", grown, parent.space if parent.space != "exp" else "identity")
    params = dict(parent.params) if parent.learner == "lightgbm" else dict(_LIGHTGBM)
    ranges: dict[str, Callable[[], Any]] = {
        "num_leaves": lambda: int(2 ** generator.uniform(2.6, 7.3)),
        "min_data_in_leaf": lambda: int(2 ** generator.uniform(1, 6.5)),
        "feature_fraction": lambda: float(np.round(generator.uniform(0.3, 1.0), 2)),
        "bagging_fraction": lambda: float(np.round(generator.uniform(0.55, 1.0), 2)),
        "lambda_l2": lambda: float(np.round(10 ** generator.uniform(-2, 1.3), 3)),
        "cat_l2": lambda: float(np.round(10 ** generator.uniform(-0.5, 2), 2)),
        "cat_smooth": lambda: float(np.round(10 ** generator.uniform(0, 2.3), 1)),
        "max_cat_threshold": lambda: int(generator.choice([8, 32, 128])),
        "max_bin": lambda: int(generator.choice([63, 255, 1023])),
        "extra_trees": lambda: bool(generator.random() < 0.3),
    }
    changed = list(ranges) if choice > 0.85 else generator.choice(list(ranges), 3, replace=False).tolist()
    params |= {name: ranges[name]() for name in changed}
    params |= {"learning_rate": learning_rate, "bagging_freq": 1}
    return Recipe("lightgbm", params, parent.space)
