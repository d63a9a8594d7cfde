"""Signed URLs, V4 and V2, made by Google's client with a service account's key: verified, acting as that account."""

from __future__ import annotations

import base64
import datetime
import hashlib
import time
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import credentials as auth
from google.cloud import storage
from google.cloud.storage import _signing
from google.oauth2 import service_account
from tests.services.iam.test_permissions import Someone
from tests.services.iam.test_service_accounts import client, key_of

NAME = "reports/2026 Q1/größe & co+1.csv"


@pytest.fixture(scope="module")
def iam(portico: Any) -> Any:
    return client(portico, "iam", "v1")


@pytest.fixture(scope="module")
def signer(portico: Any, iam: Any) -> Someone:
    """Reads the bucket's objects, and writes them."""
    return Someone(portico, iam, "signing", "signer")


@pytest.fixture(scope="module")
def signed_bucket(portico: Any, signer: Someone) -> Any:
    bucket = storage.Client("signing").create_bucket(f"signed-{time.time_ns()}")
    bucket.blob(NAME).upload_from_string("a,b\n1,2\n", content_type="text/csv")
    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectAdmin", "members": {signer.member}})
    bucket.set_iam_policy(policy)
    return bucket


def credentials(info: dict[str, Any]) -> Any:
    return service_account.Credentials.from_service_account_info(info)


Sign = Callable[..., str]


@pytest.fixture(scope="module", params=["v4", "v2"])
def sign(request: pytest.FixtureRequest, portico: Any, signed_bucket: Any, signer: Someone) -> Sign:
    own = credentials(signer.key)

    def url(method: str = "GET", name: str = NAME, **more: Any) -> str:
        given = {"credentials": own, "expiration": datetime.timedelta(minutes=5),
                 "api_access_endpoint": portico.url} | more  # fmt: skip
        return str(
            signed_bucket.blob(name).generate_signed_url(version=request.param, method=method, **given)
        )

    url.version = request.param  # type: ignore[attr-defined]
    return url


def code(answer: requests.Response) -> tuple[int, str]:
    """The status, and the code in an XML error."""
    if answer.status_code < 300:
        return answer.status_code, ""
    return answer.status_code, ElementTree.fromstring(answer.content).findtext("Code") or ""


def test_what_a_signed_url_lets(portico, signed_bucket, sign):
    got = requests.get(sign(response_disposition='attachment; filename="q 1.csv"', response_type="a/b"))
    assert (got.status_code, got.text, got.headers["content-type"]) == (200, "a,b\n1,2\n", "a/b")
    assert got.headers["content-disposition"] == 'attachment; filename="q 1.csv"'
    generation = signed_bucket.get_blob(NAME).generation
    assert requests.get(sign(generation=generation)).status_code == 200
    assert requests.head(sign("HEAD")).headers["content-length"] == "8"
    new = f"in/{sign.version} load~'(1).txt"
    headers = {"Content-Type": "text/plain", "x-goog-meta-by": "me  and   you"}
    meta = {"headers": {"x-goog-meta-by": "me and you"}}
    put = requests.put(sign("PUT", new, content_type="text/plain", **meta), b"hello", headers=headers)
    assert put.status_code == 200, put.text
    made = signed_bucket.get_blob(new)
    assert made.content_type == "text/plain" and made.metadata == {"by": "me  and   you"}
    assert requests.delete(sign("DELETE", new)).status_code == 204
    start = requests.post(sign("RESUMABLE", "big"), headers={"x-goog-resumable": "start"})
    assert start.status_code == 201
    assert requests.put(start.headers["location"], b"x" * 1000).status_code == 200
    assert signed_bucket.get_blob("big").size == 1000
    assert code(requests.get(sign("GET", "no/such"))) == (404, "NoSuchKey")


def test_a_signed_url_with_a_key_of_the_customer(portico, signed_bucket, sign):
    key = bytes(range(32))
    name = f"secret/{sign.version}"
    signed_bucket.blob(name, encryption_key=key).upload_from_string("a secret")
    told = {
        "x-goog-encryption-algorithm": "AES256",
        "x-goog-encryption-key": base64.b64encode(key).decode(),
        "x-goog-encryption-key-sha256": base64.b64encode(hashlib.sha256(key).digest()).decode(),
    }
    # V2 signs the algorithm alone.
    signed = told if sign.version == "v4" else {"x-goog-encryption-algorithm": "AES256"}
    url = sign(name=name, headers=signed)
    assert requests.get(url, headers=told).text == "a secret"
    if sign.version == "v4":
        assert code(requests.get(url)) == (400, "MalformedSecurityHeader")  # it lacks what was signed
    assert code(requests.get(sign(name=name))) == (400, "ResourceIsEncryptedWithCustomerEncryptionKey")


