"""Experiments, runs, metrics and artifacts by MLflow's wire; and what Vertex's client sees of them."""

from __future__ import annotations

import dataclasses
import math
import time
import uuid

import google.auth.transport.requests
import pytest
import requests
from google.oauth2 import service_account

from portico.services.mlflow.search import Language


def tags(**given):
    return [{"key": key, "value": value} for key, value in given.items()]


def pairs(several):
    return {one["key"]: one["value"] for one in several}


def test_a_run_is_logged_and_read(mlflow):
    experiment = mlflow.experiment()
    made = mlflow(
        "runs/create", experiment_id=experiment, run_name="Bold Sheep", start_time=1000, user_id="me",
        tags=tags(team="a"), unknown_field=[1],
    )["run"]  # fmt: skip
    run = made["info"]["run_id"]
    assert run == f"{experiment}-bold-sheep" and made["info"]["status"] == "RUNNING"
    assert made["info"]["artifact_uri"] == f"mlflow-artifacts:/{experiment}/{run}/artifacts"
    mlflow("runs/log-parameter", run_id=run, run_uuid=run, key="depth", value="3")
    mlflow("runs/log-parameter", run_id=run, key="depth", value="3")
    mlflow.refused(
        "runs/log-parameter", "INVALID_PARAMETER_VALUE", "not allowed", run_id=run, key="depth", value="4"
    )
    mlflow("runs/log-metric", run_id=run, key="auc", value=0.9, timestamp=5, step=0)
    mlflow("runs/set-tag", run_id=run, key="owner", value="x")
    mlflow("runs/log-batch", run_id=run, params=tags(rate="0.1"), tags=tags(team="b"), metrics=[
        {"key": "loss", "value": value, "timestamp": 10 + step, "step": step}
        for step, value in ((0, 3.0), (2, 1.0), (1, 2.0), (1, 2.5))
    ] + [{"key": "odd", "value": "NaN", "timestamp": 1, "step": 0}])  # fmt: skip
    mlflow("runs/log-metric", run_id=run, key="loss", value=3.0, timestamp=10, step=0)  # once more
    mlflow("runs/update", run_id=run, status="FINISHED", end_time=2000)
    found = mlflow.get("runs/get", run_id=run)["run"]
    info, data = found["info"], found["data"]
    assert (info["status"], info["start_time"], info["end_time"]) == ("FINISHED", 1000, 2000)
    assert pairs(data["params"]) == {"depth": "3", "rate": "0.1"}
    assert pairs(data["tags"]) == {"mlflow.runName": "Bold Sheep", "team": "b", "owner": "x"}
    assert pairs(data["metrics"]) == {"auc": 0.9, "loss": 1.0, "odd": "NaN"}
    history = mlflow.get("metrics/get-history", run_id=run, metric_key="loss", max_results=3)
    assert [one["value"] for one in history["metrics"]] == [3.0, 2.0, 2.5]
    history = mlflow.get(
        "metrics/get-history", run_id=run, metric_key="loss", page_token=history["next_page_token"]
    )
    assert [(one["value"], one["step"], one["timestamp"]) for one in history["metrics"]] == [(1.0, 2, 12)]
    several = mlflow.get("metrics/get-history-bulk-interval", run_ids=[run], metric_key="loss", max_results=1)
    assert {(one["run_id"], one["step"]) for one in several["metrics"]} == {(run, 0), (run, 2)}


