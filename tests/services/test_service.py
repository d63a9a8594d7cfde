"""A deployed model's service, by the API: what the official client's requests were, in real and in simulated time."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from tests import processes
from tests.services.aiplatform.conftest import IMAGE, train_booster
from tests.waiting import until

from portico import Client
from portico.clock import parse_rfc3339, rfc3339
from portico.errors import InvalidArgument, NotFound
from portico.services.portico.service import METRICS, service_numbers
from portico.store.database import Database

INSTANCES = [{"a": 0.5, "b": -1.0, "c": 2.0}, {"a": 1, "b": 0, "c": 0}]


def deployed(url: str, credentials: Any = None) -> Any:
    """An endpoint with a small booster."""
    from google.cloud import aiplatform, storage

    client = storage.Client(
        project="test-project", credentials=credentials, client_options={"api_endpoint": url}
    )
    made = client.create_bucket(f"service-{time.time_ns()}")
    made.blob("model/model.txt").upload_from_string(train_booster().model_to_string())
    model = aiplatform.Model.upload(
        display_name="served", artifact_uri=f"gs://{made.name}/model", serving_container_image_uri=IMAGE
    )
    return model.deploy()


@pytest.fixture
def endpoint(portico: Any, aiplatform: Any) -> Iterator[Any]:
    made = deployed(portico.url)
    yield made
    made.undeploy_all()


@pytest.fixture
def client(portico: Any) -> Iterator[Client]:
    made = Client(portico.url)
    yield made
    made.close()


def by_model(stats: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {model["deployedModelId"]: model for model in stats.get("models", [])}


def eventually(ask: Callable[[], dict[str, Any]], requests_: int) -> dict[str, Any]:
    """The answer once all models have so many requests together."""

    def asked() -> dict[str, Any] | None:
        found = ask()
        return found if sum(int(model["requests"]) for model in found["models"]) >= requests_ else None

    return until(asked, f"{requests_} requests are counted")


def test_what_the_official_client_asked_is_in_the_numbers(
    portico: Any, endpoint: Any, client: Client
) -> None:
    now = parse_rfc3339(client.now())  # other tests may have made time simulated
    before = rfc3339(now - 1)
    for _ in range(30):
        endpoint.predict(INSTANCES)
    for bad in ("nonsense", {"a": "x", "b": 0, "c": 0}):
        with pytest.raises(exceptions.BadRequest):
            endpoint.predict([bad])
    url = f"{portico.url}/v1/{endpoint.resource_name}:predict"
    json = {"content-type": "application/json"}
    assert requests.post(url, data=b"{", headers=json, timeout=240).status_code == 400
    name = endpoint.resource_name
    (deployed_model,) = endpoint.list_models()
    found = by_model(eventually(lambda: client.service_stats(name, before), 33))
    assert found.keys() == {"", deployed_model.id}
    assert (found[""]["requests"], found[""]["errors"]) == ("1", {"400": "1"})
    numbers = found[deployed_model.id]
    assert (numbers["requests"], numbers["rows"], numbers["errors"]) == ("32", "60", {"400": "2"})
    assert numbers["errorRate"] == 0 and numbers["peakQueue"] == 0
    assert 0 < numbers["p50Latency"] <= numbers["p95Latency"] <= numbers["p99Latency"] < 60
    assert 0 < numbers["saturation"] <= numbers["peakSaturation"] <= 1

    database = Database(portico.home)
    with database.read() as connection:
        judged = service_numbers(connection, name, deployed_model.id, now - 3600, now + 600)
        nothing = service_numbers(connection, name, "none", 0, now)
    database.close()
    assert (judged.requests, judged.timed) == (32, 30)
    assert {metric: judged.metric(metric) for metric in METRICS} == pytest.approx(
        {metric: numbers[metric] for metric in METRICS}
    )
    assert nothing.requests == 0 and {nothing.metric(metric) for metric in METRICS} == {None}

    status = [sys.executable, "-m", "portico.cli.main", "status", "--home", str(portico.home)]
    text = subprocess.run(status, capture_output=True, text=True, timeout=240, check=True).stdout
    assert re.search(
        rf"{endpoint.display_name}(?: \({endpoint.name}\))?, served: 32 requests, p50 .* ms, p99 .* ms, .*% busy",
        text,
    )


def test_intervals_are_checked(endpoint: Any, client: Client) -> None:
    name = endpoint.resource_name
    assert client.service_stats(name) == {"models": []}
    with pytest.raises(InvalidArgument, match="endTime"):
        client.service_stats(name, "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z")
    with pytest.raises(InvalidArgument, match="startTime"):
        client.service_stats(name, "yesterday")
    with pytest.raises(NotFound):
        client.service_stats(f"{name}999")


SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:\w+="(?:[^"\\]|\\[\\"n])*",?)*)\})? ([-+\d.eInfNa]+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\[\\"n])*)"')


def exposition(text: str) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    """The samples by family, read as Prometheus reads its text format 0.0.4, and checked as it is written down."""
    families: dict[str, list[tuple[str, dict[str, str], float]]] = {}
    kinds: dict[str, str] = {}
    family = ""
    seen = set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in families, f"{family} comes twice"
            families[family] = []
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and kind in ("counter", "gauge", "histogram")
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, labels, value = match[1], dict(LABEL.findall(match[2] or "")), float(match[3])
            endings = ("_bucket", "_sum", "_count") if kinds[family] == "histogram" else ("",)
            assert name in {family + ending for ending in endings}, f"{name} stands below {family}"
            assert (name, *sorted(labels.items())) not in seen, f"{line} comes twice"
            seen.add((name, *sorted(labels.items())))
            families[family].append((name, labels, value))
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total"), name
        if kind == "histogram":
            _check_histogram(name, families[name])
    return families


def _check_histogram(name: str, samples: list[tuple[str, dict[str, str], float]]) -> None:
    groups: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    counts = {}
    for sample, labels, value in samples:
        key = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
        if sample == f"{name}_bucket":
            groups.setdefault(key, []).append((float(labels["le"]), value))
        elif sample == f"{name}_count":
            counts[key] = value
    assert groups.keys() == counts.keys()
    for key, buckets in groups.items():
        assert buckets == sorted(buckets) and buckets[-1] == (float("inf"), counts[key])
        assert [count for _, count in buckets] == sorted(count for _, count in buckets)


def test_dashboards_find_the_same_numbers(portico: Any, endpoint: Any) -> None:
    for _ in range(7):
        endpoint.predict(INSTANCES)
    with pytest.raises(exceptions.BadRequest):
        endpoint.predict(["nonsense"])
    answer = requests.get(f"{portico.url}/-/metrics", timeout=240)
    families = exposition(answer.text)

    def mine(family: str) -> list[tuple[str, dict[str, str], float]]:
        return [s for s in families[family] if s[1]["endpoint"] == endpoint.resource_name]

    (deployed_model,) = endpoint.list_models()
    codes = {
        (labels["deployed_model"], labels["code"]): value
        for _, labels, value in mine("portico_prediction_requests_total")
    }
    assert codes == {(deployed_model.id, "200"): 7, (deployed_model.id, "400"): 1}
    assert [value for _, _, value in mine("portico_prediction_rows_total")] == [14]
    histogram = {name: value for name, labels, value in mine("portico_prediction_seconds")}
    assert histogram["portico_prediction_seconds_count"] == 7
    assert 0 < histogram["portico_prediction_seconds_sum"] < 60
    assert {name for name in families if name.startswith("portico_front_")} >= {
        "portico_front_busy_seconds_total"
    }


def test_simulated_time_and_a_killed_front(new_portico: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulated clock settles what was counted before it moves: the numbers are there at once, to the minute."""
    import os
    import signal

    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    server = new_portico(fronts=2).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setattr(aiplatform.initializer.global_config, "_credentials", None)
    aiplatform.init(
        project="portico", location="us-central1", api_endpoint=server.url, api_transport="rest",
        credentials=AnonymousCredentials(),
    )  # fmt: skip
    client = Client(server.url)
    try:
        made = deployed(server.url, AnonymousCredentials())
        name = made.resource_name
        (deployed_model,) = made.list_models()
        url = f"{server.url}/v1/{name}:predict"
        moment = parse_rfc3339("2012-01-01T00:00:00Z")
        steps = []
        for hours, many in ((0, 5), (1, 7), (24, 3), (9000, 4)):
            client.advance(to=rfc3339(moment + 3600 * hours))
            for _ in range(many):
                assert requests.post(url, json={"instances": INSTANCES}, timeout=240).status_code == 200
            steps.append((moment + 3600 * hours, many))
        client.advance(seconds=3600)
        for at, many in steps[-1:]:
            found = client.service_stats(name, rfc3339(at), rfc3339(at + 60))
            assert by_model(found)[deployed_model.id]["requests"] == str(many)
        for at, many in steps[:2]:  # their hours, as they were thinned; and their day
            found = client.service_stats(name, rfc3339(at - at % 86400), rfc3339(at - at % 86400 + 86400))
            assert by_model(found)[deployed_model.id]["requests"] == "12", many
        assert by_model(client.service_stats(name))[deployed_model.id]["requests"] == "19"

        fronts = [p.pid for p in processes.found(server.pids()) if processes.name(p).startswith("front-")]
        assert len(fronts) == 2
        for _ in range(20):
            assert requests.post(url, json={"instances": INSTANCES}, timeout=240).status_code == 200
        eventually(lambda: client.service_stats(name), 39)
        for pid in fronts:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: client.service_stats(name), 39)
        client.advance(seconds=3600)  # waits for the fronts
        assert requests.post(url, json={"instances": INSTANCES}, timeout=240).status_code == 200
        found = eventually(lambda: client.service_stats(name), 40)
        assert by_model(found)[deployed_model.id]["requests"] == "40"
    finally:
        client.close()
        server.stop()
        aiplatform.initializer.global_config._credentials = None
