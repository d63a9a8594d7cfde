"""Ways to more than one was given: policies, impersonation, service accounts of jobs, and deputies that are asked."""

from __future__ import annotations

import time
import urllib.error
from typing import Any

import pytest
import requests
from google.auth import exceptions
from google.cloud import storage
from tests.services.iam import running_job
from tests.services.iam.test_permissions import LOCATION, TABULAR, Someone, client
from tests.services.iam.test_service_accounts import REQUEST, impersonated
from tests.waiting import until

from portico.services.alerts import delivery

PROJECT = "attacked"


@pytest.fixture(scope="module")
def iam(portico: Any) -> Any:
    return client(portico, "iam", "v1")


def give(portico: Any, member: str, *roles: str, project: str = PROJECT) -> None:
    projects = client(portico, "cloudresourcemanager", "v3").projects()
    policy = projects.getIamPolicy(resource=f"projects/{project}", body={}).execute()
    policy["bindings"] += [{"role": role, "members": [member]} for role in roles]
    projects.setIamPolicy(resource=f"projects/{project}", body={"policy": policy}).execute()


@pytest.fixture
def editor(portico: Any, iam: Any) -> Someone:
    made = Someone(portico, iam, PROJECT, "editor")
    give(portico, made.member, "roles/editor", "roles/aiplatform.user")
    return made


@pytest.fixture
def user(portico: Any, iam: Any) -> Someone:
    """May do all of Vertex AI's work, and act as nobody."""
    made = Someone(portico, iam, PROJECT, "user-of")
    give(portico, made.member, "roles/aiplatform.user", "roles/storage.objectAdmin")
    return made


@pytest.fixture(scope="module")
def elsewhere(portico: Any) -> str:
    """The address of an object in a bucket of another project."""
    bucket = storage.Client("elsewhere").create_bucket(f"attacked-elsewhere-{time.time_ns()}")
    bucket.blob("a.csv").upload_from_string("x,y\n1,2\n")
    return f"gs://{bucket.name}/a.csv"


def test_an_editor_changes_no_policy(portico, iam, editor):
    mine = {"policy": {"bindings": [{"role": "roles/owner", "members": [editor.member]}]}}
    account = Someone(portico, iam, PROJECT, "victim").account["name"]
    for path in (
        f"/apis/cloudresourcemanager/v3/projects/{PROJECT}:setIamPolicy",
        f"/apis/cloudresourcemanager/v1/projects/{PROJECT}:setIamPolicy",
        "/apis/cloudresourcemanager/v3/projects/portico:setIamPolicy",
        f"/apis/iam/v1/{account}:setIamPolicy",
        f"/v1/projects/{PROJECT}/{LOCATION}/models/1:setIamPolicy",
        f"/v1/projects/{PROJECT}/{LOCATION}/datasets/1:setIamPolicy",
    ):
        assert editor.ask("POST", path, mine).status_code == 403, path
    body = {
        "roleId": "everything",
        "role": {"includedPermissions": ["resourcemanager.projects.setIamPolicy"]},
    }
    assert editor.ask("POST", f"/apis/iam/v1/projects/{PROJECT}/roles", body).status_code == 403


def test_a_projects_owner_owns_no_other_and_not_the_server(portico, iam, elsewhere):
    who = Someone(portico, iam, PROJECT, "boss")
    give(portico, who.member, "roles/owner")
    policy = f"/apis/cloudresourcemanager/v3/projects/{PROJECT}:getIamPolicy"
    held = who.ask("POST", policy, {}).json()
    assert who.ask("POST", policy.replace("get", "set"), {"policy": held}).status_code == 200
    mine = {"policy": {"bindings": [{"role": "roles/owner", "members": [who.member]}]}}
    assert (
        who.ask("POST", "/apis/cloudresourcemanager/v3/projects/other:setIamPolicy", mine).status_code == 403
    )
    bucket = elsewhere.split("/")[2]
    assert who.ask("GET", f"/storage/v1/b/{bucket}/o").status_code == 403
    assert who.ask("PUT", f"/storage/v1/b/{bucket}/iam", mine["policy"]).status_code == 403
    assert who.ask("POST", "/apis/portico/v1/clock:advance", {"duration": "1s"}).status_code == 403
    stale = {"policy": held}  # its etag is of before
    assert who.ask("POST", policy.replace("get", "set"), stale).status_code == 409
    for role, member in (("owner", "allUsers"), ("viewer", "allAuthenticatedUsers")):
        everyone = {"policy": {"bindings": [{"role": f"roles/{role}", "members": [member]}]}}
        assert who.ask("POST", policy.replace("get", "set"), everyone).status_code == 400