def test_vertex_sees_runs_with_their_series_and_its_own_are_seen(mlflow, aiplatform):
    experiment = mlflow.experiment()
    run = mlflow.run(experiment, run_name="one")
    mlflow("runs/log-batch", run_id=run, params=tags(rate="0.1", depth="3", kind="tree"), metrics=[
        {"key": "loss", "value": 1 / (step + 1), "timestamp": 1_700_000_000_000 + step, "step": step}
        for step in range(3)
    ])  # fmt: skip
    mlflow("runs/log-metric", run_id=run, key="auc", value=0.9, timestamp=1)
    mlflow("runs/update", run_id=run, status="FAILED")
    frame = aiplatform.get_experiment_df(experiment)
    assert frame[["run_name", "state", "param.rate", "param.depth", "param.kind"]].values.tolist() == [
        ["one", "FAILED", 0.1, 3, "tree"]
    ]
    assert frame["metric.auc"][0] == 0.9 and frame["time_series_metric.loss"][0] == pytest.approx(1 / 3)
    series = aiplatform.ExperimentRun("one", experiment=experiment).get_time_series_data_frame()
    assert series["step"].tolist() == [0, 1, 2]
    mlflow("runs/delete", run_id=run)
    assert aiplatform.ExperimentRun.list(experiment=experiment) == []
    mlflow("runs/restore", run_id=run)
    aiplatform.ExperimentRun("one", experiment=experiment).delete()
    assert mlflow.ask("metrics/get-history", "GET", run_id=run, metric_key="loss").status_code == 404

    theirs = aiplatform.ExperimentRun.create("theirs", experiment=experiment)
    theirs.log_params({"rate": 0.5})
    theirs.log_metrics({"auc": 0.7})
    theirs.update_state(aiplatform.gapic.Execution.State.COMPLETE)
    found = mlflow("runs/search", experiment_ids=[experiment], filter="metrics.auc = 0.7")["runs"]
    assert [one["info"]["run_name"] for one in found] == ["theirs"]
    assert found[0]["info"]["status"] == "FINISHED" and pairs(found[0]["data"]["params"]) == {"rate": "0.5"}
    mlflow("runs/log-metric", run_id=f"{experiment}-theirs", key="more", value=1, timestamp=1)
    assert aiplatform.ExperimentRun("theirs", experiment=experiment).get_metrics() == {
        "auc": 0.7,
        "more": 1.0,
    }


def test_experiments_are_named_tagged_deleted_and_found(mlflow):
    word = uuid.uuid4().hex[:8]
    made = mlflow("experiments/create", name=f"Études {word}", tags=tags(a="1"))["experiment_id"]
    assert made == f"etudes-{word}"
    mlflow.refused("experiments/create", "RESOURCE_ALREADY_EXISTS", "already exists", name=f"Études {word}")
    mlflow("experiments/set-experiment-tag", experiment_id=made, key="b", value="2")
    found = mlflow.get("experiments/get-by-name", experiment_name=f"Études {word}")["experiment"]
    assert found == mlflow.get("experiments/get", experiment_id=made)["experiment"]
    assert found["artifact_location"] == f"mlflow-artifacts:/{made}" and pairs(found["tags"]) == {
        "a": "1",
        "b": "2",
    }
    mlflow("experiments/delete-experiment-tag", experiment_id=made, key="a")
    mlflow("experiments/update", experiment_id=made, new_name=f"new {word}")
    mlflow("experiments/delete", experiment_id=made)
    mlflow.refused("runs/create", "INVALID_PARAMETER_VALUE", "deleted", experiment_id=made)
    for view, names in (("ACTIVE_ONLY", []), ("DELETED_ONLY", [f"new {word}"]), ("ALL", [f"new {word}"])):
        asked = {"filter": f"name LIKE '%{word}' AND tags.b = '2'", "view_type": view}
        assert [one["name"] for one in mlflow("experiments/search", **asked)["experiments"]] == names
    mlflow("experiments/restore", experiment_id=made)
    mlflow.run(made)
    mlflow.refused(
        "experiments/get-by-name", "RESOURCE_DOES_NOT_EXIST", "no experiment", "GET", experiment_name="none"
    )
    assert mlflow.get("experiments/get", experiment_id="0")["experiment"]["name"] == "Default"


