"""A steward of a model that Portico did not train: it watches, and tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from tests.services.aiplatform.conftest import IMAGE
from tests.services.portico.conftest import START, World, doubled, usual

import portico
from portico.cli import report
from portico.services.portico.steward.evidence import output_of


class Uploaded(World):
    def train(self) -> None:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        random = np.random.default_rng(0)
        features = random.random((800, 2))
        target = [usual(x, z) for x, z in features]
        data = lightgbm.Dataset(features, target, feature_name=["x", "z"])
        booster = lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1}, data, 60)
        bucket = storage.Client(project="portico", credentials=AnonymousCredentials()).create_bucket("own")
        bucket.blob("model/model.txt").upload_from_string(booster.model_to_string())
        self.model = self.aiplatform.Model.upload(
            display_name="own", artifact_uri="gs://own/model", serving_container_image_uri=IMAGE
        )


@pytest.fixture(scope="module")
def world(home_of_its_own: Any) -> Any:
    from google.cloud import aiplatform

    aiplatform.initializer.global_config._credentials = None
    aiplatform.init(
        project="portico", location="us-central1", api_endpoint=home_of_its_own.url, api_transport="rest"
    )
    made = Uploaded(home_of_its_own, aiplatform)
    made.api("POST", "clock:advance", json={"time": START})
    made.train()
    made.deploy()
    yield made
    aiplatform.initializer.global_config._credentials = None


SPEC = {
    "data": {},
    "training": {},
    "acceptable": [{"metric": "meanAbsoluteError", "timesReference": 1.5, "labels": 60}],
    "actions": ["ALERT"],
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "model.predictionType"),
        ({"model": {"predictionType": "REGRESSION"}, "actions": ["RETRAIN"]}, "write ALERT"),
        ({"model": {"predictionType": "CLASSIFICATION", "classes": ["a"]}}, "model.classes"),
        ({"model": {"predictionType": "REGRESSION", "classes": ["a", "b"]}}, "model.classes"),
        ({"model": {"predictionType": "REGRESSION", "classes": ["a"]}}, "model.classes"),
        ({"model": {"predictionType": "CLASSIFICATION", "classes": ["a", "b", "a"]}}, "model.classes"),
    ],
)
def test_what_it_must_be_told(world: Uploaded, changed: dict[str, Any], said: str) -> None:
    body = {"endpoint": world.endpoint.resource_name, **SPEC, **changed}
    parent = world.name.partition("/stewards/")[0]
    answer = world.call("POST", f"{parent}/stewards?stewardId=keeper", json=body)
    assert answer.status_code == 400 and said in answer.json()["error"]["message"], answer.text


def test_it_alerts_when_the_error_grows_and_changes_nothing(world: Uploaded, tmp_path: Path) -> None:
    world.keep(**SPEC, model={"predictionType": "REGRESSION"})
    world.days(4)
    (shown,) = world.steward()["status"]["acceptable"]
    assert shown["holds"] and 0 < shown["value"] < 10
    assert not world.episodes()
    world.truth = doubled
    world.days(5)
    (shown,) = world.steward()["status"]["acceptable"]
    assert not shown["holds"] and shown["value"] > 50
    alerts = world.api("GET", f"{world.name}/alerts")["alerts"]
    assert [alert["metric"] for alert in alerts] == ["meanAbsoluteError"] and alerts[0]["state"] == "OPEN"
    assert all(episode["state"] in ("ABANDONED", "REJECTED") for episode in world.episodes())
    assert len(world.endpoint.list_models()) == 1
    _, text = report.write(portico.Client(world.portico.url), world.model.resource_name, tmp_path)
    card = text.read_text()
    assert "meanAbsoluteError" in card


def test_answers_of_custom_models_are_read() -> None:
    assert output_of(0.25, ["no", "yes"]) == [0.75, 0.25]
    assert output_of("yes", ["no", "yes"]) == [0.0, 1.0]
    assert output_of([0.1, 0.2, 0.7], ["a", "b", "c"]) == [0.1, 0.2, 0.7]
    assert output_of("d", ["a", "b", "c"]) is None
    assert output_of(2, ["no", "yes"]) is None
    assert output_of([3.5], []) == 3.5
