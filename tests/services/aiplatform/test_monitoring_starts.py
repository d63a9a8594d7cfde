"""What a monitoring job starts: nothing that nobody asks for yet."""

from __future__ import annotations

from typing import Any

import lightgbm
import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from tests.services.aiplatform.conftest import IMAGE

from portico.warehouse.client import is_running


@pytest.mark.slow
def test_the_warehouse_starts_when_its_table_is_asked_for(
    new_portico: Any, booster: lightgbm.Booster
) -> None:
    own = new_portico().start()
    place = f"{own.url}/v1/projects/test-project/locations/us-central1"

    def done(url: str, body: dict[str, Any]) -> Any:
        """What the operation that `body` starts at `url` has made."""
        told = requests.post(url, json=body, timeout=240).json()
        while "/operations/" in told["name"] and not told.get("done"):
            told = requests.post(
                f"{own.url}/v1/{told['name']}:wait?timeout=240s", json={}, timeout=300
            ).json()
        return told.get("response", told)

    try:
        done(f"{own.url}/storage/v1/b?project=test-project", {"name": "own-models"})
        upload = f"{own.url}/upload/storage/v1/b/own-models/o?uploadType=media&name=m/model.txt"
        requests.post(upload, booster.model_to_string().encode(), timeout=240).raise_for_status()
        model = {
            "displayName": "m",
            "artifactUri": "gs://own-models/m",
            "containerSpec": {"imageUri": IMAGE},
        }
        model = done(f"{place}/models:upload", {"model": model})["model"]
        jobs, names = f"{place}/modelDeploymentMonitoringJobs", []
        for _ in range(2):
            endpoint = done(f"{place}/endpoints", {"displayName": "e"})["name"]
            deployed = done(f"{own.url}/v1/{endpoint}:deployModel", {"deployedModel": {"model": model}})
            drift = {"predictionDriftDetectionConfig": {"driftThresholds": {"a": {"value": 0.1}}}}
            job = {
                "displayName": "watched",
                "endpoint": endpoint,
                "modelDeploymentMonitoringScheduleConfig": {"monitorInterval": "3600s"},
                "loggingSamplingStrategy": {"randomSampleConfig": {"sampleRate": 1.0}},
                "modelDeploymentMonitoringObjectiveConfigs": [
                    {"deployedModelId": deployed["deployedModel"]["id"], "objectiveConfig": drift}
                ],
            }
            [table] = requests.post(jobs, json=job, timeout=240).json()["bigqueryTables"]
            names.append(table["bigqueryTablePath"].removeprefix("bq://"))
            if len(names) == 1:
                assert not is_running(own.home)
                own.kill()
                own.start()
                assert not is_running(own.home)
            client = bigquery.Client(
                "test-project", AnonymousCredentials(), client_options={"api_endpoint": own.url}
            )
            assert [client.get_table(name).num_rows for name in names] == [0] * len(names)
            assert is_running(own.home)  # so the second table is made at once
    finally:
        own.stop()