def test_runs_are_searched_ordered_and_paged(mlflow):
    experiment = mlflow.experiment()
    for number in range(4):
        run = mlflow.run(
            experiment, run_name=f"r{number}", start_time=1000 + number, tags=tags(**{"mlflow.user": "me"})
        )
        metrics = [{"key": "loss", "value": abs(number - 2) if number else math.inf, "timestamp": 1}]
        if number == 3:
            metrics[0]["value"] = "NaN"
        mlflow("runs/log-batch", run_id=run, metrics=[] if number == 1 else metrics if number != 0 else [
            {**metrics[0], "value": 7}
        ], params=tags(kind=f"k'{number % 2}"))  # fmt: skip

    def found(text="", **more):
        runs = mlflow("runs/search", experiment_ids=[experiment], filter=text, **more)["runs"]
        return [one["info"]["run_name"] for one in runs]

    assert found() == ["r3", "r2", "r1", "r0"]
    assert found(order_by=["metrics.loss ASC"]) == ["r2", "r0", "r3", "r1"]
    assert found(order_by=["metrics.`loss` DESC"]) == ["r0", "r2", "r3", "r1"]
    assert found(order_by=["params.kind", "attributes.start_time ASC"]) == ["r0", "r2", "r1", "r3"]
    assert found('metrics.loss >= 0 AND params.kind = "k\'0"') == ["r2", "r0"]
    assert found("tags.`mlflow.user` ILIKE 'M%' and run_name IN ('r1', 'r2')") == ["r2", "r1"]
    assert found("params.none IS NULL and attributes.start_time > 1001 and status != 'FINISHED'") == [
        "r3",
        "r2",
    ]
    first = mlflow("runs/search", experiment_ids=[experiment], max_results=3)
    rest = mlflow("runs/search", experiment_ids=[experiment], page_token=first["next_page_token"])
    assert [one["info"]["run_name"] for one in rest["runs"]] == ["r0"] and "next_page_token" not in rest
    for text in (
        "loss",
        "metrics.loss = 'x'",
        "params.a = 1",
        "what.x = 1",
        "status LIKE",
        "metrics.a IN (1)",
    ):
        mlflow.refused("runs/search", "INVALID_PARAMETER_VALUE", "", experiment_ids=[experiment], filter=text)
    mlflow.refused(
        "runs/search", "INVALID_PARAMETER_VALUE", "token", experiment_ids=[experiment], page_token="x"
    )


def test_a_filter_that_no_expression_should_take_ends():
    """LIKE with many % on a long text, and a list that is never closed."""
    language = Language({"name": "name"}, lambda thing, kind, key: thing)
    passes = language.filter("name LIKE '" + "%a" * 60 + "%b'")
    assert not passes("a" * 5000) and passes("a" * 5000 + "b")
    for text, wanted in (("a%c", "abc"), ("a_c", "abc"), ("%", ""), ("%b%", "abc"), ("a%", "a")):
        assert language.filter(f"name LIKE '{text}'")(wanted)
    for text, other in (("a%a", "a"), ("a_c", "ac"), ("%ab%bc", "abc"), ("", "a")):
        assert not language.filter(f"name LIKE '{text}'")(other)
    with pytest.raises(Exception, match="can't be read"):
        language.filter("name IN (" + "'a'" + (" " * 30 + "'a'") * 200 + " x")


