"""A real front in a process of its own, asked over TCP and by the official client."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import lightgbm
import pytest
from fronts import MODEL, NAME, PREDICT, Processes, Raw, endpoint, lightgbm_model, training_data
from google.api_core import exceptions

from portico.errors import FailedPrecondition, Unavailable
from portico.prediction.front.metrics import collect
from portico.prediction.front.process import Front
from portico.prediction.front.sync import ask_fronts, await_fronts
from portico.prediction.models.predictors import load
from portico.prediction.replicas import worker
from portico.prediction.spool import Place, Spool
from portico.store import served
from portico.store.served import ServedEndpoint, ServedModel

ROW = {"n0": 0.5, "n1": -1, "c0": "red", "c1": 2}
RAW = f"/v1/{NAME}:rawPredict"
EXPLAIN = f"/v1/{NAME}:explain"


@pytest.fixture(scope="module")
def front(processes: Processes, boosters: dict[str, Path]) -> Processes:
    processes.start_front()
    processes.serve(endpoint(lightgbm_model(boosters["binary"], explain=True)))
    return processes


@pytest.fixture
def client(front: Processes, boosters: dict[str, Path]) -> Any:
    front.serve(endpoint(lightgbm_model(boosters["binary"], explain=True)))
    raw = Raw(front.port)
    yield raw
    raw.close()


def refused(client: Raw, *arguments: Any, **more: Any) -> tuple[int, str, str]:
    status, answer = client.ask(*arguments, **more)
    error = answer["error"]
    assert error["code"] == status
    return status, error["status"], error["message"]


def test_predict(client: Raw, boosters: dict[str, Path]) -> None:
    expected = load("lightgbm", boosters["binary"]).predict([ROW, {"n0": 1}], None)
    for version in ("v1", "v1beta1"):
        path = f"/{version}/{NAME}:predict?%24alt=json%3Benum-encoding%3Dint&prettyPrint=false"
        status, answer = client.ask(path, {"instances": [ROW, {"n0": 1}], "parameters": None, "labels": {}})
        assert status == 200
        assert answer == {
            "predictions": expected,
            "deployedModelId": "5",
            "model": MODEL,
            "modelDisplayName": "a model",
            "modelVersionId": "1",
        }
    many = [dict(ROW, n0=i / 100) for i in range(1000)]  # in a thread
    status, answer = client.ask(PREDICT, {"instances": many})
    assert answer["predictions"] == load("lightgbm", boosters["binary"]).predict(many, None)


def test_the_official_client(client: Raw, front: Processes, boosters: dict[str, Path]) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform_v1 import PredictionServiceClient
    from google.protobuf import json_format, struct_pb2

    service = PredictionServiceClient(
        transport="rest",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://127.0.0.1:{front.port}"},
    )
    instance = json_format.ParseDict(ROW, struct_pb2.Value())
    (expected,) = load("lightgbm", boosters["binary"]).predict([ROW], None)
    answer = service.predict(endpoint=NAME, instances=[instance])
    assert list(answer.predictions) == [expected]
    assert (answer.deployed_model_id, answer.model, answer.model_version_id) == ("5", MODEL, "1")
    explained = service.explain(endpoint=NAME, instances=[instance], deployed_model_id="5")
    (attribution,) = explained.explanations[0].attributions
    total = attribution.baseline_output_value + sum(dict(attribution.feature_attributions).values())
    assert total == pytest.approx(expected) and list(explained.predictions) == [expected]
    from google.api import httpbody_pb2

    body = httpbody_pb2.HttpBody(
        content_type="application/json", data=json.dumps({"instances": [ROW]}).encode()
    )
    raw = service.raw_predict(endpoint=NAME, http_body=body)
    assert json.loads(raw.data) == {"predictions": [expected]}
    with pytest.raises(exceptions.BadRequest, match="Ask it by predict or rawPredict"):
        service.direct_raw_predict(request={"endpoint": NAME, "method_name": "/x.Y/Z", "input": b"x"})
    with pytest.raises(exceptions.BadRequest, match="directPredict speaks with TensorFlow's prebuilt"):
        service.direct_predict(request={"endpoint": NAME, "inputs": [{"dtype": "FLOAT", "float_val": [1]}]})
    [streamed] = service.stream_raw_predict(request={"endpoint": NAME, "http_body": body})
    assert json.loads(streamed.data) == {"predictions": [expected]}


def test_bodies_that_are_packed_on_the_way(client: Raw) -> None:
    """As clients of Google's in Java send every JSON body."""
    packed, body = "content-encoding: gzip\r\n", json.dumps({"instances": [ROW]}).encode()
    plain = client.ask(PREDICT, body)
    for sent in (gzip.compress(body), gzip.compress(body[:9]) + gzip.compress(body[9:])):
        assert client.ask(PREDICT, sent, headers=packed) == plain
    assert client.ask(f"/v1/{NAME}:rawPredict", gzip.compress(body), headers=packed)[0] == 200
    for broken, words in (
        (body, "not gzip"),
        (gzip.compress(body)[:-9], "does not end"),
        (gzip.compress(bytes(11_000_000)), "exceeds the limit"),
    ):
        assert words in client.ask(PREDICT, broken, headers=packed)[1]["error"]["message"]
    assert client.ask(PREDICT, body) == plain


def test_raw_predict(client: Raw, boosters: dict[str, Path]) -> None:
    client.send(client.request(RAW, {"instances": [ROW]}, headers="content-type: text/plain\r\n"))
    status, headers, body = client.receive()
    assert status == 200
    assert json.loads(body) == {"predictions": load("lightgbm", boosters["binary"]).predict([ROW], None)}
    assert headers["x-vertex-ai-deployed-model-id"] == "5"
    assert headers["x-vertex-ai-endpoint-id"] == "123"
    assert (headers["x-vertex-ai-model"], headers["x-vertex-ai-model-version-id"]) == (MODEL, "1")


def test_explain_picks_a_model_and_needs_a_spec(
    client: Raw, front: Processes, boosters: dict[str, Path]
) -> None:
    one = lightgbm_model(boosters["binary"], "1", explain=True)
    front.serve(endpoint(one, lightgbm_model(boosters["regression"], "2"), split={"1": 100}))
    status, answer = client.ask(EXPLAIN, {"instances": [ROW], "deployed_model_id": "1"})
    assert (status, answer["deployedModelId"], len(answer["explanations"])) == (200, "1", 1)
    assert refused(client, EXPLAIN, {"instances": [ROW], "deployedModelId": "2"})[1] == "FAILED_PRECONDITION"
    assert "deployedModelId" in str(client.ask(EXPLAIN, {"instances": [ROW], "deployedModelId": "3"}))
    override = {"instances": [ROW], "explanationSpecOverride": {"parameters": {"topK": 1}}}
    assert refused(client, EXPLAIN, override)[:2] == (501, "UNIMPLEMENTED")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "Invalid JSON"),
        (b"", "Invalid JSON"),
        ([], "must be an object"),
        ({}, "instances must be a list"),
        ({"instances": []}, "instances must be a list"),
        ({"instances": {"n0": 1}}, "instances must be a list"),
        ({"instances": [ROW], "instance": 1}, "Unknown name 'instance'"),
        ({"instances": [ROW, {"n0": "x"}]}, "instances[1].n0"),
        ({"instances": [1] * 100_001}, "100001 instances are too many"),
    ],
)
def test_bad_requests(client: Raw, body: Any, words: str) -> None:
    status, code, message = refused(client, PREDICT, body)
    assert (status, code) == (400, "INVALID_ARGUMENT") and words in message
    assert client.ask(PREDICT, {"instances": [ROW]})[0] == 200  # the connection goes on


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ("origin: http://evil.example\r\n", 403, "PERMISSION_DENIED"),
        ("origin: null\r\n", 403, "PERMISSION_DENIED"),
        ("sec-fetch-site: cross-site\r\n", 403, "PERMISSION_DENIED"),
        ("host: evil.example\r\n", 403, "PERMISSION_DENIED"),
        ("content-type: text/plain\r\n", 400, "INVALID_ARGUMENT"),
        ("authorization: Bearer bad\r\n", 401, "UNAUTHENTICATED"),
        ("authorization: Basic good\r\n", 401, "UNAUTHENTICATED"),
        ("authorization: Bearer good\r\n", 200, ""),
        ("sec-fetch-site: same-origin\r\n", 200, ""),
    ],
)
def test_who_may_ask(client: Raw, headers: str, status: int, code: str) -> None:
    for _ in range(2):  # the second time the head is known
        got, answer = client.ask(PREDICT, {"instances": [ROW]}, headers=headers)
        assert got == status
        assert code == answer.get("error", {"status": ""})["status"]
    own = f"origin: http://127.0.0.1:{client.port}\r\n"
    assert client.ask(PREDICT, {"instances": [ROW]}, headers=own)[0] == 200


