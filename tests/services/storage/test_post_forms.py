"""Forms that upload by a signed policy document, as Google's client makes it."""

from __future__ import annotations

import base64
import datetime
import json
import time
from typing import Any

import pytest
import requests
from google.cloud import storage
from google.oauth2 import service_account
from tests.services.iam.test_permissions import Someone
from tests.services.iam.test_service_accounts import client
from tests.services.storage.test_signed_urls import code


@pytest.fixture(scope="module")
def bucket(portico: Any) -> Any:
    return storage.Client("forms").create_bucket(f"forms-{time.time_ns()}")


@pytest.fixture(scope="module")
def signer(portico: Any, bucket: Any) -> Any:
    someone = Someone(portico, client(portico, "iam", "v1"), "forms")
    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectCreator", "members": {someone.member}})
    bucket.set_iam_policy(policy)
    return service_account.Credentials.from_service_account_info(someone.key)


def post(
    portico: Any, bucket: Any, signer: Any, name: str, data: bytes = b"hello", more: Any = None, **policy: Any
) -> requests.Response:
    """Sends the form of a policy, with `more` fields than it says."""
    seconds = policy.pop("seconds", 60)
    made = storage.Client("forms").generate_signed_post_policy_v4(
        bucket.name, name, datetime.timedelta(seconds=seconds), credentials=signer, **policy
    )
    fields = made["fields"] | (more or {})
    return requests.post(
        f"{portico.url}/{bucket.name}/", fields, files={"file": ("näme.txt", data, "text/plain")},
        allow_redirects=False, timeout=240,
    )  # fmt: skip


def test_a_form_uploads_what_its_policy_allows(portico, bucket, signer):
    fields = {"content-type": "text/css", "x-goog-meta-by": "me", "success_action_status": "201"}
    answer = post(portico, bucket, signer, "a/größe.txt", fields=fields)
    assert answer.status_code == 201 and "<Key>a/größe.txt</Key>" in answer.text
    made = bucket.get_blob("a/größe.txt")
    assert (made.download_as_bytes(), made.content_type, made.metadata) == (
        b"hello",
        "text/css",
        {"by": "me"},
    )
    large = b"\r\n--x" * 1_000_000
    assert post(portico, bucket, signer, "large", large).status_code == 204
    assert bucket.blob("large").download_as_bytes() == large
    to = "https://app.example/done?x=1"
    led = post(portico, bucket, signer, "led", fields={"success_action_redirect": to})
    assert led.status_code == 303 and led.headers["location"].startswith(
        f"{to}&bucket={bucket.name}&key=led&etag="
    )
    assert post(portico, bucket, signer, "u/${filename}").ok and bucket.get_blob("u/näme.txt")
    ranged = [["content-length-range", 3, 5]]
    assert post(portico, bucket, signer, "b", b"1234", conditions=list(ranged)).status_code == 204
    assert code(post(portico, bucket, signer, "c", b"123456", conditions=list(ranged))) == (
        400,
        "EntityTooLarge",
    )
    assert code(post(portico, bucket, signer, "c", b"1", conditions=list(ranged))) == (400, "EntityTooSmall")
    begins = [["starts-with", "$x-goog-meta-of", "me"]]
    assert post(portico, bucket, signer, "d", more={"x-goog-meta-of": "mercury"}, conditions=list(begins)).ok
    assert bucket.get_blob("c") is None


def test_a_form_that_its_policy_does_not_allow(portico, bucket, signer):
    not_allowed = (400, "InvalidPolicyDocument")
    for more in (
        {"key": "other"}, {"acl": "public-read"}, {"x-goog-meta-more": "x"}, {"success_action_status": "200"},
        {"x-goog-algorithm": ""}, {"policy": "x"},
    ):  # fmt: skip
        assert code(post(portico, bucket, signer, "e", more=more)) == not_allowed, more
    unknown = post(portico, bucket, signer, "e", fields={"x-goog-random": "x"})
    assert code(unknown) == (400, "InvalidArgument") and "x-goog-random" in unknown.text
    unmet = [["starts-with", "$x-goog-meta-of", "me"]]
    assert code(post(portico, bucket, signer, "e", conditions=unmet)) == not_allowed
    assert code(post(portico, bucket, signer, "e", seconds=-10)) == (400, "ExpiredToken")
    made = storage.Client("forms").generate_signed_post_policy_v4(bucket.name, "e", 60, credentials=signer)[
        "fields"
    ]
    wider = json.loads(base64.b64decode(made["policy"]))
    wider["conditions"].append({"acl": "public-read"})
    forged = {"policy": base64.b64encode(json.dumps(wider).encode()).decode(), "acl": "public-read"}
    url = f"{portico.url}/{bucket.name}"

    def sent(to: str, fields: dict[str, str]) -> tuple[int, str]:
        return code(requests.post(to, fields, files={"file": b"x"}, timeout=240))

    assert sent(url, made | forged) == (403, "SignatureDoesNotMatch")
    assert sent(f"{url}x", made) == not_allowed  # another bucket
    assert sent(url, made) == (204, "")
    assert sent(url, made) == (403, "AccessDenied")  # the signer may make objects, and replace none
    body = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\ne\r\n--x--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert code(requests.post(url, body, headers=headers, timeout=240)) == (400, "MalformedPOSTRequest")