def test_artifacts_go_through_the_proxy(mlflow, aiplatform):
    from google.cloud import storage

    experiment = mlflow.experiment()
    run = mlflow.run(experiment, run_name="one")
    proxy = "api/2.0/mlflow-artifacts/artifacts"
    root = f"{experiment}/{run}/artifacts"
    data = bytes(range(256)) * 9000
    for path, content in (("notes/a b.txt", b"hello"), ("model.bin", data), ("empty", b"")):
        answer = mlflow.send("PUT", f"{proxy}/{root}/{path}", data=content)
        assert answer.status_code == 200 and answer.json() == {}
    assert mlflow.send("GET", f"{proxy}/{root}/notes/a%20b.txt").content == b"hello"
    assert mlflow.send("GET", f"{proxy}/{root}/model.bin").content == data
    listed = mlflow.send("GET", proxy, params={"path": root}).json()["files"]
    assert listed == [
        {"path": "empty", "is_dir": False, "file_size": 0},
        {"path": "model.bin", "is_dir": False, "file_size": len(data)},
        {"path": "notes", "is_dir": True},
    ]
    of_run = mlflow.get("artifacts/list", run_id=run, path="notes")
    assert [one["path"] for one in of_run["files"]] == ["notes/a b.txt"]
    bucket = storage.Client(project="test-project").bucket("test-project-mlflow-us-central1")
    assert bucket.blob(f"{root}/notes/a b.txt").download_as_bytes() == b"hello"
    mlflow.send("DELETE", f"{proxy}/{root}/notes")
    assert [one["path"] for one in mlflow.get("artifacts/list", run_id=run)["files"]] == [
        "empty",
        "model.bin",
    ]
    answer = mlflow.send("GET", f"{proxy}/{root}/none")
    assert answer.status_code == 404 and answer.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    for path in (f"{root}/%2E%2E/x", f"{root}//x"):
        answer = mlflow.send("PUT", f"{proxy}/{path}", data=b"x")
        assert answer.status_code == 400 and answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_data_sets_are_logged_and_found(mlflow):
    experiment = mlflow.experiment()
    run = mlflow.run(experiment)
    dataset = {"name": "census", "digest": "abc", "source_type": "local", "source": "{}"}
    context = tags(**{"mlflow.data.context": "training"})
    for _ in range(2):
        mlflow("runs/log-inputs", run_id=run, datasets=[{"dataset": dataset, "tags": context}])
    assert mlflow.get("runs/get", run_id=run)["run"]["inputs"]["dataset_inputs"] == [
        {"dataset": dataset, "tags": context}
    ]
    for text, count in (
        ("dataset.name = 'census' and datasets.context = 'training'", 1),
        ("dataset.digest = 'x'", 0),
    ):
        assert len(mlflow("runs/search", experiment_ids=[experiment], filter=text)["runs"]) == count
    assert mlflow("experiments/search-datasets", experiment_ids=[experiment])["dataset_summaries"] == [
        {"experiment_id": experiment, "name": "census", "digest": "abc", "context": "training"}
    ]
    mlflow.refused(
        "runs/log-inputs",
        "INVALID_PARAMETER_VALUE",
        "digest",
        run_id=run,
        datasets=[{"dataset": {"name": "x"}}],
    )


def test_a_batch_is_all_or_nothing(mlflow):
    run = mlflow.run(mlflow.experiment())
    good = [{"key": "m", "value": step, "timestamp": 1, "step": step} for step in range(1000)]
    mlflow("runs/log-batch", run_id=run, metrics=good)
    assert len(mlflow.get("metrics/get-history", run_id=run, metric_key="m")["metrics"]) == 1000
    mlflow.refused("runs/log-batch", "INVALID_PARAMETER_VALUE", "1,001", run_id=run, metrics=[*good, good[0]])
    mlflow("runs/log-parameter", run_id=run, key="p", value="1")
    mlflow.refused("runs/log-batch", "INVALID_PARAMETER_VALUE", "not allowed", run_id=run, metrics=good[:1],
                   params=tags(p="2"))  # fmt: skip
    mlflow.refused(
        "runs/log-batch", "INVALID_PARAMETER_VALUE", "no value", run_id=run, metrics=[{"key": "x"}]
    )
    assert len(mlflow.get("metrics/get-history", run_id=run, metric_key="m")["metrics"]) == 1000
    mlflow.refused("runs/log-metric", "INVALID_PARAMETER_VALUE", "key", run_id=run, value=1)
    mlflow.refused("runs/log-metric", "RESOURCE_DOES_NOT_EXIST", "no run", run_id="none", key="x", value=1)


