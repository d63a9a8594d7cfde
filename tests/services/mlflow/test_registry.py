"""The model registry by MLflow's wire: what is registered there is a Model of Vertex AI, and serves where it can."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from google.api_core import exceptions
from tests.waiting import until

from portico.services.mlflow.flavours import Flavour, parse

LIGHTGBM = """
flavors:
  lightgbm: {data: model.lgb, lgb_version: 4.7.0, model_class: lightgbm.basic.Booster}
  python_function: {loader_module: mlflow.lightgbm}
"""


@pytest.fixture(scope="module")
def booster(tmp_path_factory):
    import lightgbm

    rows = np.random.default_rng(0).normal(size=(200, 2))
    trained = lightgbm.train(
        {"objective": "regression", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(rows, rows[:, 0]), 5
    )
    file = tmp_path_factory.mktemp("model") / "model.lgb"
    trained.save_model(str(file))
    return file.read_bytes()


def logged(mlflow, files):
    """A run's logged model with these files."""
    experiment = mlflow.experiment()
    run = mlflow.run(experiment, run_name="one")
    own = mlflow("logged-models", experiment_id=experiment, source_run_id=run)["model"]["info"]["model_id"]
    for name, data in files.items():
        path = f"api/2.0/mlflow-artifacts/artifacts/{experiment}/models/{own}/artifacts/{name}"
        assert mlflow.send("PUT", path, data=data).status_code == 200
    mlflow(f"logged-models/{own}", "PATCH", status="LOGGED_MODEL_READY")
    return own


def registered(mlflow, name, source, **more):
    """A new version that is ready."""
    made = mlflow("model-versions/create", name=name, source=source, **more)["model_version"]
    asked = {"name": name, "version": made["version"]}

    def ready():
        found = mlflow.get("model-versions/get", **asked)["model_version"]
        return found if found["status"] != "PENDING_REGISTRATION" else None

    return until(ready, "the version to be ready")


def test_a_registered_model_serves(mlflow, aiplatform, booster):
    name = f"My Model {uuid.uuid4().hex[:8]}"
    own = logged(mlflow, {"MLmodel": LIGHTGBM, "model.lgb": booster})
    mlflow("registered-models/create", name=name, description="what it is", tags=[{"key": "a", "value": "b"}])
    version = registered(mlflow, name, f"models:/{own}", model_id=own, description="first")
    assert version["status"] == "READY" and version["version"] == "1" and version["current_stage"] == "None"
    registrations = mlflow.get(f"logged-models/{own}")["model"]["info"]["registrations"]
    assert registrations == [{"name": name, "version": "1"}]
    (model,) = aiplatform.Model.list(filter=f'display_name="{name}"')
    assert model.name == name.lower().replace(" ", "-") and model.version_description == "first"
    experiment = mlflow.get(f"logged-models/{own}")["model"]["info"]["experiment_id"]
    (execution,) = aiplatform.ExperimentRun("one", experiment=experiment).get_executions()
    assert execution.display_name == f"register {name}"
    assert [one.display_name for one in execution.get_output_artifacts()] == [name]
    endpoint = model.deploy(machine_type="n1-standard-2")
    answer = endpoint.predict([[1.0, 0.0], [-1.0, 0.0]]).predictions
    assert answer[0] > answer[1]
    mlflow.refused(
        "model-versions/delete", "INVALID_PARAMETER_VALUE", "undeploy", "DELETE", name=name, version="1"
    )
    endpoint.delete(force=True)
    mlflow("registered-models/delete", "DELETE", name=name)
    assert aiplatform.Model.list(filter=f'display_name="{name}"') == []


