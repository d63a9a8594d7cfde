"""A world in which a deployed model ages: the concept changes when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import requests

START = "2020-01-01T00:00:00Z"
COLUMNS = ("n", "t", "x", "z")
Truth = Callable[[float, float], float]


def usual(x: float, z: float) -> float:
    return 100 + 60 * x + 20 * z


def doubled(x: float, z: float) -> float:
    return 2 * usual(x, z)


def turned(x: float, z: float) -> float:
    return 220 - 60 * x + 20 * z


class World:
    """A steward's endpoint, and days of predictions whose truth is known a day later."""

    def __init__(self, portico: Any, aiplatform: Any) -> None:
        self.portico, self.aiplatform = portico, aiplatform
        self._random = np.random.default_rng(1)
        self._count = 0
        self._labels: list[dict[str, Any]] = []
        self.endpoint: Any = None
        self.truth: Truth = usual
        self.least = 0.0  # x lies between it and 1
        self.now = "2019-12-31T00:00:00Z"

    def row(self) -> tuple[dict[str, Any], float]:
        x, z = self._random.random(2)
        x = self.least + (1 - self.least) * x
        self._count += 1
        noise = float(self._random.normal(1, 0.03))
        return {"n": self._count, "t": self.now, "x": float(x), "z": float(z)}, self.truth(
            float(x), float(z)
        ) * noise

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, f"{self.portico.url}/apis/portico/v1/{path}", timeout=240, **options)

    def api(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self.call(method, path, **options)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def advance(self, seconds: float) -> None:
        self.now = self.api("POST", "clock:advance", json={"duration": f"{seconds}s"})["time"]

    def days(self, count: int, requests_a_day: int = 8, rows: int = 5) -> None:
        """Each day `requests_a_day` requests of `rows`; then the clock goes on, and yesterday's truth arrives."""
        for _ in range(count):
            fresh = []
            for _ in range(requests_a_day):
                made = [self.row() for _ in range(rows)]
                self.endpoint.predict([instance for instance, _ in made])
                fresh += [{"key": {"n": instance["n"]}, "truth": truth} for instance, truth in made]
            if self._labels:
                self.api("POST", f"{self.endpoint.resource_name}:addLabels", json={"labels": self._labels})
            self._labels = fresh
            self.advance(86400)

    def days_until(self, state: set[str], most: int = 40) -> dict[str, Any]:
        """Days until the newest episode is in one of the states; returns it."""
        for _ in range(most):
            found = self.episodes()
            if found and found[0]["state"] in state:
                return found[0]
            self.days(1)
        raise AssertionError(f"after {most} days: {[e['state'] for e in self.episodes()]}, {self.steward()}")

    # --- the steward ---

    def steward(self) -> dict[str, Any]:
        return self.api("GET", self.name)

    @property
    def name(self) -> str:
        parent = self.endpoint.resource_name.partition("/endpoints/")[0]
        return f"{parent}/stewards/keeper"

    def keep(self, **spec: Any) -> dict[str, Any]:
        """Puts the endpoint into a steward's care, in place of the one before."""
        for episode in self.episodes() if self.call("GET", self.name).status_code == 200 else []:
            if "endTime" not in episode:
                self.api("POST", f"{episode['name']}:reject", json={})
        if self.call("GET", self.name).status_code == 200:
            self.advance(1)
            self.api("DELETE", self.name)
        body = {
            "endpoint": self.endpoint.resource_name,
            "data": {"timeColumn": "t"},
            "training": {"budgetMilliNodeHours": 1, "window": "SLIDING", "duration": "259200s"},
            "acceptable": [{"metric": "weightedAbsolutePercentageError", "limit": 12, "labels": 80}],
            "gates": {"labels": 60},
            "rollout": {"shadowLabels": 20, "canary": [{"percent": 50, "labels": 20}]},
            "limits": {"coolDown": "0s", "retrainingsPerWeek": 0},
            **spec,
        }
        parent, _, steward_id = self.name.rpartition("/stewards/")
        return self.api("POST", f"{parent}/stewards?stewardId={steward_id}", json=body)

    def episodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api("GET", f"{self.name}/episodes").get("episodes", [])
        return found

    def deploy(self) -> None:
        """A fresh endpoint with the model of the usual world, and days that are the same whatever was before."""
        self._random = np.random.default_rng(2)
        self.truth, self.least = usual, 0.0
        self._labels = []
        self.endpoint = self.model.deploy()

    def train(self) -> None:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        client = storage.Client(project="portico", credentials=AnonymousCredentials())
        bucket = client.create_bucket("steward-world")
        lines = [",".join((*COLUMNS, "y"))]
        for _ in range(1500):
            instance, truth = self.row()
            lines.append(",".join(str(v) for v in (*instance.values(), truth)))
        bucket.blob("first.csv").upload_from_string("\n".join(lines), content_type="text/csv")
        dataset = self.aiplatform.TabularDataset.create(
            display_name="first", gcs_source="gs://steward-world/first.csv"
        )
        job = self.aiplatform.AutoMLTabularTrainingJob(
            display_name="usual",
            optimization_prediction_type="regression",
            column_transformations=[{"numeric": {"column_name": name}} for name in ("x", "z")],
        )
        self.model = job.run(dataset=dataset, target_column="y", budget_milli_node_hours=2)


@pytest.fixture(scope="module")
def home_of_its_own(new_portico: Any) -> Iterator[Any]:
    """A server whose domain clock is nobody else's."""
    server = new_portico().start()
    patch = pytest.MonkeyPatch()
    from portico.client.settings import settings

    for name, value in settings(server.home).items():
        patch.setenv(name, value)
    yield server
    patch.undo()
    server.stop()


@pytest.fixture(scope="module")
def trained(home_of_its_own: Any, new_portico: Any) -> Iterator[World]:
    from google.cloud import aiplatform

    aiplatform.initializer.global_config._credentials = None  # another server's, of the tests before
    aiplatform.init(
        project="portico", location="us-central1", api_endpoint=home_of_its_own.url, api_transport="rest"
    )
    made = World(home_of_its_own, aiplatform)
    made.api("POST", "clock:advance", json={"time": START})
    made.train()
    yield made
    aiplatform.initializer.global_config._credentials = None
