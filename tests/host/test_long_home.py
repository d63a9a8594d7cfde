"""A home whose path is longer than a Unix socket's address may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from tests.waiting import until

from portico.client.api import Client


def test_jobs_and_queries_run_in_it(new_portico: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = new_portico()
    server.home = Path(server.home) / ("long" * 20) / ("er" * 20) / "home"
    server.home.parent.mkdir(parents=True)
    server.start()
    try:
        client = Client(server.url, project="p")
        body = {"query": "SELECT 1 AS one", "useLegacySql": False, "timeoutMs": 100_000}
        told = requests.post(f"{server.url}/bigquery/v2/projects/p/queries", json=body, timeout=120)
        assert told.status_code == 200 and told.json()["rows"] == [{"f": [{"v": "1"}]}], told.text
        schema = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
        requests.post(f"{server.url}/storage/v1/b?project=p", json={"name": "long-home"}, timeout=240)
        upload = f"{server.url}/upload/storage/v1/b/long-home/o?uploadType=media&name=d.csv"
        requests.post(upload, data=b"a,b\n1,2\n", timeout=240)
        source = {"inputConfig": {"gcsSource": {"uri": ["gs://long-home/d.csv"]}}}
        dataset = {"displayName": "d", "metadataSchemaUri": schema, "metadata": source}
        operation = client.call("POST", f"/v1/{client.parent}/datasets", dataset)["name"]
        until(lambda: client.call("GET", f"/v1/{operation}").get("done"), "the job ends", 60)
    finally:
        server.stop()
