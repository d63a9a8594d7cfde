"""Models of Google's prebuilt scikit-learn images: served by replicas in an environment of their own."""

from __future__ import annotations

import io
import os
import signal
import time

import joblib
import psutil
import pytest
import requests
import sklearn
from google.api_core import exceptions
from sklearn.linear_model import LinearRegression

MINOR = "-".join(sklearn.__version__.split(".")[:2])
IMAGE = f"us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.{MINOR}:latest"


def dumped(model: object) -> bytes:
    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def endpoint(portico):
    from google.cloud import aiplatform, storage

    aiplatform.init(
        project="test-project", location="us-central1", api_endpoint=portico.url, api_transport="rest"
    )
    bucket = storage.Client(project="test-project").create_bucket(f"replicas-{time.time_ns()}")
    linear = LinearRegression().fit([[0, 0], [1, 0], [0, 1], [1, 1]], [1, 3, 2, 4])
    bucket.blob("m/model.joblib").upload_from_string(dumped(linear))
    model = aiplatform.Model.upload(
        display_name="linear",
        artifact_uri=f"gs://{bucket.name}/m",
        serving_container_image_uri=IMAGE,
        explanation_parameters={"sampled_shapley_attribution": {"path_count": 10}},
        explanation_metadata={"inputs": {"x": {}}, "outputs": {"y": {}}},
    )
    endpoint = model.deploy(machine_type="n1-standard-2", min_replica_count=2, max_replica_count=2)
    yield endpoint
    endpoint.undeploy_all()


def test_it_predicts_as_the_pickle_would(endpoint):
    answer = endpoint.predict(instances=[[1, 1], [2, 3]])
    assert answer.predictions == pytest.approx([4.0, 8.0])
    with pytest.raises(exceptions.BadRequest):
        endpoint.predict(instances=[["a", "b"]])


def test_explanations_add_up(endpoint):
    [explanation] = endpoint.explain(instances=[[2, 3]]).explanations
    [attribution] = explanation.attributions
    assert attribution.instance_output_value == pytest.approx(8.0)


def test_a_replica_that_dies_is_replaced_and_no_request_is_lost(portico, endpoint):
    url = f"{portico.url}/v1/{endpoint.resource_name}:predict"
    replicas = [p for p in portico.pids() if "worker.py" in " ".join(_command(p))]
    assert len(replicas) >= 2
    os.kill(replicas[-1], signal.SIGKILL)
    session = requests.Session()
    for _ in range(200):
        answer = session.post(url, json={"instances": [[1, 1]]}, timeout=30)
        assert answer.status_code == 200, answer.text
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if len([p for p in portico.pids() if "worker.py" in " ".join(_command(p))]) >= len(replicas):
            return
        time.sleep(0.2)
    raise AssertionError("the replica was not replaced")


def test_a_pickle_of_another_version_is_refused_with_both_named(aiplatform, bucket, endpoint):
    other = dumped(LinearRegression()).replace(
        sklearn.__version__.encode(), _other(sklearn.__version__).encode()
    )
    bucket.blob("old/model.joblib").upload_from_string(other)
    model = aiplatform.Model.upload(
        display_name="old", artifact_uri=f"gs://{bucket.name}/old", serving_container_image_uri=IMAGE
    )
    with pytest.raises(exceptions.GoogleAPICallError) as refused:
        model.deploy()
    assert _other(sklearn.__version__) in str(refused.value)
    assert sklearn.__version__.rpartition(".")[0] in str(refused.value)


def _other(version: str) -> str:
    """A version of the same length with another minor number."""
    major, minor, patch = version.split(".")[:3]
    return f"{major}.{(int(minor) + 1) % 10 if len(minor) == 1 else int(minor) - 1}.{patch}"


def _command(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []
