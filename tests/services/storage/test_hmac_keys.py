"""HMAC keys: kept by Google's client, and what they sign."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import time
from typing import Any
from urllib.parse import quote

import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage
from tests.services.iam.test_permissions import Someone
from tests.services.iam.test_service_accounts import client
from tests.services.storage.test_signed_urls import code

NAME = "a folder/größe.txt"
WRONG = (403, "SignatureDoesNotMatch")


class Signer:
    """Signs as Google's documentation says, by V4. https://cloud.google.com/storage/docs/authentication/signatures"""

    def __init__(self, portico: Any, bucket: str, key: str, secret: str) -> None:
        self.portico, self.bucket, self.key, self.secret = portico, bucket, key, secret
        self.date = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.date[:8]}/auto/storage/goog4_request"

    def path(self, name: str) -> str:
        return f"/{self.bucket}/{quote(name, safe='/~')}"

    def signature(self, method: str, name: str, query: str, headers: dict[str, str], payload: str) -> str:
        lines = "".join(f"{key}:{headers[key]}\n" for key in sorted(headers))
        request = "\n".join((method, self.path(name), query, lines, ";".join(sorted(headers)), payload))
        text = "\n".join(
            ("GOOG4-HMAC-SHA256", self.date, self.scope, hashlib.sha256(request.encode()).hexdigest())
        )
        key = f"GOOG4{self.secret}".encode()
        for part in self.scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()

    def url(self, method: str = "GET", name: str = NAME) -> str:
        told = {
            "X-Goog-Algorithm": "GOOG4-HMAC-SHA256", "X-Goog-Credential": f"{self.key}/{self.scope}",
            "X-Goog-Date": self.date, "X-Goog-Expires": "300", "X-Goog-SignedHeaders": "host",
        }  # fmt: skip
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in sorted(told.items()))
        host = {"host": f"127.0.0.1:{self.portico.port}"}
        signed = self.signature(method, name, query, host, "UNSIGNED-PAYLOAD")
        return f"http://{host['host']}{self.path(name)}?{query}&X-Goog-Signature={signed}"

    def send(self, method: str, body: bytes = b"", payload: bytes | None = None) -> requests.Response:
        """By a header, its payload signed."""
        host = f"127.0.0.1:{self.portico.port}"
        digest = hashlib.sha256(body if payload is None else payload).hexdigest()
        headers = {"host": host, "x-goog-date": self.date, "x-goog-content-sha256": digest}
        signed = self.signature(method, NAME, "", headers, digest)
        told = f"Credential={self.key}/{self.scope}, SignedHeaders={';'.join(sorted(headers))}, Signature={signed}"
        headers |= {"authorization": f"GOOG4-HMAC-SHA256 {told}"}
        return requests.request(
            method, f"http://{host}{self.path(NAME)}", data=body, headers=headers, timeout=240
        )


@pytest.fixture(scope="module")
def iam(portico: Any) -> Any:
    return client(portico, "iam", "v1")


@pytest.fixture(scope="module")
def someone(portico: Any, iam: Any) -> Someone:
    return Someone(portico, iam, "hmac-project", "keyed")


@pytest.fixture(scope="module")
def keyed(portico: Any, someone: Someone) -> Any:
    bucket = storage.Client("hmac-project").create_bucket(f"keyed-{time.time_ns()}")
    bucket.blob(NAME).upload_from_string("hello")
    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectAdmin", "members": {someone.member}})
    bucket.set_iam_policy(policy)
    return bucket


