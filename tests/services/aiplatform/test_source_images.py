"""Images that a user builds without Docker: `docker build` under `portico exec` keeps their source, and models are
served by their own web server."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from google.api_core import exceptions
from tests.waiting import until

IMAGE = "us-docker.pkg.dev/test-project/serving/web:v1"
DOCKERFILE = """
# A server of one's own.
FROM python:3.11-slim
ENV APP=/srv/app \\
    FACTOR=2
WORKDIR $APP
COPY requirements.txt .
RUN mkdir -p /srv/data && pip install --no-cache-dir -r requirements.txt
COPY . .
EXPOSE 8080
CMD ["uvicorn", "server:app", "--host", "0.0.0.0", "--port", "8080"]
"""
SERVER = """
import asyncio, json, os, time, urllib.error, urllib.request
from contextlib import asynccontextmanager
from pathlib import Path
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

factor = 0.0

def asked(**headers):
    try:
        url = os.environ["PORTICO_URL"] + "/apis/portico/v1/users"
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers)).status
    except urllib.error.HTTPError as error:
        return error.code

@asynccontextmanager
async def lifespan(app):
    global factor
    assert os.environ["AIP_STORAGE_URI"].startswith("gs://") and os.environ["AIP_HTTP_PORT"] == "8080"
    # By its connection alone it is nobody, by its token its project's agent; never the server's owner.
    assert asked() == 401 and asked(authorization="Bearer " + os.environ["PORTICO_JOB_TOKEN"]) == 403
    factor = float(os.environ["FACTOR"]) * json.loads(Path(os.environ["APP"], "more.json").read_text())
    yield

async def pieces(told):
    yield "one\\n"
    if "wait" in told:
        reader, _ = await asyncio.open_connection("127.0.0.1", told["wait"])
        await reader.read()
    while told.get("endless"):
        yield "more" * 10_000
    if told.get("breaks"):
        raise RuntimeError("half-way")
    yield "two\\n"

async def predict(request):
    if request.headers["content-type"] == "text/csv":
        return PlainTextResponse("text/csv: " + (await request.body()).decode())
    told = await request.json()
    if "pieces" in told:
        return StreamingResponse(pieces(told["pieces"]), media_type="text/plain")
    if told["instances"] == ["bad"]:
        return PlainTextResponse("not that", status_code=422)
    for _ in range(530 * (told["instances"] == ["crowd"])):
        if not os.fork():
            time.sleep(600)
    if told["instances"] == ["crowd"]:
        time.sleep(600)
    return JSONResponse({"predictions": [factor * x for x in told["instances"]]})

async def health(request):
    return PlainTextResponse("fine")

app = Starlette(lifespan=lifespan, routes=[Route("/answer", predict, methods=["POST"]), Route("/alive", health)])
"""


def docker(portico: Any, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--", "docker"]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=240, **options)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    files = {
        "Dockerfile": DOCKERFILE, "server.py": SERVER, "requirements.txt": "starlette  # the framework\nuvicorn\n",
        "more.json": "1.5", "secret.key": "no", ".dockerignore": "*.key\n",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def endpoint(portico: Any, source: Path) -> Any:
    from google.cloud import aiplatform, storage

    aiplatform.init(
        project="test-project", location="us-central1", api_endpoint=portico.url, api_transport="rest"
    )
    built = docker(portico, "build", "-t", IMAGE, str(source))
    assert built.returncode == 0, built.stdout + built.stderr
    assert docker(portico, "push", IMAGE).returncode == 0
    bucket = storage.Client(project="test-project").create_bucket("source-images")
    bucket.blob("m/weights.txt").upload_from_string("1")
    model = aiplatform.Model.upload(
        display_name="web",
        artifact_uri=f"gs://{bucket.name}/m",
        serving_container_image_uri=IMAGE,
        serving_container_predict_route="/answer",
        serving_container_health_route="/alive",
        serving_container_environment_variables={"FACTOR": "4"},
    )
    endpoint = model.deploy(machine_type="n1-standard-2")
    yield endpoint
    endpoint.undeploy_all()


def test_a_models_own_server_answers(endpoint: Any) -> None:
    assert endpoint.predict([1, 2.5]).predictions == [6.0, 15.0]
    [deployed] = endpoint.list_models()
    assert "As an image's own server it has the network" in deployed.status.message


def test_what_it_refuses_is_told_in_its_words(endpoint: Any) -> None:
    with pytest.raises(exceptions.BadRequest, match="not that"):
        endpoint.predict(["bad"])


@pytest.mark.slow
def test_a_server_that_takes_too_much_is_ended_with_words(endpoint: Any) -> None:
    with pytest.raises(
        exceptions.ServiceUnavailable, match=r"it had [\d,]+ processes; it may have at most 512"
    ):
        endpoint.predict(["crowd"])
    until(lambda: answers(endpoint), "it serves again")


def answers(endpoint: Any) -> bool:
    with contextlib.suppress(exceptions.ServiceUnavailable):
        return bool(endpoint.predict([1]).predictions == [6.0])
    return False


def test_a_server_that_does_not_start_says_why(
    portico: Any, aiplatform: Any, source: Path, endpoint: Any
) -> None:
    (source / "broken.py").write_text("raise RuntimeError('no weights')")
    broken = DOCKERFILE.replace("server:app", "broken:app")
    built = docker(portico, "build", "-t", "broken", "-f-", str(source), input=broken)
    assert built.returncode == 0, built.stdout + built.stderr
    model = aiplatform.Model.upload(display_name="broken", serving_container_image_uri="broken:latest")
    with pytest.raises(exceptions.FailedPrecondition, match="RuntimeError: no weights"):
        model.deploy()


def test_a_raw_request_is_the_servers_own_affair(portico: Any, endpoint: Any) -> None:
    url = f"{portico.url}/v1/{endpoint.resource_name}:rawPredict"
    told = requests.post(url, data=b"3.5", headers={"content-type": "text/csv"}, timeout=240)
    assert told.content == b"text/csv: 3.5" and told.headers["content-type"].startswith("text/plain")
    told = requests.post(url, json={"instances": ["bad"]}, timeout=240)
    assert (told.status_code, told.text) == (422, "not that")


@pytest.mark.parametrize(
    ("described", "member", "told"),
    [
        ({"base": "python:3.11", "workdir": "/../../x"}, "", "is no path in it"),
        ({"base": "python:3.11", "environment": {"A=B": "x"}}, "", "'A=B' can't be set"),
        ({"base": "python:3.11", "command": ["x\0"]}, "", "zero byte"),
        ({"base": "python:3.11", "packages": ["/../../etc"]}, "", "leads out of the image"),
        ({"base": "fedora"}, "", "fedora"),
        ({"base": 1}, "", "no description that can be read"),
        ({"base": "python:3.11", "command": ["x"]}, "root/link", "links or devices"),
        ({"base": "python:3.11", "command": ["x"]}, "../outside", "can't be unpacked"),
    ],
)
def test_an_image_that_nobody_built_is_refused(
    portico: Any, aiplatform: Any, endpoint: Any, described: dict[str, Any], member: str, told: str
) -> None:
    from google.cloud import storage

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        text = json.dumps(described).encode()
        entry = tarfile.TarInfo("image.json")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
        if member:
            other = tarfile.TarInfo(member)
            if "link" in member:
                other.type, other.linkname = tarfile.SYMTYPE, "/etc"
            archive.addfile(other)
    bucket = storage.Client(project="test-project").bucket("portico-images")
    bucket.blob("hostile:latest").upload_from_string(packed.getvalue())
    with pytest.raises(exceptions.GoogleAPICallError, match=told):
        aiplatform.Model.upload(display_name="hostile", serving_container_image_uri="hostile")


def test_a_raw_request_of_the_generated_client(portico: Any, endpoint: Any) -> None:
    from google.api import httpbody_pb2
    from google.cloud import aiplatform_v1

    client = aiplatform_v1.PredictionServiceClient(
        client_options={"api_endpoint": portico.url}, transport="rest"
    )
    body = httpbody_pb2.HttpBody(data=b"3.5", content_type="text/csv")
    told = client.raw_predict(endpoint=endpoint.resource_name, http_body=body)
    assert told.data == b"text/csv: 3.5" and told.content_type.startswith("text/plain")


def test_a_stream_comes_as_the_server_makes_it(portico: Any, endpoint: Any) -> None:
    url = f"{portico.url}/v1/{endpoint.resource_name}:streamRawPredict"
    with socket.create_server(("127.0.0.1", 0)) as waited_for:
        body = {"pieces": {"wait": waited_for.getsockname()[1]}}
        told = requests.post(url, json=body, stream=True, timeout=240)
        assert told.headers["x-vertex-ai-endpoint-id"] == endpoint.name
        lines = told.iter_lines(chunk_size=1)
        assert next(lines) == b"one"
        waited_for.accept()[0].close()  # the server is no further than its first piece
        assert list(lines) == [b"two"]


def test_a_stream_of_the_generated_client(portico: Any, endpoint: Any) -> None:
    from google.api import httpbody_pb2
    from google.cloud import aiplatform_v1

    client = aiplatform_v1.PredictionServiceClient(
        client_options={"api_endpoint": portico.url}, transport="rest"
    )

    def told(data: bytes, content_type: str = "application/json") -> list[tuple[str, bytes]]:
        body = httpbody_pb2.HttpBody(data=data, content_type=content_type)
        asked = client.stream_raw_predict(request={"endpoint": endpoint.resource_name, "http_body": body})
        return [(one.content_type.partition(";")[0], one.data) for one in asked]

    assert told(b'{"pieces": {}}') == [("text/plain", b"one\n"), ("text/plain", b"two\n")]
    assert told(b"3.5", "text/csv") == [("text/plain", b"text/csv: 3.5")]


def test_streams_that_fail_or_are_left_leave_the_server_well(portico: Any, endpoint: Any) -> None:
    url = f"{portico.url}/v1/{endpoint.resource_name}:streamRawPredict"
    told = requests.post(url, json={"instances": ["bad"]}, timeout=240)
    assert (told.status_code, told.text) == (422, "not that")
    told = requests.post(url, json={"instances": 1}, timeout=240)
    assert (told.status_code, told.text) == (500, "Internal Server Error")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):  # no whole answer
        requests.post(url, json={"pieces": {"breaks": True}}, timeout=240)
    with requests.post(url, json={"pieces": {"endless": True}}, stream=True, timeout=240) as left:
        assert next(left.iter_lines()) == b"one"
    assert endpoint.predict([1]).predictions == [6.0]


def test_it_is_replaced_when_it_dies_and_ends_with_its_deployment(portico: Any, endpoint: Any) -> None:
    def workers() -> list[psutil.Process]:
        found = []
        for pid in portico.pids():
            with contextlib.suppress(psutil.Error):
                if '"framework": "container"' in " ".join(psutil.Process(pid).cmdline()):
                    found.append(psutil.Process(pid))
        return found

    before = workers()
    before[-1].kill()
    psutil.wait_procs(before, timeout=240)

    def answers() -> bool:
        try:
            return bool(endpoint.predict([1]).predictions == [6.0])
        except exceptions.ServiceUnavailable:
            return False

    until(answers, "another answers")
    endpoint.undeploy_all()
    until(lambda: not workers(), "no process of the model is left")
