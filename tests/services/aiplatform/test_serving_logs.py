"""What serving leaves, read as log entries by Google's own client for them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import logging
from tests.waiting import until

PROJECT = "serving-logs"
LOGS = f"projects/{PROJECT}/logs/aiplatform.googleapis.com%2Fprediction"


@pytest.fixture(scope="module")
def client(portico: Any) -> logging.Client:
    """As `portico env` has it: over HTTP."""
    options = {"api_endpoint": f"{portico.url}/apis/logging"}
    return logging.Client(project=PROJECT, client_options=options, _use_grpc=False)


@pytest.fixture(scope="module")
def endpoint(portico: Any, booster: Any) -> Iterator[Any]:
    from google.cloud import aiplatform, storage
    from tests.services.aiplatform.conftest import IMAGE

    where: dict[str, Any] = {"project": PROJECT, "location": "us-central1"}
    aiplatform.init(**where, api_endpoint=portico.url, api_transport="rest")
    bucket = storage.Client(project=PROJECT).create_bucket("serving-logs")
    bucket.blob("m/model.txt").upload_from_string(booster.model_to_string())
    model = aiplatform.Model.upload(
        display_name="m", artifact_uri="gs://serving-logs/m", serving_container_image_uri=IMAGE
    )
    made = aiplatform.Endpoint.create(display_name="read")
    made.deploy(model, enable_access_logging=True)
    yield made
    made.delete(force=True)


def of(client: logging.Client, filter: str, **options: Any) -> list[Any]:
    return list(client.list_entries(filter_=filter, **options))


def test_each_request_is_an_entry_of_the_access_log(portico: Any, client: Any, endpoint: Any) -> None:
    for number in range(5):
        endpoint.predict([{"a": number, "b": 0, "c": 0}])
    with pytest.raises(exceptions.BadRequest):
        endpoint.predict([{"a": [[]]}])
    mine = f'resource.labels.endpoint_id="{endpoint.name}"'
    answered = f'{mine} AND log_id("aiplatform.googleapis.com/prediction_access") AND httpRequest.status=200'
    found = until(lambda: len(f := of(client, answered, page_size=2)) == 5 and f, "all are logged")
    [deployed] = endpoint.list_models()
    assert {one.log_name for one in found} == {f"{LOGS}_access"}
    assert {one.payload["deployedModelId"] for one in found} == {deployed.id}
    assert found[0].resource.type == "aiplatform.googleapis.com/Endpoint"
    assert found[0].resource.labels["endpoint_id"] == endpoint.name
    assert found[0].resource.labels["location"] == "us-central1"
    assert float(found[0].http_request["latency"].rstrip("s")) > 0
    assert [one.timestamp for one in found] == sorted(one.timestamp for one in found)
    newest = of(client, answered, order_by=logging.DESCENDING, page_size=2)
    assert [one.insert_id for one in newest] == [one.insert_id for one in found][::-1]
    request = found[2].payload["requestId"]
    assert [one.insert_id for one in of(client, f'{mine} jsonPayload.requestId="{request}"')] == [request]
    later = (found[-1].timestamp + timedelta(seconds=1)).isoformat()
    assert of(client, f'{answered} AND timestamp>"{later}"') == []
    failed = until(lambda: of(client, f"{mine} severity>=WARNING"), "what failed is counted")
    assert failed[0].payload["error"]["code"] == 3 and failed[0].http_request["status"] == 400
    there = requests.get(f"{portico.url}/apis/logging/v2/projects/{PROJECT}/logs", timeout=240).json()
    assert {f"{LOGS}_access", f"{LOGS}_container"} <= set(there["logNames"])


def test_the_command_shows_what_serving_left(portico: Any, client: Any, endpoint: Any) -> None:
    endpoint.predict([{"a": 1, "b": 0, "c": 0}])
    mine = f'resource.labels.endpoint_id="{endpoint.name}" httpRequest.status=200'
    until(lambda: of(client, mine), "it is logged")
    command = [
        sys.executable,
        "-m",
        "portico.cli.main",
        "logs",
        endpoint.resource_name,
        "--home",
        str(portico.home),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert "predict 200 in " in shown.stdout, shown.stderr
    told = json.loads(
        subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=240).stdout
    )
    assert told["resource"] == endpoint.resource_name
    assert any(one["logName"] == f"{LOGS}_access" for one in told["entries"])