def test_unknown_and_empty_endpoints(client: Raw, front: Processes) -> None:
    status, code, message = refused(client, PREDICT.replace("123", "9"), {"instances": [ROW]})
    assert (status, code) == (404, "NOT_FOUND") and "endpoints/9" in message
    with front.database.write() as connection:
        served.put(connection, ServedEndpoint(NAME.replace("123", "9")))
    # Nobody waited for the front: it looks once more before it says that there is none.
    assert refused(client, PREDICT.replace("123", "9"), {"instances": [ROW]})[1] == "FAILED_PRECONDITION"
    front.stop_serving(NAME.replace("123", "9"))
    assert refused(client, PREDICT.replace("123", "9"), {"instances": [ROW]})[0] == 404


def test_bodies_in_pieces_and_in_chunks(client: Raw) -> None:
    expected = client.ask(PREDICT, {"instances": [ROW]})
    request = client.request(PREDICT, {"instances": [ROW]})
    for size in (1, 7, 100):
        for start in range(0, len(request), size):
            client.send(request[start : start + size])
            time.sleep(0.0005)  # a pace, so that pieces come one by one
        status, _, body = client.receive()
        assert (status, json.loads(body)) == expected
    head, _, body = request.partition(b"\r\n\r\n")
    head = head.replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked")
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:9], body[9:])) + b"0\r\n\r\n"
    client.send((head + b"\r\n\r\n" + chunked) * 2 + request)
    for _ in range(3):
        status, _, body = client.receive()
        assert (status, json.loads(body)) == expected


def test_requests_one_after_the_other_without_waiting(client: Raw, boosters: dict[str, Path]) -> None:
    rows = [{"n0": i / 10} for i in range(60)]
    many = client.request(PREDICT, {"instances": [{"n0": 9}] * 50})  # answered by a thread, in its turn
    client.send(b"".join(client.request(PREDICT, {"instances": [row]}) + many for row in rows))
    got = []
    for _ in rows:
        got.append(json.loads(client.receive()[2])["predictions"][0])
        assert len(json.loads(client.receive()[2])["predictions"]) == 50
    assert got == load("lightgbm", boosters["binary"]).predict(rows, None)


def test_a_client_that_does_not_read_is_not_read_from(front: Processes) -> None:
    client = Raw(front.port)
    client.socket.settimeout(120)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    request = client.request(PREDICT, {"instances": [ROW], "labels": {"long": "x" * 2000}})
    count = 20_000
    sender = threading.Thread(target=lambda: client.send(request * count))
    sender.start()
    sender.join(1.5)
    assert sender.is_alive()  # the front stopped reading, though the client has not read one answer
    status = Path(f"/proc/{front.fronts[0].pid}/status").read_text()
    peak = next(line for line in status.splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) < 150_000  # kB
    for _ in range(count):
        assert client.receive()[0] == 200
    sender.join()


def test_empty_lines_before_a_request(client: Raw) -> None:
    request = client.request(PREDICT, {"instances": [ROW]})
    client.send(b"\r\n" + request + b"\r\n\r\n" + request)
    assert [client.receive()[0] for _ in range(2)] == [200, 200]


def test_connections_end_as_the_client_wants(front: Processes) -> None:
    closing = Raw(front.port)
    assert closing.ask(PREDICT, {"instances": [ROW]}, headers="connection: close\r\n")[0] == 200
    with pytest.raises(ConnectionError):
        closing.receive()
    old = Raw(front.port)
    request = old.request(PREDICT, {"instances": [ROW]}, headers="connection: keep-alive\r\n")
    for _ in range(2):
        old.send(request.replace(b"HTTP/1.1", b"HTTP/1.0"))
        status, headers, _ = old.receive()
        assert (status, headers["connection"]) == (200, "keep-alive")
    old.send(request.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"connection: keep-alive\r\n", b""))
    assert old.receive()[0] == 200
    with pytest.raises(ConnectionError):
        old.receive()


def test_too_large_and_unreadable_requests(front: Processes) -> None:
    large = Raw(front.port)
    content = b'{"instances": ["' + b"x" * 11_000_000
    large.send(large.request(PREDICT, content))
    status, headers, body = large.receive()
    assert status == 413 and headers["connection"] == "close"
    assert "Request payload size exceeds the limit: 10485760 bytes." in json.loads(body)["error"]["message"]
    for damage in (b"content-length: 1\r\ncontent-length: 2\r\n", b"content-length: 1\r\nbad header\r\n"):
        broken = Raw(front.port)
        broken.send(b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n" + damage + b"\r\nx")
        status, _, body = broken.receive()
        assert status == 400 and json.loads(body)["error"]["status"] == "INVALID_ARGUMENT"
    waiting = Raw(front.port)
    request = waiting.request(PREDICT, {"instances": [ROW]}, headers="expect: 100-continue\r\n")
    head, _, body = request.partition(b"\r\n\r\n")
    waiting.send(head + b"\r\n\r\n")
    assert waiting.receive()[0] == 100
    waiting.send(body)
    assert waiting.receive()[0] == 200
    waiting.send((head + b"\r\n\r\n").replace(b"content-type", b"origin: http://evil.example\r\nx"))
    assert waiting.receive()[0] == 403  # at once: the body need not come
    offering = Raw(front.port)
    upgrade = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
    for _ in range(2):
        assert offering.ask(PREDICT, {"instances": [ROW]}, headers=upgrade)[0] == 200


def test_changing_what_is_served_drops_no_request(front: Processes, boosters: dict[str, Path]) -> None:
    one, two = (lightgbm_model(boosters[kind], kind) for kind in ("binary", "regression"))
    front.serve(endpoint(one))
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        client = Raw(front.port)
        while not stop.is_set():
            status, answer = client.ask(PREDICT, {"instances": [ROW]})
            assert status == 200, answer
            seen[answer["deployedModelId"]] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        front.serve(endpoint(one, two, split={"binary": 50, "regression": 50}))
        front.serve(endpoint(two))
        client = Raw(front.port)
        assert client.ask(PREDICT, {"instances": [ROW]})[1]["deployedModelId"] == "regression"
        front.serve(endpoint(one))
        assert client.ask(PREDICT, {"instances": [ROW]})[1]["deployedModelId"] == "binary"
        client.close()
    stop.set()
    for thread in threads:
        thread.join()
    assert seen["binary"] > 10 and seen["regression"] > 10


def test_a_model_that_cannot_be_loaded(
    client: Raw, front: Processes, boosters: dict[str, Path], tmp_path: Path
) -> None:
    good, broken = lightgbm_model(boosters["binary"]), lightgbm_model(tmp_path, "broken")
    with pytest.raises(FailedPrecondition, match=r"broken.*model\.txt"):
        front.serve(endpoint(good, broken, split={"5": 50, "broken": 50}))
    assert {client.ask(PREDICT, {"instances": [ROW]})[0] for _ in range(20)} == {200}
    other = NAME.replace("123", "8")
    with pytest.raises(FailedPrecondition):
        front.serve(endpoint(broken, name=other))
    status, code, message = refused(client, PREDICT.replace("123", "8"), {"instances": [ROW]})
    assert (status, code) == (503, "UNAVAILABLE") and "model.txt" in message
    front.stop_serving(other)


class Counting:
    """In place of the loader: what is stored is a number."""

    stored = 0
    domain_time = None

    def load(self) -> tuple[int, None]:
        return self.stored, None


def test_following_never_comes_too_early(tmp_path: Path) -> None:
    async def follow() -> None:
        front = Front(tmp_path, 0, lambda token, path, host: None)
        front._loader = loader = Counting()  # type: ignore[assignment]

        async def always() -> None:
            while True:
                await front.follow()

        others = [asyncio.create_task(always()) for _ in range(3)]
        for trial in range(900):
            for _ in range(trial % 300):
                await asyncio.sleep(0)  # so that every moment of a load is met
            loader.stored += 1
            await front.follow()
            assert front.version >= loader.stored
        for other in others:
            other.cancel()

    asyncio.run(follow())


def test_the_tap_and_the_counters(client: Raw, front: Processes, boosters: dict[str, Path]) -> None:
    front.serve(endpoint(lightgbm_model(boosters["binary"], "tapped"), rate=1.0))
    rows = [{"n0": i / 10} for i in range(20)]
    answers = [client.ask(PREDICT, {"instances": [row]}) for row in rows]
    client.ask(PREDICT, {"instances": ["bad"]})
    (report,) = collect(front.home)
    (model,) = [m for m in report["models"] if m["deployedModel"] == "tapped"]
    assert (model["requests"], model["errors"], model["rows"]) == (20, 1, 20)
    assert sum(model["buckets"]) == 20 and model["endpoint"] == NAME
    ask_fronts(front.home, {"flush": True}, time.monotonic() + 240)
    spool = Spool(front.home)
    found, _ = spool.read("front-0", Place(), spool.ends()["front-0"], 2**30)
    records = [r for r in found if r.deployed_model == "tapped"]
    assert [json.loads(r.request)["instances"][0] for r in records] == rows
    assert [json.loads(r.answer) for r in records] == [answer["predictions"] for _, answer in answers]


@pytest.fixture
def replica(tmp_path: Path) -> Any:
    """The socket of a real replica with a scikit-learn model: the sum of a row's two values."""
    import joblib
    import numpy as np
    from sklearn.linear_model import LinearRegression

    data = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    joblib.dump(LinearRegression().fit(data, data.sum(1)), tmp_path / "model.joblib")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "replica.sock"))
    listener.listen()
    settings = {"fd": listener.fileno(), "framework": "sklearn", "file": str(tmp_path / "model.joblib")}
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", worker.__file__, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[listener.fileno()],
    )
    assert process.stdout is not None and b"ready" in process.stdout.readline()
    yield str(tmp_path / "replica.sock"), process
    process.kill()
    process.wait()
    listener.close()