def test_what_nothing_serves_is_registered_and_not_deployed(mlflow, aiplatform):
    name = f"odd-{uuid.uuid4().hex[:8]}"
    own = logged(mlflow, {"MLmodel": "flavors: {prophet: {data: x}}", "x": b"1"})
    mlflow("registered-models/create", name=name)
    assert registered(mlflow, name, f"models:/{own}")["status"] == "READY"
    bare = registered(mlflow, name, "s3://somewhere/model")
    assert bare["status"] == "READY" and bare["source"] == "s3://somewhere/model"
    with pytest.raises(exceptions.BadRequest, match="no container"):
        aiplatform.Model(name, version="1").deploy(machine_type="n1-standard-2")
    broken = logged(mlflow, {"MLmodel": LIGHTGBM})
    failed = registered(mlflow, name, f"models:/{broken}")
    assert failed["status"] == "FAILED_REGISTRATION" and "model.txt" in failed["status_message"]


def test_versions_have_aliases_stages_and_tags(mlflow, aiplatform):
    name = f"model-{uuid.uuid4().hex[:8]}"
    mlflow("registered-models/create", name=name)
    mlflow.refused("registered-models/create", "RESOURCE_ALREADY_EXISTS", "exists", name=name)
    mlflow.refused("model-versions/create", "RESOURCE_DOES_NOT_EXIST", "not found", name="none", source="x")
    for number in range(3):
        tags = [{"key": "number", "value": str(number)}]
        registered(mlflow, name, "s3://x/y", tags=tags, run_id=f"r{number}")
    mlflow("registered-models/alias", name=name, alias="champion", version="2")
    mlflow("registered-models/alias", name=name, alias="With Space", version="2")
    found = mlflow.get("registered-models/alias", name=name, alias="champion")["model_version"]
    assert found["version"] == "2" and found["aliases"] == ["champion", "With Space"]
    assert aiplatform.Model(name, version="champion").version_id == "2"
    mlflow("registered-models/alias", name=name, alias="champion", version="3")
    assert aiplatform.Model(name, version="champion").version_id == "3"
    mlflow("registered-models/alias", "DELETE", name=name, alias="champion")
    assert mlflow.ask("registered-models/alias", "GET", name=name, alias="champion").status_code == 404
    assert aiplatform.Model(name).version_aliases == ["default"]

    for version, stage in (("1", "Production"), ("2", "production")):
        mlflow("model-versions/transition-stage", name=name, version=version, stage=stage,
               archive_existing_versions=True)  # fmt: skip
    latest = mlflow("registered-models/get-latest-versions", name=name)["model_versions"]
    assert {one["current_stage"]: one["version"] for one in latest} == {
        "Archived": "1", "Production": "2", "None": "3",
    }  # fmt: skip
    mlflow("model-versions/set-tag", name=name, version="1", key="k", value="v")
    mlflow("model-versions/delete-tag", "DELETE", name=name, version="1", key="number")
    mlflow("model-versions/update", "PATCH", name=name, version="1", description="old")
    shown = mlflow.get("model-versions/get", name=name, version="1")["model_version"]
    assert shown["tags"] == [{"key": "k", "value": "v"}] and shown["description"] == "old"
    uri = mlflow.get("model-versions/get-download-uri", name=name, version="1")["artifact_uri"]
    assert uri == "s3://x/y"

    def versions(text, **more):
        found = mlflow.get("model-versions/search", filter=f"name = '{name}' and {text}", **more)
        return [one["version"] for one in found["model_versions"]]

    assert versions("version_number > 1", order_by=["version_number ASC"]) == ["2", "3"]
    assert versions("tags.number = '2'") == ["3"]
    assert versions("run_id IN ('r0', 'r1')", order_by=["version_number"]) == ["1", "2"]
    mlflow("model-versions/delete", "DELETE", name=name, version="3")
    assert aiplatform.Model(name).version_id == "2"
    registered(mlflow, name, "s3://x/y")
    assert [one.version_id for one in aiplatform.Model(name).versioning_registry.list_versions()] == [
        "1",
        "2",
        "4",
    ]


