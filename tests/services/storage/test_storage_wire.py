"""What the clients don't send: raw requests, broken connections, ranges, transcoding, hostile bytes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.waiting import until

fast = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Wire:
    """HTTP without a client's opinions: paths are sent as they are."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, method, path, body=b"", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)
        connection.putrequest(method, path, skip_accept_encoding=True)
        given = {"content-type": "application/json", **(headers or {})}
        if body or method in ("POST", "PUT", "PATCH"):
            given["content-length"] = str(len(body))
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, data

    def upload(self, bucket, name, data, **params):
        query = "".join(f"&{key}={value}" for key, value in params.items())
        status, _, body = self(
            "POST",
            f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}{query}",
            data,
            {"content-type": "application/octet-stream"},
        )
        return status, json.loads(body)

    def start(self, bucket, name, resource=None, params=""):
        status, headers, body = self(
            "POST",
            f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={quote(name, safe='')}{params}",
            json.dumps(resource or {}).encode(),
        )
        assert status == 200, body
        return headers["location"].partition(f":{self.port}")[2]

    def media(self, bucket, name, headers=None, params=""):
        return self(
            "GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media{params}", headers=headers
        )


@pytest.fixture(scope="module")
def wire(server):
    return Wire(server.port)


@contextmanager
def broken_put(port, path, body, total, cut):
    """A PUT of `body` that stops after `cut` bytes; the connection is open inside the block."""
    with socket.create_connection(("127.0.0.1", port)) as raw:
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n"
            f"Content-Range: bytes 0-{len(body) - 1}/{total}\r\n\r\n"
        )
        raw.sendall(head.encode() + body[:cut])
        yield raw


def test_error_bodies_have_storages_shape(wire, bucket):
    status, _, body = wire("GET", f"/storage/v1/b/{bucket.name}/o/nothing")
    error = json.loads(body)["error"]
    assert status == error["code"] == 404
    assert error["errors"] == [{"message": error["message"], "domain": "global", "reason": "notFound"}]
    status, headers, body = wire("GET", f"/{bucket.name}/nothing")
    assert status == 404 and b"<Code>NoSuchKey</Code>" in body and "xml" in headers["content-type"]


@fast
@given(data=st.binary(min_size=0, max_size=64), first=st.integers(0, 80), last=st.integers(0, 80))
def test_ranges(wire, bucket, data, first, last):
    wire.upload(bucket.name, "r", data)
    status, headers, body = wire.media(bucket.name, "r", {"range": f"bytes={first}-{last}"})
    if last < first:
        assert (status, body) == (200, data)
    elif first >= len(data):
        assert status == 416 and json.loads(body)["error"]["code"] == 416
    else:
        assert (status, body) == (206, data[first : last + 1])
        assert headers["content-range"] == f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"
    status, _, body = wire.media(bucket.name, "r", {"range": f"bytes=-{first}"})
    assert (status, body) == (206, data[-first:]) if data and first else status == 416


names = st.text(min_size=1, max_size=30).filter(
    lambda n: (
        n not in (".", "..") and not set("\r\n") & set(n) and not any(0xD800 <= ord(c) < 0xE000 for c in n)
    )
)


@fast
@given(name=names | st.sampled_from(["...", "/", "//", "a/../b", "%2F", "a?b", "a#b", "+", " ", "é" * 512]))
def test_any_name_that_is_allowed_comes_back(wire, bucket, name):
    data = name.encode()
    status, resource = wire.upload(bucket.name, name, data)
    assert (status, resource["name"]) == (200, name)
    assert wire.media(bucket.name, name)[2] == data
    assert json.loads(wire("GET", f"/storage/v1/b/{bucket.name}/o/{quote(name, safe='')}")[2])["name"] == name
    listed = json.loads(wire("GET", f"/storage/v1/b/{bucket.name}/o?prefix={quote(name, safe='')}")[2])
    assert name in [item["name"] for item in listed["items"]]
    assert wire("DELETE", f"/storage/v1/b/{bucket.name}/o/{quote(name, safe='')}")[0] == 204
    assert wire.media(bucket.name, name)[0] == 404


@pytest.mark.parametrize(
    "name", ["", "a\nb", "a\rb", "x" * 1025, "é" * 513, ".", "..", ".well-known/acme-challenge/x"]
)
def test_names_that_are_not_allowed(wire, bucket, name):
    status, body = wire.upload(bucket.name, name, b"x")
    assert status == 400 and body["error"]["errors"][0]["reason"] in ("invalid", "required")


def test_a_name_that_is_not_utf8(wire, bucket):
    assert wire("GET", f"/storage/v1/b/{bucket.name}/o/%ff?alt=media")[0] == 400