def test_impersonation_needs_get_access_token_on_the_account(portico, iam, user):
    target = Someone(portico, iam, PROJECT, "target")
    give(portico, target.member, "roles/aiplatform.admin")

    def tried(source: Someone, email: str) -> Any:
        from google.oauth2 import credentials

        lent = impersonated(portico, iam, email, credentials.Credentials(source.token))
        lent.refresh(REQUEST)
        return lent

    with pytest.raises(exceptions.RefreshError):
        tried(user, target.email)
    base = f"/apis/iamcredentials/v1/projects/-/serviceAccounts/{target.email}"
    for verb, body in (
        ("generateAccessToken", {"scope": ["x"]}),
        ("generateIdToken", {"audience": "x"}),
        ("signBlob", {"payload": "eA=="}),
        ("signJwt", {"payload": "{}"}),
    ):
        assert user.ask("POST", f"{base}:{verb}", body).status_code == 403, verb
    own = f"/apis/iam/v1/{target.account['name']}"
    for verb, path, body in (
        ("POST", f"{own}/keys", {}), ("DELETE", own, None), ("POST", f"{own}:disable", {}),
        ("GET", own.replace(PROJECT, "-", 1), None),
    ):  # fmt: skip
        assert user.ask(verb, path, body).status_code == 403, path
    # Who owns another project says that the account is of theirs: an address says itself of which it is.
    other = Someone(portico, iam, "attackers", "mallory")
    give(portico, other.member, "roles/owner", "roles/iam.serviceAccountTokenCreator", project="attackers")
    for project in ("attackers", "-", PROJECT):
        path = (
            f"/apis/iamcredentials/v1/projects/{project}/serviceAccounts/{target.email}:generateAccessToken"
        )
        assert other.ask("POST", path, {"scope": ["x"]}).status_code == 403
        assert (
            other.ask(
                "POST", f"/apis/iam/v1/projects/{project}/serviceAccounts/{target.email}/keys", {}
            ).status_code
            == 403
        )

    accounts = iam.projects().serviceAccounts()
    policy = {"bindings": [{"role": "roles/iam.serviceAccountTokenCreator", "members": [user.member]}]}
    accounts.setIamPolicy(resource=target.account["name"], body={"policy": policy}).execute()
    token = tried(user, target.email).token
    url = f"{portico.url}/v1/projects/{PROJECT}/{LOCATION}/endpoints"
    assert requests.get(url, headers={"authorization": f"Bearer {token}"}, timeout=240).status_code == 200
    # A chain: each must be allowed to act as the next one.
    first = Someone(portico, iam, PROJECT, "first")
    path = f"{base}:generateAccessToken"
    chain = {"scope": ["x"], "delegates": [f"projects/-/serviceAccounts/{user.email}"]}
    assert first.ask("POST", path, chain).status_code == 403
    policy["bindings"][0]["members"] = [first.member]
    accounts.setIamPolicy(resource=user.account["name"], body={"policy": policy}).execute()
    assert first.ask("POST", path, chain).status_code == 200
    assert first.ask("POST", path, {"scope": ["x"]}).status_code == 403
    accounts.disable(name=user.account["name"], body={}).execute()
    broken = first.ask("POST", path, chain)
    assert broken.status_code == 403 and "nobody acts through it" in broken.text


def job(account: str = "") -> dict[str, Any]:
    spec = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1",
            "containerSpec": {"imageUri": "python:3.11",
                              "command": ["true"]}}  # fmt: skip
    return {
        "displayName": "j",
        "jobSpec": {"workerPoolSpecs": [spec], **({"serviceAccount": account} if account else {})},
    }