def test_registered_models_are_renamed_tagged_and_found(mlflow, aiplatform):
    word = uuid.uuid4().hex[:8]
    for name in ("a", "b"):
        mlflow("registered-models/create", name=f"{name}-{word}")
    registered(mlflow, f"a-{word}", "s3://x/y")
    mlflow("registered-models/rename", name=f"a-{word}", new_name=f"c {word}")
    assert aiplatform.Model(f"a-{word}").display_name == f"c {word}"
    mlflow("registered-models/update", "PATCH", name=f"c {word}", description="d")
    mlflow("registered-models/set-tag", name=f"c {word}", key="k", value="v")

    def found(text, **more):
        answer = mlflow.get("registered-models/search", filter=f"name LIKE '%{word}' {text}", **more)
        return [one["name"] for one in answer["registered_models"]], answer.get("next_page_token")

    assert found("")[0] == [f"b-{word}", f"c {word}"]
    assert found("and tags.k = 'v'")[0] == [f"c {word}"]
    first, token = found("", max_results=1, order_by=["name DESC"])
    assert first == [f"c {word}"] and found("", page_token=token, order_by=["name DESC"])[0] == [f"b-{word}"]
    mlflow("registered-models/delete-tag", "DELETE", name=f"c {word}", key="k")
    shown = mlflow.get("registered-models/get", name=f"c {word}")["registered_model"]
    assert (
        shown["description"] == "d" and shown["tags"] == [] and shown["latest_versions"][0]["version"] == "1"
    )


def test_mlflows_client_asks_for_models_that_are_no_prompts(mlflow):
    """`MlflowClient.search_registered_models` adds this clause to every filter; models lack the tag that it names."""
    word = uuid.uuid4().hex[:8]
    prompt = {"key": "mlflow.prompt.is_prompt", "value": "true"}
    mlflow("registered-models/create", name=f"model-{word}")
    mlflow("registered-models/create", name=f"prompt-{word}", tags=[prompt])
    registered(mlflow, f"model-{word}", "s3://x/y")
    mlflow("model-versions/create", name=f"prompt-{word}", source="prompt-template", tags=[prompt])

    def found(text):
        of = {"filter": f"name LIKE '%{word}' {text}"}
        models = mlflow.get("registered-models/search", **of)["registered_models"]
        versions = mlflow.get("model-versions/search", **of)["model_versions"]
        return [one["name"] for one in models], [one["name"] for one in versions]

    models, prompts = ([f"{kind}-{word}"] for kind in ("model", "prompt"))
    assert found("") == found("AND tag.`mlflow.prompt.is_prompt` != 'true'") == (models, models)
    assert found("AND tags.`mlflow.prompt.is_prompt` = 'false'") == (models, models)
    assert found("AND tag.`mlflow.prompt.is_prompt` = 'true'") == (prompts, prompts)


def test_a_model_file_may_be_anything():
    image = "us-docker.pkg.dev/vertex-ai/prediction"
    assert parse(b"flavors: {sklearn: {pickled_model: model.pkl, sklearn_version: 1.6.1}}") == Flavour(
        f"{image}/sklearn-cpu.1-6:latest"
    )
    assert parse(b"flavors: {xgboost: {data: model.ubj, xgb_version: 3.1.0}}") == Flavour(
        f"{image}/xgboost-cpu.3-1:latest", {"model.ubj": "model.bst"}
    )
    bomb = b"a: &a [x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (i, i, b", ".join([b"*%c" % (i - 1)] * 9)) for i in range(ord("b"), ord("n"))
    )
    for odd in (b"", b"{", b"[]", b"flavors: 1", b"flavors: {sklearn: 1}", b"\xff", b"[" * 300,
                b"flavors: {sklearn: {pickled_model: ../x.pkl, sklearn_version: 1.6}}",
                bomb + b"flavors: {sklearn: {pickled_model: *m, sklearn_version: *m}}"):  # fmt: skip
        assert parse(odd) == Flavour()