def test_models_in_replicas(client: Raw, front: Processes, replica: Any) -> None:
    path, process = replica
    spec = {
        "parameters": {"sampledShapleyAttribution": {"pathCount": 5}},
        "metadata": {"inputs": {"x": {"inputBaselines": [[0, 0]], "indexFeatureMapping": ["a", "b"],
                                      "encoding": "BAG_OF_FEATURES"}}, "outputs": {"y": {}}},
    }  # fmt: skip
    model = ServedModel(
        "7", MODEL, "3", "in a replica", "replica", replicas=[path], explain=True, explanation=spec
    )
    front.serve(endpoint(model, rate=1.0))
    status, answer = client.ask(PREDICT, {"instances": [[1, 2], [3, 4]]})
    assert (status, answer["deployedModelId"], answer["modelVersionId"]) == (200, "7", "3")
    assert answer["predictions"] == pytest.approx([3, 7])
    status, answer = client.ask(EXPLAIN, {"instances": [[1, 2]]})
    (attribution,) = answer["explanations"][0]["attributions"]
    assert (status, answer["deployedModelId"]) == (200, "7")
    assert attribution["featureAttributions"] == pytest.approx({"a": 1, "b": 2})
    client.send(client.request(RAW, {"instances": [[1, 2]]}))
    status, headers, body = client.receive()
    assert json.loads(body)["predictions"] == pytest.approx([3])
    assert headers["x-vertex-ai-deployed-model-id"] == "7"
    assert refused(client, PREDICT, {"instances": [["a", 2]]})[:2] == (400, "INVALID_ARGUMENT")
    process.kill()
    process.wait()
    client.send(client.request(PREDICT, {"instances": [[1, 2]]}))
    status, headers, body = client.receive()
    assert status == 503 and "retry-after" in headers


def test_a_front_drains(processes: Processes, boosters: dict[str, Path], tmp_path: Path) -> None:
    own = Processes(tmp_path)
    process = own.start_front()
    own.serve(endpoint(lightgbm_model(boosters["binary"])))
    idle, slow = Raw(own.port), Raw(own.port)
    assert idle.ask(PREDICT, {"instances": [ROW]})[0] == 200
    request = slow.request(PREDICT, {"instances": [ROW]})
    slow.send(request + request[:-10])
    assert slow.receive()[0] == 200  # so what came with it of the next is there too
    process.send_signal(signal.SIGTERM)
    with pytest.raises(ConnectionError):
        idle.receive()
    assert process.poll() is None
    slow.send(request[-10:])
    assert slow.receive()[0] == 200
    assert process.wait(240) == 0
    own.fronts.clear()
    with pytest.raises(Unavailable, match="No front"):
        await_fronts(own.home, 1, timeout=0.2)
    own.close()


def test_the_answer_is_lightgbms_own(client: Raw, boosters: dict[str, Path]) -> None:
    frame, _ = training_data(30)
    expected = lightgbm.Booster(model_file=boosters["binary"]).predict(frame).tolist()
    rows = json.loads(frame.to_json(orient="records", double_precision=15))
    exact = [dict(row, **{f"n{i}": frame[f"n{i}"][k] for i in range(4)}) for k, row in enumerate(rows)]
    assert client.ask(PREDICT, {"instances": exact})[1]["predictions"] == expected
