"""One of everything that is built, made through the API, for tests that then shake it."""

from __future__ import annotations

import functools
import itertools
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.waiting import PATIENCE, until
from wire import Answer, Wire

IMAGE = "us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest"
TABULAR = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
AUTOML = "gs://google-cloud-aiplatform/schema/trainingjob/definition/automl_tabular_1.0.0.yaml"
METRICS = "gs://google-cloud-aiplatform/schema/modelevaluation/regression_metrics_1.0.0.yaml"
ROWS = [[0.5, -1.0, 2.0], [-2.0, 0.1, 0.0], [0.0, 0.0, 0.0]]
_numbers = itertools.count()


@functools.cache
def trees(seed: int = 0) -> str:
    """A small LightGBM model of a, b and c, as text."""
    import lightgbm
    import numpy as np

    rng = np.random.default_rng(seed)
    features = rng.normal(size=(300, 3))
    target = features[:, 0] * (2 + seed) - features[:, 1]
    data = lightgbm.Dataset(features, target, feature_name=["a", "b", "c"])
    settings = {"objective": "regression", "verbose": -1, "num_threads": 1, "num_leaves": 7}
    return lightgbm.train(settings, data, 8).model_to_string()


def good(answer: Answer) -> Any:
    assert answer.status == 200, answer
    return answer.json


def upload(wire: Wire, bucket: str, name: str, data: bytes) -> Any:
    target = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
    return good(wire("POST", target, data, {"content-type": "application/octet-stream"}))


def wait(wire: Wire, operation: Any, seconds: float = PATIENCE) -> Any:
    """The response of an operation, polled where the clients poll."""

    def done() -> Any:
        now = good(wire("GET", f"/ui/{operation['name']}"))
        return now if now.get("done") else None

    operation = operation if operation.get("done") else until(done, operation["name"], seconds)
    assert "error" not in operation, operation
    return operation["response"]


def fresh_name(kind: str) -> str:
    return f"{kind}-{time.time_ns() % 10**12}-{next(_numbers)}"


def make_bucket(wire: Wire) -> str:
    name = fresh_name("bucket")
    good(wire("POST", "/storage/v1/b?project=p", {"name": name}))
    upload(wire, name, "model/model.txt", trees().encode())
    lines = "\n".join(f"{i % 7},{i % 3},{(i % 7) * 2 + i % 3}" for i in range(400))
    upload(wire, name, "rows.csv", f"a,b,y\n{lines}\n".encode())
    instances = "\n".join(json.dumps(dict(zip("abc", row, strict=True))) for row in ROWS * 20)
    upload(wire, name, "rows.jsonl", instances.encode())
    return name


def make_model(wire: Wire, location: str, bucket: str, **more: Any) -> str:
    model = {
        "displayName": "trees",
        "artifactUri": f"gs://{bucket}/model",
        "containerSpec": {"imageUri": IMAGE},
        **more,
    }
    return str(wait(wire, good(wire("POST", f"/v1/{location}/models:upload", {"model": model})))["model"])


def make_linear(wire: Wire, location: str, bucket: str) -> str:
    """A scikit-learn model, which is served by a replica process."""
    import io

    import joblib
    import sklearn
    from sklearn.linear_model import LinearRegression

    file = io.BytesIO()
    joblib.dump(LinearRegression().fit([[0, 0], [1, 0], [0, 1], [1, 1]], [1, 3, 2, 4]), file)
    upload(wire, bucket, "linear/model.joblib", file.getvalue())
    minor = "-".join(sklearn.__version__.split(".")[:2])
    image = f"us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.{minor}:latest"
    more = {"artifactUri": f"gs://{bucket}/linear", "containerSpec": {"imageUri": image}}
    return make_model(wire, location, bucket, **more)


def make_endpoint(wire: Wire, location: str, **more: Any) -> str:
    made = good(wire("POST", f"/v1/{location}/endpoints", {"displayName": "served", **more}))
    return str(wait(wire, made)["name"])


def deploy(wire: Wire, endpoint: str, model: str, seconds: float = PATIENCE) -> str:
    body = {"deployedModel": {"model": model, "dedicatedResources": {"minReplicaCount": 1}}}
    made = good(wire("POST", f"/v1/{endpoint}:deployModel", body))
    return str(wait(wire, made, seconds)["deployedModel"]["id"])


def predict(wire: Wire, endpoint: str) -> Answer:
    instances = [dict(zip("abc", row, strict=True)) for row in ROWS]
    return wire("POST", f"/v1/{endpoint}:predict", {"instances": instances})


def dataset_body(bucket: str, name: str = "rows") -> dict[str, Any]:
    source = {"gcsSource": {"uri": [f"gs://{bucket}/rows.csv"]}}
    return {"displayName": name, "metadataSchemaUri": TABULAR, "metadata": {"inputConfig": source}}


def make_dataset(wire: Wire, location: str, bucket: str) -> str:
    made = good(wire("POST", f"/v1/{location}/datasets", dataset_body(bucket)))
    return str(wait(wire, made)["name"])


