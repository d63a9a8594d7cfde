"""The wider surface of google-cloud-storage, its transfer manager and gcsfs."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime

import pytest
from google.api_core import exceptions
from google.cloud.storage import transfer_manager


def test_the_transfer_manager_up_in_parts_and_down_in_chunks(bucket, tmp_path):
    data = os.urandom(12 * 2**20 + 5)
    source = tmp_path / "source"
    source.write_bytes(data)
    blob = bucket.blob("big file.bin")
    blob.metadata = {"color": "green"}
    blob.content_type = "application/x-thing"
    transfer_manager.upload_chunks_concurrently(
        str(source), blob, chunk_size=5 * 2**20, worker_type=transfer_manager.THREAD, checksum="auto"
    )
    made = bucket.get_blob("big file.bin")
    assert (made.size, made.content_type, made.metadata) == (
        len(data),
        "application/x-thing",
        {"color": "green"},
    )
    assert made.md5_hash is None and made.crc32c
    target = tmp_path / "target"
    transfer_manager.download_chunks_concurrently(
        made, str(target), chunk_size=3 * 2**20, worker_type=transfer_manager.THREAD
    )
    assert target.read_bytes() == data
    assert made.download_as_bytes(checksum="crc32c") == data
    other = bucket.blob(
        "announced", chunk_size=1 << 18
    )  # what its start announces counts beside the end's header
    with pytest.raises(exceptions.BadRequest, match="doesn't match calculated CRC32C"):
        other.upload_from_file(io.BytesIO(data), size=len(data), crc32c_checksum_value="A0tD7w==")
    assert not other.exists()


def test_many_files_by_the_transfer_manager(bucket, tmp_path):
    names = [f"d/{i}.txt" for i in range(12)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    results = transfer_manager.upload_many_from_filenames(
        bucket, names, source_directory=str(tmp_path), worker_type=transfer_manager.THREAD
    )
    assert results == [None] * 12
    down = tmp_path / "down"
    results = transfer_manager.download_many_to_path(
        bucket,
        names,
        destination_directory=str(down),
        create_directories=True,
        worker_type=transfer_manager.THREAD,
    )
    assert not [r for r in results if isinstance(r, Exception)]
    assert (down / "d/7.txt").read_text() == "d/7.txt"


def test_metadata_is_patched_and_null_removes(bucket):
    blob = bucket.blob("object")
    blob.upload_from_string("x")
    blob.metadata = {"a": "1", "b": "2"}
    blob.cache_control = "no-store"
    blob.custom_time = datetime(2024, 5, 1, tzinfo=UTC)
    blob.patch()
    blob.metadata = {"a": None, "c": "3"}
    blob.patch()
    again = bucket.get_blob("object")
    assert again.metadata == {"b": "2", "c": "3"} and again.metageneration == 3
    assert again.cache_control == "no-store" and again.custom_time == datetime(2024, 5, 1, tzinfo=UTC)
    again.cache_control = None
    again.patch()
    assert bucket.get_blob("object").cache_control is None
    again.metadata = {"only": "this"}
    again.update()
    assert bucket.get_blob("object").metadata == {"only": "this"}


def test_copies(bucket, make_bucket, client):
    other = make_bucket()
    blob = bucket.blob("a")
    blob.upload_from_string(b"payload", content_type="text/x")
    copied = bucket.copy_blob(blob, other, "copy of a")
    assert copied.download_as_bytes() == b"payload" and copied.content_type == "text/x"
    assert copied.md5_hash == blob.md5_hash
    target = other.blob("rewritten")
    assert target.rewrite(blob) == (None, 7, 7)
    bucket.rename_blob(blob, "b")
    assert [b.name for b in client.list_blobs(bucket)] == ["b"]
    moved = bucket.move_blob(bucket.blob("b"), "c")
    assert moved.download_as_bytes() == b"payload"
    assert [b.name for b in client.list_blobs(bucket)] == ["c"]
    moved.update_storage_class("NEARLINE")
    assert bucket.get_blob("c").storage_class == "NEARLINE"
    moved.delete()
    assert copied.download_as_bytes() == b"payload"


def test_compose(bucket):
    parts = [os.urandom(70_000), b"", os.urandom(3)]
    blobs = []
    for number, part in enumerate(parts):
        blobs.append(bucket.blob(f"part{number}"))
        blobs[-1].upload_from_string(part)
    whole = bucket.blob("whole")
    whole.content_type = "text/csv"
    whole.compose(blobs)
    whole.reload()
    assert whole.component_count == 3 and whole.md5_hash is None
    assert whole.download_as_bytes(checksum="crc32c") == b"".join(parts)
    untyped = bucket.blob("untyped")
    untyped.compose(blobs)
    assert untyped.content_type is None
    whole.compose([whole, blobs[2]], if_generation_match=whole.generation)
    whole.reload()
    assert whole.component_count == 4 and whole.size == 70_006
    with pytest.raises(exceptions.BadRequest):
        bucket.blob("too-many").compose([blobs[0]] * 33)
    with pytest.raises(exceptions.NotFound):
        bucket.blob("none").compose([bucket.blob("nothing")])


def test_versions(make_bucket, client):
    bucket = make_bucket(versioning_enabled=True)
    blob = bucket.blob("v")
    generations = []
    for text in ("one", "two", "three"):
        blob.upload_from_string(text)
        generations.append(blob.generation)
    assert generations == sorted(set(generations))
    listed = list(client.list_blobs(bucket, versions=True))
    assert [b.generation for b in listed] == generations
    assert [bool(b.time_deleted) for b in listed] == [True, True, False]
    assert bucket.blob("v", generation=generations[0]).download_as_bytes() == b"one"
    bucket.blob("v").delete()
    assert bucket.get_blob("v") is None
    assert len(list(client.list_blobs(bucket, versions=True))) == 3
    bucket.copy_blob(bucket.blob("v"), bucket, "v", source_generation=generations[1])
    assert bucket.blob("v").download_as_bytes() == b"two"
    bucket.blob("v", generation=generations[0]).delete()
    assert bucket.get_blob("v", generation=generations[0]) is None
    with pytest.raises(exceptions.Conflict):
        bucket.delete()


def test_preconditions(bucket):
    blob = bucket.blob("p")
    blob.upload_from_string("1", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("p").upload_from_string("2", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("p").download_as_bytes(if_generation_match=1)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_metageneration_match=9)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.patch(if_generation_match=blob.generation + 1)
    with pytest.raises(exceptions.NotModified):
        blob.reload(if_generation_not_match=blob.generation)
    blob.upload_from_string("3", if_generation_match=blob.generation)
    assert blob.download_as_bytes(if_generation_match=blob.generation) == b"3"


def test_buckets(client, make_bucket):
    bucket = make_bucket(labels={"team": "ml"}, storage_class="NEARLINE")
    again = client.get_bucket(bucket.name)
    assert (again.labels, again.storage_class, again.location) == ({"team": "ml"}, "NEARLINE", "US")
    assert again.time_created and again.metageneration == 1 and again.project_number
    labels = again.labels
    labels["other"] = "x"
    del labels["team"]
    again.labels = labels
    again.add_lifecycle_delete_rule(age=30)
    again.versioning_enabled = True
    again.patch()
    again = client.get_bucket(bucket.name)
    assert again.labels == {"other": "x"} and again.versioning_enabled and again.metageneration == 2
    assert [rule["action"]["type"] for rule in again.lifecycle_rules] == ["Delete"]
    with pytest.raises(exceptions.PreconditionFailed):
        again.patch(if_metageneration_match=7)
    with pytest.raises(exceptions.Conflict):
        client.create_bucket(bucket.name)
    assert bucket.name in [b.name for b in client.list_buckets(prefix=bucket.name)]
    again.delete()
    assert client.lookup_bucket(bucket.name) is None
    for bad in ("ab", "UPPER", "goog-x", "-x-", "my_google_bucket", "192.168.0.1"):
        with pytest.raises(exceptions.BadRequest):
            client._post_resource("/b", {"name": bad}, query_params={"project": "portico"})


def test_policies_and_the_service_account(client, bucket):
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:a@example.com"}})
    bucket.set_iam_policy(policy)
    assert bucket.get_iam_policy().bindings[-1]["role"] == "roles/storage.objectViewer"
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.set_iam_policy(policy)
    policy = bucket.get_iam_policy(requested_policy_version=3)
    condition = {"title": "always", "expression": "true"}
    some = {"role": "roles/storage.objectViewer", "members": {"user:b@example.com"}, "condition": condition}
    policy.bindings.append(some)
    with pytest.raises(exceptions.PreconditionFailed, match="enable uniform bucket-level access"):
        bucket.set_iam_policy(policy)
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    policy.version = 1
    with pytest.raises(exceptions.BadRequest, match="at least 3"):
        bucket.set_iam_policy(policy)
    policy.version = 3
    assert bucket.set_iam_policy(policy).bindings == bucket.get_iam_policy().bindings == policy.bindings
    assert bucket.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]
    assert client.get_service_account_email().endswith("gs-project-accounts.iam.gserviceaccount.com")


def test_a_batch(bucket, client):
    for name in ("x", "y/z", "ü"):
        bucket.blob(name).upload_from_string(name)
    with client.batch():
        for name in ("x", "y/z", "ü"):
            bucket.blob(name).delete()
    assert list(client.list_blobs(bucket)) == []
    bucket.blob("m").upload_from_string("m")
    with pytest.raises(exceptions.NotFound), client.batch():
        blob = bucket.blob("m")
        blob.metadata = {"k": "v"}
        blob.patch()
        bucket.blob("nothing").delete()
    assert bucket.get_blob("m").metadata == {"k": "v"}


def test_holds(bucket):
    blob = bucket.blob("held")
    blob.upload_from_string("x")
    blob.temporary_hold = True
    blob.patch()
    with pytest.raises(exceptions.Forbidden):
        blob.delete()
    with pytest.raises(exceptions.Forbidden):
        bucket.blob("held").upload_from_string("y")
    blob.temporary_hold = False
    blob.patch()
    blob.delete()


def test_files_are_written_and_read_as_streams(bucket):
    with bucket.blob("s.txt").open("w", chunk_size=2**18) as out:
        for number in range(60_000):
            out.write(f"line {number}\n")
    with bucket.blob("s.txt").open("r") as lines:
        assert sum(1 for _ in lines) == 60_000
    buffer = io.BytesIO()
    bucket.blob("s.txt").download_to_file(buffer)
    assert buffer.getvalue().startswith(b"line 0\n")


@pytest.fixture
def fs(server, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    # Else gcsfs asks each bucket's kind by gRPC over TLS, which no address of ours answers, for a minute each.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import gcsfs

    return gcsfs.GCSFileSystem(
        project="portico", token="anon", endpoint_url=server.url, skip_instance_cache=True
    )


def test_gcsfs(fs, bucket, tmp_path):
    root = bucket.name
    data = os.urandom(900_000)
    fs.pipe(f"{root}/dir/a.bin", data)
    assert fs.cat(f"{root}/dir/a.bin") == data
    assert fs.cat_file(f"{root}/dir/a.bin", start=5, end=10) == data[5:10]
    with fs.open(f"{root}/dir/written.txt", "wb", block_size=2**18) as out:
        for _ in range(9):
            out.write(data[:100_000])
    assert fs.info(f"{root}/dir/written.txt")["size"] == 900_000
    assert fs.cat(f"{root}/dir/written.txt") == data[:100_000] * 9
    with fs.open(f"{root}/exact", "wb", block_size=2**18) as out:
        out.write(data[: 2**19])
        out.flush()
    assert fs.cat(f"{root}/exact") == data[: 2**19]
    assert fs.ls(f"{root}/dir") == [f"{root}/dir/a.bin", f"{root}/dir/written.txt"]
    assert fs.isdir(f"{root}/dir") and fs.exists(f"{root}/dir/a.bin")
    assert not fs.exists(f"{root}/nothing")
    assert fs.glob(f"{root}/dir/*.txt") == [f"{root}/dir/written.txt"]
    fs.cp(f"{root}/dir/a.bin", f"{root}/copy.bin")
    fs.mv(f"{root}/copy.bin", f"{root}/moved.bin")
    fs.merge(f"{root}/merged", [f"{root}/moved.bin", f"{root}/dir/written.txt"])
    assert fs.info(f"{root}/merged")["size"] == 1_800_000
    fs.touch(f"{root}/touched")
    assert fs.info(f"{root}/touched")["size"] == 0
    local = tmp_path / "local"
    local.write_bytes(data * 7)
    fs.put(str(local), f"{root}/put.bin")
    fs.get(f"{root}/put.bin", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == data * 7
    with fs.open(f"{root}/put.bin", "rb", block_size=2**18) as source:
        source.seek(899_990)
        assert source.read(20) == (data * 2)[899_990:900_010]
    assert fs.setxattrs(f"{root}/put.bin", content_type="text/plain", k="v") == {"k": "v"}
    assert fs.getxattr(f"{root}/put.bin", "k") == "v"
    fs.rm(f"{root}/dir", recursive=True)
    assert fs._rm_files and fs.ls(root, refresh=True) == sorted(
        f"{root}/{name}" for name in ("exact", "merged", "moved.bin", "put.bin", "touched")
    )
    with pytest.raises(FileNotFoundError):
        fs.cat(f"{root}/nothing")
    with fs.transaction, fs.open(f"{root}/in-transaction", "wb") as out:
        out.write(b"committed")
    assert fs.cat(f"{root}/in-transaction") == b"committed"


def test_gcsfs_batch_deletion(fs, bucket):
    """gcsfs sends batches to Google only; here it is made to, for the format it reads back."""
    import fsspec.asyn

    paths = [f"{bucket.name}/f{i}" for i in range(3)]
    for path in paths:
        fs.pipe(path, b"x")
    out = fsspec.asyn.sync(fs.loop, fs._rm_files, [*paths, f"{bucket.name}/nothing"])
    assert out[:3] == paths and isinstance(out[3], OSError)
    assert fs.ls(bucket.name, refresh=True) == []


def test_access_control_lists(bucket, client):
    blob = bucket.blob("public")
    blob.upload_from_string("x")
    blob.make_public()
    entries = list(bucket.blob("public").acl)
    assert {"entity": "allUsers", "role": "READER"} in entries
    blob.acl.user("a@example.com").grant_owner()
    blob.acl.save()
    assert {"entity": "user-a@example.com", "role": "OWNER"} in list(bucket.blob("public").acl)
    blob.make_private()
    assert {"entity": "allUsers", "role": "READER"} not in list(bucket.blob("public").acl)
    bucket.acl.save_predefined("publicRead")
    assert {"entity": "allUsers", "role": "READER"} in list(client.bucket(bucket.name).acl)
    bucket.default_object_acl.all_authenticated().grant_read()
    bucket.default_object_acl.save()
    assert list(client.bucket(bucket.name).default_object_acl)
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    with pytest.raises(exceptions.BadRequest, match="Cannot get legacy ACL for an object when uniform"):
        bucket.blob("public").acl.reload()
