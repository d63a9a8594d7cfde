"""Models of Google's prebuilt scikit-learn images: served by replicas in an environment of their own."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import time

import joblib
import numpy as np
import pandas
import psutil
import pytest
import requests
import sklearn
from google.api_core import exceptions
from google.cloud import logging
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from tests.waiting import until

from portico.cli import logs, status
from portico.services.aiplatform import machine_types

from .monitored import alerts, monitor, put, schema

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
        explanation_metadata={"inputs": {"x": {"index_feature_mapping": ["a", "b"]}}, "outputs": {"y": {}}},
    )
    endpoint = model.deploy(machine_type="n1-standard-2", min_replica_count=2, max_replica_count=2)
    yield endpoint
    endpoint.undeploy_all()


def test_it_predicts_as_the_pickle_would(endpoint):
    answer = endpoint.predict(instances=[[1, 1], [2, 3]])
    assert answer.predictions == pytest.approx([4.0, 8.0])
    with pytest.raises(exceptions.BadRequest):
        endpoint.predict(instances=[["a", "b"]])


def test_what_confines_a_models_code_is_told(portico, endpoint):
    [deployed] = endpoint.list_models()
    assert deployed.status.message.startswith("The model's code runs ")
    assert "at most 7,680 MiB of memory" in deployed.status.message or walled_memory() < 7680 << 20
    log = logs.as_json(portico.home, endpoint.name, follow=False)["log"]
    assert deployed.status.message in log


def walled_memory() -> int:
    return machine_types.memory({"machineSpec": {"machineType": "n1-standard-2"}})


def test_unconfined_deployments_say_so(portico, endpoint, new_portico):
    own = new_portico()
    own.options = ("--unconfined",)
    own.start()
    session, place = requests.Session(), f"{own.url}/v1/projects/p/locations/us-central1"

    def done(url: str, body: dict) -> dict:
        """The response of the operation that `body` starts at `url`."""
        told = session.post(url, json=body).json()
        while not told.get("done"):
            told = session.post(f"{own.url}/v1/{told['name']}:wait?timeout=240s", json={}).json()
        return told["response"]

    try:
        linear = LinearRegression().fit([[0], [1]], [0, 1])
        session.post(f"{own.url}/storage/v1/b?project=p", json={"name": "own"}).raise_for_status()
        session.post(
            f"{own.url}/upload/storage/v1/b/own/o?uploadType=media&name=m/model.joblib", data=dumped(linear)
        ).raise_for_status()
        model = {"displayName": "m", "artifactUri": "gs://own/m", "containerSpec": {"imageUri": IMAGE}}
        model = done(f"{place}/models:upload", {"model": model})["model"]
        name = done(f"{place}/endpoints", {"displayName": "e"})["name"]
        deployed = done(f"{own.url}/v1/{name}:deployModel", {"deployedModel": {"model": model}})
        assert "UNCONFINED" in deployed["deployedModel"]["status"]["message"]
        assert "UNCONFINED" in logs.as_json(own.home, name, follow=False)["log"]
        answer = session.post(f"{own.url}/v1/{name}:predict", json={"instances": [[2]]}).json()
        assert answer["predictions"] == pytest.approx([2.0])
        assert status.collect(own.home)["isolation"]["name"] == "unconfined"
        assert "unconfined" in own.log()
    finally:
        own.stop()


def test_explanations_add_up(endpoint):
    [explanation] = endpoint.explain(instances=[[2, 3]]).explanations
    [attribution] = explanation.attributions
    assert attribution.instance_output_value == pytest.approx(8.0)


def moved(count: int, scale: float) -> list[list[float]]:
    """Rows of which the model, 1 + 2 a + b, hears the less of `a`, the smaller `scale` is."""
    cells = np.random.default_rng(count).normal(size=(count, 2)) * [scale, 1.0]
    return [[float(a), float(b)] for a, b in cells]


def csv_of_rows(rows: list[list[float]]) -> str:
    return "\n".join(["a,b,y", *(f"{a},{b},{1 + 2 * a + b}" for a, b in rows)])


def test_a_monitoring_job_compares_attributions_of_a_model_in_replicas(portico, endpoint):
    from google.cloud import aiplatform, storage
    from google.cloud.aiplatform import model_monitoring as mm

    bucket = storage.Client(project="test-project").create_bucket(f"attributed-{time.time_ns()}")
    bucket.blob("train.csv").upload_from_string(csv_of_rows(moved(300, 1.0)))
    job = aiplatform.ModelDeploymentMonitoringJob.create(
        endpoint=endpoint,
        display_name="attributions",
        schedule_config=mm.ScheduleConfig(monitor_interval=1),
        logging_sampling_strategy=mm.RandomSampleConfig(sample_rate=1.0),
        alert_config=mm.EmailAlertConfig(user_emails=["a@example.com"]),
        objective_configs=mm.ObjectiveConfig(
            mm.SkewDetectionConfig(
                data_source=f"gs://{bucket.name}/train.csv", data_format="csv", target_field="y",
                skew_thresholds={"a": 0.9}, attribute_skew_thresholds={"a": 0.2},
            ),
            None,
            mm.ExplanationConfig(),
        ),
    )  # fmt: skip
    endpoint.predict(instances=moved(120, 0.05))
    clock = f"{portico.url}/apis/portico/v1/clock:advance"
    assert requests.post(clock, json={"duration": "3600s"}, timeout=240).status_code == 200
    [found] = job.api_client.search_model_deployment_monitoring_stats_anomalies(
        request={
            "model_deployment_monitoring_job": job.resource_name,
            "deployed_model_id": endpoint.list_models()[0].id,
            "objectives": [{"type_": "FEATURE_ATTRIBUTION_SKEW"}],
        }
    )
    stats = {one.feature_display_name: one for one in found.feature_stats}
    assert stats["a"].training_stats.score == pytest.approx(2 / 3, abs=0.05)
    assert stats["a"].prediction_stats[0].score < 0.2 and found.anomaly_count == 1
    job.delete()


@pytest.mark.slow
def test_a_model_monitor_compares_attributions_of_a_model_in_replicas(endpoint):
    from google.cloud import aiplatform, storage
    from google.cloud.aiplatform_v1beta1 import ExplanationSpec
    from vertexai.resources.preview.ml_monitoring import model_monitors, spec

    model_monitors._JOB_WAIT_TIME = 0.05
    bucket = storage.Client(project="test-project").create_bucket(f"watched-{time.time_ns()}")
    objective = spec.TabularObjective(
        feature_attribution_spec=spec.FeatureAttributionSpec(default_alert_threshold=0.2)
    )
    before = put(bucket, "before.csv", csv_of_rows(moved(300, 1.0)))
    after = put(bucket, "after.csv", csv_of_rows(moved(301, 0.05)))
    model = aiplatform.Model(endpoint.list_models()[0].model)
    watched = monitor(
        model, before, objective, model_monitoring_schema=schema(fields={"a": "float", "b": "float"})
    )
    watched.run(target_dataset=after, sync=True)
    assert sorted(alerts(watched, objective_type="feature-attribution")) == ["a", "b"]
    with pytest.raises(exceptions.BadRequest, match="pathCount is 99"):
        other = {"parameters": {"sampled_shapley_attribution": {"path_count": 99}}}
        watched.run(target_dataset=after, explanation_spec=ExplanationSpec(other), sync=True)
    watched.delete(force=True)


def test_a_replica_that_dies_is_replaced_and_no_request_is_lost(portico, endpoint):
    url = f"{portico.url}/v1/{endpoint.resource_name}:predict"
    replicas = [p for p in portico.pids() if "worker.py" in " ".join(_command(p))]
    assert len(replicas) >= 2
    os.kill(replicas[-1], signal.SIGKILL)
    session = requests.Session()
    for _ in range(200):
        answer = session.post(url, json={"instances": [[1, 1]]}, timeout=240)
        assert answer.status_code == 200, answer.text

    def up() -> bool:
        return len([p for p in portico.pids() if "worker.py" in " ".join(_command(p))]) >= len(replicas)

    until(up, "the replica is replaced")


class Warns:
    """Loads as a fitted model of another version: with a warning, as libraries give, and a parameter fewer."""

    def __reduce__(self):
        fitted = LinearRegression().fit(pandas.DataFrame({"x": [0, 1]}), [0, 1])
        del fitted.copy_X
        model = pickle.dumps(fitted)
        code = "__import__('warnings').warn('made by another version') or __import__('pickle').loads(model)"
        return eval, (code, {"model": model})


def test_what_a_library_warns_of_at_loading_is_in_the_deployments_log(portico, aiplatform, bucket, endpoint):
    bucket.blob("old/model.joblib").upload_from_string(dumped(Warns()))
    model = aiplatform.Model.upload(
        display_name="old", artifact_uri=f"gs://{bucket.name}/old", serving_container_image_uri=IMAGE
    )
    deployed = model.deploy()
    assert deployed.predict([[2]]).predictions == pytest.approx([2.0])
    log = logs.as_json(portico.home, deployed.name, follow=False)["log"]
    assert "UserWarning: made by another version" in log
    options = {"api_endpoint": f"{portico.url}/apis/logging"}
    client = logging.Client(project="test-project", client_options=options, _use_grpc=False)
    wanted = f'log_id("aiplatform.googleapis.com/prediction_container") resource.labels.endpoint_id="{deployed.name}"'
    found = until(lambda: list(client.list_entries(filter_=f"{wanted} UserWarning")), "it is a log entry too")
    assert "made by another version" in found[0].payload["message"]
    assert found[0].labels["deployed_model_id"] == deployed.list_models()[0].id
    model.update(description="deployed meanwhile")  # with the etag from before
    deployed.undeploy_all()
    assert aiplatform.Model(model.resource_name).description == "deployed meanwhile"


def test_texts_are_predicted_one_by_one_and_in_a_batch(aiplatform, bucket, endpoint):
    said = make_pipeline(CountVectorizer(), LogisticRegression())
    said.fit(["good", "so good", "bad", "so bad"], ["+", "+", "-", "-"])
    bucket.blob("said/model.joblib").upload_from_string(dumped(said))
    model = aiplatform.Model.upload(
        display_name="said",
        artifact_uri=f"gs://{bucket.name}/said",
        serving_container_image_uri=IMAGE.replace("vertex-ai", "cloud-aiplatform"),
    )
    deployed = model.deploy()
    assert deployed.predict(["so very good", "bad"]).predictions == ["+", "-"]
    bucket.blob("said.jsonl").upload_from_string('"so very good"\n"bad"\n')
    job = model.batch_predict(
        job_display_name="said",
        gcs_source=f"gs://{bucket.name}/said.jsonl",
        gcs_destination_prefix=f"gs://{bucket.name}/out",
        machine_type="n1-standard-2",
    )
    found = [line for blob in job.iter_outputs() for line in blob.download_as_text().splitlines()]
    assert [json.loads(line)["prediction"] for line in found] == ["+", "-"]
    deployed.undeploy_all()


def _command(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []
