"""MLflow's wire, as its client speaks it, without the client: that has an environment of its own (test_client.py)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import pytest
import requests


@dataclass
class Tracking:
    """Sends what MLflow's client sends to its tracking URI."""

    uri: str
    token: str = ""

    def send(self, http: str, path: str, **asked: Any) -> requests.Response:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return requests.request(http, f"{self.uri}/{path}", headers=headers, timeout=120, **asked)

    def __call__(self, path: str, http: str = "POST", /, **body: Any) -> Any:
        """What is answered; `http` as the client's messages say it."""
        answer = self.ask(path, http, **body)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def get(self, path: str, /, **asked: Any) -> Any:
        return self(path, "GET", **asked)

    def ask(self, path: str, http: str = "POST", /, **body: Any) -> requests.Response:
        given = {"params": body} if http == "GET" else {"json": body}
        return self.send(http, f"api/2.0/mlflow/{path}", **given)

    def refused(self, path: str, code: str, words: str = "", http: str = "POST", /, **body: Any) -> None:
        answer = self.ask(path, http, **body)
        told = answer.json()
        assert answer.status_code >= 400 and told["error_code"] == code and words in told["message"], told

    def experiment(self) -> str:
        return str(self("experiments/create", name=f"exp-{uuid.uuid4().hex[:12]}")["experiment_id"])

    def run(self, experiment: str, **more: Any) -> str:
        return str(self("runs/create", experiment_id=experiment, **more)["run"]["info"]["run_id"])


@pytest.fixture(scope="module")
def mlflow(portico: Any) -> Tracking:
    return Tracking(f"{portico.url}/apis/mlflow/projects/test-project/locations/us-central1")