def test_who_runs_a_job_as_an_account_must_act_as_it(portico, iam, user):
    strong = Someone(portico, iam, PROJECT, "strong")
    path = f"/v1/projects/{PROJECT}/{LOCATION}"
    pipeline = {"displayName": "p", "serviceAccount": strong.email, "pipelineSpec": {}}
    tuning = {
        "displayName": "t",
        "maxTrialCount": 1,
        "parallelTrialCount": 1,
        "studySpec": {
            "metrics": [{"metricId": "m", "goal": "MAXIMIZE"}],
            "parameters": [{"parameterId": "p", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}],
        },
        "trialJobSpec": job(strong.email)["jobSpec"],
    }
    asked = [
        ("customJobs", job(strong.email)), ("pipelineJobs", pipeline), ("hyperparameterTuningJobs", tuning),
        ("customJobs", job("nobody-1@attacked.iam.gserviceaccount.com")),
        ("customJobs", job("developer@portico.iam.gserviceaccount.com")),
        ("schedules", {"displayName": "s", "cron": "* * * * *", "maxConcurrentRunCount": "1",
                       "createPipelineJobRequest": {"pipelineJob": pipeline, "parent": path[4:]}}),
    ]  # fmt: skip
    for collection, body in asked:
        refused = user.ask("POST", f"{path}/{collection}", body)
        assert refused.status_code == 403, (collection, refused.text)
        assert "iam.serviceAccounts.actAs" in refused.json()["error"]["message"]
    policy = {"bindings": [{"role": "roles/iam.serviceAccountUser", "members": [user.member]}]}
    iam.projects().serviceAccounts().setIamPolicy(
        resource=strong.account["name"], body={"policy": policy}
    ).execute()
    made = user.ask("POST", f"{path}/customJobs", job(strong.email))
    assert made.status_code == 200, made.text
    name = made.json()["name"]
    user.ask("POST", f"/v1/{name}:cancel", {})
    other = Someone(portico, iam, PROJECT, "rerunner")  # what another was allowed is no way around
    give(portico, other.member, "roles/aiplatform.user")
    again = other.ask("POST", f"/apis/portico/v1/{name}:rerun", {})
    assert again.status_code == 403 and "iam.serviceAccounts.actAs" in again.json()["error"]["message"]


def test_deputies_read_and_write_what_their_caller_may(portico, user, elsewhere):
    """Datasets, models, batch jobs and pipelines read for who asks: not what that one may not read."""
    path, bucket = f"/v1/projects/{PROJECT}/{LOCATION}", elsewhere.rpartition("/")[0]
    other = f"projects/elsewhere/{LOCATION}/models/1"
    batch = {
        "displayName": "b", "model": f"projects/{PROJECT}/{LOCATION}/models/1",
        "inputConfig": {"instancesFormat": "csv", "gcsSource": {"uris": [elsewhere]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": bucket}},
    }  # fmt: skip
    source = {"inputConfig": {"gcsSource": {"uri": [elsewhere]}}}
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("datasets", {"displayName": "d", "metadataSchemaUri": TABULAR, "metadata": source}, "storage.objects.get"),
        ("models:upload", {"model": {"displayName": "m", "artifactUri": bucket, "containerSpec": {"imageUri": "x"}}},
         "storage.objects.get"),
        ("batchPredictionJobs", batch, "storage.objects.get"),
        ("batchPredictionJobs", {**batch, "model": other}, "aiplatform.models.get"),
        ("batchPredictionJobs", {**batch, "inputConfig": {
            "instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://elsewhere.d.t"}}},
         "bigquery.tables.getData"),
        ("pipelineJobs", {"displayName": "p", "pipelineSpec": {}, "runtimeConfig": {
            "gcsOutputDirectory": bucket, "parameterValues": {}}}, "storage.objects.create"),
        ("pipelineJobs", {"displayName": "p", "templateUri": elsewhere}, "storage.objects.get"),
        ("pipelineJobs", {"displayName": "p", "pipelineSpec": {}, "runtimeConfig": {
            "gcsOutputDirectory": "", "parameterValues": {"data": elsewhere}}}, "storage.objects.get"),
        ("models:copy", {"sourceModel": other}, "aiplatform.models.get"),
        ("customJobs", {"displayName": "j", "jobSpec": {"workerPoolSpecs": [{
            "machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "pythonPackageSpec": {
                "executorImageUri": "python:3.11", "packageUris": [elsewhere], "pythonModule": "m"}}]}},
         "storage.objects.get"),
        ("endpoints/1:deployModel", {"deployedModel": {"model": other}}, "aiplatform.models.get"),
    ]  # fmt: skip
    for collection, body, permission in asked:
        refused = user.ask("POST", f"{path}/{collection}", body)
        assert refused.status_code == 403, (collection, refused.text)
        assert permission in refused.json()["error"]["message"], (collection, refused.text)


