"""Uploaded native models: from a file in Cloud Storage to online predictions, by the official client."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

IMAGE = "us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest"


@pytest.fixture(scope="module")
def booster():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 3))
    target = features[:, 0] * 2 - features[:, 1] + rng.normal(size=500) * 0.1
    data = lightgbm.Dataset(features, target, feature_name=["a", "b", "c"])
    return lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1}, data, 20)


def upload(aiplatform, bucket, booster, **more):
    bucket.blob("model/model.txt").upload_from_string(booster.model_to_string())
    return aiplatform.Model.upload(
        display_name="trees",
        artifact_uri=f"gs://{bucket.name}/model",
        serving_container_image_uri=IMAGE,
        **more,
    )


def test_a_lightgbm_model_goes_from_a_file_to_online_predictions(aiplatform, bucket, booster):
    model = upload(aiplatform, bucket, booster, labels={"team": "trees"})
    assert model.display_name == "trees"
    assert model.version_id == "1"
    assert model.version_aliases == ["default"]
    endpoint = aiplatform.Endpoint.create(display_name="trees")
    model.deploy(endpoint=endpoint, machine_type="n1-standard-2", min_replica_count=1)
    rows = [[0.5, -1.0, 2.0], [-2.0, 0.1, 0.0]]
    answer = endpoint.predict(instances=[dict(zip("abc", row, strict=True)) for row in rows])
    assert answer.predictions == booster.predict(rows).tolist()
    assert answer.model_resource_name == model.resource_name
    assert answer.model_version_id == "1"
    endpoint.undeploy_all()
    endpoint.delete()
    model.delete()


def test_what_cannot_be_served_is_refused_with_a_reason(aiplatform, bucket, booster):
    from google.api_core import exceptions

    with pytest.raises(exceptions.BadRequest, match=r"model\.txt"):
        aiplatform.Model.upload(
            display_name="trees",
            artifact_uri=f"gs://{bucket.name}/nothing-here",
            serving_container_image_uri=IMAGE,
        )
