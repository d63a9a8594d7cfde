"""Objects and buckets that are deleted and kept: listed, looked at and restored through Google's client."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from tests.conftest import Portico
from tests.services.iam.test_permissions import Someone
from tests.services.iam.test_service_accounts import client as api_client

DAY = 86_400
WEEK = 7 * DAY


def policy(seconds: int) -> dict[str, str]:
    return {"retentionDurationSeconds": str(seconds)}


@pytest.fixture
def keeping(make_bucket: Callable[..., Any]) -> Any:
    """A bucket that keeps what is deleted for a week."""
    bucket = make_bucket()
    bucket.soft_delete_policy.retention_duration_seconds = WEEK
    bucket.patch()
    return bucket


def kept(bucket: Any, **more: Any) -> list[tuple[str, int]]:
    return [(one.name, one.generation) for one in bucket.list_blobs(soft_deleted=True, **more)]


def put(bucket: Any, name: str, text: str) -> int:
    blob = bucket.blob(name)
    blob.upload_from_string(text)
    return int(blob.generation)


def files(server: Portico) -> int:
    return len(list((server.home / "objects").glob("*/*")))


def test_a_bucket_keeps_nothing_unless_it_is_told(client: Any, bucket: Any) -> None:
    assert bucket.soft_delete_policy.retention_duration_seconds == 0
    generation = put(bucket, "o", "x")
    bucket.blob("o").delete()
    assert kept(bucket) == []
    with pytest.raises(exceptions.NotFound):
        bucket.restore_blob("o", generation=generation)
    bucket.delete()
    assert bucket.name not in {one.name for one in client.list_buckets(soft_deleted=True)}


@pytest.mark.parametrize("seconds", [-1, 1, WEEK - 1, 90 * DAY + 1])
def test_durations_that_are_refused(server: Portico, bucket: Any, seconds: int) -> None:
    url = f"{server.url}/storage/v1/b/{bucket.name}"
    answer = requests.patch(url, json={"softDeletePolicy": policy(seconds)})
    assert answer.status_code == 400
    assert "from 604800 to 7776000 seconds" in answer.json()["error"]["message"]
    made = {"name": f"{bucket.name}-other", "softDeletePolicy": policy(seconds)}
    assert requests.post(f"{server.url}/storage/v1/b?project=p", json=made).status_code == 400


def test_since_when_a_policy_is(keeping: Any) -> None:
    def change(seconds: int) -> datetime:
        keeping.soft_delete_policy.retention_duration_seconds = seconds
        keeping.patch()
        keeping.reload()
        assert keeping.soft_delete_policy.retention_duration_seconds == seconds
        since: datetime = keeping.soft_delete_policy.effective_time
        return since

    longer = change(30 * DAY)
    assert datetime.now(UTC) - longer < timedelta(hours=1)
    assert change(30 * DAY) == longer
    assert change(WEEK) == longer  # one with a greater retention was in effect since then
    assert change(8 * DAY) > longer
    assert change(0) is None


def test_what_is_deleted_is_kept_and_restored(keeping: Any) -> None:
    blob = keeping.blob("o", chunk_size=None)
    blob.metadata, blob.content_type = {"a": "b"}, "text/x"
    blob.upload_from_string("first", content_type="text/x")
    generation = blob.generation
    assert (blob.soft_delete_time, blob.hard_delete_time) == (None, None)
    blob.delete()
    assert list(keeping.list_blobs(versions=True)) == []
    assert not keeping.blob("o").exists()
    assert kept(keeping) == [("o", generation)]

    deleted = keeping.get_blob("o", generation=generation, soft_deleted=True)
    assert deleted.hard_delete_time - deleted.soft_delete_time == timedelta(seconds=WEEK)
    assert deleted.metadata == {"a": "b"}
    # It is neither read nor changed nor deleted.
    for use in (deleted.download_as_bytes, deleted.patch, deleted.delete):
        with pytest.raises(exceptions.NotFound):
            use()

    restored = keeping.restore_blob("o", generation=generation)
    assert restored.generation > generation
    assert (restored.metageneration, restored.metadata, restored.content_type) == (1, {"a": "b"}, "text/x")
    assert (restored.soft_delete_time, restored.hard_delete_time) == (None, None)
    assert keeping.blob("o").download_as_bytes() == b"first"
    assert kept(keeping) == [("o", generation)]  # as long as before
    assert keeping.get_blob("o", generation=restored.generation, soft_deleted=True) is None


def test_what_is_written_over_is_kept(keeping: Any) -> None:
    first = put(keeping, "o", "first")
    second = put(keeping, "o", "second")
    assert kept(keeping) == [("o", first)]
    with pytest.raises(exceptions.PreconditionFailed):
        keeping.restore_blob("o", generation=first, if_generation_match=0)
    third = keeping.restore_blob("o", generation=first, if_generation_match=second)
    assert keeping.blob("o").download_as_bytes() == b"first"
    assert kept(keeping) == [("o", first), ("o", second)]
    keeping.rename_blob(keeping.blob("o"), "moved")
    keeping.blob("moved").compose([keeping.blob("moved"), keeping.blob("moved")])
    assert kept(keeping)[-1] == ("o", third.generation)
    assert [name for name, _ in kept(keeping)].count("moved") == 1


def test_versions_are_kept_when_they_go(make_bucket: Callable[..., Any]) -> None:
    bucket = make_bucket(versioning_enabled=True)
    bucket.soft_delete_policy.retention_duration_seconds = WEEK
    bucket.patch()
    first, second = put(bucket, "o", "first"), put(bucket, "o", "second")
    bucket.blob("o").delete()
    assert kept(bucket) == []  # it is noncurrent
    assert [one.generation for one in bucket.list_blobs(versions=True)] == [first, second]
    bucket.blob("o", generation=first).delete()
    assert kept(bucket) == [("o", first)]
    assert [one.generation for one in bucket.list_blobs(versions=True)] == [second]
    live = put(bucket, "o", "third")
    restored = bucket.restore_blob("o", generation=first)
    assert bucket.blob("o").download_as_bytes() == b"first"
    there = [one.generation for one in bucket.list_blobs(versions=True)]
    assert there == [second, live, restored.generation]


def test_lists_of_what_is_kept(keeping: Any, server: Portico) -> None:
    for name in ("a/1", "a/2", "b"):
        for text in "12":
            put(keeping, name, text)
        keeping.blob(name).delete()
    put(keeping, "a/3", "lives")
    names = [name for name, _ in kept(keeping)]
    assert names == ["a/1", "a/1", "a/2", "a/2", "b", "b"]
    assert kept(keeping, page_size=1) == kept(keeping)
    assert {name for name, _ in kept(keeping, prefix="a/")} == {"a/1", "a/2"}
    found = keeping.list_blobs(soft_deleted=True, delimiter="/")
    assert ([one.name for one in found], found.prefixes) == (["b", "b"], {"a/"})
    assert {name for name, _ in kept(keeping, match_glob="**2")} == {"a/2"}
    with pytest.raises(exceptions.BadRequest, match="can't both"):
        kept(keeping, versions=True)
    url = f"{server.url}/storage/v1/b/{keeping.name}/o"
    assert [one["name"] for one in requests.get(f"{url}?softDeleted=false").json()["items"]] == ["a/3"]
    assert requests.get(f"{url}/b?softDeleted=true").status_code == 400  # which generation?
    assert requests.post(f"{url}/b/restore").status_code == 400
    assert requests.get(f"{url}/b?softDeleted=true&generation=1").status_code == 404


def test_a_hold_is_respected_and_lists_of_who_may(keeping: Any) -> None:
    blob = keeping.blob("o")
    blob.upload_from_string("x", predefined_acl="publicRead")
    blob.temporary_hold = True
    blob.patch()
    with pytest.raises(exceptions.Forbidden):
        blob.delete()
    blob.temporary_hold = False
    blob.patch()
    blob.delete()
    for copy in (False, True):
        keeping.restore_blob("o", generation=blob.generation, copy_source_acl=copy)
        entities = {one["entity"] for one in keeping.get_blob("o").acl}
        assert ("allUsers" in entities) is copy


def test_a_policy_of_none_frees_what_is_kept(own_server: Portico) -> None:
    url = own_server.url

    def ask(method: str, path: str, **more: Any) -> Any:
        answer = requests.request(method, f"{url}/storage/v1/b{path}", **more)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    ask("POST", "?project=p", json={"name": "first", "softDeletePolicy": policy(WEEK)})
    upload = f"{url}/upload/storage/v1/b/first/o?uploadType=media&name=o"
    made = [requests.post(upload, data=text).json()["generation"] for text in (b"1", b"2")]
    ask("DELETE", "/first/o/o")
    assert files(own_server) == 2
    own_server.kill()
    own_server.start()
    url = own_server.url
    assert files(own_server) == 2  # which the sweep at start has left alone
    listed = ask("GET", "/first/o?softDeleted=true")["items"]
    assert [one["generation"] for one in listed] == made
    # Neither another setting nor a shorter policy shortens what was promised; none, said outright, does.
    ask("PATCH", "/first", json={"labels": {"a": "b"}})
    ask("PUT", "/first", json={"labels": {}})
    ask("PATCH", "/first", json={"softDeletePolicy": policy(WEEK + DAY)})
    assert ask("GET", "/first/o?softDeleted=true")["items"] == listed
    ask("PATCH", "/first", json={"softDeletePolicy": policy(0)})
    assert "items" not in ask("GET", "/first/o?softDeleted=true")
    assert files(own_server) == 0
    ask("DELETE", "/first")


def test_a_bucket_is_kept_and_restored(server: Portico, client: Any, keeping: Any) -> None:
    keeping.labels = {"a": "b"}
    keeping.patch()
    first = put(keeping, "o", "first")
    with pytest.raises(exceptions.Conflict):
        keeping.delete()
    keeping.blob("o").delete()
    name, generation = keeping.name, keeping.generation
    keeping.delete()
    with pytest.raises(exceptions.NotFound):
        client.get_bucket(name)
    listed = {one.name: one for one in client.list_buckets(soft_deleted=True, prefix=name)}
    assert (listed[name].generation, listed[name].labels) == (generation, {"a": "b"})
    deleted = client.get_bucket(name, soft_deleted=True, generation=generation)
    assert deleted.hard_delete_time - deleted.soft_delete_time >= timedelta(seconds=WEEK)
    with pytest.raises(exceptions.NotFound):
        client.get_bucket(name, soft_deleted=True, generation=generation + 1)

    # Another of its name is another bucket.
    other = client.create_bucket(name)
    assert other.generation != generation
    assert kept(other) == []
    with pytest.raises(exceptions.Conflict, match="of this name"):
        client.restore_bucket(name, generation=generation)
    other.delete()

    restored = client.restore_bucket(name, generation=generation)
    assert (restored.generation, restored.labels) == (generation, {"a": "b"})
    assert (restored.soft_delete_time, restored.hard_delete_time) == (None, None)
    assert list(restored.list_blobs()) == []
    assert kept(restored) == [("o", first)]
    restored.restore_blob("o", generation=first)
    assert restored.blob("o").download_as_bytes() == b"first"
    assert name not in {one.name for one in client.list_buckets(soft_deleted=True)}
    there = f"{server.url}/storage/v1/b/{name}?generation="
    assert requests.get(f"{there}{generation}").status_code == 200
    assert requests.get(f"{there}{generation + 1}").status_code == 404


def test_pages_of_buckets(server: Portico, client: Any, make_bucket: Callable[..., Any]) -> None:
    made = []
    for _ in range(3):
        bucket = make_bucket()
        bucket.soft_delete_policy.retention_duration_seconds = WEEK
        bucket.patch()
        bucket.delete()
        made.append(bucket.name)
    found = [one.name for one in client.list_buckets(soft_deleted=True, page_size=1)]
    assert [name for name in found if name in made] == sorted(made)
    for path in ("softDeleted=true", "softDeleted=true&generation=x"):
        assert requests.get(f"{server.url}/storage/v1/b/{made[0]}?{path}").status_code == 400
    assert requests.post(f"{server.url}/storage/v1/b/{made[0]}/restore").status_code == 400


def test_a_sealed_object_is_restored_under_its_key(keeping: Any) -> None:
    blob = keeping.blob("o", encryption_key=bytes(32))
    blob.upload_from_string("secret")
    blob.delete()
    keeping.restore_blob("o", generation=blob.generation)
    assert keeping.blob("o", encryption_key=bytes(32)).download_as_bytes() == b"secret"
    with pytest.raises(exceptions.BadRequest):
        keeping.blob("o").download_as_bytes()


def test_who_may_restore(portico: Portico, client: Any, keeping: Any) -> None:
    iam = api_client(portico, "iam", "v1")
    writer, admin = (Someone(portico, iam, "portico", name) for name in ("sd-writer", "sd-admin"))
    rights = keeping.get_iam_policy()
    rights.bindings.append({"role": "roles/storage.objectCreator", "members": {writer.member}})
    rights.bindings.append({"role": "roles/storage.objectAdmin", "members": {admin.member}})
    keeping.set_iam_policy(rights)
    generation = put(keeping, "o", "x")
    keeping.blob("o").delete()
    bucket = f"/storage/v1/b/{keeping.name}"

    def ask(who: Someone) -> int:
        return who.ask("POST", f"{bucket}/o/o/restore?generation={generation}", {}).status_code

    assert (ask(writer), ask(admin)) == (403, 200)
    assert ask(admin) == 200  # over one that is there
    keeping.blob("o").delete()
    keeping.delete()
    told = f"generation={keeping.generation}"
    # These are the project's.
    assert admin.ask("GET", f"{bucket}?softDeleted=true&{told}").status_code == 403
    assert admin.ask("POST", f"{bucket}/restore?{told}", {}).status_code == 403