def test_predictions_are_permitted_by_endpoint(portico, iam):
    path = f"{portico.url}/v1/projects/{PROJECT}/{LOCATION}/endpoints"
    made = requests.post(path, json={"displayName": "e"}, timeout=240).json()
    endpoint = made["name"].partition("/operations/")[0]
    who = Someone(portico, iam, PROJECT, "caller")
    predict = f"/v1/{endpoint}:predict"
    refused = who.ask("POST", predict, {"instances": [1]})
    assert refused.status_code == 403
    assert "Permission 'aiplatform.endpoints.predict' denied" in refused.json()["error"]["message"]
    assert who.ask("POST", f"/v1/{endpoint}1:predict", {"instances": [1]}).status_code == 403
    assert who.ask("POST", f"/v1/{endpoint}:explain", {"instances": [1]}).status_code == 403
    allowed = Someone(portico, iam, PROJECT, "caller")
    give(portico, allowed.member, "roles/aiplatform.user")
    assert allowed.ask("POST", predict, {"instances": [1]}).status_code not in (401, 403)
    assert allowed.ask("POST", predict.replace(PROJECT, "other"), {"instances": [1]}).status_code == 403


def test_mlflows_and_kfps_wires_ask_too(portico, iam):
    who = Someone(portico, iam, PROJECT, "stranger")
    mlflow = f"/apis/mlflow/projects/{PROJECT}/{LOCATION}/api/2.0"
    kfp = f"/apis/artifactregistry/kfp/us-central1/{PROJECT}/repo"
    for verb, path, body in (
        ("POST", f"{mlflow}/mlflow/experiments/create", {"name": "x"}),
        ("GET", f"{mlflow}/mlflow/experiments/search?max_results=1", None),
        ("PUT", f"{mlflow}/mlflow-artifacts/artifacts/1/2/artifacts/a", b"x"),
        ("GET", f"{mlflow}/mlflow-artifacts/artifacts/1/2/artifacts/a", None),
        ("GET", f"{kfp}/package/version", None),
        ("POST", kfp, b"x"),
        ("POST", "/apis/logging/v2/entries:list", {"resourceNames": [f"projects/{PROJECT}"]}),
        ("POST", "/apis/logging/v2/entries:write", {"entries": [{"logName": f"projects/{PROJECT}/logs/x"}]}),
        ("POST", f"/upload/bigquery/v2/projects/{PROJECT}/jobs?uploadType=resumable", {}),
    ):
        headers = {"content-type": "multipart/form-data; boundary=b"} if path == kfp else {}
        refused = who.ask(verb, path, body, **headers)
        assert refused.status_code == 403, (path, refused.text)


def test_a_jobs_account_has_what_its_project_gives_it(portico, iam, elsewhere):
    """Its code reads the project's bucket, and no other project's; an account that somebody made has its own roles."""
    from portico.jobs import tokens

    bucket = storage.Client(PROJECT).create_bucket(f"attacked-own-{time.time_ns()}")
    bucket.blob("a").upload_from_string("x")
    give(portico, "user:nobody@example.com", "roles/viewer")  # from now on its work need not be the owner's
    with running_job.of(portico, PROJECT) as claims:

        def status(account: str, path: str) -> int:
            token = tokens.mint(portico.home, tokens.Claims(claims.job, account, claims.until))
            return requests.get(
                portico.url + path, headers={"authorization": f"Bearer {token}"}, timeout=240
            ).status_code

        own, other = f"/storage/v1/b/{bucket.name}/o/a", f"/storage/v1/b/{elsewhere.split('/')[2]}/o/a.csv"
        assert (status(claims.account, own), status(claims.account, other)) == (200, 403)
        assert status(claims.account, "/apis/portico/v1/users") == 403
        assert status("nobody-1@attacked.iam.gserviceaccount.com", own) == 200
        made = Someone(portico, iam, PROJECT, "weak")
        assert status(made.email, own) == 403
        give(portico, made.member, "roles/storage.objectViewer")
        assert status(made.email, own) == 200
        iam.projects().serviceAccounts().disable(name=made.account["name"], body={}).execute()
        assert status(made.email, own) == 401
        iam.projects().serviceAccounts().delete(name=made.account["name"]).execute()
        assert status(made.email, own) == 401