def test_checksums_that_the_sender_gives_are_held(wire, bucket):
    path = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=c"
    md5 = base64.b64encode(hashlib.md5(b"data").digest()).decode()
    for headers, wanted in (
        ({"x-goog-hash": f"md5={md5}"}, 200),
        ({"content-md5": md5}, 200),
        ({"x-goog-hash": "crc32c=rth90Q=="}, 200),
        ({"x-goog-hash": "crc32c=AAAAAA=="}, 400),
        ({"content-md5": base64.b64encode(bytes(16)).decode()}, 400),
        ({"x-goog-hash": "md5=***"}, 400),
    ):
        assert wire("POST", path, b"data", {"content-type": "x/y", **headers})[0] == wanted, headers
    session = wire.start(bucket.name, "never", {"crc32c": "AAAAAA=="})
    assert wire("PUT", session, b"data", {"content-range": "bytes 0-3/4"})[0] == 400
    assert wire("PUT", session, b"", {"content-range": "bytes */4"})[0] == 404
    assert wire.media(bucket.name, "never")[0] == 404


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 3_000_000), cuts=st.lists(st.floats(0, 1), max_size=3), seed=st.integers(0, 99))
def test_an_upload_goes_on_where_the_connection_broke(wire, bucket, size, cuts, seed):
    data = hashlib.shake_128(str(seed).encode()).digest(size)
    session = wire.start(bucket.name, "resumed")
    have = 0
    for cut in cuts:
        with broken_put(wire.port, session, data, size, int(size * cut)):
            pass
        status, headers, _ = wire("PUT", session, b"", {"content-range": f"bytes */{size}"})
        if status == 200:  # all of it had come
            return
        assert status == 308
        have = int(headers["range"].removeprefix("bytes=0-")) + 1 if "range" in headers else 0
    rest = data[have:]
    content_range = f"bytes {have}-{size - 1}/{size}" if rest else f"bytes */{size}"
    status, _, body = wire("PUT", session, rest, {"content-range": content_range})
    assert status == 200
    assert json.loads(body)["md5Hash"] == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert wire.media(bucket.name, "resumed")[2] == data
    # The last request, repeated because its answer was lost, is answered again.
    status, _, body = wire("PUT", session, rest, {"content-range": content_range})
    assert status == 200 and json.loads(body)["size"] == str(size)


def test_the_details_of_sessions(wire, bucket):
    session = wire.start(bucket.name, "s", params="&ifGenerationMatch=0")
    assert wire("PUT", session, b"abc", {"content-range": "bytes 0-2/*"})[1]["range"] == "bytes=0-2"
    assert wire("PUT", session, b"xyz", {"content-range": "bytes 9-11/12"})[0] == 400  # a gap
    assert wire("PUT", session, b"bcdef", {"content-range": "bytes 1-5/*"})[1]["range"] == "bytes=0-5"
    assert wire("PUT", session, b"", {"content-range": "nonsense"})[0] == 400
    assert wire("PUT", session, b"", {"content-range": "bytes */*"})[1]["range"] == "bytes=0-5"
    assert wire("POST", session, b"", {"content-range": "bytes */6"})[0] == 200  # as gcsfs ends a file
    assert wire.media(bucket.name, "s")[2] == b"abcdef"
    session = wire.start(bucket.name, "cancelled")
    assert wire("DELETE", session)[0] == 499
    assert wire("PUT", session, b"x", {"content-range": "bytes 0-0/1"})[0] == 404
    session = wire.start(bucket.name, "whole")
    assert wire("PUT", session, b"all at once")[0] == 200
    # The precondition is checked when the upload ends, too.
    session = wire.start(bucket.name, "raced", params="&ifGenerationMatch=0")
    wire.upload(bucket.name, "raced", b"first")
    assert wire("PUT", session, b"second")[0] == 412
    assert wire.media(bucket.name, "raced")[2] == b"first"


def test_an_upload_that_breaks_off_leaves_nothing(wire, bucket, server):
    def files():
        return {f for _, _, names in os.walk(server.home / "objects") for f in names}

    before = files()
    with socket.create_connection(("127.0.0.1", wire.port)) as raw:
        path = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=half"
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\n\r\n"
        raw.sendall(head.encode() + bytes(3_000_000))
        until(lambda: files() != before, "a part of it is there")
        assert wire.media(bucket.name, "half")[0] == 404
    until(lambda: files() == before, "its file is gone")
    assert wire.media(bucket.name, "half")[0] == 404


