"""`portico log`: what an endpoint has answered, for people and for programs."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.waiting import until

from portico.client.api import Client


def run(portico: Any, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portico.cli.main", "log", *map(str, arguments)]
    return subprocess.run(
        [*command, "--home", str(portico.home)], capture_output=True, text=True, timeout=240
    )


@pytest.fixture
def endpoint(aiplatform: Any, upload: Any) -> Any:
    made = aiplatform.Endpoint.create(
        display_name="logged",
        enable_request_response_logging=True,
        request_response_logging_sampling_rate=1.0,
    )
    upload().deploy(endpoint=made)
    yield made
    made.delete(force=True)


def test_the_newest_predictions(portico: Any, endpoint: Any, tmp_path: Path) -> None:
    for number in range(3):
        endpoint.predict([{"a": number, "b": 0, "c": 0}, {"a": number, "b": 1, "c": 0}])
    client, name = Client(portico.url), endpoint.resource_name

    def logged() -> list[dict[str, Any]] | None:
        found = list(client.predictions(name, page=2))
        return found if len(found) >= 3 else None

    found = until(logged, "three predictions are logged")
    assert [json.loads(one["requestPayload"][0])["a"] for one in found] == [2, 1, 0]
    client.add_labels(name, [{"requestId": found[0]["requestId"], "index": 1, "truth": 4.5}])
    shown = run(portico, name, "--last", 2)
    lines = shown.stdout.splitlines()
    assert len(lines) == 4, shown.stderr
    assert f"{found[0]['requestId']}:1  v1" in lines[1] and lines[1].endswith("truth 4.5")
    assert json.loads(run(portico, name, "--json", "--last", 1).stdout) == list(client.predictions(name))[:1]
    since = run(portico, name, "--since", found[1]["loggingTime"], "--json")
    # The domain clock may stand, so that all have one time.
    wanted = [one["requestId"] for one in found if one["loggingTime"] >= found[1]["loggingTime"]]
    assert [one["requestId"] for one in json.loads(since.stdout)] == wanted
    assert run(portico, name, "--out", tmp_path / "log.parquet").stdout.startswith("3 requests")
    table = pq.read_table(tmp_path / "log.parquet").to_pylist()
    assert [str(row["request_id"]) for row in table] == [one["requestId"] for one in found]
    assert [row["truths"] for row in table] == [["null", "4.5"], None, None]
    run(portico, name, "--out", tmp_path / "log.csv")
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [json.loads(row["request_payload"])[1]["b"] for row in rows] == [1, 1, 1]
    for wrong, said in (
        ((name, "--out", tmp_path / "log.txt"), ".parquet or .csv"),
        ((name, "--since", "soon"), "--since"),
    ):
        done = run(portico, *wrong)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
