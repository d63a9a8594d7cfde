"""Fixtures of the prediction tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fronts import Processes, training_data


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Not started: the module starts what it needs."""
    running = Processes(tmp_path_factory.mktemp("home"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def boosters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small LightGBM models by objective, with the numbers n0…n3, the texts c0 and the whole numbers c1."""
    import lightgbm

    frame, target = training_data()
    folder = tmp_path_factory.mktemp("boosters")
    targets = {
        "binary": (target > 0).astype(int),
        "regression": target,
        "multiclass": np.digitize(target, [-1, 1]),
        "poisson": np.digitize(target, [-1, 0, 1, 2]),
    }
    paths = {}
    for objective, values in targets.items():
        parameters = {"objective": objective, "verbose": -1, "num_leaves": 7, "num_threads": 1, "seed": 1}
        if objective == "multiclass":
            parameters["num_class"] = 3
        booster = lightgbm.train(parameters, lightgbm.Dataset(frame, values), 20)
        paths[objective] = folder / objective / "model.txt"
        paths[objective].parent.mkdir()
        booster.save_model(paths[objective])
    return paths
