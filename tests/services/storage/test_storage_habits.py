"""What clients in other languages send, byte for byte: Java's, Go's, Node's, googleapiclient's, signed URLs."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from urllib.parse import quote

import pytest
import requests


@pytest.fixture
def put(server, bucket):
    """Sends to a new resumable session of the object: `put(data, content_range, **headers)`."""

    def start(name):
        made = requests.post(
            f"{server.url}/upload/storage/v1/b/{bucket.name}/o",
            params={"uploadType": "resumable", "name": name},
        )

        def send(data, content_range, **headers):
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            return requests.put(
                made.headers["location"], data, headers={"content-range": content_range} | named
            )

        return send

    return start


def test_an_upload_whose_end_is_not_known(put, bucket):
    whole = put("whole")(iter([b"ab", b"c"]), "bytes 0-*/*")
    assert (whole.status_code, whole.json()["size"]) == (200, "3")
    send = put("resumed")
    assert send(b"ab", "bytes 0-1/*").headers["range"] == "bytes=0-1"
    assert send(iter([b"cd"]), "bytes 2-*/*").json()["size"] == "4"
    assert bucket.blob("resumed").download_as_bytes() == b"abcd"
    short = put("short")(iter([b"abc"]), "bytes 0-*/5")
    assert (short.status_code, short.headers["range"]) == (308, "bytes=0-2")


def test_gos_client_gets_no_308(put):
    send = put("go")
    asked = send(b"", "bytes */*", X_GUploader_No_308="yes")
    assert (asked.status_code, asked.headers["x-http-status-code-override"]) == (200, "308")
    half = send(b"ab", "bytes 0-1/*", X_GUploader_No_308="yes")
    assert (half.status_code, half.headers["x-http-status-code-override"]) == (200, "308")
    assert half.headers["range"] == "bytes=0-1"
    done = send(b"c", "bytes 2-2/3", X_GUploader_No_308="yes")
    assert (done.status_code, done.json()["size"]) == (200, "3")
    assert "x-http-status-code-override" not in done.headers


def test_the_method_in_a_header(server, bucket, client):
    bucket.blob("a").upload_from_string("x", content_type="text/plain")
    url = f"{server.url}/storage/v1/b/{bucket.name}/o/a"
    patched = requests.post(url, json={"contentLanguage": "de"}, headers={"X-HTTP-Method-Override": "PATCH"})
    assert (patched.status_code, patched.json()["contentType"]) == (200, "text/plain")
    assert bucket.get_blob("a").content_language == "de"
    for wrong in ("CONNECT", "HEAD", "NONSENSE"):
        answer = requests.post(url, json={}, headers={"X-HTTP-Method-Override": wrong})
        assert answer.status_code == 400 and wrong in answer.json()["error"]["message"]
    assert requests.post(url, headers={"X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert bucket.get_blob("a") is None
    # The header means nothing beside another method.
    assert requests.get(url, headers={"X-HTTP-Method-Override": "DELETE"}).status_code == 404


def test_a_query_that_is_too_long_for_a_url_comes_as_a_form(server, bucket):
    """As googleapiclient sends a GET of more than 2,048 characters."""
    bucket.blob("a/1").upload_from_string("x")
    bucket.blob("b/1").upload_from_string("x")
    headers = {"X-HTTP-Method-Override": "GET"}
    answer = requests.post(
        f"{server.url}/storage/v1/b/{bucket.name}/o", {"prefix": "b/", "startOffset": "b"}, headers=headers
    )
    assert [item["name"] for item in answer.json()["items"]] == ["b/1"]
    models = f"{server.url}/v1/projects/p/locations/us-central1/models"
    answer = requests.post(models, {"filter": "displayName=" + '"x"'}, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {})


def test_a_download_ends_whatever_its_headers_say(server, bucket):
    """What watches for the client's end must find nothing to do over and over."""
    data = bytes(3 << 20)
    bucket.blob("big").upload_from_string(data)
    url = f"{server.url}/storage/v1/b/{bucket.name}/o/big"
    asked = [
        requests.post(url, {"alt": "media"}, headers={"X-HTTP-Method-Override": "GET"}, timeout=240),
        requests.get(f"{url}?alt=media", headers={"content-encoding": "gzip"}, timeout=240),
    ]
    assert [one.content == data for one in asked] == [True, True]
    inner = f"GET /storage/v1/b/{bucket.name}/o/big?alt=media HTTP/1.1\r\n\r\n"
    batch = f"--b\r\nContent-Type: application/http\r\n\r\n{inner}\r\n--b--"
    refused = requests.post(
        f"{server.url}/batch/storage/v1",
        batch,
        headers={"content-type": "multipart/mixed; boundary=b"},
        timeout=240,
    )
    assert refused.status_code == 400 and "media" in refused.text