def test_an_overwrite_does_not_touch_a_reader(wire, bucket):
    old, new = os.urandom(30_000_000), b"new"
    wire.upload(bucket.name, "o", old)
    connection = http.client.HTTPConnection("127.0.0.1", wire.port)
    connection.request("GET", f"/download/storage/v1/b/{bucket.name}/o/o?alt=media")
    response = connection.getresponse()
    start = response.read(1000)
    wire.upload(bucket.name, "o", new)
    assert wire.media(bucket.name, "o")[2] == new
    assert start + response.read() == old


def test_transcoding(wire, bucket):
    plain = b"compressible " * 200_000
    packed = gzip.compress(plain[:1000]) + gzip.compress(plain[1000:])
    wire.upload(bucket.name, "z", packed, contentEncoding="gzip")
    status, headers, body = wire.media(bucket.name, "z", {"accept-encoding": "gzip"})
    assert (status, body, headers["content-encoding"]) == (200, packed, "gzip")
    status, headers, body = wire.media(bucket.name, "z", {"range": "bytes=0-9"})
    assert (status, body) == (200, plain) and "content-encoding" not in headers
    assert headers["x-goog-stored-content-encoding"] == "gzip"
    assert headers["x-goog-stored-content-length"] == str(len(packed))
    url = f"/storage/v1/b/{bucket.name}/o/z"
    assert wire("PATCH", url, b'{"cacheControl": "no-transform"}')[0] == 200
    assert wire.media(bucket.name, "z")[2] == packed
    wire.upload(bucket.name, "padded", packed + bytes(100), contentEncoding="gzip")
    assert wire.media(bucket.name, "padded")[2] == plain
    for not_gzip in (b"", b"no gzip"):
        wire.upload(bucket.name, "liar", not_gzip, contentEncoding="gzip")
        assert wire.media(bucket.name, "liar")[2] == not_gzip


def test_headers_of_a_download(wire, bucket):
    resource = json.dumps({"name": "h", "contentType": "text/x", "metadata": {"k": "a\r\nSet-Cookie: b"}})
    body = f"--b\r\n\r\n{resource}\r\n--b\r\ncontent-type: text/y\r\n\r\nDATA\r\n--b--"
    path = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart"
    status, _, answer = wire("POST", path, body.encode(), {"content-type": "multipart/related; boundary=b"})
    assert status == 200 and json.loads(answer)["contentType"] == "text/x"
    status, headers, data = wire.media(bucket.name, "h")
    assert (status, data, headers["content-type"]) == (200, b"DATA", "text/x")
    assert (
        headers["x-goog-hash"] == f"crc32c={json.loads(answer)['crc32c']},md5={json.loads(answer)['md5Hash']}"
    )
    assert "set-cookie" not in headers and headers["x-goog-meta-k"] == "a%0D%0ASet-Cookie: b"
    tag = headers["etag"]
    assert wire.media(bucket.name, "h", {"if-none-match": tag})[0] == 304
    assert wire.media(bucket.name, "h", {"if-match": "other"})[0] == 412
    assert (
        wire.media(bucket.name, "h", params=f"&ifGenerationNotMatch={headers['x-goog-generation']}")[0] == 304
    )
    assert wire.media(bucket.name, "h", params="&ifGenerationMatch=5")[0] == 412
    status, headers, data = wire("HEAD", f"/{bucket.name}/h")
    assert (status, data, headers["content-length"]) == (200, b"", "4")


@fast
@given(
    data=st.binary(max_size=200) | st.just(b"\r\n--b") | st.just(b"\r"),
    newline=st.sampled_from(["\r\n", "\n"]),
)
def test_multipart_bodies_of_both_newlines(wire, bucket, data, newline):
    head = newline.join(["--b", "", '{"name": "m"}', "--b", "content-type: a/b", "", ""])
    body = head.encode() + data + f"{newline}--b--".encode()
    path = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart"
    assert wire("POST", path, body, {"content-type": 'multipart/related; boundary="b"'})[0] == 200
    assert wire.media(bucket.name, "m")[2] == data


