"""Permissions: who may do what, by policies of projects and of what is in them, on every way in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from google.cloud import storage
from google.oauth2 import credentials as oauth2
from googleapiclient.errors import HttpError
from tests.services.iam.test_service_accounts import SCOPES, client, key_of, signed

LOCATION = "locations/us-central1"


class Someone:
    """A service account that has only what a test gives it."""

    def __init__(self, portico: Any, iam: Any, project: str, beginning: str = "someone") -> None:
        self.portico, self.project = portico, project
        body = {"accountId": f"{beginning}-{time.time_ns() % 10**12}"}
        self.account = (
            iam.projects().serviceAccounts().create(name=f"projects/{project}", body=body).execute()
        )
        self.email = self.account["email"]
        self.member = f"serviceAccount:{self.email}"
        self.key = key_of(iam, self.account)

    @property
    def token(self) -> str:
        return signed(self.key, scope=SCOPES[0])

    def ask(self, verb: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json", **headers}
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        return requests.request(verb, self.portico.url + path, data=data, headers=headers, timeout=240)

    @property
    def storage(self) -> storage.Client:
        return storage.Client(self.project, oauth2.Credentials(self.token))


@pytest.fixture
def iam(portico: Any) -> Any:
    return client(portico, "iam", "v1")


@pytest.fixture
def someone(portico: Any, iam: Any) -> Someone:
    return Someone(portico, iam, "guarded")


Grant = Callable[..., None]


@pytest.fixture
def grant(portico: Any) -> Grant:
    """Adds a binding to a project's policy, by Google's client."""
    projects = client(portico, "cloudresourcemanager", "v3").projects()

    def add(member: str, role: str, project: str = "guarded", condition: str = "") -> None:
        policy = projects.getIamPolicy(resource=f"projects/{project}", body={}).execute()
        binding: dict[str, Any] = {"role": role, "members": [member]}
        if condition:
            binding["condition"] = {"title": "a condition", "expression": condition}
            policy["version"] = 3
        policy["bindings"].append(binding)
        projects.setIamPolicy(resource=f"projects/{project}", body={"policy": policy}).execute()

    return add


@pytest.fixture(scope="module")
def data(portico: Any) -> str:
    """The address of a small table in a bucket of the project."""
    bucket = storage.Client("guarded").create_bucket(f"guarded-data-{time.time_ns()}")
    bucket.blob("a.csv").upload_from_string("x,y\n" + "1,2\n" * 10)
    return f"gs://{bucket.name}/a.csv"


TABULAR = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"


@pytest.fixture(scope="module")
def dataset(portico: Any, data: str) -> str:
    """The name of a dataset of the project."""
    body = {
        "displayName": "d",
        "metadataSchemaUri": TABULAR,
        "metadata": {"inputConfig": {"gcsSource": {"uri": [data]}}},
    }
    made = requests.post(f"{portico.url}/v1/projects/guarded/{LOCATION}/datasets", json=body, timeout=240)
    return str(made.json()["name"].partition("/operations/")[0])


def test_who_has_no_role_sees_nothing(portico, someone, dataset):
    refused = someone.ask("GET", f"/v1/{dataset}")
    told = refused.json()["error"]
    assert (refused.status_code, told["status"]) == (403, "PERMISSION_DENIED")
    resource = f"//aiplatform.googleapis.com/{dataset}"
    assert told["message"] == (
        f"Permission 'aiplatform.datasets.get' denied on resource '{resource}' (or it may not exist)."
    )
    [detail] = told["details"]
    assert detail["reason"] == "IAM_PERMISSION_DENIED"
    assert detail["metadata"] == {"permission": "aiplatform.datasets.get", "resource": resource}
    missing = someone.ask("GET", f"/v1/{dataset}1")  # one that is not there is answered the same
    assert missing.json()["error"]["message"] == told["message"].replace(dataset, f"{dataset}1")
    for path in (f"/v1/projects/guarded/{LOCATION}/datasets", "/apis/portico/v1/home", "/-/metrics",
                 "/apis/portico/v1/clock", "/apis/cloudresourcemanager/v3/projects/guarded",
                 "/bigquery/v2/projects/guarded/datasets", "/storage/v1/b?project=guarded"):  # fmt: skip
        assert someone.ask("GET", path).status_code == 403, path


def test_a_role_on_the_project_counts_for_all_in_it(portico, someone, dataset, grant):
    grant(someone.member, "roles/aiplatform.viewer")
    assert someone.ask("GET", f"/v1/{dataset}").status_code == 200
    assert someone.ask("GET", f"/v1/projects/guarded/{LOCATION}/datasets").status_code == 200
    assert someone.ask("DELETE", f"/v1/{dataset}").status_code == 403
    assert someone.ask("GET", f"/v1/{dataset.replace('guarded', 'other')}").status_code == 403
    operations = someone.ask("GET", f"/v1/{dataset}/operations")
    assert operations.status_code == 200


def test_a_policy_on_a_resource_counts_for_it_alone(portico, someone, dataset):
    policy = {"bindings": [{"role": "roles/aiplatform.viewer", "members": [someone.member]}]}
    url = f"{portico.url}/v1/{dataset}"
    assert requests.post(f"{url}:setIamPolicy", json={"policy": policy}, timeout=240).status_code == 200
    assert someone.ask("GET", f"/v1/{dataset}").status_code == 200
    assert someone.ask("GET", f"/v1/projects/guarded/{LOCATION}/datasets").status_code == 403
    asked = "permissions=aiplatform.datasets.get&permissions=aiplatform.datasets.delete"
    tested = someone.ask("POST", f"/v1/{dataset}:testIamPermissions?{asked}")
    assert tested.json() == {"permissions": ["aiplatform.datasets.get"]}
    unseen = someone.ask("POST", f"/v1/{dataset}1:testIamPermissions?{asked}")
    assert (unseen.status_code, unseen.json()) == (200, {})
    assert someone.ask("POST", f"/v1/{dataset}:setIamPolicy", {"policy": policy}).status_code == 403


def test_conditions_are_held(portico, iam, dataset, grant):
    def tried(condition: str) -> int:
        who = Someone(portico, iam, "guarded")
        grant(who.member, "roles/aiplatform.viewer", condition=condition)
        return who.ask("GET", f"/v1/{dataset}").status_code

    assert tried('request.time < timestamp("2100-01-01T00:00:00Z")') == 200
    assert tried('request.time < timestamp("2020-01-01T00:00:00Z")') == 403
    assert tried(f'resource.name.startsWith("{dataset}")') == 200
    assert tried('resource.type == "aiplatform.googleapis.com/Dataset"') == 200
    assert tried('resource.type == "aiplatform.googleapis.com/Model"') == 403
    assert tried("resource.nothing == 1") == 403
    with pytest.raises(HttpError, match="can't be parsed"):
        tried("1 +")
    for endless in ("[1].all(a, [1].all(b, true))", "[1].\n exists // x\n (a, true)", "[1].map(a, a) == [1]"):
        with pytest.raises(HttpError, match="go through no lists"):
            tried(endless)


def test_custom_roles(portico, iam, someone, dataset, grant):
    roles = iam.projects().roles()
    name = f"role_{time.time_ns()}"
    body = {"roleId": name, "role": {"title": "Reads", "includedPermissions": ["aiplatform.datasets.get"]}}
    made = roles.create(parent="projects/guarded", body=body).execute()
    grant(someone.member, made["name"])
    assert someone.ask("GET", f"/v1/{dataset}").status_code == 200
    assert someone.ask("DELETE", f"/v1/{dataset}").status_code == 403
    changed = roles.patch(
        name=made["name"], body={"includedPermissions": ["aiplatform.datasets.list"]}
    ).execute()
    assert changed["title"] == "Reads" and changed["etag"] != made["etag"]
    assert someone.ask("GET", f"/v1/{dataset}").status_code == 403
    with pytest.raises(HttpError, match="was changed since it was read"):
        roles.patch(name=made["name"], body={"title": "x", "etag": made["etag"]}).execute()
    listing = f"/v1/projects/guarded/{LOCATION}/datasets"
    assert someone.ask("GET", listing).status_code == 200
    roles.delete(name=made["name"]).execute()
    assert someone.ask("GET", listing).status_code == 403
    roles.undelete(name=made["name"], body={}).execute()
    assert someone.ask("GET", listing).status_code == 200
    with pytest.raises(HttpError, match="is not valid"):
        bad = {"roleId": "some_role", "role": {"includedPermissions": ["no.such.permission"]}}
        roles.create(parent="projects/guarded", body=bad).execute()
    viewer = iam.roles().get(name="roles/aiplatform.viewer").execute()
    assert "aiplatform.datasets.get" in viewer["includedPermissions"]
    assert len(iam.roles().list(pageSize=1000).execute()["roles"]) > 200


def test_storage_asks_for_its_own_permissions(portico, someone, grant):
    bucket = storage.Client("guarded").create_bucket(f"guarded-{time.time_ns()}")
    bucket.blob("a").upload_from_string("secret")
    theirs = someone.storage.bucket(bucket.name)
    paths = [
        f"/storage/v1/b/{bucket.name}", f"/storage/v1/b/{bucket.name}/o", f"/storage/v1/b/{bucket.name}/o/a",
        f"/storage/v1/b/{bucket.name}/o/a?alt=media", f"/download/storage/v1/b/{bucket.name}/o/a?alt=media",
        f"/{bucket.name}/a",
    ]  # fmt: skip
    for path in paths:
        assert someone.ask("GET", path).status_code == 403, path
    for path in (
        f"/storage/v1/b/{bucket.name}-1", f"/storage/v1/b/{bucket.name}-1/o/a", f"/{bucket.name}-1/a",
        f"/storage/v1/b/{bucket.name}-1/iam",
    ):  # fmt: skip
        missing = someone.ask("GET", path)
        assert missing.status_code == 404 and "bucket does not exist" in missing.text, path
    missing = someone.ask("POST", f"/upload/storage/v1/b/{bucket.name}-1/o?uploadType=media&name=b", b"x")
    assert missing.status_code == 404
    refused = someone.ask("GET", paths[2]).json()["error"]
    assert refused["errors"][0]["reason"] == "forbidden"
    assert refused["message"] == (
        f"{someone.email} does not have storage.objects.get access to the Google Cloud Storage object. Permission "
        "'storage.objects.get' denied on resource (or it may not exist)."
    )
    inside = f"GET /storage/v1/b/{bucket.name}/o/a HTTP/1.1\r\n\r\n"
    batch = f"--b\r\nContent-Type: application/http\r\n\r\n{inside}\r\n--b--".encode()
    answer = someone.ask(
        "POST", "/batch/storage/v1", batch, **{"content-type": "multipart/mixed; boundary=b"}
    )
    assert "HTTP/1.1 403" in answer.text
    for upload in (
        f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=b",
        f"/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=b",
    ):
        assert someone.ask("POST", upload, b"{}").status_code == 403
    assert someone.ask("PUT", f"/{bucket.name}/b", b"x").status_code == 403

    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {someone.member}})
    policy = bucket.set_iam_policy(policy)
    assert theirs.blob("a").download_as_text() == "secret"
    assert [one.name for one in theirs.list_blobs()] == ["a"]
    assert theirs.test_iam_permissions(["storage.objects.get", "storage.objects.delete"]) == [
        "storage.objects.get"
    ]
    assert someone.ask("PUT", f"/{bucket.name}/b", b"x").status_code == 403
    policy.bindings.append({"role": "roles/storage.objectCreator", "members": {someone.member}})
    bucket.set_iam_policy(policy)
    theirs.blob("b").upload_from_string("x")
    assert someone.ask("DELETE", f"/storage/v1/b/{bucket.name}/o/b").status_code == 403


def test_copies_need_both_sides(portico, someone, grant):
    open_, shut = (storage.Client("guarded").create_bucket(f"guarded-{n}-{time.time_ns()}") for n in "os")
    shut.blob("a").upload_from_string("secret")
    policy = open_.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectAdmin", "members": {someone.member}})
    open_.set_iam_policy(policy)
    path = f"/storage/v1/b/{shut.name}/o/a/rewriteTo/b/{open_.name}/o/a"
    assert someone.ask("POST", path, {}).status_code == 403
    assert someone.ask("POST", path.replace("rewriteTo", "copyTo"), {}).status_code == 403
    assert not open_.blob("a").exists()


def test_editors_of_a_project_write_into_its_buckets(portico, someone, grant):
    bucket = storage.Client("guarded").create_bucket(f"guarded-{time.time_ns()}")
    assert someone.ask("GET", f"/storage/v1/b/{bucket.name}/o").status_code == 403
    grant(someone.member, "roles/editor")
    someone.storage.bucket(bucket.name).blob("a").upload_from_string("x")
    assert someone.ask("GET", f"/storage/v1/b/{bucket.name}/o").status_code == 200
    policy = {"bindings": [{"role": "roles/storage.admin", "members": [someone.member]}]}
    assert (
        someone.ask("PUT", f"/storage/v1/b/{bucket.name}/iam", policy).status_code == 200
    )  # legacyBucketOwner


def test_a_role_that_there_is_not_is_refused(portico, someone):
    projects = client(portico, "cloudresourcemanager", "v3").projects()
    policy = projects.getIamPolicy(resource="projects/roleless", body={}).execute()
    for role in ("roles/aiplatform.usr", "roles/ownr"):
        wrong = {"bindings": [*policy["bindings"], {"role": role, "members": [someone.member]}]}
        with pytest.raises(HttpError, match="is not supported for this resource"):
            projects.setIamPolicy(resource="projects/roleless", body={"policy": wrong}).execute()
    foreign = {"bindings": [*policy["bindings"], {"role": "roles/run.invoker", "members": [someone.member]}]}
    projects.setIamPolicy(resource="projects/roleless", body={"policy": foreign}).execute()


def test_projects_that_one_may_get_are_listed(portico, iam, grant):
    beginning = f"listed-{time.time_ns() % 10**9}"
    for number in range(3):
        storage.Client(f"{beginning}-{number}").create_bucket(f"{beginning}-{number}")
    who = Someone(portico, iam, f"{beginning}-0")
    query = f"name:{beginning}-*"
    for version, search, word in (("v3", "search", "query"), ("v1", "list", "filter")):
        projects = client(portico, "cloudresourcemanager", version).projects()
        asked = getattr(projects, search)(**{word: query, "pageSize": 2})
        first = asked.execute()
        second = getattr(projects, f"{search}_next")(asked, first).execute()
        ids = [one["projectId"] for one in first["projects"] + second["projects"]]
        assert ids == [f"{beginning}-{n}" for n in range(3)] and "nextPageToken" not in second
        path = f"/apis/cloudresourcemanager/{version}/projects{':search' if version == 'v3' else ''}"
        assert who.ask("GET", path).json() == {}
    grant(who.member, "roles/viewer", project=f"{beginning}-1")
    found = who.ask("GET", f"/apis/cloudresourcemanager/v3/projects:search?query=id:{beginning}-1%20name:x")
    assert [one["projectId"] for one in found.json()["projects"]] == [f"{beginning}-1"]
    v3 = client(portico, "cloudresourcemanager", "v3").projects()
    for asked in (
        v3.search(query="colour:red"),
        v3.search(query="x"),
        v3.list(),
        v3.list(parent="folders/1"),
    ):
        with pytest.raises(HttpError) as refused:
            asked.execute()
        assert refused.value.status_code in (400, 404)