def test_what_is_asked_of_the_server(portico, mlflow):
    assert mlflow.send("GET", "health").text == "OK"
    assert mlflow.send("GET", "version").text.count(".") == 2
    answer = requests.get(f"{portico.url}/apis/mlflow/api/3.0/mlflow/server-info", timeout=240)
    assert answer.json()["multipart_uploads_enabled"] is False
    answer = mlflow.send("POST", "api/3.0/mlflow/gateway/secrets/create", json={})
    assert answer.status_code == 501 and answer.json()["error_code"] == "NOT_IMPLEMENTED"
    assert mlflow.send("GET", "api/2.0/mlflow/nothing").json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    answer = requests.post(
        f"{mlflow.uri}/api/2.0/mlflow/runs/create",
        json={},
        headers={"authorization": "Bearer x"},
        timeout=240,
    )
    assert answer.status_code == 401 and answer.json()["error_code"] == "UNAUTHENTICATED"
    key = service_account.Credentials.from_service_account_file(
        portico.home / "credentials.json", scopes=["https://www.googleapis.com/auth/cloud-platform"]
    )
    key.refresh(google.auth.transport.requests.Request())
    known = dataclasses.replace(mlflow, token=key.token)  # MLFLOW_TRACKING_TOKEN
    assert known.get("experiments/get", experiment_id="0")["experiment"]["name"] == "Default"


def test_logged_models_have_parameters_tags_and_metrics(mlflow):
    experiment = mlflow.experiment()
    run = mlflow.run(experiment)
    created = mlflow(
        "logged-models", experiment_id=experiment, name="tree", source_run_id=run, params=tags(depth="3")
    )["model"]
    own = created["info"]["model_id"]
    assert created["info"]["status"] == "LOGGED_MODEL_PENDING"
    assert created["info"]["artifact_uri"] == f"mlflow-artifacts:/{experiment}/models/{own}/artifacts"
    mlflow(f"logged-models/{own}/params", model_id=own, params=tags(rate="0.1"))
    mlflow(f"logged-models/{own}/tags", "PATCH", tags=tags(stage="x", gone="y"))
    mlflow(f"logged-models/{own}/tags/gone", "DELETE")
    mlflow(f"logged-models/{own}", "PATCH", model_id=own, status="LOGGED_MODEL_READY")
    mlflow("runs/outputs", run_id=run, models=[{"model_id": own, "step": 2}])
    mlflow("runs/log-metric", run_id=run, key="auc", value=0.8, timestamp=int(time.time() * 1000), model_id=own,
           dataset_name="census", dataset_digest="abc")  # fmt: skip
    found = mlflow.get(f"logged-models/{own}")["model"]
    assert pairs(found["data"]["params"]) == {"depth": "3", "rate": "0.1"} and pairs(
        found["info"]["tags"]
    ) == {"stage": "x"}
    (metric,) = found["data"]["metrics"]
    assert (metric["value"], metric["run_id"], metric["dataset_name"]) == (0.8, run, "census")
    assert mlflow.get("runs/get", run_id=run)["run"]["outputs"]["model_outputs"] == [
        {"model_id": own, "step": 2}
    ]
    other = mlflow("logged-models", experiment_id=experiment)["model"]["info"]["model_id"]
    for asked, ids in (
        ({}, [other, own]),
        ({"filter": "metrics.auc > 0.5 AND params.depth = '3' AND status = 'READY'"}, [own]),
        ({"filter": "metrics.auc > 0.5", "datasets": [{"dataset_name": "other"}]}, []),
        ({"order_by": [{"field_name": "metrics.auc", "ascending": False}]}, [own, other]),
    ):
        answer = mlflow("logged-models/search", experiment_ids=[experiment], **asked)
        assert [one["info"]["model_id"] for one in answer["models"]] == ids, asked
    mlflow(f"logged-models/{other}", "DELETE")
    assert mlflow.ask(f"logged-models/{other}", "GET").status_code == 404