def test_a_signed_url_lists_a_bucket(portico, signed_bucket, signer):
    for version in ("v4", "v2"):
        url = signed_bucket.generate_signed_url(
            datetime.timedelta(minutes=5), api_access_endpoint=portico.url, credentials=credentials(signer.key),
            version=version,
        )  # fmt: skip
        assert NAME.replace("&", "&amp;") in requests.get(url).text


def test_a_signature_is_of_what_is_asked_for(portico, sign):
    url, put = sign(), sign("PUT", "new", content_type="text/plain")
    wrong = (403, "SignatureDoesNotMatch")
    assert code(requests.delete(url)) == wrong
    assert code(requests.put(url, b"x")) == wrong
    assert code(requests.get(url.replace("1.csv", "2.csv", 1))) == wrong
    assert code(requests.put(put, b"x", headers={"content-type": "text/html"})) == wrong
    missing = (400, "MalformedSecurityHeader") if sign.version == "v4" else wrong
    assert code(requests.put(put, b"x")) == missing
    more = {"content-type": "text/plain", "x-goog-meta-more": "x"}
    assert code(requests.put(put, b"x", headers=more)) == missing
    start = {"content-type": "text/plain", "x-goog-resumable": "start"}
    assert code(requests.put(put, b"x", headers=start)) == missing
    for added in ("&uploadId=x", "&uploads"):
        assert code(requests.get(url + added)) == wrong, added
    last = url[:-4] + ("AAAA" if url[-4:] != "AAAA" else "BBBB")
    if sign.version == "v4":
        assert code(requests.get(last)) == wrong
        assert code(requests.get(url.replace("Expires=300", "Expires=900"))) == wrong
        assert code(requests.get(url, headers={"host": f"localhost:{portico.port}"})) == wrong
        told = requests.get(last).text
        assert "<CanonicalRequest>GET\n/" in told and "<StringToSign>GOOG4-RSA-SHA256\n" in told
    else:
        assert code(requests.get(url.replace("Expires=1", "Expires=2"))) == wrong


def test_a_signature_has_its_time(portico, sign, monkeypatch):
    assert code(requests.get(sign(expiration=datetime.timedelta(seconds=-60)))) in (
        (400, "ExpiredToken"), (400, "InvalidArgument"),
    )  # fmt: skip
    moved = datetime.timedelta(0)
    monkeypatch.setattr(_signing, "_NOW", lambda zone: datetime.datetime.now(zone) + moved)
    moved = datetime.timedelta(minutes=-10)
    assert code(requests.get(sign())) == (400, "ExpiredToken")
    moved = datetime.timedelta(minutes=10)  # a clock that is ahead
    assert code(requests.get(sign())) == (200, "")
    if sign.version == "v4":
        moved = datetime.timedelta(hours=1)
        assert code(requests.get(sign())) == (403, "RequestTimeTooSkewed")
        moved = datetime.timedelta(0)
        for old, new in (("Expires=300", "Expires=700000"), ("goog4_request", "aws4_request"),
                         ("X-Goog-Expires=300&", ""), ("X-Goog-Date=2", "X-Goog-Date=x"),
                         ("GOOG4-RSA", "GOOG4-HMAC"), ("Signature=", "Signature=x")):  # fmt: skip
            status, told = code(requests.get(sign().replace(old, new)))
            assert status in (400, 501) and told != "InternalError", (old, told)


def test_it_acts_as_its_signer_and_no_more(portico, iam, signed_bucket, sign):
    """Who may do nothing signs nothing that is worth something; whoever sends it, also the owner."""
    weak = Someone(portico, iam, "signing", "weak")
    url = sign(credentials=credentials(weak.key))
    assert code(requests.get(url)) == (403, "AccessDenied")
    assert f"{weak.email} does not have storage.objects.get access" in requests.get(url).text
    assert code(requests.put(sign("PUT", credentials=credentials(weak.key)), b"x")) == (403, "AccessDenied")
    policy = signed_bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectCreator", "members": {weak.member}})
    signed_bucket.set_iam_policy(policy)
    assert code(requests.put(sign("PUT", credentials=credentials(weak.key)), b"x")) == (403, "AccessDenied")
    fresh = sign("PUT", f"weak-{time.time_ns()}", credentials=credentials(weak.key))
    assert requests.put(fresh, b"x").status_code == 200
    assert code(requests.put(fresh, b"x")) == (403, "AccessDenied")  # replayed: it may not overwrite


