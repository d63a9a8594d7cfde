"""`portico exec`: scripts that know nothing of Portico reach it with every client, and reach nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from recorder import Recorded, recorder

from portico.doors.identity import write_key_file
from portico.host import address
from portico.host.address import Address

GUARD = Path(__file__).with_name("guard")


@dataclass
class Home:
    path: Path
    recorded: Recorded
    attempts: Path

    def environment(self) -> dict[str, str]:
        dropped = ("STORAGE_EMULATOR_HOST", "GOOGLE_", "PORTICO_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        return clean | {"PYTHONPATH": str(GUARD), "ATTEMPTS": str(self.attempts)}

    def run(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        self.attempts.write_text("")
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=240, check=False
        )

    def execute(self, script: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(self.path), "--"]
        return self.run([*command, sys.executable, "-c", script], self.environment())

    def left_for(self) -> set[str]:
        """The hosts that were attempted beyond this machine."""
        return set(self.attempts.read_text().split())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home on which the recorder plays the server."""
    path = tmp_path_factory.mktemp("recorded")
    with recorder() as recorded:
        lock = address.claim(path)
        here = Address("127.0.0.1", recorded.port, os.getpid())
        address.publish(path, here)
        write_key_file(path, here.url)
        yield Home(path, recorded, path / "attempts")
        os.close(lock)


_VERTEX = """
import sitecustomize
sitecustomize.watch_grpc()
import asyncio
from google.cloud import aiplatform, aiplatform_v1, aiplatform_v1beta1

aiplatform.init(project="p", location="us-central1")
assert aiplatform.Model.list() == []
endpoint = aiplatform.Endpoint("5")
assert endpoint.predict([{"x": 1}]).predictions == [1.5]
assert endpoint.raw_predict(b"{}", {"content-type": "application/json"}).json()["predictions"] == [1.5]
list(endpoint.stream_raw_predict(b"{}", {"content-type": "application/json"}))
assert asyncio.run(endpoint.predict_async([{"x": 1}])).predictions == [1.5]
assert aiplatform.Endpoint("7").predict([{"x": 1}]).predictions == [1.5]

parent = "projects/p/locations/generated"
assert list(aiplatform_v1.ModelServiceClient().list_models(parent=parent)) == []
london = {"api_endpoint": "europe-west2-aiplatform.googleapis.com"}
beta = aiplatform_v1beta1.DatasetServiceClient(client_options=london, transport="grpc")
assert list(beta.list_datasets(parent=parent)) == []

async def listed():
    client = aiplatform_v1.EndpointServiceAsyncClient(client_options=london)
    return [e async for e in await client.list_endpoints(parent=parent)]
assert asyncio.run(listed()) == []

aiplatform.init(project="p", location="global")
assert aiplatform.Model.list() == []
assert aiplatform.Endpoint("6").raw_predict(b"{}", {}).json()["predictions"] == [1.5]
aiplatform.init(project="p", location="europe-west4", api_endpoint="europe-west4-aiplatform.googleapis.com")
assert aiplatform.Model.list() == []

import os
os.environ["GOOGLE_CLOUD_PROJECT"] = "12345"  # the client asks the Resource Manager API for its id
aiplatform.initializer.global_config.__init__()
aiplatform.init(location="us-central1")
assert aiplatform.Model.list() == []
"""


def test_the_vertex_client_comes_here_and_nowhere_else(home: Home) -> None:
    done = home.execute(_VERTEX)
    assert done.returncode == 0, done.stderr
    assert home.left_for() == set(), done.stderr
    assert "exec:" not in done.stderr
    assert "Failed to convert" not in done.stderr
    here = "/v1/projects/p/locations/us-central1"
    expected = {
        f"GET {here}/models",
        f"GET {here}/endpoints/5",
        f"POST {here}/endpoints/5:predict",
        f"POST {here}/endpoints/5:rawPredict",
        f"POST {here}/endpoints/5:streamRawPredict",
        f"POST {here}/endpoints/7:predict",
        "GET /v1/projects/p/locations/generated/models",
        "GET /v1beta1/projects/p/locations/generated/datasets",
        "GET /v1/projects/p/locations/generated/endpoints",
        "GET /v1/projects/p/locations/global/models",
        "POST /v1/projects/p/locations/global/endpoints/6:rawPredict",
        "GET /v1/projects/p/locations/europe-west4/models",
        "GET /apis/cloudresourcemanager/v3/projects/12345",
        "GET /v1/projects/12345/locations/us-central1/models",
    }
    assert expected <= set(home.recorded.requests)
    anonymous = [request for request in expected if not home.recorded.authorization[request]]
    assert anonymous == []


_STORAGE = """
import sitecustomize
sitecustomize.watch_grpc()
import gcsfs
from google.cloud import storage

client = storage.Client()
assert client.project == "portico"
assert list(client.list_buckets()) == []
assert storage.Client(project="p").bucket("b").exists()
assert gcsfs.GCSFileSystem(project="p").ls("") == []
old = gcsfs.GCSFileSystem(endpoint_url="https://storage.googleapis.com")  # as built into old ones
assert old.ls("") == []
"""


def test_the_storage_clients_come_here_with_credentials(home: Home) -> None:
    done = home.execute(_STORAGE)
    assert done.returncode == 0, done.stderr
    assert home.left_for() == set(), done.stderr
    assert home.recorded.authorization["GET /storage/v1/b"] == "Bearer minted"
    assert home.recorded.authorization["GET /storage/v1/b/b"] == "Bearer minted"


_LEAVES = """
import sitecustomize
sitecustomize.watch_grpc()
from google.cloud import aiplatform_v1
from google.auth.transport.requests import AuthorizedSession
import google.auth
for attempt in (
    lambda: aiplatform_v1.ModelServiceClient(),
    lambda: AuthorizedSession(google.auth.default()[0]).get("https://us-central1-aiplatform.googleapis.com/v1/x"),
):
    try:
        attempt()
    except Exception:
        pass
"""


def test_the_guard_sees_what_the_clients_do_without_exec(home: Home) -> None:
    key = {"GOOGLE_APPLICATION_CREDENTIALS": str(home.path / "credentials.json")}
    done = home.run([sys.executable, "-c", _LEAVES], home.environment() | key)
    assert done.returncode == 0, done.stderr
    assert {"aiplatform.googleapis.com", "us-central1-aiplatform.googleapis.com"} <= home.left_for()
