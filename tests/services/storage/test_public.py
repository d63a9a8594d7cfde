"""What everybody may read, and what lists of objects and buckets let, by Google's client; asked without a token by
another user of this machine, whom the server does not know."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage
from tests.doors.test_owner import as_root, as_stranger, ask
from tests.services.iam.test_permissions import Someone
from tests.services.iam.test_service_accounts import client


@pytest.fixture(scope="module")
def someone(portico: Any) -> Someone:
    return Someone(portico, client(portico, "iam", "v1"), "public-project")


def made(**settings: Any) -> Any:
    bucket = storage.Client("public-project").bucket(f"public-{time.time_ns()}")
    for name, value in settings.items():
        setattr(bucket.iam_configuration, name, value)
    bucket.create()
    return bucket


def statuses(portico: Any, bucket: Any, *names: str) -> list[int]:
    """Of reads by a caller who is not known: by each API's way, and a list of the bucket."""
    paths = [path for name in names for path in (
        f"/{bucket.name}/{name}", f"/storage/v1/b/{bucket.name}/o/{name}",
        f"/storage/v1/b/{bucket.name}/o/{name}?alt=media",
    )]  # fmt: skip
    paths.append(f"/storage/v1/b/{bucket.name}/o")
    return [
        status for status, _, _ in as_stranger(lambda: [ask(portico.port, "GET", path) for path in paths])
    ]


def grant(bucket: Any, role: str, member: str) -> None:
    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": role, "members": {member}})
    bucket.set_iam_policy(policy)


