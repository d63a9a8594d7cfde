"""Models for tests: a small LightGBM booster, and how to upload it; and how pipelines are run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.kfp_sources import CONSTRUCTS

from portico.ids import project_number

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


@pytest.fixture
def submit_pipeline(aiplatform: Any, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Submits a pipeline of CONSTRUCTS."""
    from google.cloud.aiplatform import pipeline_jobs
    from google.cloud.aiplatform.utils import resource_manager_utils

    pipeline_jobs._JOB_WAIT_TIME = 0.1
    monkeypatch.setattr(resource_manager_utils, "get_project_number", lambda project: project_number(project))

    def start(name: str, **given: Any) -> Any:
        number = bucket.name.rpartition("-")[2]
        job = aiplatform.PipelineJob(
            display_name=name, template_path=compiled(CONSTRUCTS)[name], pipeline_root=f"gs://{bucket.name}/root",
            enable_caching=False, **{"job_id": f"{name.replace('_', '-')}-{number}", **given},
        )  # fmt: skip
        job.submit()
        return job

    return start


@pytest.fixture
def run_pipeline(submit_pipeline: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a pipeline of CONSTRUCTS to its end, with these parameters."""

    def to_the_end(name: str, **parameters: Any) -> Any:
        job = submit_pipeline(name, parameter_values=parameters)
        job.wait()
        return job

    return to_the_end
