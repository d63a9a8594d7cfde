"""Uploaded native models: from a file in Cloud Storage to online predictions, by the official client."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest
import requests
from google.api_core import exceptions
from tests import processes
from tests.services.aiplatform.conftest import IMAGE, train_booster

from portico.cli.status import as_text, collect

ROWS = [[0.5, -1.0, 2.0], [-2.0, 0.1, 0.0]]
INSTANCES = [dict(zip("abc", row, strict=True)) for row in ROWS]


def test_a_lightgbm_model_goes_from_a_file_to_online_predictions(aiplatform, upload, booster):
    model = upload(labels={"team": "trees"})
    assert (model.display_name, model.version_id, model.version_aliases) == ("trees", "1", ["default"])
    endpoint = aiplatform.Endpoint.create(display_name="trees")
    model.deploy(endpoint=endpoint, machine_type="n1-standard-2", min_replica_count=1)
    answer = endpoint.predict(instances=INSTANCES)
    assert answer.predictions == booster.predict(ROWS).tolist()
    assert (answer.model_resource_name, answer.model_version_id) == (model.resource_name, "1")
    with pytest.raises(exceptions.BadRequest, match="undeploy it first"):
        model.delete()
    endpoint.undeploy_all()
    with pytest.raises(exceptions.GoogleAPICallError):
        endpoint.predict(instances=INSTANCES)
    endpoint.delete()
    model.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.Model(model.resource_name)


def test_raw_predict_answers_as_the_container_would(portico, aiplatform, upload, booster):
    endpoint = upload().deploy()
    answer = requests.post(
        f"{portico.url}/v1/{endpoint.resource_name}:rawPredict",
        data=json.dumps({"instances": INSTANCES}),
        headers={"content-type": "application/json"},
        timeout=240,
    )
    assert answer.json()["predictions"] == booster.predict(ROWS).tolist()
    endpoint.undeploy_all()


def test_explanations_add_up_to_the_prediction(aiplatform, upload, booster):
    model = upload(
        explanation_parameters={"sampled_shapley_attribution": {"path_count": 10}},
        explanation_metadata={"inputs": {name: {} for name in "abc"}, "outputs": {"value": {}}},
    )
    endpoint = model.deploy()
    answer = endpoint.explain(instances=INSTANCES)
    for explanation, row in zip(answer.explanations, ROWS, strict=True):
        [attribution] = explanation.attributions
        total = attribution.baseline_output_value + sum(attribution.feature_attributions.values())
        assert total == pytest.approx(booster.predict([row])[0], abs=1e-9)
    endpoint.undeploy_all()


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ({"a": "abc", "b": 0, "c": 0}, r"instances\[0\].*'?a'?"),
        ({"a": [1], "b": 0, "c": 0}, r"instances\[0\].*'?a'?"),
        ("nonsense", r"instances\[0\]"),
    ],
)
def test_a_wrong_value_is_refused_by_row_and_feature(aiplatform, deployed, instance, message):
    with pytest.raises(exceptions.BadRequest, match=message):
        deployed.predict(instances=[instance])


@pytest.fixture(scope="module")
def deployed(portico):
    from google.cloud import aiplatform, storage

    aiplatform.init(
        project="test-project", location="us-central1", api_endpoint=portico.url, api_transport="rest"
    )
    bucket = storage.Client(project="test-project").create_bucket(f"native-{time.time_ns()}")
    bucket.blob("m/model.txt").upload_from_string(train_booster().model_to_string())
    model = aiplatform.Model.upload(
        display_name="m", artifact_uri=f"gs://{bucket.name}/m", serving_container_image_uri=IMAGE
    )
    endpoint = model.deploy()
    yield endpoint
    endpoint.undeploy_all()


def test_one_and_its_spellings_are_the_same(deployed):
    spellings = [{"a": one, "b": 0, "c": 0} for one in (1, 1.0, "1", "1.0")]
    assert len(set(deployed.predict(instances=spellings).predictions)) == 1


def test_what_cannot_be_served_is_refused_with_a_reason(aiplatform, bucket):
    bucket.blob("other/readme.txt").upload_from_string("nothing")
    with pytest.raises(exceptions.GoogleAPICallError, match=r"model\.txt"):
        aiplatform.Model.upload(
            display_name="trees",
            artifact_uri=f"gs://{bucket.name}/other",
            serving_container_image_uri=IMAGE,
        )


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (None, "has no container"),
        ("gcr.io/me/my-server:1", "was not built here"),
    ],
)
@pytest.mark.parametrize("files", [False, True])
def test_what_nothing_here_serves_is_registered_and_refused_at_deployment(
    aiplatform, bucket, image, reason, files
):
    if files and image is None:
        pytest.skip("the client refuses files without a container")
    bucket.blob("other/readme.txt").upload_from_string("nothing")
    artifact = f"gs://{bucket.name}/other" if files else None
    model = aiplatform.Model.upload(
        display_name="own", artifact_uri=artifact, serving_container_image_uri=image
    )
    assert [model.name] == [found.name for found in aiplatform.Model.list(filter=f"model={model.name}")]
    model.update(labels={"team": "a"})
    assert aiplatform.Model(model.resource_name).labels == {"team": "a"}
    endpoint = aiplatform.Endpoint.create("for-own")
    with pytest.raises(exceptions.BadRequest, match=reason):
        endpoint.deploy(model)
    bucket.blob("in.jsonl").upload_from_string("[1]\n")
    with pytest.raises(exceptions.BadRequest, match=reason):
        model.batch_predict(
            "j", f"gs://{bucket.name}/in.jsonl", gcs_destination_prefix=f"gs://{bucket.name}/o"
        )
    if files:
        written = model.export_model("custom-trained", f"gs://{bucket.name}/export")
        assert written["artifactOutputUri"].startswith(f"gs://{bucket.name}/export")
    copied = model.copy("us-central1")
    endpoint.delete()
    model.delete()
    copied.delete()


def test_the_limits_of_a_models_own_process_are_stated(aiplatform, bucket, tmp_path):
    from onnx import TensorProto, helper, save

    number = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])], "twice",
        [number("x", TensorProto.FLOAT, [None, 2])], [number("y", TensorProto.FLOAT, [None, 2])],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    save(made, str(tmp_path / "model.onnx"))
    bucket.blob("twice/model.onnx").upload_from_filename(tmp_path / "model.onnx")
    model = aiplatform.Model.upload(
        display_name="twice",
        artifact_uri=f"gs://{bucket.name}/twice",
        serving_container_image_uri=IMAGE.replace("lightgbm-cpu.4-7", "onnx-cpu.1-32"),
    )
    endpoint = model.deploy()
    assert endpoint.predict([[1.0, 2.0]]).predictions == [[2.0, 4.0]]
    [deployed] = endpoint.list_models()
    assert re.search(
        r"a process of its own.* at most 2,048 MiB of memory and 60 s a request", deployed.status.message
    )
    endpoint.undeploy_all()
    model.delete()


@pytest.mark.parametrize("image", [IMAGE, "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5:latest"])
def test_a_model_without_files_is_registered_and_refused_at_deployment(aiplatform, image):
    model = aiplatform.Model.upload(display_name="bare", serving_container_image_uri=image)
    assert aiplatform.Model(model.resource_name).container_spec.image_uri == image
    with pytest.raises(exceptions.BadRequest, match=r"no files to predict with.*artifactUri"):
        model.deploy()
    model.delete()


def test_a_broken_model_leaves_the_endpoint_as_it_was(aiplatform, bucket, upload, booster):
    endpoint = upload().deploy()
    bucket.blob("broken/model.txt").upload_from_string("tree\nthis is no model\n")
    broken = aiplatform.Model.upload(
        display_name="broken", artifact_uri=f"gs://{bucket.name}/broken", serving_container_image_uri=IMAGE
    )
    with pytest.raises(exceptions.GoogleAPICallError):
        broken.deploy(endpoint=endpoint, traffic_percentage=100)
    assert endpoint.predict(instances=INSTANCES).predictions == booster.predict(ROWS).tolist()
    assert len(endpoint.list_models()) == 1
    endpoint.undeploy_all()
    broken.delete()


def test_deploying_shifting_and_undeploying_drop_no_request(portico, aiplatform, upload):
    first = upload()
    endpoint = first.deploy()
    second = upload(train_booster(factor=-3.0), parent_model=first.resource_name)
    url = f"{portico.url}/v1/{endpoint.resource_name}:predict"
    failures: list[str] = []
    seen: set[str] = set()
    stop = threading.Event()

    def ask() -> None:
        session = requests.Session()
        while not stop.is_set():
            answer = session.post(url, json={"instances": INSTANCES}, timeout=240)
            if answer.status_code != 200:
                failures.append(answer.text)
            else:
                seen.add(answer.json()["modelVersionId"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    second.deploy(endpoint=endpoint, traffic_percentage=50)
    old, new = endpoint.list_models()[0].id, endpoint.list_models()[1].id
    assert sorted(endpoint.traffic_split.values()) == [50, 50]
    endpoint.update(traffic_split={old: 0, new: 100})
    endpoint.undeploy(old)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert seen == {"1", "2"}
    assert endpoint.predict(instances=INSTANCES).model_version_id == "2"
    endpoint.undeploy_all()


def test_a_deployed_model_is_mutated_where_the_mask_says(portico, deployed):
    from google.cloud import aiplatform_v1

    client = aiplatform_v1.EndpointServiceClient(
        client_options={"api_endpoint": portico.url}, transport="rest"
    )
    [model] = deployed.list_models()
    asked = {
        "id": model.id,
        "dedicated_resources": {"min_replica_count": 1, "max_replica_count": 3},
        "enable_access_logging": True,
    }
    client.mutate_deployed_model(
        endpoint=deployed.resource_name,
        deployed_model=asked,
        update_mask={"paths": ["dedicated_resources.max_replica_count"]},
    ).result()
    [changed] = deployed.list_models()
    assert changed.dedicated_resources.max_replica_count == 3
    assert not changed.enable_access_logging
    with pytest.raises(exceptions.BadRequest, match="displayName"):
        client.mutate_deployed_model(
            endpoint=deployed.resource_name, deployed_model=asked, update_mask={"paths": ["display_name"]}
        )


def test_a_file_that_would_kill_a_front_fails_its_deployment_with_words(aiplatform, bucket, upload, booster):
    endpoint = upload().deploy()
    text = booster.model_to_string()
    for name, damaged in {
        "cut": text[: len(text) // 2],
        "loop": re.sub(r"left_child=\S+ \S+", "left_child=0 0", text, count=1),
    }.items():
        bucket.blob(f"{name}/model.txt").upload_from_string(damaged)
        model = aiplatform.Model.upload(
            display_name=name, artifact_uri=f"gs://{bucket.name}/{name}", serving_container_image_uri=IMAGE
        )
        with pytest.raises(exceptions.GoogleAPICallError, match="damaged"):
            model.deploy(endpoint=endpoint, traffic_percentage=100)
        assert endpoint.predict(instances=INSTANCES).predictions == booster.predict(ROWS).tolist()
    endpoint.undeploy_all()


def test_a_file_that_changed_on_the_disk_is_refused_and_repaired_through_the_api(
    portico, aiplatform, upload, booster
):
    other, model = upload().deploy(), upload(train_booster(factor=-3.0))
    endpoint = model.deploy()
    text = train_booster(factor=-3.0).model_to_string()
    found = [path for path in portico.home.glob("models/*/model.txt") if path.read_text() == text]
    file = max(found, key=lambda path: path.stat().st_mtime)  # other tests' models may be the same
    file.write_text(file.read_text()[:-2000])
    [front] = [p for p in processes.found(portico.pids()) if processes.name(p) == "front-0"]
    front.kill()
    front.wait()
    url = f"{portico.url}/v1/{endpoint.resource_name}:predict"
    answer = requests.post(url, json={"instances": INSTANCES}, timeout=240)
    assert answer.status_code == 503 and "changed on the disk" in answer.json()["error"]["message"]
    told = as_text(collect(portico.home))
    assert re.search(r"NOT SERVED: \S.*: .*changed on the disk", told), told
    assert other.predict(instances=INSTANCES).predictions == booster.predict(ROWS).tolist()
    with pytest.raises(exceptions.GoogleAPICallError, match="changed on the disk"):
        model.deploy()
    upload().deploy(endpoint=endpoint, traffic_percentage=100)  # beside it
    assert endpoint.predict(instances=INSTANCES).predictions == booster.predict(ROWS).tolist()
    endpoint.undeploy_all()
    other.undeploy_all()
