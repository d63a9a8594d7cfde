"""Objects through google-cloud-storage."""

from __future__ import annotations

import io
import os

import pytest
from google.api_core import exceptions


def test_an_object_goes_up_and_comes_down_with_its_checksums(bucket):
    data = os.urandom(300_000)
    blob = bucket.blob("dir/file.bin")
    blob.metadata = {"Owner": "someone"}
    blob.upload_from_string(data, content_type="image/png")
    again = bucket.get_blob("dir/file.bin")
    assert (again.size, again.content_type, again.metadata) == (300_000, "image/png", {"Owner": "someone"})
    assert again.generation == blob.generation and again.metageneration == 1
    assert again.md5_hash and again.crc32c and again.etag and again.time_created
    assert again.download_as_bytes(checksum="md5") == data
    assert bucket.blob("dir/file.bin").download_as_bytes(checksum="crc32c") == data
    assert bucket.blob("dir/file.bin").download_as_bytes(start=10, end=19) == data[10:20]


def test_an_empty_object(bucket):
    bucket.blob("empty").upload_from_string(b"")
    assert bucket.blob("empty").download_as_bytes() == b""


def test_a_resumable_upload_in_chunks(bucket):
    data = os.urandom(3 * 2**20 + 17)
    blob = bucket.blob("chunked", chunk_size=2**20)
    blob.upload_from_file(io.BytesIO(data), checksum="md5")
    assert bucket.blob("chunked", chunk_size=2**20).download_as_bytes() == data


def test_a_missing_object_and_a_missing_bucket_are_404(bucket, client):
    with pytest.raises(exceptions.NotFound, match="No such object"):
        bucket.blob("nothing").download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        client.get_bucket("no-such-bucket-here")
    assert bucket.get_blob("nothing") is None


def test_listing(bucket, client):
    for name in ("a/b", "a/c", "d", "e", "e/f", "e/g/h"):
        bucket.blob(name).upload_from_string(name)
    listing = client.list_blobs(bucket, delimiter="/")
    assert [blob.name for blob in listing] == ["d", "e"]
    assert listing.prefixes == {"a/", "e/"}
    assert [blob.name for blob in client.list_blobs(bucket, prefix="e/")] == ["e/f", "e/g/h"]
    assert [blob.name for blob in client.list_blobs(bucket, page_size=2)] == [
        *("a/b", "a/c", "d", "e", "e/f", "e/g/h")
    ]
