"""A steward that retrains by a pipeline of its user's: kfp's, with a scikit-learn model that a replica serves."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.portico.conftest import World, turned
from tests.services.portico.test_steward_kills import answers, killed_in
from tests.waiting import until

from portico.cli import stewards
from portico.client import declaration
from portico.client.api import Client
from portico.errors import InvalidArgument

# Where it fails or hangs it needs no package: only the long checks make that environment.
PACKAGES = """, packages_to_install=[
    "pandas==2.2.3", "scikit-learn==1.6.1", "joblib==1.4.2", "google-cloud-aiplatform==1.165.1"]"""
SOURCE = """
@dsl.component(base_image="python:3.11"PACKAGES)
def learn(data: str, target: str, champion: str, folder: str, how: str, project: str) -> str:
    import time

    if how == "fails":
        raise RuntimeError("the kiln is cold")
    while how == "hangs":
        time.sleep(0.1)
    import joblib
    import pandas as pd
    from google.cloud import aiplatform
    from sklearn.linear_model import LinearRegression, LogisticRegression

    frame = pd.read_csv("/gcs/" + data.removeprefix("gs://")).sort_values("t").tail(20)
    print(len(frame), "rows", list(frame.columns))
    x, y = frame[["x", "z"]], frame[target]
    if how == "other":
        x, y = frame[["x", "z"]], (y > y.median()).map({False: "low", True: "high"})
    if how == "features":
        x = frame[["x", "z"]].assign(humidity=0.5)
    kind = LogisticRegression if how == "other" else LinearRegression
    place = "/gcs/" + folder.removeprefix("gs://")
    import os
    os.makedirs(place, exist_ok=True)
    joblib.dump(kind().fit(x, y), place + "/model.joblib")
    aiplatform.init(project=project, location="us-central1")
    if how == "old":
        return champion
    made = aiplatform.Model.upload(
        display_name="kiln", artifact_uri=folder,
        serving_container_image_uri="us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest")
    return "nothing" if how == "none" else made.versioned_resource_name

@dsl.pipeline(name="kiln")
def kiln(data: str, target: str, champion: str, episode: str, how: str = "well") -> str:
    return learn(data=data, target=target, champion=champion, how=how, project="portico",
                 folder=f"gs://kiln-root/models/{dsl.PIPELINE_JOB_ID_PLACEHOLDER}").output
