"""Pages of other sites, which a bucket's settings let ask: what they are told, and that only what they show counts."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest
import requests
from google.cloud import storage
from google.oauth2 import service_account
from tests.services.iam.test_permissions import Someone
from tests.services.iam.test_service_accounts import client

SITE = "https://app.example.com"
RULES = [
    {
        "origin": [SITE],
        "method": ["GET", "put"],
        "responseHeader": ["Content-Type", "x-goog-meta-by"],
        "maxAgeSeconds": 60,
    },
    {"origin": ["*"], "method": ["HEAD"]},
]


@pytest.fixture(scope="module")
def signer(portico: Any) -> Someone:
    return Someone(portico, client(portico, "iam", "v1"), "cors", "asking")


@pytest.fixture(scope="module")
def open_bucket(portico: Any, signer: Someone) -> Any:
    bucket = storage.Client("cors").create_bucket(f"cors-{time.time_ns()}")
    bucket.cors = RULES
    bucket.patch()
    bucket.blob("a.txt").upload_from_string("hello")
    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectAdmin", "members": {signer.member}})
    bucket.set_iam_policy(policy)
    return bucket


def asked(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def test_the_settings_are_kept_and_answer_a_preflight(portico, open_bucket):
    open_bucket.reload()
    assert open_bucket.cors == RULES
    url = f"{portico.url}/{open_bucket.name}/a.txt"

    def preflight(method: str, origin: str = SITE, more: str = "", to: str = url) -> requests.Response:
        headers = {"origin": origin, "access-control-request-method": method, "sec-fetch-site": "cross-site",
                   "sec-fetch-mode": "cors"}  # fmt: skip
        if more:
            headers["access-control-request-headers"] = more
        return requests.options(to, headers=headers, timeout=240)

    got = preflight("PUT", more="content-type, authorization")
    assert got.status_code == 200 and asked(got.headers) == {
        "access-control-allow-origin": SITE, "access-control-allow-methods": "GET, put",
        "access-control-max-age": "60", "access-control-allow-headers": "content-type",
    }  # fmt: skip
    assert got.headers["vary"] == "Origin"
    assert asked(preflight("HEAD", "https://any.example").headers)["access-control-allow-origin"] == "*"
    api = f"{portico.url}/storage/v1/b/{open_bucket.name}/o/a.txt?alt=media"
    assert preflight("GET", to=api).status_code == 200
    for refused in (preflight("DELETE"), preflight("GET", "https://evil.example"), preflight("GET", "null"),
                    preflight("GET", to=f"{portico.url}/no-such-bucket/a"),
                    preflight("GET", to=f"{portico.url}/v1/projects/p/locations/l/models")):  # fmt: skip
        assert refused.status_code == 403 and not asked(refused.headers)


def test_a_page_of_another_site_has_what_it_shows_and_no_more(portico, open_bucket, signer):
    url = f"{portico.url}/{open_bucket.name}/a.txt"
    page = {"origin": SITE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
    plain = requests.get(url, headers=page, timeout=240)
    assert plain.status_code == 403, "that the browser is the owner's does not count"
    assert plain.headers["access-control-allow-origin"] == SITE, "the page may read why"
    own = service_account.Credentials.from_service_account_info(signer.key)

    def signed(method: str, **more: Any) -> str:
        given = {"version": "v4", "expiration": 300, "credentials": own, "api_access_endpoint": portico.url}
        return str(open_bucket.blob("a.txt").generate_signed_url(method=method, **given | more))

    got = requests.get(signed("GET"), headers=page, timeout=240)
    assert got.text == "hello" and asked(got.headers) == {
        "access-control-allow-origin": SITE, "access-control-expose-headers": "Content-Type, x-goog-meta-by",
    }  # fmt: skip
    assert requests.put(signed("PUT"), b"new", headers=page, timeout=240).status_code == 200
    assert requests.delete(signed("DELETE"), headers=page, timeout=240).status_code == 403
    other = requests.get(signed("GET"), headers=page | {"origin": "https://evil.example"}, timeout=240)
    assert other.status_code == 403 and "evil" in other.text and not asked(other.headers)
    api = f"{portico.url}/storage/v1/b/{open_bucket.name}/o/a.txt?alt=media"
    assert requests.get(api, headers=page, timeout=240).status_code in (401, 403)
    shown = {**page, "authorization": f"Bearer {signer.token}"}
    assert requests.get(api, headers=shown, timeout=240).text == "new"
    host = requests.get(signed("GET"), headers=page | {"host": "evil.example"}, timeout=240)
    assert host.status_code == 403
    assert not asked(requests.get(url, timeout=240).headers)


def test_a_body_that_was_signed(portico, open_bucket, signer):
    own = service_account.Credentials.from_service_account_info(signer.key)
    digest = hashlib.sha256(b"as signed").hexdigest()
    headers = {"x-goog-content-sha256": digest}
    url = open_bucket.blob("signed.txt").generate_signed_url(
        version="v4",
        expiration=300,
        credentials=own,
        api_access_endpoint=portico.url,
        method="PUT",
        headers=headers,
    )
    wrong = requests.put(url, b"not as signed", headers=headers, timeout=240)
    assert wrong.status_code == 400 and "XGoogContentSHA256Mismatch" in wrong.text
    assert not open_bucket.blob("signed.txt").exists()
    assert requests.put(url, b"as signed", headers=headers, timeout=240).status_code == 200
    assert open_bucket.blob("signed.txt").download_as_bytes() == b"as signed"
    assert (
        requests.put(url, b"as signed", headers={"x-goog-content-sha256": "x"}, timeout=240).status_code
        == 400
    )
