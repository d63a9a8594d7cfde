"""Alerts open once, are told to real sinks again and again until they take them, and close."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
import yaml
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.portico.conftest import World, doubled, usual
from tests.waiting import until

import portico
from portico.cli import stewards


class Sink(ThreadingHTTPServer):
    """A webhook that fails the first time."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.asked = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/alerts"


class _Handler(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        self.send_response(500 if self.server.asked == 1 else 200)
        self.end_headers()
        if self.server.asked > 1:
            self.server.told.append(json.loads(body))

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


PIPELINE = """
@dsl.component
def note(word: str) -> str:
    return word

@dsl.pipeline(name="on-an-alert")
def on_an_alert(word: str):
    with dsl.If(word == "never"):
        note(word=word)
"""


def started_by_alerts_of(world: World) -> str:
    """A trigger that starts a pipeline, which has nothing to do, when the steward opens an alert."""
    with open(compiled(PIPELINE)["on_an_alert"]) as file:
        spec = yaml.safe_load(file)
    parent = world.name.partition("/stewards/")[0]
    body = {
        "alert": {"source": world.name},
        "pipeline": {
            "pipelineSpec": spec, "pipelineRoot": "gs://steward-world/root", "eventParameters": {"word": "metric"},
        },
    }  # fmt: skip
    return str(world.api("POST", f"{parent}/triggers?triggerId=on-alert", json=body)["name"])


def test_an_alert_opens_once_and_closes(trained: World, sink: Sink) -> None:
    world = trained
    world.deploy()
    nobody = "http://127.0.0.1:1/nobody-listens"
    world.keep(actions=["ALERT"], notify={"webhooks": [nobody, sink.url]})
    trigger = started_by_alerts_of(world)
    world.days(5)
    world.truth = doubled
    world.days(5)
    (alert,) = world.api("GET", f"{world.name}/alerts")["alerts"]
    assert alert["state"] == "OPEN" and alert["metric"] == "weightedAbsolutePercentageError"
    assert alert["value"] > alert["limit"] == 12
    assert "The features did not move and the truth given them did" in alert["kind"] and alert["lookFirst"]
    assert 0.5 < alert["sure"] <= 1 and alert["slices"]
    assert all(one["loss"] > one["lossBefore"] and one["contribution"] > 0 for one in alert["slices"])
    assert {c["feature"] for c in alert["contributors"]} == {"x", "z"}
    until(lambda: "deliveries" in world.api("GET", alert["name"]), "the alert is delivered")
    assert sink.asked == 2 and [t["event"] for t in sink.told] == ["opened"]
    assert sink.told[0]["alert"]["name"] == alert["name"] and "is acceptable, over" in sink.told[0]["text"]
    assert f"{alert['slices'][0]['slice']}: loss" in sink.told[0]["text"]
    assert world.api("GET", alert["name"])["deliveries"][0] == {
        "sink": sink.url, "event": "opened", "state": "DELIVERED", "attempts": 2, "error": "",
    }  # fmt: skip
    client = portico.Client(world.portico.url)
    assert [one["name"] for one in client.alerts("keeper")] == [alert["name"]]
    assert "weightedAbsolutePercentageError" in stewards.as_text(client.alerts("keeper"))
    client.silence(alert["name"], 864000)
    client.close()
    world.truth = usual
    world.days(5)
    assert world.api("GET", alert["name"])["state"] == "CLOSED"
    world.days(1)
    assert [t["event"] for t in sink.told] == ["opened"], "silenced"
    assert len(world.api("GET", f"{world.name}/alerts")["alerts"]) == 1
    (run,) = world.api("GET", f"{trigger}/runs")["runs"]
    assert run["state"] == "STARTED" and run["event"]["alert"] == alert["name"]
    assert run["reason"].startswith(f"{world.name} found: weightedAbsolutePercentageError is ")
    job = requests.get(f"{world.portico.url}/v1/{run['pipelineJob']}", timeout=240).json()
    assert job["state"] == "PIPELINE_STATE_SUCCEEDED", "simulated time waited for it"
    assert job["runtimeConfig"]["parameterValues"] == {"word": "weightedAbsolutePercentageError"}
    bad = world.call(
        "PATCH", f"{world.name}?updateMask=notify", json={"notify": {"webhooks": ["file:///etc/passwd"]}}
    )
    assert bad.status_code == 400 and "notify.webhooks[0]" in bad.text