"""
GIVEN = {"data": "trainingData", "target": "targetColumn", "champion": "champion", "episode": "episode"}


@pytest.fixture(scope="module")
def root(trained: World) -> storage.Bucket:
    client = storage.Client(project="portico", credentials=AnonymousCredentials())
    return client.create_bucket("kiln-root")


@pytest.fixture(scope="module")
def template(root: storage.Bucket) -> str:
    root.blob("kiln.yaml").upload_from_filename(compiled(SOURCE.replace("PACKAGES", PACKAGES))["kiln"])
    return "gs://kiln-root/kiln.yaml"


@pytest.fixture(scope="module")
def light(root: storage.Bucket) -> str:
    """One that ends before it would need its packages."""
    root.blob("light.yaml").upload_from_filename(compiled(SOURCE.replace("PACKAGES", ""))["kiln"])
    return "gs://kiln-root/light.yaml"


@pytest.fixture
def world(trained: World) -> World:
    trained.deploy()
    return trained


def by(template: str, how: str = "well", **more: Any) -> dict[str, Any]:
    pipeline = {
        "templateUri": template, "pipelineRoot": "gs://kiln-root/runs", "parameterValues": {"how": how},
        "episodeParameters": GIVEN, **more,
    }  # fmt: skip
    return {"window": "SLIDING", "duration": "259200s", "pipeline": pipeline}


def states(episode: dict[str, Any]) -> list[str]:
    return [t["state"] for t in episode["transitions"]]


@pytest.mark.slow
def test_a_pipelines_model_goes_through_all_gates_and_is_promoted(world: World, template: str) -> None:
    world.keep(training=by(template), gates={"labels": 60, "maxLatency": "5s", "maxBytes": 10_000_000})
    world.days(2)
    before = world.endpoint.list_models()[0]
    world.truth = turned
    episode = world.days_until({"PROMOTED"})
    assert states(episode) == ["BREACHED", "RETRAINING", "GATING", "SHADOW", "CANARY", "PROMOTED"]
    run = world.aiplatform.PipelineJob.get(episode["pipelineJob"])
    assert run.state.name == "PIPELINE_STATE_SUCCEEDED"
    assert run.labels["portico-steward"] == "keeper"
    given = run.gca_resource.runtime_config.parameter_values
    assert given["episode"] == episode["name"] and given["target"] == "y"
    assert given["champion"] == f"{before.model}@{before.model_version_id}"
    (after,) = world.endpoint.list_models()
    assert after.model != before.model and episode["challenger"]["deployedModelId"] == after.id
    assert world.aiplatform.Model(after.model).display_name == "kiln"
    gates = {g["gate"]: g for g in episode["decisions"][1]["numbers"]["gates"]}
    assert {"unseen rows", "signature", "better than the champion", "latency", "size"} <= set(gates)
    assert gates["unseen rows"]["trainedUntil"] < gates["unseen rows"]["measuredFrom"]
    retrained = episode["transitions"][2]["reason"]
    assert run.name in retrained and "rows learned" in retrained
    assert world.api("POST", f"{episode['name']}:replay", json={})["agrees"]
    the_gates_labels_are_kept_from_it(world, given["data"], gates["unseen rows"]["measuredFrom"])
    its_lineage_names_the_run(world, episode)
    assert "trained by the pipeline run" in stewards.as_text(episode)
    assert f"retrains by the pipeline {template}" in stewards.as_text(world.steward())

    world.days(3)
    status = world.steward()["status"]
    assert status["champion"]["deployedModelId"] == after.id
    assert status["acceptable"][0]["rows"] == 80, "the custom model is looked after as the one before"
    world.truth = lambda x, z: turned(z, x) + 40
    world.days_until({"RETRAINING", "GATING", "SHADOW", "CANARY"})
    again = world.days_until({"PROMOTED"})
    assert again["champion"]["model"] == after.model, "a model of the user's is retrained, too"
    assert again["pipelineJob"] != episode["pipelineJob"]


def the_gates_labels_are_kept_from_it(world: World, uri: str, measured_from: float) -> None:
    import csv
    import io
    from datetime import datetime

    bucket, _, name = uri.removeprefix("gs://").partition("/")
    client = storage.Client(project="portico", credentials=AnonymousCredentials())
    rows = list(csv.DictReader(io.StringIO(client.bucket(bucket).blob(name).download_as_text())))
    newest = max(datetime.fromisoformat(row["t"]).timestamp() for row in rows)
    assert rows and set(rows[0]) == {"n", "t", "x", "z", "y"} and newest < measured_from


def its_lineage_names_the_run(world: World, episode: dict[str, Any]) -> None:
    made = episode["challenger"]
    told = world.aiplatform.Execution.list(filter=f'metadata.episode.string_value="{episode["name"]}"')
    [run] = [one for one in told if "facts" in one.metadata]
    assert run.metadata["pipelineJob"] == episode["pipelineJob"]
    given = [a.metadata["resourceName"] for a in run.get_output_artifacts()]
    assert given == [f"{made['model']}@{made['modelVersionId']}"]
    assert any(a.uri.endswith("/training.csv") for a in run.get_input_artifacts())


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fails", "the kiln is cold"),
        pytest.param("none", "ended without a model", marks=pytest.mark.slow),
        pytest.param("old", "was registered before it began", marks=pytest.mark.slow),
        pytest.param("other", "it does not answer with a number", marks=pytest.mark.slow),
        pytest.param("features", "it does not answer with a number; the first", marks=pytest.mark.slow),
        ("hangs", "had not ended after 4s"),
    ],
)
def test_a_pipeline_that_gives_no_challenger_ends_the_episode(
    request: pytest.FixtureRequest, world: World, how: str, said: str
) -> None:
    more = {"timeout": "4s"} if how == "hangs" else {}
    template = request.getfixturevalue("light" if how in ("fails", "hangs") else "template")
    world.keep(training=by(template, how, **more))
    before = [model.id for model in world.endpoint.list_models()]
    world.advance(86400)
    world.truth = turned
    episode = world.days_until({"REJECTED", "ABANDONED", "ROLLED_BACK", "PROMOTED"})
    assert episode["state"] == "REJECTED" and said in episode["reason"], episode["reason"]
    assert [model.id for model in world.endpoint.list_models()] == before
    run = world.aiplatform.PipelineJob.get(episode["pipelineJob"])
    wanted = {"fails": "FAILED", "hangs": "CANCELLED"}.get(how, "SUCCEEDED")
    run.wait() if how == "none" else None
    assert run.state.name == f"PIPELINE_STATE_{wanted}"


def test_a_run_that_somebody_cancels_ends_the_episode(world: World, light: str) -> None:
    from google.cloud.aiplatform import PipelineJob

    world.keep(training=by(light, "hangs"))
    world.advance(86400)
    world.truth = turned

    def cancel() -> None:
        running = 'state="PIPELINE_STATE_RUNNING"'
        [job] = until(lambda: PipelineJob.list(filter=running), "it runs", 240)
        job.cancel()

    cancelling = threading.Thread(target=cancel)
    cancelling.start()
    episode = world.days_until({"REJECTED", "ABANDONED", "PROMOTED"})
    cancelling.join()
    assert episode["state"] == "REJECTED" and "was cancelled" in episode["reason"], episode["reason"]


@pytest.mark.slow
def test_nothing_is_lost_by_kills(world: World, template: str) -> None:
    """While the pipeline trains, while its model is asked, in the shadow and in the canary. Of two days with 20 rows
    each that breach the limit it learns from the first: the second's are the gates'."""
    world.keep(
        training=by(template), gates={"labels": 20},
        acceptable=[{"metric": "weightedAbsolutePercentageError", "limit": 25, "labels": 40}],
        rollout={"shadowLabels": 20, "canary": [{"percent": 30, "labels": 20}, {"percent": 60, "labels": 20}]},
    )  # fmt: skip
    world.days(2)
    world.truth = turned
    for state in ("RETRAINING", "GATING", "SHADOW", "CANARY"):
        killed_in(world, state)

    until(lambda: all(answers(world) for _ in range(20)), "it serves as before")
    episode = world.days_until({"PROMOTED"})
    assert states(episode).count("RETRAINING") == 1
    assert world.api("POST", f"{episode['name']}:replay", json={})["agrees"]
    (after,) = world.endpoint.list_models()
    assert after.id == episode["challenger"]["deployedModelId"]


def test_what_is_asked_for_is_checked(world: World, light: str, tmp_path: Path) -> None:
    def said(**training: Any) -> str:
        body = {
            "endpoint": world.endpoint.resource_name, "training": training,
            "acceptable": [{"metric": "meanAbsoluteError", "limit": 12}],
        }  # fmt: skip
        parent = world.name.partition("/stewards/")[0]
        answer = world.call("POST", f"{parent}/stewards?stewardId=asker", json=body)
        assert answer.status_code in (400, 404), answer.text
        return str(answer.json()["error"]["message"])

    assert "parameter that gets trainingData" in said(
        **by(light, episodeParameters={"target": "targetColumn"})
    )
    assert "of an episode there are" in said(**by(light, episodeParameters={**GIVEN, "how": "mood"}))
    assert "weather" in said(**by(light, parameterValues={"weather": 1}))
    assert "training.pipeline: " in said(**by("gs://kiln-root/gone.yaml"))
    assert "timeout must be above 0s" in said(**by(light, timeout="0s"))

    client = Client(world.portico.url)
    (tmp_path / "kiln.yaml").write_text(Path(compiled(SOURCE.replace("PACKAGES", ""))["kiln"]).read_text())
    file = tmp_path / "steward.yaml"
    told = {
        "name": "keeper", "endpoint": world.endpoint.resource_name,
        "training": {"pipeline": {"templateUri": "kiln.yaml", "pipelineRoot": "gs://kiln-root/runs",
                                  "episodeParameters": GIVEN, "timeout": "2h"}},
        "acceptable": [{"metric": "meanAbsoluteError", "limit": 12}],
    }  # fmt: skip
    file.write_text(yaml.safe_dump(told))
    world.keep()
    world.api("DELETE", world.name)
    assert declaration.apply(client, declaration.load(file))[0] == "created"
    assert declaration.apply(client, declaration.load(file))[0] == "unchanged"
    pipeline = world.steward()["training"]["pipeline"]
    assert pipeline["pipelineSpec"]["pipelineInfo"]["name"] == "kiln" and pipeline["timeout"] == "7200s"
    told["training"]["pipeline"]["templateUri"] = "gone.yaml"
    file.write_text(yaml.safe_dump(told))
    with pytest.raises(InvalidArgument, match=r"steward\.yaml:\d+: .*gone\.yaml can't be read"):
        declaration.apply(client, declaration.load(file))
