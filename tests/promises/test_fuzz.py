"""Every route of every API under requests that are wrong in every way: no 5xx but 501, always an error to read."""

from __future__ import annotations

import os
import socket
from collections import Counter

import pytest
import world
from fuzz import Fuzzer, complaints
from fuzz_wire import WireFuzzer
from wire import Wire

from portico.doors.contract.documents import Contract, Match
from portico.doors.dispatch import implementation
from portico.host.wiring import import_services

L = "projects/fuzz/locations/us-central1"


@pytest.fixture(scope="module")
def contract(tmp_path_factory):
    import_services()
    return Contract.load(tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="module")
def made(portico):
    wire = Wire(portico.url)
    yield world.make_world(wire, L)
    wire.close()


@pytest.fixture(scope="module")
def answering(portico):
    """A deployed model that no other test here changes."""
    wire = Wire(portico.url)
    yield world.make_world(wire, "projects/malformed/locations/us-central1")
    wire.close()


def send(wire, fuzzer, request, counts):
    headers = {"content-type": request.media} if request.media and request.body is not None else {}
    answer = wire(request.http, request.target, request.body, headers)
    counts[answer.status] += 1
    found = list(complaints(request, answer.status, answer.headers, answer.body))
    assert not found, (
        found,
        request.http,
        request.target[:600],
        request.body and request.body[:2000],
        answer,
    )


def built(contract):
    return [
        m
        for m in contract.methods
        if (implementation(Match(m, {})) is not None and not m.id.rpartition(".")[0].endswith(".operations"))
        or m.id in ("projects.locations.operations.list", "projects.locations.datasets.operations.get")
        or m.id.startswith("projects.locations.endpoints.")
    ]


def test_every_route_answers_in_googles_shape(portico, contract, made):
    """Each method of each version once: 501 where it is not built, else whatever it has to say."""
    wire = Wire(portico.url)
    fuzzer = Fuzzer(contract, made, seed=1)
    counts: Counter[int] = Counter()
    for method in contract.methods:
        if method.http == "DELETE" or "undeploy" in method.id:
            continue  # the next tests need what is there
        send(wire, fuzzer, fuzzer.plain(method), counts)
    print(counts)
    assert counts[501] > 1000 and counts[200] > 20
    wire.close()


@pytest.mark.parametrize("rounds", [5, pytest.param(400, marks=pytest.mark.slow)])
def test_built_methods_under_wrong_requests(portico, contract, made, rounds):
    wire = Wire(portico.url)
    seed = int(os.environ.get("PORTICO_FUZZ_SEED", "2"))
    counts: Counter[int] = Counter()
    before = len(portico.log())
    for number in range(rounds):
        fuzzer = Fuzzer(contract, made, seed * 100_000 + number)
        for method in built(contract):
            send(wire, fuzzer, fuzzer.wrong(method), counts)
    print(seed, counts)
    assert counts[200] > 50 and counts[400] > 200 and counts[404] > 50
    assert "Traceback" not in portico.log()[before:]
    assert wire("GET", "/-/healthz").status == 200
    wire.close()


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_other_methods_under_wrong_requests(portico, contract, made, rounds):
    wire = Wire(portico.url)
    counts: Counter[int] = Counter()
    chosen = {m.path + m.http for m in built(contract)}
    others = [m for m in contract.methods if m.path + m.http not in chosen]
    for number in range(rounds):
        fuzzer = Fuzzer(contract, made, 3_000_000 + number)
        for method in others if rounds > 1 else fuzzer.random.sample(others, 600):
            send(wire, fuzzer, fuzzer.wrong(method), counts)
    assert counts[501] > 100
    wire.close()


@pytest.mark.parametrize("count", [1500, pytest.param(60_000, marks=pytest.mark.slow)])
def test_what_no_document_lists_under_wrong_requests(portico, count):
    """Uploads, downloads, batches, the XML API, predictions; in a world from which no other test has deleted."""
    wire = Wire(portico.url)
    fuzzer = WireFuzzer(world.make_world(wire, L), seed=int(os.environ.get("PORTICO_FUZZ_SEED", "4")))
    counts: Counter[int] = Counter()
    failures = []
    before = len(portico.log())
    for _ in range(count):
        method, target, body, headers = fuzzer.wrong()
        answer = wire(method, target, body or None, headers)
        counts[answer.status] += 1
        known = answer.status < 500 or answer.status == 501
        if answer.status >= 400 and method != "HEAD":
            known = known and (b'"error"' in answer.body or b"<Error>" in answer.body)
        if not known or b"Traceback" in answer.body[:5000]:
            failures.append((method, target[:300], body[:300], headers, answer.status, answer.body[:300]))
    print(counts)
    assert failures == []
    assert counts[200] > count / 40 and counts[400] > count / 20
    assert "Traceback" not in portico.log()[before:]
    fresh = world.make_world(wire, L)  # what the tests before did to the other one was their right
    assert world.predict(wire, fresh.endpoint).status == 200
    wire.close()


MALFORMED = (
    b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /v1/a b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET v1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET http://127.0.0.1/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"NOSUCH /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /v1/x HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /v1/x\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nNo colon\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nA: \x00\r\n\r\n",
    b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
    b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    b"GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 200-ok\r\n\r\n",
    b"POST /v1/%PREDICT HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /v1/%PREDICT HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/%PREDICT HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/%PREDICT HTTP/1.1\r\nHost: 127.0.0.1\r\nBad\r\n\r\n",
    b"POST /v1/%PREDICT HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
)


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_malformed_http_gets_an_error_or_is_cut_off(portico, answering, number):
    """Not one byte of HTML or of a traceback, no 5xx, and the next connection is served."""
    data = MALFORMED[number].replace(b"%PREDICT", answering.endpoint.encode() + b":predict")
    received = b""
    with socket.create_connection(("127.0.0.1", portico.port), timeout=240) as raw:
        try:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while piece := raw.recv(65536):
                received += piece
        except OSError:  # cut off
            pass
    if received:
        status = int(received.split()[1])
        assert status < 500 or status == 501, received[:500]
        if status >= 400:
            assert b'"error"' in received, received[:500]
            assert b"application/json" in received
    wire = Wire(portico.url)
    assert wire("GET", f"/v1/{answering.endpoint}").status == 200
    assert world.predict(wire, answering.endpoint).status == 200
    wire.close()


def test_an_any_value_that_is_nested_too_deeply_is_refused(portico, made):
    deep = (
        b'{"displayName": "x", "metadataSchemaUri": "x", "metadata": ' + b'{"a":[' * 400 + b"]}" * 400 + b"}"
    )
    wire = Wire(portico.url)
    answer = wire("POST", f"/v1/{L}/datasets", deep, {"content-type": "application/json"})
    assert answer.status == 400 and "levels deep" in answer.json["error"]["message"]
    wire.close()
