"""Models for tests: a small LightGBM booster, and how to upload it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest

IMAGE = "us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest"


def train_booster(factor: float = 2.0) -> lightgbm.Booster:
    """target = factor * a - b, about."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 3))
    target = features[:, 0] * factor - features[:, 1] + rng.normal(size=500) * 0.1
    data = lightgbm.Dataset(features, target, feature_name=["a", "b", "c"])
    return lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1}, data, 20)


@pytest.fixture(scope="session")
def booster() -> lightgbm.Booster:
    return train_booster()


@pytest.fixture
def upload(aiplatform: Any, bucket: Any, booster: lightgbm.Booster) -> Callable[..., Any]:
    """Uploads a booster (the usual one by default) as a model."""

    def upload_model(made: lightgbm.Booster | None = None, **options: Any) -> Any:
        bucket.blob("model/model.txt").upload_from_string((made or booster).model_to_string())
        options.setdefault("display_name", "trees")
        return aiplatform.Model.upload(
            artifact_uri=f"gs://{bucket.name}/model", serving_container_image_uri=IMAGE, **options
        )

    return upload_model