def test_bodies_that_are_packed_on_the_way(server, bucket):
    """As Java's client sends every JSON body, and `gsutil cp -J` data."""
    packed = {"content-encoding": "gzip", "content-type": "application/json"}
    url = f"{server.url}/storage/v1/b/{bucket.name}"
    body = gzip.compress(json.dumps({"labels": {"team": "ml"}}).encode())
    assert requests.patch(url, body, headers=packed).json()["labels"] == {"team": "ml"}
    upload = f"{server.url}/upload/storage/v1/b/{bucket.name}/o"
    data = b"0123456789" * 300_000
    made = requests.post(
        upload,
        gzip.compress(data[:7]) + gzip.compress(data[7:]),
        params={"uploadType": "media", "name": "m"},
        headers={"content-encoding": "gzip", "content-type": "text/plain"},
    )
    assert (made.status_code, made.json()["size"], made.json().get("contentEncoding")) == (
        200,
        "3000000",
        None,
    )
    assert bucket.blob("m").download_as_bytes() == data
    for broken in (b"no gzip", gzip.compress(data)[:-9], gzip.compress(data) + b"more"):
        answer = requests.post(
            upload,
            broken,
            params={"uploadType": "media", "name": "broken"},
            headers={"content-encoding": "gzip", "content-type": "text/plain"},
        )
        assert answer.status_code == 400 and "gzip" in answer.json()["error"]["message"]
    assert bucket.get_blob("broken") is None
    # In the XML API the header is a property of the object.
    requests.put(
        f"{server.url}/{bucket.name}/kept", gzip.compress(b"kept"), headers={"content-encoding": "gzip"}
    )
    kept = bucket.get_blob("kept")
    assert (kept.content_encoding, kept.size) == ("gzip", len(gzip.compress(b"kept")))


def test_an_emulator_without_a_prefix(server, bucket, client):
    """STORAGE_EMULATOR_HOST as Node's client reads it."""
    bucket.blob("dir/a").upload_from_string("abc")
    listing = requests.get(f"{server.url}/b", params={"project": client.project}).json()
    assert bucket.name in [item["name"] for item in listing["items"]]
    assert requests.get(f"{server.url}/b/{bucket.name}/o").json()["items"][0]["name"] == "dir/a"
    media = requests.get(f"{server.url}/b/{bucket.name}/o/{quote('dir/a', safe='')}?alt=media")
    assert media.content == b"abc"
    missing = requests.get(f"{server.url}/b/{bucket.name}/o/none")
    assert missing.json()["error"]["errors"][0]["reason"] == "notFound"


def test_a_signed_url_names_its_answer_and_starts_an_upload(server, bucket, portico):
    from google.oauth2 import service_account

    key = service_account.Credentials.from_service_account_file(str(portico.home / "credentials.json"))

    def url(name, method, **more):
        return bucket.blob(name).generate_signed_url(
            version="v4",
            expiration=timedelta(minutes=5),
            method=method,
            credentials=key,
            api_access_endpoint=server.url,
            **more,
        )

    bucket.blob("größe & co.csv").upload_from_string("a,b\n", content_type="text/csv")
    named = 'attachment; filename="q1.csv"'
    got = requests.get(
        url("größe & co.csv", "GET", response_disposition=named, response_type="application/vnd.ms-excel")
    )
    assert got.headers["content-disposition"] == named
    assert (got.headers["content-type"], got.text) == ("application/vnd.ms-excel", "a,b\n")
    split = requests.get(url("größe & co.csv", "GET", response_disposition="a\r\nSet-Cookie: b"))
    assert "set-cookie" not in split.headers

    headers = {"x-goog-resumable": "start", "content-type": "text/plain", "x-goog-meta-k": "v"}
    start = requests.post(url("in/größe.bin", "RESUMABLE", headers={"x-goog-meta-k": "v"}), headers=headers)
    assert start.status_code == 201 and not start.content
    session = start.headers["location"]
    half = requests.put(session, b"ab", headers={"content-range": "bytes 0-1/4"})
    assert (half.status_code, half.headers["range"]) == (308, "bytes=0-1")
    end = requests.put(session, b"cd", headers={"content-range": "bytes 2-3/4"})
    made = bucket.get_blob("in/größe.bin")
    assert (end.status_code, end.headers["x-goog-generation"]) == (200, str(made.generation))
    assert (made.size, made.content_type, made.metadata) == (4, "text/plain", {"k": "v"})
    cancelled = requests.post(url("gone", "RESUMABLE"), headers={"x-goog-resumable": "start"})
    assert requests.delete(cancelled.headers["location"]).status_code == 499
    again = requests.put(cancelled.headers["location"], b"x")
    assert again.status_code == 404 and "<Code>" in again.text
