"""Settings of buckets and objects by google-cloud-storage: which are refused, and what the server adds to them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import requests
from google.api_core import exceptions
from google.cloud.storage.bucket import EncryptionEnforcementConfig

DELETE = {"type": "Delete"}


@pytest.mark.parametrize(
    "settings, field",
    [
        ({"lifecycle": {"rule": [{"action": {"type": "Explode"}, "condition": {"age": 1}}]}}, "action.type"),
        ({"lifecycle": {"rule": [{"condition": {"age": 1}}]}}, "action.type"),
        ({"lifecycle": {"rule": [{"action": DELETE}]}}, "rule[0].condition"),
        ({"lifecycle": {"rule": [{"action": DELETE, "condition": {"age": -1}}]}}, "condition.age"),
        (
            {"lifecycle": {"rule": [{"action": DELETE, "condition": {"createdBefore": "soon"}}]}},
            "createdBefore",
        ),
        (
            {"lifecycle": {"rule": [{"action": {"type": "SetStorageClass"}, "condition": {"age": 1}}]}},
            "action.storageClass",
        ),
        (
            {"lifecycle": {"rule": [{"action": DELETE, "condition": {"matchesStorageClass": ["WARM"]}}]}},
            "matchesStorageClass",
        ),
        (
            {
                "lifecycle": {
                    "rule": [
                        {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"isLive": True}}
                    ]
                }
            },
            "rule[0].condition",
        ),
        ({"lifecycle": {"rule": [{"action": DELETE, "condition": {"age": 1}}] * 101}}, "lifecycle.rule"),
        ({"retentionPolicy": {"retentionPeriod": "0"}}, "retentionPeriod"),
        ({"retentionPolicy": {"retentionPeriod": "3155760001"}}, "retentionPeriod"),
        ({"iamConfiguration": {"publicAccessPrevention": "maybe"}}, "publicAccessPrevention"),
        ({"labels": {"Team": "x"}}, "labels.Team"),
        ({"labels": {"team": "A B"}}, "labels.team"),
        ({"labels": {f"k{n}": "v" for n in range(65)}}, "labels"),
        ({"rpo": "SOMETIMES"}, "rpo"),
        (
            {"encryption": {"googleManagedEncryptionEnforcementConfig": {"restrictionMode": "Half"}}},
            "restrictionMode",
        ),
        ({"autoclass": {"enabled": True, "terminalStorageClass": "COLDLINE"}}, "terminalStorageClass"),
    ],
)
def test_settings_of_a_bucket_that_are_refused(server, bucket, settings, field):
    answer = requests.patch(f"{server.url}/storage/v1/b/{bucket.name}", json=settings)
    assert (answer.status_code, field in answer.text) == (400, True)
    made = requests.post(
        f"{server.url}/storage/v1/b?project=portico", json={"name": f"{bucket.name}-new", **settings}
    )
    assert made.status_code == 400


def test_what_the_server_adds_to_a_buckets_settings(client, bucket):
    bucket.retention_period = 3600
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    since, locked = (
        bucket.retention_policy_effective_time,
        bucket.iam_configuration.uniform_bucket_level_access_locked_time,
    )
    assert abs((locked - since) - timedelta(days=90)) < timedelta(seconds=1)
    bucket.labels = {"team": "ml"}
    bucket.patch()
    assert bucket.retention_policy_effective_time == since
    assert bucket.iam_configuration.uniform_bucket_level_access_locked_time == locked
    bucket.retention_period = None
    bucket.patch()
    assert bucket.retention_policy_effective_time is None
    two = client.create_bucket(f"{bucket.name}-two", location="US", data_locations=["US-EAST1", "US-WEST1"])
    assert two.location_type == "dual-region"


def test_until_when_an_object_is_retained(bucket):
    bucket.retention_period = 3600
    bucket.patch()
    new = bucket.blob("new")
    new.upload_from_string("x")
    assert new.retention_expiration_time == new.time_created + timedelta(hours=1)
    held = bucket.blob("held")
    held.upload_from_string("x")
    held.event_based_hold = True
    held.patch()
    assert held.retention_expiration_time is None
    held.event_based_hold = False
    held.patch()
    # From the release of the hold on; times are shown in milliseconds.
    assert abs(held.retention_expiration_time - (held.updated + timedelta(hours=1))) < timedelta(seconds=0.01)
    assert not [key for key in held._properties if "eleased" in key]
    with pytest.raises(exceptions.Forbidden, match="retention"):
        held.delete()
    assert all(blob.retention_expiration_time for blob in bucket.list_blobs())
    bucket.retention_period = None
    bucket.patch()
    held.reload()
    assert held.retention_expiration_time is None
    held.delete()


def test_a_custom_time_only_grows(bucket):
    blob = bucket.blob("timed")
    blob.custom_time = datetime(2024, 1, 1, tzinfo=UTC)
    blob.upload_from_string("x")
    for wrong in (datetime(2023, 1, 1, tzinfo=UTC), None):
        blob.custom_time = wrong
        with pytest.raises(exceptions.BadRequest, match="customTime"):
            blob.patch()
    blob.reload()
    blob.custom_time = datetime(2025, 1, 1, tzinfo=UTC)
    blob.patch()
    blob.metadata = {"k": "v"}
    blob.patch()
    blob.reload()
    assert blob.custom_time == datetime(2025, 1, 1, tzinfo=UTC)
    blob.custom_time = datetime(2020, 1, 1, tzinfo=UTC)
    blob.rewrite(blob)
    assert blob.custom_time == datetime(2020, 1, 1, tzinfo=UTC)
    exact = datetime(2020, 1, 1, 12, 30, 45, 123456, tzinfo=UTC)
    blob.custom_time = exact
    blob.patch()
    assert bucket.get_blob("timed").custom_time == exact
    blob.custom_time = exact.replace(microsecond=123000)
    with pytest.raises(exceptions.BadRequest, match="customTime"):
        blob.patch()


def test_autoclass_says_when_it_changed(make_bucket):
    bucket = make_bucket()
    assert (bucket.autoclass_enabled, bucket.autoclass_toggle_time) == (False, None)
    bucket.autoclass_enabled = True
    bucket.patch()
    on = bucket.autoclass_toggle_time
    assert on and bucket.autoclass_terminal_storage_class == "NEARLINE"
    since = bucket.autoclass_terminal_storage_class_update_time
    bucket.autoclass_terminal_storage_class = "ARCHIVE"
    bucket.patch()
    assert bucket.autoclass_terminal_storage_class_update_time > since
    assert bucket.autoclass_toggle_time == on
    bucket.autoclass_enabled = False
    bucket.patch()
    assert bucket.autoclass_toggle_time > on and bucket.autoclass_terminal_storage_class is None


def test_a_locked_retention_policy_only_grows(server, make_bucket):
    bucket = make_bucket()
    url = f"{server.url}/storage/v1/b/{bucket.name}"
    unlockable = requests.post(f"{url}/lockRetentionPolicy?ifMetagenerationMatch=1")
    assert (unlockable.status_code, "no retention policy" in unlockable.text) == (400, True)
    bucket.retention_period = 100
    bucket.patch()
    requests.patch(url, json={"retentionPolicy": {"retentionPeriod": "100", "isLocked": True}})
    bucket.reload()
    assert not bucket.retention_policy_locked  # only its own method locks
    assert requests.post(f"{url}/lockRetentionPolicy").status_code == 400
    assert requests.post(f"{url}/lockRetentionPolicy?ifMetagenerationMatch=99").status_code == 412
    bucket.lock_retention_policy()
    assert bucket.retention_policy_locked
    for shorter in (99, None):
        bucket.retention_period = shorter
        with pytest.raises(exceptions.Forbidden, match="locked"):
            bucket.patch()
    assert requests.put(url, json={"storageClass": "STANDARD"}).status_code == 403
    assert requests.patch(url, json={"retentionPolicy": {"retentionPeriod": "101"}}).status_code == 200
    bucket.reload()
    assert (bucket.retention_policy_locked, bucket.retention_period) == (True, 101)


def test_a_bucket_that_takes_no_standard_encryption(make_bucket):
    open_one = make_bucket()
    open_one.blob("a").upload_from_string("x")
    bucket = make_bucket()
    full, none = (
        EncryptionEnforcementConfig(restriction_mode=mode) for mode in ("FullyRestricted", "NotRestricted")
    )
    bucket.encryption.google_managed_encryption_enforcement_config = full
    bucket.encryption.customer_managed_encryption_enforcement_config = none
    bucket.patch()
    bucket.reload()
    since = bucket.encryption.google_managed_encryption_enforcement_config.effective_time
    assert since is not None
    assert bucket.encryption.customer_managed_encryption_enforcement_config.effective_time is None
    for write in (
        lambda: bucket.blob("a").upload_from_string("x"),
        lambda: bucket.blob("a", chunk_size=1 << 18).upload_from_string("x" * (1 << 19)),
        lambda: open_one.copy_blob(open_one.blob("a"), bucket),
    ):
        with pytest.raises(exceptions.PreconditionFailed, match="standard encryption"):
            write()
    bucket.labels = {"a": "b"}
    bucket.patch()
    assert bucket.encryption.google_managed_encryption_enforcement_config.effective_time == since
    bucket.encryption.google_managed_encryption_enforcement_config = None
    bucket.patch()
    bucket.blob("a").upload_from_string("x")
    bucket.reload()
    assert bucket.encryption.google_managed_encryption_enforcement_config is None


def test_what_is_not_built_of_buckets_is_refused(client, bucket):
    with pytest.raises(exceptions.MethodNotImplemented, match="objectRetention"):
        client.create_bucket(f"{bucket.name}-retained", enable_object_retention=True)
    bucket._patch_property("softDeletePolicy", {"hardDeletePause": {"enabled": True}})
    with pytest.raises(exceptions.MethodNotImplemented, match="hardDeletePause"):
        bucket.patch()


def test_a_flat_namespace_is_said_where_it_was_asked_for(make_bucket):
    assert make_bucket().hierarchical_namespace_enabled is None
    bucket = make_bucket(hierarchical_namespace_enabled=False)
    assert bucket.hierarchical_namespace_enabled is False
    with pytest.raises(exceptions.MethodNotImplemented, match="hierarchicalNamespace"):
        make_bucket(hierarchical_namespace_enabled=True)


def test_contexts_have_their_times(server, bucket):
    bucket.blob("o").upload_from_string("x")
    url = f"{server.url}/storage/v1/b/{bucket.name}/o/o"

    def patch(value):
        answer = requests.patch(url, json={"contexts": {"custom": {"team": value}}})
        return answer.json()["contexts"]["custom"].get("team")

    first = patch({"value": "ml", "createTime": "2000-01-01T00:00:00Z"})
    assert first["createTime"] == first["updateTime"] > "2001"
    assert patch({"value": "ml"}) == first
    other = patch({"value": "ops"})
    assert other["createTime"] == first["createTime"] and other["updateTime"] > first["updateTime"]
    assert patch(None) is None
    wrong = requests.patch(url, json={"contexts": {"custom": {"team": {"valu": "x"}}}})
    assert wrong.status_code == 400


def test_settings_of_an_object_that_are_refused(server, bucket):
    blob = bucket.blob("o")
    blob.upload_from_string("x")
    blob.metadata = {"k": "x" * 8192}
    with pytest.raises(exceptions.BadRequest, match="8193 bytes"):
        blob.patch()
    # The client sends a field along that Google's document does not have.
    retained = {"retention": {"mode": "Unlocked", "retainUntilTime": "2099-01-01T00:00:00Z"}}
    url = f"{server.url}/storage/v1/b/{bucket.name}/o/o"
    for answer in (
        requests.patch(url, json=retained),
        requests.post(f"{url}/copyTo/b/{bucket.name}/o/other", json=retained),
    ):
        assert (answer.status_code, "not enabled" in answer.text) == (400, True)


def test_reading_metadata_by_etag(server, bucket):
    blob = bucket.blob("o")
    blob.upload_from_string("x")
    for thing in (blob, bucket):
        thing.reload()
        tag = thing.etag
        thing.reload(if_etag_match=tag)
        thing.reload(if_etag_not_match="other")
        assert requests.get(f"{server.url}/storage/v1{thing.path}").headers["etag"] == tag
        with pytest.raises(exceptions.NotModified):
            thing.reload(if_etag_not_match=tag)
        with pytest.raises(exceptions.PreconditionFailed):
            thing.reload(if_etag_match="other")


def test_compose_deletes_its_sources_where_asked(bucket):
    for name in ("a", "b", "c"):
        bucket.blob(name).upload_from_string(name)
    bucket.blob("a").compose(
        [bucket.blob("a"), bucket.blob("b"), bucket.blob("b")], delete_source_objects=True
    )
    assert [blob.name for blob in bucket.list_blobs()] == ["a", "c"]
    assert bucket.blob("a").download_as_bytes() == b"abb"


def test_all_parts_but_the_last_have_a_least_size(server, bucket):
    url = f"{server.url}/{bucket.name}/parts"
    upload = re.search("<UploadId>(.*)</UploadId>", requests.post(f"{url}?uploads").text)[1]
    parts = "".join(
        f"<Part><PartNumber>{n}</PartNumber><ETag>"
        f"{requests.put(f'{url}?partNumber={n}&uploadId={upload}', b'x').headers['etag']}</ETag></Part>"
        for n in (1, 2)
    )
    whole = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
    answer = requests.post(f"{url}?uploadId={upload}", whole)
    assert (answer.status_code, "<Code>EntityTooSmall</Code>" in answer.text) == (400, True)
    assert requests.delete(f"{url}?uploadId={upload}").status_code == 204


def test_fields_that_there_are_not(server, bucket):
    bucket.blob("o").upload_from_string("x")
    url = f"{server.url}/storage/v1/b/{bucket.name}/o"
    assert requests.get(f"{url}/o?fields=name,metadata/k").json() == {"name": "o"}
    assert requests.get(f"{url}?fields=items(name),nextPageToken").json() == {"items": [{"name": "o"}]}
    for wrong in ("nope", "name,nope"):
        answer = requests.patch(f"{url}/o?fields={wrong}", json={"contentLanguage": "de"})
        assert (answer.status_code, "Invalid field selection nope" in answer.text) == (400, True)
    # It is refused before anything is done.
    assert bucket.get_blob("o").content_language is None


def test_a_range_of_what_has_changed_is_the_whole(server, bucket):
    blob = bucket.blob("o")
    blob.upload_from_string("hello")
    blob.reload()
    url = f"{server.url}/storage/v1/b/{bucket.name}/o/o?alt=media"

    def read(condition):
        return requests.get(url, headers={"Range": "bytes=1-2", "If-Range": condition}).content

    assert (read(blob.etag), read('"other"')) == (b"el", b"hello")
    assert read(requests.get(url).headers["last-modified"]) == b"el"
    assert read("Mon, 01 Jan 2024 00:00:00 GMT") == b"hello"


def test_contexts_are_kept_by_copies_unless_they_are_dropped(server, bucket):
    base = f"{server.url}/storage/v1/b/{bucket.name}/o"
    for name in ("a", "b"):
        bucket.blob(name).upload_from_string(name)
        made = requests.patch(f"{base}/{name}", json={"contexts": {"custom": {name: {"value": "1"}}}})
        assert made.status_code == 200
    rewrite, compose = f"{base}/a/rewriteTo/b/{bucket.name}/o/c", f"{base}/c/compose"
    parts = [{"name": "a"}, {"name": "b"}]

    def keys(url, **body):
        told = requests.post(url, json=body).json()
        shown = told.get("resource", told)
        return set((shown.get("contexts") or {}).get("custom") or ())

    other = {"custom": {"x": {"value": "2"}}}
    assert keys(rewrite) == keys(rewrite, contentType="text/csv") == {"a"}
    assert keys(rewrite, contexts=other) == {"x"}
    assert keys(f"{rewrite}?dropContextGroups=custom") == set()
    assert keys(compose, sourceObjects=parts) == {"a", "b"}
    assert keys(compose, sourceObjects=parts, destination={"contexts": other}) == {"x"}
    assert keys(f"{compose}?dropContextGroups=custom", sourceObjects=parts) == set()
    assert requests.post(f"{rewrite}?dropContextGroups=nope", json={}).status_code == 400
