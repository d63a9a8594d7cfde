"""What a web page in someone's browser could send to a local port is refused, and changes nothing."""

from __future__ import annotations

import json
import socket

import pytest
from wire import Wire

L = "/v1/projects/hostile/locations/us-central1"
BUCKET = "hostile-page"
# What browsers put on requests that a page of another site makes; every cross-site POST has an Origin.
HOSTILE = {
    "a foreign origin": {"Origin": "https://evil.example"},
    "another port of this machine": {"Origin": "http://127.0.0.1:1"},
    "a sandboxed frame or a file": {"Origin": "null"},
    "an empty origin": {"Origin": ""},
    "our host as a part of theirs": {"Origin": "http://127.0.0.1.evil.example"},
    "fetch says cross-site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "fetch says same-site": {"Sec-Fetch-Site": "same-site"},
    "fetch says what we don't know": {"Sec-Fetch-Site": "Same-Origin, cross-site"},
    "a rebound name": {"Host": "evil.example:8080"},
    "a rebound name that ends like ours": {"Host": "evil.localhost"},
    "a rebound name, and its own origin": {"Host": "evil.example", "Origin": "http://evil.example"},
    "no host": {"Host": ""},
    "two hosts in one": {"Host": "evil.example,127.0.0.1"},
}
FORMS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "")
BODY = json.dumps({"displayName": "made by a page"}).encode()


@pytest.fixture(scope="module")
def wire(portico):
    wire = Wire(portico.url)
    wire("POST", "/storage/v1/b?project=p", {"name": BUCKET})
    wire("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=mine", b"mine")
    made = wire("POST", f"{L}/endpoints", {"displayName": "mine"})
    assert made.status == 200
    yield wire
    wire.close()


def endpoint_of(wire):
    return wire("GET", f"{L}/endpoints").json["endpoints"][0]["name"]


def requests(endpoint):
    """Everything with an effect that a page might try: method, target, content type, body."""
    json_type = "application/json"
    return [
        ("POST", f"{L}/endpoints", json_type, BODY),
        ("POST", f"/v1beta1{L[3:]}/endpoints", json_type, BODY),
        ("PATCH", f"/v1/{endpoint}?updateMask=displayName", json_type, BODY),
        ("DELETE", f"/v1/{endpoint}", "", b""),
        ("POST", f"/v1/{endpoint}:deployModel", json_type, b"{}"),
        ("POST", f"/v1/{endpoint}:predict", json_type, b'{"instances": [{"a": 1}]}'),
        ("POST", f"/v1/{endpoint}:explain", json_type, b'{"instances": [{"a": 1}]}'),
        ("POST", f"/v1/{endpoint}:rawPredict", "text/plain", b'{"instances": [{"a": 1}]}'),
        ("POST", "/storage/v1/b?project=p", json_type, b'{"name": "made-by-a-page"}'),
        ("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=theirs", "text/plain", b"theirs"),
        ("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=mine", "text/plain", b"theirs"),
        ("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=theirs", "text/plain", b"{}"),
        ("POST", f"/{BUCKET}/theirs?uploads", "text/plain", b""),
        ("PUT", f"/{BUCKET}/theirs", "text/plain", b"theirs"),
        ("DELETE", f"/storage/v1/b/{BUCKET}/o/mine", "", b""),
        ("POST", "/batch/storage/v1", "multipart/mixed; boundary=x", batch()),
        ("GET", f"/storage/v1/b/{BUCKET}/o/mine?alt=media", "", b""),
        ("GET", f"/v1/{endpoint}", "", b""),
        ("GET", "/-/metrics", "", b""),
        ("POST", "/-/token", "application/x-www-form-urlencoded", b"grant_type=x&assertion=y"),
        ("OPTIONS", f"{L}/endpoints", "", b""),
    ]


def batch():
    return (
        b"--x\r\nContent-Type: application/http\r\n\r\n"
        b"DELETE /storage/v1/b/" + BUCKET.encode() + b"/o/mine HTTP/1.1\r\n\r\n\r\n--x--\r\n"
    )


def state(wire):
    """What is there, in words that change with every change."""
    objects = wire("GET", f"/storage/v1/b/{BUCKET}/o").json["items"]
    buckets = wire("GET", "/storage/v1/b?project=p").json["items"]
    return (
        [(e["name"], e["etag"]) for e in wire("GET", f"{L}/endpoints").json["endpoints"]],
        [(o["name"], o["generation"]) for o in objects],
        sorted(b["name"] for b in buckets),
    )


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_request_is_refused_and_changes_nothing(wire, how):
    before = state(wire)
    for method, target, media, body in requests(endpoint_of(wire)):
        headers = {**({"content-type": media} if media else {}), **HOSTILE[how]}
        answer = wire(method, target, body or None, headers)
        assert answer.status == 403, (method, target, answer)
        assert not any(name.startswith("access-control-") for name in answer.headers)
        if not target.startswith(f"/{BUCKET}"):
            assert "error" in answer.json
    assert state(wire) == before


@pytest.mark.parametrize("media", FORMS)
def test_a_form_is_no_json(wire, media):
    """Even without any sign of a browser: the content types that need no preflight are not taken for JSON."""
    before = state(wire)
    endpoint = endpoint_of(wire)
    headers = {"content-type": media} if media else {}
    for method, target, expected, body in requests(endpoint):
        if expected == "application/json":
            answer = wire(method, target, body, headers)
            assert answer.status == 400, (method, target, answer)
            assert "application/json" in answer.json["error"]["message"]
    assert state(wire) == before


def test_two_host_headers_are_refused(portico):
    """A rebound name can't hide behind ours."""
    for first, second in (("evil.example", "127.0.0.1"), ("127.0.0.1", "evil.example")):
        for target in (f"GET {L}/endpoints", f"POST {L}/endpoints/1:predict"):
            with socket.create_connection(("127.0.0.1", portico.port), timeout=240) as raw:
                head = f"{target} HTTP/1.1\r\nHost: {first}\r\nHost: {second}\r\nContent-Length: 0\r\n\r\n"
                raw.sendall(head.encode())
                status = int(raw.recv(4096).split()[1])
            assert status in (400, 403), (first, second, target)


def test_our_own_pages_and_programs_are_served(wire):
    endpoint = endpoint_of(wire)
    for headers in (
        {},
        {"Origin": f"http://{wire.host}"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Host": f"localhost:{wire.host.rpartition(':')[2]}"},
        {"Host": "[::1]"},
    ):
        assert wire("GET", f"/v1/{endpoint}", headers=headers).status == 200
        assert wire("POST", f"/v1/{endpoint}:predict", {"instances": [1]}, headers).status in (400, 404)
