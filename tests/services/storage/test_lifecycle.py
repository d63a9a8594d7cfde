"""Lifecycle rules that google-cloud-storage sets, carried out as if time had gone by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests

from portico.services.storage import lifecycle
from portico.store.database import Database

DAY = 86400.0


@pytest.fixture
def after(server: Any) -> Iterator[Callable[[float], int]]:
    """Carries out the rules as if so many days had gone by."""
    database = Database(server.home)
    yield lambda days: lifecycle.carry_out(server.home, database, time.time() + days * DAY)
    database.close()


def names(bucket: Any, **more: Any) -> list[str]:
    return sorted(blob.name for blob in bucket.list_blobs(**more))


def test_what_is_old_goes_and_nothing_before(bucket, after):
    bucket.add_lifecycle_delete_rule(age=30, matches_prefix=["logs/"], matches_suffix=[".txt"])
    bucket.patch()
    for name in ("logs/a.txt", "logs/a.csv", "a.txt"):
        bucket.blob(name).upload_from_string("x")
    after(29.9)
    assert names(bucket) == ["a.txt", "logs/a.csv", "logs/a.txt"]
    assert after(30.1) == 1
    assert names(bucket) == ["a.txt", "logs/a.csv"]


def test_a_class_becomes_cheaper_and_never_dearer_and_a_deletion_goes_first(bucket, after):
    bucket.add_lifecycle_set_storage_class_rule("NEARLINE", age=10)
    bucket.add_lifecycle_set_storage_class_rule("COLDLINE", age=10, matches_storage_class=["STANDARD"])
    bucket.add_lifecycle_delete_rule(age=10, matches_prefix=["gone"])
    bucket.patch()
    for name, storage_class in (("plain", "STANDARD"), ("cold", "ARCHIVE"), ("gone", "STANDARD")):
        blob = bucket.blob(name)
        blob.storage_class = storage_class
        blob.upload_from_string(name)
    after(11)
    assert {blob.name: blob.storage_class for blob in bucket.list_blobs()} == {
        "plain": "COLDLINE",
        "cold": "ARCHIVE",
    }
    assert bucket.get_blob("plain").download_as_bytes() == b"plain"
    plain = bucket.get_blob("plain")
    changed = plain._properties["timeStorageClassUpdated"]  # the client has no property of it
    assert timedelta(days=10.9) < datetime.fromisoformat(changed) - plain.time_created < timedelta(days=11.1)
    after(12)
    plain.reload()
    assert (plain.metageneration, plain._properties["timeStorageClassUpdated"]) == (2, changed)
    plain.metadata = {"a": "b"}
    plain.patch()
    assert plain._properties["timeStorageClassUpdated"] == changed
    plain.update_storage_class("STANDARD")  # by a rewrite, which makes another generation
    assert plain._properties["timeStorageClassUpdated"] == plain._properties["timeCreated"]


def test_versions(bucket, after):
    bucket.versioning_enabled = True
    bucket.add_lifecycle_delete_rule(number_of_newer_versions=2)
    bucket.add_lifecycle_delete_rule(days_since_noncurrent_time=5, matches_prefix=["old"])
    bucket.add_lifecycle_delete_rule(age=20, is_live=True, matches_prefix=["old"])
    bucket.patch()
    for text in ("1", "2", "3", "4"):
        bucket.blob("kept").upload_from_string(text)
    bucket.blob("old").upload_from_string("1")
    bucket.blob("old").upload_from_string("2")
    after(4)
    kept = [blob for blob in bucket.list_blobs(versions=True) if blob.name == "kept"]
    assert sorted(one.download_as_bytes() for one in kept) == [b"3", b"4"]
    assert names(bucket, versions=True) == ["kept", "kept", "old", "old"]
    after(6)
    assert names(bucket, versions=True) == ["kept", "kept", "old"]
    after(21)  # the live one is a version now
    assert names(bucket) == ["kept"] and names(bucket, versions=True) == ["kept", "kept", "old"]


def test_custom_times_and_dates(bucket, after):
    bucket.add_lifecycle_delete_rule(days_since_custom_time=3)
    bucket.add_lifecycle_delete_rule(custom_time_before=date(2020, 1, 1))
    bucket.add_lifecycle_delete_rule(created_before=date(2020, 1, 1))
    bucket.patch()
    for name, custom in (
        ("now", datetime.now(UTC)),
        ("then", datetime(2019, 5, 1, tzinfo=UTC)),
        ("none", None),
    ):
        blob = bucket.blob(name)
        if custom:
            blob.custom_time = custom
        blob.upload_from_string("x")
    after(0)
    assert names(bucket) == ["none", "now"]
    after(4)
    assert names(bucket) == ["none"]


def test_what_is_held_or_retained_stays(bucket, make_bucket, after):
    retained = make_bucket(retention_period=100 * 86400)
    for one in (bucket, retained):
        one.add_lifecycle_delete_rule(age=1)
        one.patch()
        one.blob("x").upload_from_string("x")
    held = bucket.blob("held")
    held.upload_from_string("x")
    held.temporary_hold = True
    held.patch()
    after(2)
    assert names(bucket) == ["held"] and names(retained) == ["x"]
    held.temporary_hold = False
    held.patch()
    after(101)
    assert names(bucket) == names(retained) == []


def test_multipart_uploads_are_given_up(bucket, server, after):
    bucket.add_lifecycle_abort_incomplete_multipart_upload_rule(age=7)
    bucket.patch()
    url = f"{server.url}/{bucket.name}/big"
    made = requests.post(f"{url}?uploads").text
    part = f"{url}?partNumber=1&uploadId={made.partition('<UploadId>')[2].partition('<')[0]}"
    session = bucket.blob("session").create_resumable_upload_session()
    after(6)
    assert requests.put(part, data=b"x").status_code == 200
    assert after(8) >= 1
    assert requests.put(part, data=b"x").status_code == 404
    assert requests.put(session, data=b"whole").status_code == 200
