"""As whom a job's code acts: its own service account, by a token that ends with it."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from google.api_core import exceptions
from tests.services.aiplatform.test_custom_jobs import SKLEARN, plain, told
from tests.waiting import until

ACCOUNT = "trainer@test-project.iam.gserviceaccount.com"
ITS_PROJECTS = "service-test-project@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"
CLIENTS = """
import google.auth, os, sys
from google.cloud import aiplatform, bigquery, storage
print("found", *google.auth.default()[0].service_account_email.split(), google.auth.default()[1])
assert not google.auth.default()[0].valid  # until they are refreshed, as Google's: old gcsfs takes that for its cue
client = bigquery.Client()
client.query("SELECT 1 AS x", job_id=os.environ["MINE"]).result()
blob = storage.Client().bucket(sys.argv[1]).blob("made")
blob.upload_from_string("x", predefined_acl="bucketOwnerRead")
aiplatform.init(location="us-central1")
print("models", len(aiplatform.Model.list()))
assert not any("credentials.json" in value for value in os.environ.values())
"""
SHOWN = """
import os, sys, urllib.request
token = os.environ["PORTICO_JOB_TOKEN"]
url = os.environ["STORAGE_EMULATOR_HOST"] + f"/upload/storage/v1/b/{sys.argv[1]}/o?uploadType=media&name=token"
headers = {"authorization": f"Bearer {token}", "content-type": "text/plain"}
urllib.request.urlopen(urllib.request.Request(url, token.encode(), headers))
"""


def with_arguments(pools: list[dict[str, Any]], *arguments: str) -> list[dict[str, Any]]:
    pools[0]["container_spec"]["args"] = list(arguments)
    return pools


def test_googles_clients_in_it_act_as_its_service_account(portico, aiplatform, bucket):
    from google.cloud import bigquery

    env = [{"name": "MINE", "value": "of-the-job"}]
    pools = with_arguments(plain(CLIENTS, image_uri=SKLEARN, env=env), bucket.name)
    job = aiplatform.CustomJob("clients", pools, staging_bucket=f"gs://{bucket.name}")
    job.run(service_account=ACCOUNT)
    assert f"found {ACCOUNT} test-project" in told(portico, job)
    client = bigquery.Client(project="test-project", client_options={"api_endpoint": portico.url})
    assert client.get_job("of-the-job").user_email == ACCOUNT
    [execution] = [
        one for one in aiplatform.Execution.list(filter='schema_title="system.CustomJobExecution"')
        if one.metadata.get("customJob") == job.resource_name
    ]  # fmt: skip
    assert execution.metadata["serviceAccount"] == ACCOUNT


def test_its_token_ends_with_it(portico, aiplatform, bucket):
    script = SHOWN + "import time\ntime.sleep(600)"
    job = aiplatform.CustomJob(
        "waits", with_arguments(plain(script), bucket.name), staging_bucket=f"gs://{bucket.name}"
    )
    job.submit()
    token = until(lambda: bucket.get_blob("token"), "the token is shown").download_as_text()
    headers = {"authorization": f"Bearer {token}"}
    url = f"{portico.url}/v1/projects/test-project/locations/us-central1/models"
    assert requests.get(url, headers=headers, timeout=240).status_code == 200
    forged = token.replace(".", ".W", 1)
    assert requests.get(url, headers={"authorization": f"Bearer {forged}"}, timeout=240).status_code == 401
    assert f"act as {ITS_PROJECTS}" in told(portico, job)
    job.cancel()
    until(lambda: job.state.name == "JOB_STATE_CANCELLED", "the job is cancelled")
    refused = requests.get(url, headers=headers, timeout=240)
    assert refused.status_code == 401 and "does not run any more" in refused.json()["error"]["message"]


def test_what_is_no_account_is_refused(aiplatform, bucket):
    job = aiplatform.CustomJob("refused", plain("pass"), staging_bucket=f"gs://{bucket.name}")
    with pytest.raises(exceptions.BadRequest, match="'me' is no service account"):
        job.submit(service_account="me")