def training_body(dataset: str, name: str = "training", budget: int = 1) -> dict[str, Any]:
    return {
        "displayName": name,
        "inputDataConfig": {"datasetId": dataset.rpartition("/")[2]},
        "trainingTaskDefinition": AUTOML,
        "trainingTaskInputs": {
            "targetColumn": "y",
            "predictionType": "regression",
            "transformations": [{"auto": {"columnName": "a"}}, {"auto": {"columnName": "b"}}],
            "trainBudgetMilliNodeHours": str(budget),
        },
        "modelToUpload": {"displayName": name},
    }


def make_training(wire: Wire, location: str, dataset: str, **more: Any) -> str:
    made = wire("POST", f"/v1/{location}/trainingPipelines", training_body(dataset, **more))
    return str(good(made)["name"])


def batch_body(bucket: str, model: str, name: str = "batch") -> dict[str, Any]:
    return {
        "displayName": name,
        "model": model,
        "inputConfig": {
            "instancesFormat": "jsonl",
            "gcsSource": {"uris": [f"gs://{bucket}/rows.jsonl"]},
        },
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": f"gs://{bucket}/out"},
        },
    }


def make_batch(wire: Wire, location: str, bucket: str, model: str) -> str:
    made = wire("POST", f"/v1/{location}/batchPredictionJobs", batch_body(bucket, model))
    return str(good(made)["name"])


PIPELINE = {
    "pipelineInfo": {"name": "do-nothing"},
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.17.0",
    "root": {"dag": {"tasks": {}}},
}


def make_template(wire: Wire, location: str) -> str:
    """A tag of a pipeline template's version, in a repository of its own."""
    at, name = f"/apis/artifactregistry/v1/{location}/repositories", fresh_name("templates")
    good(wire("POST", f"{at}?repositoryId={name}", {"format": "KFP"}))
    _, project, _, region = location.split("/")
    target = f"/apis/artifactregistry/kfp/{region}/{project}/{name}"
    head = b'--x\r\nContent-Disposition: form-data; name="'
    form = head + b'tags"\r\n\r\nlatest\r\n' + head + b'content"\r\n\r\n' + json.dumps(PIPELINE).encode()
    answer = wire(
        "POST", target, form + b"\r\n--x--\r\n", {"content-type": "multipart/form-data; boundary=x"}
    )
    assert answer.status == 200, answer
    return f"{location}/repositories/{name}/packages/do-nothing/tags/latest"


def make_trigger(wire: Wire, location: str, bucket: str) -> str:
    pipeline = {"pipelineSpec": PIPELINE, "pipelineRoot": f"gs://{bucket}/runs"}
    body = {"object": {"uriPrefix": f"gs://{bucket}/triggers/"}, "pipeline": pipeline}
    at = f"/apis/portico/v1/{location}/triggers"
    return str(good(wire("POST", f"{at}?triggerId={fresh_name('trigger')}", body))["name"])


def make_schedule(wire: Wire, location: str, bucket: str) -> str:
    """One that is not due before years are gone."""
    job = {"pipelineSpec": PIPELINE, "runtimeConfig": {"gcsOutputDirectory": f"gs://{bucket}/runs"}}
    body = {
        "displayName": "yearly",
        "cron": "0 0 29 2 *",
        "maxConcurrentRunCount": "1",
        "createPipelineJobRequest": {"parent": location, "pipelineJob": job},
    }
    return str(good(wire("POST", f"/v1/{location}/schedules", body))["name"])


@dataclass
class World:
    """Full resource names, each of a thing that is there."""

    location: str
    bucket: str
    dataset: str
    version: str
    model: str
    evaluation: str
    endpoint: str
    deployed: str
    training: str
    batch: str
    operation: str
    tag: str
    trigger: str
    schedule: str


def make_world(wire: Wire, location: str) -> World:
    bucket = make_bucket(wire)
    dataset = make_dataset(wire, location, bucket)
    made = good(wire("POST", f"/v1/{dataset}/datasetVersions", {"displayName": "pinned"}))
    version = wait(wire, made)["name"]
    model = make_model(wire, location, bucket, labels={"team": "trees"})
    body = {"modelEvaluation": {"metricsSchemaUri": METRICS, "metrics": {"rootMeanSquaredError": 1.5}}}
    evaluation = good(wire("POST", f"/v1/{model}/evaluations:import", body))["name"]
    endpoint = make_endpoint(wire, location)
    deployed = deploy(wire, endpoint, model)
    training = make_training(wire, location, dataset)
    good(wire("POST", f"/v1/{training}:cancel", {}))
    batch = make_batch(wire, location, bucket, model)
    return World(
        location,
        bucket,
        dataset,
        version,
        model,
        evaluation,
        endpoint,
        deployed,
        training,
        batch,
        made["name"],
        make_template(wire, location),
        make_trigger(wire, location, bucket),
        make_schedule(wire, location, bucket),
    )