def test_malformed_requests_get_400_and_not_500(wire, bucket):
    upload = f"/upload/storage/v1/b/{bucket.name}/o"
    related = {"content-type": "multipart/related; boundary=b"}
    for method, path, body, headers in (
        ("POST", f"{upload}?uploadType=multipart", b"", related),
        ("POST", f"{upload}?uploadType=multipart", b"--b\r\n\r\n{}\r\n--b\r\n\r\nno end", related),
        ("POST", f"{upload}?uploadType=multipart", b"--b\r\n\r\n[]\r\n--b\r\n\r\nx\r\n--b--", related),
        ("POST", f"{upload}?uploadType=multipart", b"x", {"content-type": "text/plain"}),
        ("POST", f"{upload}?uploadType=resumable&name=x", b"{", {}),
        ("POST", f"{upload}?uploadType=resumable&name=x", b'{"metadata": 5}', {}),
        ("POST", f"{upload}?uploadType=resumable&name=x", b'{"customTime": "soon"}', {}),
        ("POST", f"{upload}?uploadType=resumable", b'{"name": 5}', {}),
        ("POST", f"{upload}?uploadType=strange&name=x", b"", {}),
        ("POST", f"{upload}?uploadType=media&name=x&ifGenerationMatch=y", b"", {}),
        ("GET", f"/storage/v1/b/{bucket.name}/o?pageToken=nonsense", b"", {}),
        ("GET", f"/storage/v1/b/{bucket.name}/o?maxResults=-1", b"", {}),
        ("GET", f"/storage/v1/b/{bucket.name}/o?matchGlob=%5Ba", b"", {}),
        ("GET", f"/storage/v1/b/{bucket.name}/o?pageToken=WyJhIiwgOTk5OTk5OTk5OTk5OTk5OTk5OTk5XQ==", b"", {}),
        ("GET", f"/{bucket.name}/x?generation=99999999999999999999", b"", {}),
        ("POST", "/batch/storage/v1", b"", {}),
        ("GET", "/storage/v1/b", b"", {}),
        ("POST", "/storage/v1/b", b'{"name": "a-bucket"}', {}),
        (
            "POST",
            "/batch/storage/v1",
            b"--b\n\nGET http\n--b--",
            {"content-type": "multipart/mixed; boundary=b"},
        ),
        ("PUT", f"/{bucket.name}/x?uploadId=none&partNumber=1", b"x", {}),
        ("POST", f"/{bucket.name}/x?uploadId=none", b"<", {}),
        ("PATCH", f"/{bucket.name}/x", b"", {}),
    ):
        status, _, answer = wire(method, path, body, headers)
        assert 400 <= status < 500, (method, path, body, status, answer)


def test_encryption_under_a_managed_key_is_refused(wire, bucket):
    path = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=secret"
    assert wire("POST", f"{path}&kmsKeyName=k", b"x", {"content-type": "x/y"})[0] == 501
    header = {"x-goog-encryption-kms-key-name": "k"}
    assert wire("POST", path, b"x", header)[0] == 501
    assert wire("PUT", f"/{bucket.name}/secret", b"x", header)[0] == 501


def test_of_two_first_writers_one_wins(wire, bucket):
    def write(text):
        return wire.upload(bucket.name, "first", text, ifGenerationMatch=0)[0]

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(write, [b"%d" % i for i in range(8)]))
    assert sorted(statuses) == [200] + [412] * 7
    assert wire.media(bucket.name, "first")[2] == b"%d" % statuses.index(200)


def test_counting_with_preconditions_loses_nothing(wire, bucket):
    wire.upload(bucket.name, "n", b"0")

    def count(_):
        while True:
            _, headers, body = wire.media(bucket.name, "n")
            status, _ = wire.upload(
                bucket.name, "n", b"%d" % (int(body) + 1), ifGenerationMatch=headers["x-goog-generation"]
            )
            if status == 200:
                return
            assert status == 412

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(20)))
    assert wire.media(bucket.name, "n")[2] == b"20"


def test_readers_of_an_object_that_changes_always_see_one_whole_generation(wire, bucket):
    wire.upload(bucket.name, "w", b"0" * 100_000)
    stop = threading.Event()

    def overwrite():
        number = 0
        while not stop.is_set():
            number += 1
            wire.upload(bucket.name, "w", b"%d" % (number % 10) * 100_000)

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        for _ in range(60):
            status, _, body = wire.media(bucket.name, "w")
            assert status == 200 and len(body) == 100_000 and len(set(body)) == 1
    finally:
        stop.set()
        writer.join()


def test_two_connections_on_one_session_do_not_mix(wire, bucket):
    data = os.urandom(2_000_000)
    session = wire.start(bucket.name, "twice")
    with broken_put(wire.port, session, data, len(data), 700_000):
        done = threading.Thread(
            target=lambda: results.append(
                wire("PUT", session, data, {"content-range": f"bytes 0-{len(data) - 1}/{len(data)}"})[0]
            )
        )
        results: list[int] = []
        done.start()
        time.sleep(0.2)  # a pace: most often both are there at once
    done.join()
    assert results == [200] and wire.media(bucket.name, "twice")[2] == data