def test_a_key_that_is_not_the_accounts_signs_nothing(portico, iam, sign):
    other = Someone(portico, iam, "signing", "other")
    forged = dict(other.key)
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    forged["private_key"] = pem.decode()
    wrong = (403, "SignatureDoesNotMatch")
    assert code(requests.get(sign(credentials=credentials(forged)))) == wrong
    owner = forged | {"client_email": "developer@portico.iam.gserviceaccount.com"}
    assert code(requests.get(sign(credentials=credentials(owner)))) == wrong
    url = sign(credentials=credentials(other.key))
    assert code(requests.get(url)) == (403, "AccessDenied")
    keys = iam.projects().serviceAccounts().keys()
    keys.disable(name=f"{other.account['name']}/keys/{other.key['private_key_id']}", body={}).execute()
    assert code(requests.get(url)) == wrong
    iam.projects().serviceAccounts().disable(name=other.account["name"], body={}).execute()
    assert code(requests.get(url)) == wrong
    # Nobody here knows this one, so its URL is as good as none: from the owner's own socket that is enough.
    unknown = forged | {"client_email": "tester@p.iam.gserviceaccount.com"}
    assert requests.get(sign(credentials=credentials(unknown))).status_code == 200
    late = sign(credentials=credentials(unknown), expiration=datetime.timedelta(minutes=-1))
    assert code(requests.get(late))[0] == 400


class ByApi(auth.Signing):
    """Signs as an account by iamcredentials.signBlob, as clients without a key file do."""

    def __init__(self, portico: Any, account: dict[str, Any]) -> None:
        self.accounts = client(portico, "iamcredentials", "v1").projects().serviceAccounts()
        self.account = account

    @property
    def signer(self) -> Any:
        return None

    @property
    def signer_email(self) -> str:
        return str(self.account["email"])

    def sign_bytes(self, message: bytes) -> bytes:
        body = {"payload": base64.b64encode(message).decode()}
        answer = self.accounts.signBlob(name=self.account["name"], body=body).execute()
        return base64.b64decode(answer["signedBlob"])


def test_sign_blob_and_the_home_key_sign_too(portico, signer, sign):
    assert requests.get(sign(credentials=ByApi(portico, signer.account))).status_code == 200
    home = service_account.Credentials.from_service_account_file(str(portico.home / "credentials.json"))
    assert requests.get(sign(credentials=home)).status_code == 200
    second = credentials(key_of(client(portico, "iam", "v1"), signer.account))
    assert requests.get(sign(credentials=second)).status_code == 200


def test_another_site_may_link_to_what_is_signed(portico, signed_bucket, signer, sign):
    """From there nothing but the signature counts: not that the browser is the owner's."""
    forged = dict(signer.key) | {"client_email": "nobody-1@signing.iam.gserviceaccount.com"}
    plain = f"{portico.url}/{signed_bucket.name}/{NAME}"
    for mode in ("navigate", "no-cors"):
        headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": mode}
        assert requests.get(sign(), headers=headers).status_code == 200
        assert requests.get(sign(credentials=credentials(forged)), headers=headers).status_code == 403
        assert requests.get(plain, headers=headers).status_code == 403
        assert requests.put(sign("PUT"), b"x", headers=headers).status_code == 403
        assert requests.get(sign(), headers=headers | {"origin": "https://evil.example"}).status_code == 403
    cors = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
    assert requests.get(sign(), headers=cors).status_code == 403


def test_urls_for_google_s_own_host(portico, signer, signed_bucket):
    """As a client makes them that is not told of this server, and is then led here."""
    for more in ({}, {"virtual_hosted_style": True}):
        url = signed_bucket.blob(NAME).generate_signed_url(
            version="v4", expiration=300, credentials=credentials(signer.key),
            **({"api_access_endpoint": "https://storage.googleapis.com"} | more),
        )  # fmt: skip
        query = url.partition("?")[2]
        path = url.partition("?")[0].split("/", 3)[3].removeprefix(f"{signed_bucket.name}/")
        assert requests.get(f"{portico.url}/{signed_bucket.name}/{path}?{query}").status_code == 200, more