def test_the_owners_own_work_goes_on_across_projects(portico, iam, elsewhere):
    """While a project has no policy only the owner has work done there."""
    from portico.jobs import tokens

    with running_job.of(portico, "owners-own") as claims:
        token = tokens.mint(portico.home, claims)
        headers = {"authorization": f"Bearer {token}"}
        url = f"{portico.url}/storage/v1/b/{elsewhere.split('/')[2]}/o/a.csv"
        assert requests.get(url, headers=headers, timeout=240).status_code == 200
        users = requests.get(f"{portico.url}/apis/portico/v1/users", headers=headers, timeout=240)
        assert users.status_code == 403
        give(portico, "user:nobody@example.com", "roles/viewer", project="owners-own")
        assert requests.get(url, headers=headers, timeout=240).status_code == 403


_READS = """
import os, sys
own, other = sys.argv[1:]
assert open(f"/gcs/{own}/a").read() == "x"
assert not os.path.exists(f"/gcs/{other}/a.csv"), "it reads what is another project's"
assert other not in os.listdir("/gcs")
open(f"/gcs/{own}/written", "w").write("y")
"""


def test_below_gcs_a_job_sees_what_its_account_may(portico, iam, elsewhere):
    own = storage.Client(PROJECT).create_bucket(f"attacked-gcs-{time.time_ns()}")
    own.blob("a").upload_from_string("x")
    give(portico, "user:nobody@example.com", "roles/viewer")
    body = job()
    container = body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
    container |= {"command": ["python", "-c", _READS], "args": [own.name, elsewhere.split("/")[2]]}
    url = f"{portico.url}/v1/projects/{PROJECT}/{LOCATION}/customJobs"
    made = requests.post(url, json=body, timeout=240).json()

    def ended() -> dict[str, Any]:
        found = requests.get(f"{portico.url}/v1/{made['name']}", timeout=240).json()
        return dict(found) if found["state"] in ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED") else {}

    assert until(ended, "the job ends")["state"] == "JOB_STATE_SUCCEEDED"
    assert own.blob("written").download_as_text() == "y"


def test_mlflow_lists_no_bucket_that_its_caller_may_not_read(portico, iam, user, elsewhere):
    path = f"/apis/mlflow/projects/{PROJECT}/{LOCATION}/api/2.0/mlflow/experiments/create"
    body = {"name": f"e{time.time_ns()}", "artifact_location": elsewhere.rpartition("/")[0]}
    refused = user.ask("POST", path, body)
    assert refused.status_code == 403 and "storage.objects.get" in refused.text