@as_root
def test_a_policy_for_all_users(portico, someone):
    bucket = made(uniform_bucket_level_access_enabled=True)
    bucket.blob("a").upload_from_string("x")
    assert statuses(portico, bucket, "a") == [403, 401, 401, 401]
    told = as_stranger(lambda: ask(portico.port, "GET", f"/storage/v1/b/{bucket.name}/o/a"))[2]
    assert (
        "Anonymous caller does not have storage.objects.get access to the Google Cloud Storage object."
        in told
    )
    grant(bucket, "roles/storage.objectViewer", "allAuthenticatedUsers")
    assert statuses(portico, bucket, "a") == [403, 401, 401, 401]
    assert someone.storage.bucket(bucket.name).blob("a").download_as_bytes() == b"x"
    grant(bucket, "roles/storage.objectViewer", "allUsers")
    assert statuses(portico, bucket, "a") == [200, 200, 200, 200]
    assert statuses(portico, bucket, "none") == [404, 404, 404, 200]
    for verb, path, body in (
        ("DELETE", f"/storage/v1/b/{bucket.name}/o/a", None), ("PUT", f"/{bucket.name}/a", b"x"),
        ("POST", f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=a", b"x"),
        ("GET", f"/storage/v1/b/{bucket.name}/iam", None), ("GET", "/storage/v1/b?project=public-project", None),
        ("POST", "/batch/storage/v1", b"x"), ("POST", f"/storage/v1/b/{bucket.name}/iam", b"{}"),
    ):  # fmt: skip
        status = as_stranger(lambda asked=(verb, path, body): ask(portico.port, *asked))[0]
        assert status in (401, 403, 404), (verb, path, status)
    bucket.iam_configuration.public_access_prevention = "enforced"
    bucket.patch()
    assert statuses(portico, bucket, "a") == [403, 401, 401, 401]
    with pytest.raises(exceptions.PreconditionFailed, match="since public access prevention is enforced"):
        grant(bucket, "roles/storage.objectViewer", "allUsers")


@as_root
def test_lists_grant(portico, someone):
    bucket = made()
    for name in ("a", "b"):
        bucket.blob(name).upload_from_string("x")
    assert statuses(portico, bucket, "a", "b") == [403, 401, 401] * 2 + [401]
    bucket.blob("a").make_public()
    assert statuses(portico, bucket, "a", "b") == [200] * 3 + [403, 401, 401] + [401]
    entries = list(bucket.blob("a").acl)
    assert {"entity": "allUsers", "role": "READER"} in entries and len(entries) == 4
    bucket.blob("a").make_private()
    assert statuses(portico, bucket, "a") == [403, 401, 401, 401]
    bucket.blob("c").upload_from_string("x", predefined_acl="publicRead")
    assert statuses(portico, bucket, "c") == [200, 200, 200, 401]
    named = requests.put(f"{portico.url}/{bucket.name}/d", b"x", headers={"x-goog-acl": "public-read"})
    assert named.status_code == 200 and statuses(portico, bucket, "d") == [200, 200, 200, 401]
    assert "AllUsers" in requests.get(f"{portico.url}/{bucket.name}/d?acl").text

    theirs = someone.storage.bucket(bucket.name)
    with pytest.raises(exceptions.Forbidden):
        theirs.blob("b").download_as_bytes()
    blob = bucket.blob("b")
    blob.acl.user(someone.email).grant_read()
    blob.acl.save()
    assert theirs.blob("b").download_as_bytes() == b"x"
    for change in (lambda one: one.make_public(), lambda one: one.delete(), lambda one: one.patch()):
        with pytest.raises(exceptions.Forbidden):
            mine = theirs.blob("b")
            mine.metadata = {"x": "y"}
            change(mine)
    bucket.acl.user(someone.email).grant_write()
    bucket.acl.save()
    theirs.blob("new").upload_from_string("x")
    assert theirs.blob("new").download_as_bytes() == b"x"  # who writes an object owns it
    theirs.blob("new").make_public()
    assert statuses(portico, bucket, "new") == [200, 200, 200, 401]
    assert [one.name for one in theirs.list_blobs()] == ["a", "b", "c", "d", "new"]
    with pytest.raises(exceptions.Forbidden):
        theirs.blob("a").download_as_bytes()
    policy = bucket.get_iam_policy()  # a bucket's list is a part of its policy
    assert {"role": "roles/storage.legacyBucketWriter", "members": {someone.member}} in policy.bindings
    bucket.acl.all().grant_read()
    bucket.acl.save()
    assert statuses(portico, bucket, "a") == [403, 401, 401, 200]


@as_root
def test_new_objects_have_the_list_that_the_bucket_has_for_them(portico, someone):
    bucket = made()
    bucket.default_object_acl.all().grant_read()
    bucket.default_object_acl.save()
    bucket.blob("a").upload_from_string("x")
    assert statuses(portico, bucket, "a") == [200, 200, 200, 401]
    other = made()
    other.acl.save_predefined("private")
    bucket.copy_blob(bucket.blob("a"), other)
    assert statuses(portico, other, "a") == [403, 401, 401, 401]
    bucket.versioning_enabled = True
    bucket.patch()
    private = bucket.blob("b")
    private.upload_from_string("secret", predefined_acl="private")
    private.reload()
    bucket.blob("b").upload_from_string("open")
    old = f"/storage/v1/b/{bucket.name}/o/b?alt=media&generation={private.generation}"
    assert statuses(portico, bucket, "b") == [200, 200, 200, 401]
    assert as_stranger(lambda: ask(portico.port, "GET", old))[0] == 401
    listed = storage.Client("public-project").list_blobs(bucket, projection="full")
    assert {"entity": "allUsers", "role": "READER"}.items() <= next(listed)._properties["acl"][-1].items()


def test_who_wrote_an_object_owns_it(portico, someone):
    bucket = made()
    theirs = someone.storage.bucket(bucket.name)
    grant(bucket, "roles/storage.objectAdmin", someone.member)

    def owner(name: str) -> str:
        blob = bucket.blob(name)
        blob.reload(projection="full")
        return str(blob.owner["entity"])

    bucket.blob("ours").upload_from_string("x")
    theirs.blob("a").upload_from_string("x")
    theirs.copy_blob(bucket.blob("ours"), theirs, "copied")
    theirs.blob("whole").compose([bucket.blob("ours"), bucket.blob("a")])
    bucket.blob("a").update_storage_class("NEARLINE")
    assert owner("ours") == owner("a") and owner("a").startswith("project-owners-")
    assert owner("copied") == owner("whole") == f"user-{someone.email}"


def test_uniform_access_and_prevention_refuse_lists(portico):
    bucket = made(uniform_bucket_level_access_enabled=True)
    bucket.blob("a").upload_from_string("x")
    words = "when uniform bucket-level access is enabled. Read more at https://cloud.google.com/storage/docs/uniform-"
    for tried, before in (
        (lambda: bucket.blob("a").acl.reload(), "Cannot get legacy ACL for an object"),
        (lambda: bucket.blob("a").acl.save_predefined("publicRead"), "Cannot update access control for an object"),
        (lambda: bucket.blob("b").upload_from_string("x", predefined_acl="publicRead"),
         "Cannot insert legacy ACL for an object"),
        (lambda: bucket.acl.save_predefined("publicRead"), "Cannot use ACL API to update bucket policy"),
        (lambda: bucket.acl.reload(), "Cannot use ACL API to update bucket policy"),
        (lambda: bucket.default_object_acl.reload(), "Cannot use ACL API to update bucket policy"),
    ):  # fmt: skip
        with pytest.raises(exceptions.BadRequest, match=f"{before} {words}"):
            tried()
    shut = made(public_access_prevention="enforced")
    shut.blob("a").upload_from_string("x")
    with pytest.raises(exceptions.PreconditionFailed, match="public access prevention"):
        shut.blob("a").acl.save_predefined("publicRead")
    with pytest.raises(exceptions.PreconditionFailed, match="public access prevention"):
        shut.blob("b").upload_from_string("x", predefined_acl="publicRead")
    url = f"{portico.url}/storage/v1/b/{shut.name}/o/a/acl"
    assert requests.post(url, json={"entity": "allUsers", "role": "READER"}).status_code == 412
    assert requests.post(url, json={"entity": "nobody", "role": "READER"}).status_code == 400
    assert requests.post(url, json={"entity": "user-a@example.com", "role": "WRITER"}).status_code == 400
    assert requests.post(url, json={"entity": "user-a@example.com", "role": "READER"}).status_code == 200
    assert requests.patch(f"{url}/user-a@example.com", json={"role": "OWNER"}).json()["role"] == "OWNER"
    assert requests.delete(f"{url}/user-a@example.com").status_code == 204
    assert requests.get(f"{url}/user-a@example.com").status_code == 404


def test_an_object_is_no_page_of_this_server(portico):
    """In a browser its scripts are of no site: they ask as such, and are refused."""
    bucket = made()
    bucket.blob("a").upload_from_string("<script>alert(1)</script>", content_type="text/html")
    for path in (f"/{bucket.name}/a", f"/storage/v1/b/{bucket.name}/o/a?alt=media"):
        answer = requests.get(portico.url + path)
        assert answer.headers["content-security-policy"] == "sandbox allow-scripts"
        assert answer.headers["x-content-type-options"] == "nosniff"
    for headers in ({"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert requests.get(f"{portico.url}/storage/v1/b/{bucket.name}/o", headers=headers).status_code == 403
