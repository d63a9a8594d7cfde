"""What a steward's file needs and is not there yet: its dataset, a model trained on it, an endpoint that serves it.

Every step looks first whether its result is there, by display name; so applying a file again, or after it was cut off,
makes only what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from portico.errors import BY_CODE, NUMBERS, PorticoError

if TYPE_CHECKING:
    from portico.client.api import Client

_SCHEMA = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
_TRAINING = "gs://google-cloud-aiplatform/schema/trainingjob/definition/automl_tabular_1.0.0.yaml"
_RUNNING = ("PIPELINE_STATE_QUEUED", "PIPELINE_STATE_PENDING", "PIPELINE_STATE_RUNNING")
_POLL = 0.5  # seconds

Tell = Callable[[str], None]


def missing(client: Client, name: str, spec: Mapping[str, Any]) -> list[str]:
    """What `provide` would make for a file whose endpoint is not there, in words; empty where it does not say how.

    `spec` is as written: endpoint and dataset by display name.
    """
    if not _declares(spec):
        return []
    words = []
    if not named(client, "datasets", _dataset_name(name, spec)):
        words.append(f"dataset {_dataset_name(name, spec)}")
    if not named(client, "models", name):
        words.append(f"model {name}")
    return [*words, f"endpoint {spec['endpoint']}"]


def provide(client: Client, name: str, spec: Mapping[str, Any], tell: Tell) -> None:
    """Makes the endpoint `spec["endpoint"]` and deploys to it a model that is trained as the file says.

    Raises:
        PorticoError: what the server answered, or how the training failed.
    """
    data, training = spec["data"], spec["training"]
    found = named(client, "datasets", _dataset_name(name, spec))
    if not found:
        tell(f"making the dataset {_dataset_name(name, spec)}")
        body = {
            "displayName": _dataset_name(name, spec), "metadataSchemaUri": _SCHEMA,
            "metadata": {"inputConfig": {"gcsSource": {"uri": data["source"]}}},
        }  # fmt: skip
        found = [_done(client, client.call("POST", f"/v1/{client.parent}/datasets", body))]
    models = named(client, "models", name)
    if not models:
        tell(f"training the model {name}")
        models = [_trained(client, name, found[0]["name"], data, training)]
    endpoints = named(client, "endpoints", spec["endpoint"])
    if not endpoints:
        body = {"displayName": spec["endpoint"]}
        endpoints = [_done(client, client.call("POST", f"/v1/{client.parent}/endpoints", body))]
    if not client.call("GET", f"/v1/{endpoints[0]['name']}").get("deployedModels"):
        tell(f"deploying it to the endpoint {spec['endpoint']}")
        body = {
            "deployedModel": {
                "model": models[0]["name"], "displayName": name,
                "dedicatedResources": {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1},
            },
            "trafficSplit": {"0": 100},
        }  # fmt: skip
        _done(client, client.call("POST", f"/v1/{endpoints[0]['name']}:deployModel", body))


def named(client: Client, collection: str, display_name: str) -> list[dict[str, Any]]:
    """The resources of a collection that have a display name."""
    query = {"filter": f'displayName="{display_name}"'} if '"' not in display_name else {}
    found = client.call("GET", f"/v1/{client.parent}/{collection}", **query).get(collection, [])
    return [one for one in found if one.get("displayName") == display_name]


def _declares(spec: Mapping[str, Any]) -> bool:
    """Whether the file says what to train on and what to predict."""
    data, training = spec.get("data") or {}, spec.get("training") or {}
    return bool(data.get("source") and data.get("target") and training.get("predictionType"))


def _dataset_name(name: str, spec: Mapping[str, Any]) -> str:
    return str((spec.get("data") or {}).get("dataset") or name)


def _trained(
    client: Client, name: str, dataset: str, data: Mapping[str, Any], training: Mapping[str, Any]
) -> dict[str, Any]:
    path = f"/v1/{client.parent}/trainingPipelines"
    running = [p for p in named(client, "trainingPipelines", name) if p["state"] in _RUNNING]
    if running:
        pipeline = running[0]
    else:
        split = {"trainingFraction": 0.8, "validationFraction": 0.1, "testFraction": 0.1}
        inputs = {
            "targetColumn": data["target"], "predictionType": training["predictionType"].lower(),
            "transformations": [
                {kind: {"columnName": column}} for column, kind in (training.get("transformations") or {}).items()
            ],
        }  # fmt: skip
        if training.get("objective"):
            inputs["optimizationObjective"] = training["objective"]
        if training.get("budgetMilliNodeHours"):
            inputs["trainBudgetMilliNodeHours"] = training["budgetMilliNodeHours"]
        config: dict[str, Any] = {"datasetId": dataset.rpartition("/")[2]}
        if data.get("timeColumn"):
            config["timestampSplit"] = {**split, "key": data["timeColumn"]}
        else:
            config["fractionSplit"] = split
        pipeline = client.call("POST", path, {
            "displayName": name, "trainingTaskDefinition": _TRAINING, "trainingTaskInputs": inputs,
            "inputDataConfig": config, "modelToUpload": {"displayName": name},
        })  # fmt: skip
    while pipeline["state"] in _RUNNING:
        time.sleep(_POLL)
        pipeline = client.call("GET", f"/v1/{pipeline['name']}")
    if pipeline["state"] != "PIPELINE_STATE_SUCCEEDED":
        raise _error(pipeline.get("error") or {"message": f"The training is {pipeline['state']}."})
    return dict(pipeline["modelToUpload"])


def _done(client: Client, operation: dict[str, Any]) -> dict[str, Any]:
    """What an operation made, once it is done."""
    while not operation.get("done"):
        time.sleep(_POLL)
        operation = client.call("GET", f"/v1/{operation['name']}")
    if operation.get("error"):
        raise _error(operation["error"])
    return dict(operation.get("response") or {})


def _error(body: Mapping[str, Any]) -> PorticoError:
    code = next((name for name, number in NUMBERS.items() if number == body.get("code")), "")
    kind = BY_CODE.get(code, PorticoError)
    return kind(str(body.get("message", "The server failed.")))
