"""`portico up --auth required`: nobody calls without a token, and Google's clients show theirs unasked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from google.auth.exceptions import InvalidOperation  # at a 401 the client tries to refresh what can not be
from google.cloud import storage

_SCRIPT = """
from google.cloud import aiplatform, bigquery, storage

bucket = storage.Client(project="required").create_bucket("required-bucket")
bucket.blob("a").upload_from_string("x")
assert bucket.blob("a").download_as_text() == "x"
assert [tuple(row) for row in bigquery.Client(project="required").query("SELECT 1").result()] == [(1,)]
aiplatform.init(project="required", location="us-central1")
assert aiplatform.Model.list() == []
print("done")
"""


@pytest.fixture(scope="module")
def required(new_portico: Any) -> Iterator[Any]:
    server = new_portico()
    server.options = ("--auth", "required")
    yield server.start()
    server.stop()


def test_where_a_token_is_required_the_owner_needs_one_too(required: Any) -> None:
    models = f"{required.url}/v1/projects/p/locations/us-central1/models"
    assert requests.get(models, timeout=240).status_code == 401
    assert requests.get(f"{required.url}/storage/v1/b?project=p", timeout=240).status_code == 401
    predict = f"{required.url}/v1/projects/p/locations/us-central1/endpoints/1:predict"
    assert requests.post(predict, json={"instances": [1]}, timeout=240).status_code == 401
    assert requests.get(f"{required.url}/-/healthz", timeout=240).status_code == 200
    command = [sys.executable, "-m", "portico.cli.main"]
    home = ["--home", str(required.home)]
    done = subprocess.run(
        [*command, "exec", *home, "--", sys.executable, "-c", _SCRIPT],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("done\n"), done.stderr
    status = subprocess.run(
        [*command, "status", *home], capture_output=True, text=True, timeout=240, check=False
    )
    assert status.returncode == 0, status.stderr


def test_who_is_not_known_reads_what_is_everybodys(required: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also writes, where a bucket is everybody's to write; and goes on with an upload that somebody else began."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", required.url)
    key = str(required.home / "credentials.json")
    owner = storage.Client.from_service_account_json(key, project="anybody")
    bucket = owner.create_bucket("anybodys-bucket")
    for name in ("public", "private"):
        bucket.blob(name).upload_from_string("x")
    bucket.blob("public").make_public()
    anybody = storage.Client.create_anonymous_client().bucket(bucket.name)
    assert anybody.blob("public").download_as_bytes() == b"x"
    assert requests.get(f"{required.url}/{bucket.name}/public", timeout=240).text == "x"
    with pytest.raises(InvalidOperation):
        anybody.blob("private").download_as_bytes()
    with pytest.raises(InvalidOperation):
        list(anybody.list_blobs())
    refused = requests.get(f"{required.url}/storage/v1/b/{bucket.name}/o", timeout=240)
    assert (
        refused.status_code == 401 and "Anonymous caller does not have storage.objects.list" in refused.text
    )
    with pytest.raises(InvalidOperation):
        anybody.blob("new").upload_from_string("x")
    start = bucket.blob("begun").create_resumable_upload_session(content_type="text/plain")
    assert requests.put(start, b"xyz", timeout=240).status_code == 200
    assert bucket.blob("begun").download_as_bytes() == b"xyz"
    other = start.replace("name=begun", "name=another")
    assert requests.put(other, b"xyz", timeout=240).status_code == 401
    bucket.acl.save_predefined("publicReadWrite")
    anybody.blob("new").upload_from_string("y")
    assert [one.name for one in anybody.list_blobs()] == ["begun", "new", "private", "public"]
    signed = bucket.blob("private").generate_signed_url(version="v4", expiration=60, method="PUT")
    assert requests.put(signed, b"z", timeout=240).status_code == 200
    assert requests.get(signed, timeout=240).status_code == 403
    assert bucket.blob("private").download_as_bytes() == b"z"
    bucket.acl.save_predefined("private")
    unknown = signed.replace(
        "developer%40", "tester%40"
    )  # nobody made that account: it is as good as no URL's
    assert requests.put(unknown, b"z", timeout=240).status_code == 403