def test_keys_are_made_listed_switched_and_deleted(portico, someone):
    google = storage.Client("hmac-project")
    key, secret = google.create_hmac_key(someone.email)
    assert key.state == "ACTIVE" and len(secret) == 40 and len(base64.b64decode(secret)) == 30
    assert len(key.access_id) == 61 and key.service_account_email == someone.email and key.time_created
    again = google.get_hmac_key_metadata(key.access_id)
    assert again.id == f"hmac-project/{key.access_id}" and again.etag == key.etag
    with pytest.raises(exceptions.BadRequest, match="ACTIVE"):
        key.delete()
    key.state = "INACTIVE"
    key.update()
    assert google.get_hmac_key_metadata(key.access_id).state == "INACTIVE"
    told = requests.put(
        f"{portico.url}/storage/v1{key.path}", json={"state": "ACTIVE", "etag": again.etag}, timeout=240
    )
    assert told.status_code == 412, "it was read before the change"
    key.state = "GONE"
    with pytest.raises(exceptions.BadRequest, match="state is ACTIVE or INACTIVE"):
        key.update()
    second, _ = google.create_hmac_key(someone.email)
    found = {one.access_id for one in google.list_hmac_keys(max_results=1)}
    assert len(found) == 1
    assert {one.access_id for one in google.list_hmac_keys()} == {key.access_id, second.access_id}
    key.delete()
    assert {one.access_id for one in google.list_hmac_keys()} == {second.access_id}
    shown = {one.access_id: one.state for one in google.list_hmac_keys(show_deleted_keys=True)}
    assert shown[key.access_id] == "DELETED"
    assert not list(google.list_hmac_keys(service_account_email="other@hmac-project.iam.gserviceaccount.com"))
    with pytest.raises(exceptions.NotFound):
        google.create_hmac_key("nobody@hmac-project.iam.gserviceaccount.com")
    with pytest.raises(exceptions.BadRequest, match="hmac-project"):
        storage.Client("other-project").create_hmac_key(someone.email)
    with pytest.raises(exceptions.NotFound):
        storage.Client("other-project").get_hmac_key_metadata(second.access_id)
    with pytest.raises(exceptions.Forbidden, match=r"storage\.hmacKeys\.create"):
        someone.storage.create_hmac_key(someone.email)


def test_what_they_sign(portico, iam, someone, keyed):
    google = storage.Client("hmac-project")
    key, secret = google.create_hmac_key(someone.email)
    good = Signer(portico, keyed.name, key.access_id, secret)
    assert requests.get(good.url(), timeout=240).text == "hello"
    assert code(requests.get(good.url("PUT"), timeout=240)) == WRONG
    assert requests.put(good.url("PUT", "new"), b"x", timeout=240).status_code == 200
    assert (
        code(requests.get(Signer(portico, keyed.name, key.access_id, secret[::-1]).url(), timeout=240))
        == WRONG
    )
    mixed = good.url().replace("GOOG4-HMAC", "GOOG4-RSA")
    assert code(requests.get(mixed, timeout=240)) == (400, "InvalidCredential")
    end = int(time.time()) + 300
    text = f"GET\n\n\n{end}\n{good.path(NAME)}"
    old = base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()
    url = f"{portico.url}{good.path(NAME)}?GoogleAccessId={key.access_id}&Expires={end}&Signature={quote(old, safe='')}"
    assert requests.get(url, timeout=240).text == "hello"
    assert code(requests.get(url.replace(f"Expires={end}", f"Expires={end + 1}"), timeout=240)) == WRONG
    # In a header, of the owner's own socket too, nothing but the signature counts.
    assert good.send("GET").text == "hello"
    bad = Signer(portico, keyed.name, "GOOG1ENOBODYS", secret)
    assert code(bad.send("GET")) == (403, "InvalidSecurity")
    assert good.send("PUT", b"signed body").status_code == 200
    assert code(good.send("PUT", b"another body", b"signed body")) == (400, "XGoogContentSHA256Mismatch")
    assert keyed.blob(NAME).download_as_bytes() == b"signed body"
    key.state = "INACTIVE"
    key.update()
    assert code(requests.get(good.url(), timeout=240)) == WRONG and code(good.send("GET")) == WRONG
    key.state = "ACTIVE"
    key.update()
    assert requests.get(good.url(), timeout=240).status_code == 200
    # Another account by the same address has not the keys of the one before.
    accounts = iam.projects().serviceAccounts()
    accounts.delete(name=someone.account["name"]).execute()
    assert code(requests.get(good.url(), timeout=240)) == WRONG
    body = {"accountId": someone.email.partition("@")[0]}
    accounts.create(name="projects/hmac-project", body=body).execute()
    assert code(requests.get(good.url(), timeout=240)) == WRONG