def test_a_webhook_asks_this_server_for_nothing(portico, elsewhere):
    """Who may name one is not the user whose process calls it, and who would be this server's owner."""
    told = {"kind": "webhooks", "event": "e", "subject": "s", "text": "t", "alert": {}}
    bucket = elsewhere.split("/")[2]
    upload = f"{portico.url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=planted"
    copy = f"{portico.url}/storage/v1/b/{bucket}/o/a.csv/copyTo/b/{bucket}/o/planted"
    for sink in (upload, copy, f"{portico.url}/v1/projects/p/locations/us-central1/endpoints/1:predict"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            delivery.send({**told, "sink": sink})
    assert requests.get(f"{portico.url}/storage/v1/b/{bucket}/o/planted", timeout=240).status_code == 404


def test_a_policy_is_no_longer_than_googles(portico):
    """Each call looks at all of it: what is endless would stand in everybody's way."""
    path = f"{portico.url}/apis/cloudresourcemanager/v3/projects/endless:setIamPolicy"
    condition = {"title": "t", "expression": "true"}
    users = [f"user:a{number}@example.com" for number in range(1501)]
    for bindings in (
        [{"role": "roles/viewer", "members": users}],
        [{"role": "roles/viewer", "members": [one.replace("user", "group") for one in users[:251]]}],
        [{"role": "roles/viewer", "members": [one], "condition": condition} for one in users[:101]],
    ):
        answer = requests.post(path, json={"policy": {"bindings": bindings}}, timeout=240)
        assert answer.status_code == 400 and "A policy has at most" in answer.text


ASKS = """
import json, os, urllib.error, urllib.request

def asked(path, **headers):
    try:
        url = f"HERE{path}"
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code

token = {"authorization": "Bearer " + os.environ["PORTICO_JOB_TOKEN"]}
own = "/v1/projects/attacked/locations/us-central1/models"
found = [asked("/apis/portico/v1/users"), asked(own), asked("/-/healthz"), asked(own, **token)]
reading, writing = os.pipe()
if os.fork() == 0:  # and what is left behind by what has ended
    os.setsid()
    if os.fork() == 0:
        found.append(asked("/apis/portico/v1/users"))
        print("FOUND", json.dumps(found), flush=True)
    os._exit(0)
os.close(writing)
os.read(reading, 1)
"""


def test_a_jobs_code_that_shows_no_token_is_nobody(portico, user):
    """Its processes are the server's own user's: else whoever may run a job would own all that is here."""
    walled = portico.home / "run" / "walled"
    before = set(walled.iterdir())  # of jobs of other tests, whose keepers were killed
    container = {
        "imageUri": "python:3.11",
        "command": ["python", "-c", ASKS.replace("HERE", portico.url)],
    }
    pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": container}
    made = user.ask("POST", f"/v1/projects/{PROJECT}/{LOCATION}/customJobs", {
        "displayName": "asks", "jobSpec": {"workerPoolSpecs": [pool]}})  # fmt: skip
    url = f"{portico.url}/v1/{made.json()['name']}"
    ended = until(
        lambda: (one := requests.get(url, timeout=240).json()).get("endTime") and one, "it ends", 100
    )
    assert ended["state"] == "JOB_STATE_SUCCEEDED", ended
    body = {
        "resourceNames": [f"projects/{PROJECT}"],
        "filter": f'resource.labels.job_id="{url.rpartition("/")[2]}"',
    }
    told = requests.post(f"{portico.url}/apis/logging/v2/entries:list", json=body, timeout=240).json()[
        "entries"
    ]
    [said] = [one for one in map(str, told) if "FOUND" in one]
    assert "FOUND [401, 401, 200, 200, 401]" in said
    assert requests.get(f"{portico.url}/apis/portico/v1/users", timeout=240).status_code == 200
    until(lambda: set(walled.iterdir()) <= before, "what it was noted for has ended")


def test_nobody_is_at_the_servers_own_bucket_before_it(portico, editor):
    """Whose it were would get what others' models are made of, and could put something else there."""
    text = "cloud-ai-platform-0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
    for name in ("portico-models", "portico-models-123456789012", text):
        refused = editor.ask("POST", f"/storage/v1/b?project={PROJECT}", {"name": name})
        assert refused.status_code in (400, 403), refused.text
        own = requests.post(f"{portico.url}/storage/v1/b?project={PROJECT}", json={"name": name}, timeout=240)
        assert own.status_code == 400 and "this server's own" in own.text


def test_the_images_are_the_servers_whoever_asks_for_their_bucket(portico, editor):
    """Who owned it would put in it what others' models are served by."""
    path, upload = (
        "/storage/v1/b",
        "/upload/storage/v1/b/portico-images/o?uploadType=media&name=theirs:latest",
    )
    assert editor.ask("POST", f"{path}?project={PROJECT}", {"name": "portico-images"}).status_code in (
        200,
        409,
    )
    made = requests.get(f"{portico.url}{path}/portico-images", timeout=240).json()
    own = requests.get(f"{portico.url}/apis/cloudresourcemanager/v1/projects/portico", timeout=240).json()
    assert made["projectNumber"] == own["projectNumber"]
    assert editor.ask("POST", upload, {}).status_code == 403
    assert editor.ask("GET", f"{path}/portico-images/o").status_code == 403
    give(portico, editor.member, "roles/storage.objectAdmin", project="portico")
    assert editor.ask("POST", upload, {}).status_code == 200


def test_mlflows_bucket_is_its_projects_or_none(portico):
    """Names of buckets are everybody's: one that somebody else has takes and gives nothing."""
    victim = f"victim-{time.time_ns()}"
    squatted = storage.Client("squatter").create_bucket(f"{victim}-mlflow-us-central1")
    squatted.blob("planted").upload_from_string("x")
    base = f"{portico.url}/apis/mlflow/projects/{victim}/locations/us-central1/api/2.0/mlflow-artifacts/artifacts"
    for verb, path in (("PUT", "/model.pkl"), ("GET", "/planted"), ("GET", ""), ("DELETE", "/planted")):
        answer = requests.request(verb, base + path, data=b"secret" if verb == "PUT" else None, timeout=240)
        assert answer.status_code == 400 and "of another project" in answer.text
    assert [one.name for one in squatted.list_blobs()] == ["planted"]
