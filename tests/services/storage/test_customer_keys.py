"""Objects under keys that their writers supply: what is read with the key, what without, and what the home holds."""

from __future__ import annotations

import base64
import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage
from google.cloud.storage import transfer_manager
from google.cloud.storage.bucket import EncryptionEnforcementConfig
from tests.conftest import Portico
from tests.waiting import until

from portico.errors import DataLoss
from portico.store.objects import sealing
from portico.store.objects.hashes import Hasher

KEY, OTHER = bytes(range(32)), bytes(range(100, 132))
MARK = b"the launch is on Tuesday. "
BIG = MARK * 20_000  # half a megabyte
NO_KEY = "resourceIsEncryptedWithCustomerEncryptionKey"
WRONG_KEY = "customerEncryptionKeyIsIncorrect"
NEEDLESS_KEY = "resourceNotEncryptedWithCustomerEncryptionKey"


def headers(key: bytes, start: str = "x-goog-encryption-") -> dict[str, str]:
    sha256 = hashlib.sha256(key).digest()
    return {
        f"{start}algorithm": "AES256",
        f"{start}key": base64.b64encode(key).decode(),
        f"{start}key-sha256": base64.b64encode(sha256).decode(),
    }


def source(key: bytes) -> dict[str, str]:
    return headers(key, "x-goog-copy-source-encryption-")


def reason(answer: requests.Response) -> str:
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["errors"][0]["reason"])


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def under(home: Path) -> Iterator[tuple[Path, bytes]]:
    for folder, _, names in os.walk(home):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and path.stat().st_size < 100 << 20:
                yield path, path.read_bytes()


@pytest.fixture
def object_url(server: Portico, bucket: Any) -> str:
    return f"{server.url}/storage/v1/b/{bucket.name}/o"


@pytest.mark.parametrize("chunk_size", [None, 1 << 18])
def test_what_is_written_under_a_key_is_read_with_it_alone(bucket: Any, chunk_size: int | None) -> None:
    blob = bucket.blob("o", encryption_key=KEY, chunk_size=chunk_size)
    blob.upload_from_string(BIG)
    sha256 = base64.b64encode(hashlib.sha256(KEY).digest()).decode()
    assert blob._properties["customerEncryption"] == {"encryptionAlgorithm": "AES256", "keySha256": sha256}
    assert (blob.md5_hash, blob.crc32c, blob.size) == (md5(BIG), crc32c(BIG), len(BIG))
    assert blob.download_as_bytes() == BIG

    bare = bucket.get_blob("o")
    assert (bare.md5_hash, bare.crc32c, bare.size) == (None, None, len(BIG))
    assert bare._properties["customerEncryption"]["keySha256"] == sha256
    [listed] = bucket.list_blobs()
    assert (listed.md5_hash, listed.crc32c) == (None, None)
    with_key = bucket.get_blob("o", encryption_key=KEY)
    assert (with_key.md5_hash, with_key.crc32c) == (md5(BIG), crc32c(BIG))
    assert with_key.etag == bare.etag

    with pytest.raises(exceptions.BadRequest, match="encrypted by a customer-supplied"):
        bare.download_as_bytes()
    with pytest.raises(exceptions.BadRequest, match="key is incorrect"):
        bucket.blob("o", encryption_key=OTHER).download_as_bytes()
    with pytest.raises(exceptions.BadRequest, match="key is incorrect"):
        bucket.get_blob("o", encryption_key=OTHER)

    # What needs no key: metadata and deletion.
    bare.metadata = {"a": "b"}
    bare.patch()
    assert bucket.get_blob("o", encryption_key=KEY).md5_hash == md5(BIG)
    bare.delete()
    assert not bare.exists()


def test_ranges(bucket: Any) -> None:
    blob = bucket.blob("o", encryption_key=KEY)
    data = random.Random(1).randbytes(3 * sealing.BLOCK + 17)
    blob.upload_from_string(data)
    edges = [0, 1, sealing.BLOCK - 1, sealing.BLOCK, sealing.BLOCK + 1, 3 * sealing.BLOCK, len(data) - 1]
    for start in edges:
        for end in (one for one in edges if one >= start):
            assert blob.download_as_bytes(start=start, end=end) == data[start : end + 1]
    assert blob.download_as_bytes(start=-20) == data[-20:]
    with blob.open("rb", chunk_size=1 << 18) as reader:
        assert reader.read() == data


def test_neither_data_nor_key_is_in_the_home(server: Portico, bucket: Any, tmp_path: Path) -> None:
    """Also not its checksums, by which a guess could be proved."""
    secret, key = os.urandom(12).hex().encode(), os.urandom(32)
    data = secret * 30_000
    bucket.blob("whole", encryption_key=key).upload_from_string(data)
    bucket.blob("resumed", encryption_key=key, chunk_size=1 << 18).upload_from_string(data)
    bucket.blob("plain").upload_from_string(b"seen" + secret[::-1])
    (tmp_path / "file").write_bytes(data * 10)
    parts = bucket.blob("parts", encryption_key=key)
    transfer_manager.upload_chunks_concurrently(
        str(tmp_path / "file"), parts, chunk_size=5 << 20, worker_type=transfer_manager.THREAD
    )
    bucket.blob("copied", encryption_key=key).rewrite(bucket.blob("whole", encryption_key=key))
    # Sessions that are not finished.
    begun = f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=begun"
    told = {**headers(key), "x-goog-hash": f"md5={md5(data)}"}
    place = requests.post(begun, headers=told, json={}).headers["location"]
    chunk = {"content-range": f"bytes 0-{(1 << 18) - 1}/*", **headers(key)}
    assert requests.put(place, data=data[: 1 << 18], headers=chunk).status_code == 308

    digest = hashlib.md5(data).digest()
    hidden = [secret, key, base64.b64encode(key), key.hex().encode(), digest, base64.b64encode(digest)]
    hidden.append(crc32c(data).encode())
    seen = 0
    for path, held in under(server.home):
        seen += secret[::-1] in held
        for one in hidden:
            assert one not in held, path
    assert seen, "the search finds what is there"
    assert not any(one.decode("latin-1") in server.log() for one in hidden)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"x-goog-encryption-algorithm": "AES128"}, "customerEncryptionAlgorithmIsInvalid"),
        ({"x-goog-encryption-algorithm": ""}, "customerEncryptionAlgorithmIsInvalid"),
        ({"x-goog-encryption-key": "short"}, "customerEncryptionKeyFormatIsInvalid"),
        (
            {"x-goog-encryption-key": base64.b64encode(KEY[:16]).decode()},
            "customerEncryptionKeyFormatIsInvalid",
        ),
        ({"x-goog-encryption-key-sha256": ""}, "customerEncryptionKeySha256IsInvalid"),
        ({"x-goog-encryption-key-sha256": "eA=="}, "customerEncryptionKeySha256IsInvalid"),
    ],
)
def test_headers_that_are_wrong(server: Portico, bucket: Any, told: dict[str, str], why: str) -> None:
    url = f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=o"
    assert reason(requests.post(url, data=b"x", headers={**headers(KEY), **told})) == why
    url = f"{server.url}/{bucket.name}/o"
    answer = requests.put(url, data=b"x", headers={**headers(KEY), **told})
    assert f"<Code>{why[0].upper()}{why[1:]}</Code>" in answer.text
    assert list(bucket.list_blobs()) == []


def test_the_xml_api(server: Portico, bucket: Any) -> None:
    url = f"{server.url}/{bucket.name}/o"
    put = requests.put(url, data=BIG, headers=headers(KEY))
    assert put.status_code == 200
    assert put.headers["x-goog-encryption-key-sha256"] == headers(KEY)["x-goog-encryption-key-sha256"]
    assert md5(BIG) in put.headers["x-goog-hash"]
    got = requests.get(url, headers={**headers(KEY), "range": "bytes=70000-70009"})
    assert (got.status_code, got.content) == (206, BIG[70000:70010])
    assert (got.headers["etag"], got.headers["x-goog-encryption-algorithm"]) == (
        put.headers["etag"],
        "AES256",
    )
    bare = requests.head(url)
    assert bare.status_code == 200
    assert "x-goog-hash" not in bare.headers
    assert bare.headers["etag"] == put.headers["etag"]
    assert requests.head(url, headers=headers(OTHER)).status_code == 400
    for told, code in (({}, NO_KEY), (headers(OTHER), WRONG_KEY)):
        answer = requests.get(url, headers=told)
        assert answer.status_code == 400
        assert f"<Code>{code[0].upper()}{code[1:]}</Code>" in answer.text

    copied = {"x-goog-copy-source": f"{bucket.name}/o", **source(KEY), **headers(OTHER)}
    assert requests.put(f"{url}2", headers=copied).status_code == 200
    assert requests.get(f"{url}2", headers=headers(OTHER)).content == BIG
    del copied["x-goog-copy-source-encryption-key"]
    assert "<Code>CustomerEncryptionKeyFormatIsInvalid</Code>" in requests.put(f"{url}2", headers=copied).text


def test_a_key_for_what_has_none(bucket: Any, object_url: str) -> None:
    bucket.blob("plain").upload_from_string("x")
    for path in ("/plain", "/plain?alt=media"):
        assert reason(requests.get(object_url + path, headers=headers(KEY))) == NEEDLESS_KEY
    to = f"/plain/rewriteTo/b/{bucket.name}/o/copy"
    assert reason(requests.post(object_url + to, headers=source(KEY))) == NEEDLESS_KEY


def test_a_rewrite_adds_changes_and_drops_a_key(bucket: Any, object_url: str) -> None:
    plain = bucket.blob("plain")
    plain.upload_from_string(BIG)
    kept = bucket.blob("o", encryption_key=KEY)
    assert kept.rewrite(plain) == (None, len(BIG), len(BIG))
    assert kept.md5_hash == md5(BIG)
    turned = bucket.blob("o", encryption_key=OTHER)
    turned.rewrite(kept)
    assert turned.download_as_bytes() == BIG
    with pytest.raises(exceptions.BadRequest):
        bucket.blob("o", encryption_key=KEY).download_as_bytes()
    same = bucket.blob("same", encryption_key=OTHER)
    same.rewrite(turned)
    assert (same.download_as_bytes(), same.crc32c) == (BIG, crc32c(BIG))
    same.update_storage_class("NEARLINE")
    assert same.download_as_bytes() == BIG
    for told, why in ((headers(KEY), NO_KEY), (source(KEY), WRONG_KEY)):
        url = f"{object_url}/o/rewriteTo/b/{bucket.name}/o/no"
        assert reason(requests.post(url, headers=told)) == why
        assert reason(requests.post(url.replace("rewriteTo", "copyTo"), headers=told)) == why
    open_again = bucket.blob("open")
    open_again.rewrite(turned)
    assert (open_again.md5_hash, open_again.download_as_bytes()) == (md5(BIG), BIG)
    assert "customerEncryption" not in bucket.get_blob("open")._properties
    # Within a bucket an object moves with its key, which its mover has.
    move = f"{object_url}/o/moveTo/o/moved"
    assert reason(requests.post(move)) == NO_KEY
    assert requests.post(move, headers=headers(OTHER)).status_code == 200
    assert bucket.blob("moved", encryption_key=OTHER).download_as_bytes() == BIG


def test_a_composition_is_under_the_key_of_all_its_parts(bucket: Any, object_url: str) -> None:
    for name, key in (("a", KEY), ("b", KEY), ("c", OTHER), ("d", None)):
        bucket.blob(name, encryption_key=key).upload_from_string(BIG + name.encode())

    def compose(names: str, told: dict[str, str], to: str = "made") -> requests.Response:
        sources = {"sourceObjects": [{"name": name} for name in names]}
        return requests.post(f"{object_url}/{to}/compose", json=sources, headers=told)

    whole = BIG + b"a" + BIG + b"b"
    made = compose("ab", headers(KEY)).json()
    assert (made["componentCount"], made["crc32c"]) == (2, crc32c(whole))
    assert made["customerEncryption"]["keySha256"] == headers(KEY)["x-goog-encryption-key-sha256"]
    assert "md5Hash" not in made
    blob = bucket.blob("made", encryption_key=KEY)
    assert blob.download_as_bytes() == whole
    middle = len(BIG)
    assert blob.download_as_bytes(start=middle - 2, end=middle + 2) == whole[middle - 2 : middle + 3]
    assert reason(compose("ab", {})) == NO_KEY
    assert reason(compose("ab", headers(OTHER))) == WRONG_KEY
    assert reason(compose("ac", headers(KEY))) == WRONG_KEY
    assert reason(compose("ad", headers(KEY))) == NEEDLESS_KEY
    # One that is composed is a component like others, and is turned to another key as a whole.
    sources = {"sourceObjects": [{"name": "made"}, {"name": "a"}]}
    url = f"{object_url}/more/compose"
    assert requests.post(url, json=sources, headers=headers(KEY)).json()["componentCount"] == 3
    turned = bucket.blob("more", encryption_key=OTHER)
    turned.rewrite(bucket.blob("more", encryption_key=KEY))
    assert turned.download_as_bytes() == whole + BIG + b"a"


def test_an_upload_in_parts(server: Portico, bucket: Any, tmp_path: Path) -> None:
    data = random.Random(2).randbytes((5 << 20) * 2 + 1000)
    (tmp_path / "file").write_bytes(data)
    blob = bucket.blob("o", encryption_key=KEY)
    transfer_manager.upload_chunks_concurrently(
        str(tmp_path / "file"), blob, chunk_size=5 << 20, worker_type=transfer_manager.THREAD
    )
    assert blob.download_as_bytes() == data
    assert (
        blob.download_as_bytes(start=(5 << 20) - 3, end=(5 << 20) + 3) == data[(5 << 20) - 3 : (5 << 20) + 4]
    )
    assert bucket.get_blob("o", encryption_key=KEY).crc32c == crc32c(data)

    url = f"{server.url}/{bucket.name}/p"
    upload = requests.post(f"{url}?uploads", headers=headers(KEY)).text.split("<UploadId>")[1].split("<")[0]
    part = f"{url}?partNumber=1&uploadId={upload}"
    for told, code in (({}, NO_KEY), (headers(OTHER), WRONG_KEY)):
        assert f"<Code>{code[0].upper()}{code[1:]}</Code>" in requests.put(part, data=b"x", headers=told).text
    put = requests.put(part, data=b"part", headers=headers(KEY))
    assert md5(b"part") in put.headers["x-goog-hash"]
    listed = requests.get(f"{url}?uploadId={upload}").text
    assert put.headers["etag"].strip('"') in listed
    inside = f"<PartNumber>1</PartNumber><ETag>{put.headers['etag']}</ETag>"
    document = f"<CompleteMultipartUpload><Part>{inside}</Part></CompleteMultipartUpload>"
    # As other clients send it: without the key.
    assert requests.post(f"{url}?uploadId={upload}", data=document).status_code == 200
    assert bucket.blob("p", encryption_key=KEY).download_as_bytes() == b"part"


def test_generations_have_their_own_keys(make_bucket: Any) -> None:
    bucket = make_bucket(versioning_enabled=True)
    made = []
    for key, text in ((KEY, b"first"), (OTHER, b"second"), (None, b"third")):
        blob = bucket.blob("o", encryption_key=key)
        blob.upload_from_string(text)
        made.append((blob.generation, key, text))
    for generation, key, text in made:
        assert bucket.blob("o", encryption_key=key, generation=generation).download_as_bytes() == text
    with pytest.raises(exceptions.BadRequest):
        bucket.blob("o", encryption_key=OTHER, generation=made[0][0]).download_as_bytes()
    restored = bucket.blob("o", encryption_key=KEY)
    restored.rewrite(bucket.blob("o", encryption_key=KEY, generation=made[0][0]))
    assert restored.download_as_bytes() == b"first"


def test_a_session_whose_chunks_bring_no_key(server: Portico, bucket: Any) -> None:
    """As clients send them that tell the key where the session begins, and nowhere else."""
    begun = f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=o"
    place = requests.post(begun, headers=headers(KEY), json={}).headers["location"]
    first = requests.put(place, data=BIG[:300_000], headers={"content-range": "bytes 0-299999/*"})
    assert first.status_code == 308
    there = int(first.headers["range"].rpartition("-")[2]) + 1
    assert there == 300_000 // sealing.BLOCK * sealing.BLOCK  # the rest is sent again
    told = {"content-range": f"bytes {there}-{len(BIG) - 1}/{len(BIG)}"}
    wrong = requests.put(place, data=BIG[there:], headers={**told, **headers(OTHER)})
    assert reason(wrong) == WRONG_KEY
    made = requests.put(place, data=BIG[there:], headers=told).json()
    assert (made["md5Hash"], made["size"]) == (md5(BIG), str(len(BIG)))
    assert bucket.blob("o", encryption_key=KEY).download_as_bytes() == BIG


def test_checksums_are_of_what_is_in_it(server: Portico, bucket: Any) -> None:
    url = f"{server.url}/upload/storage/v1/b/{bucket.name}/o?name=o&uploadType="
    for kind in ("media", "resumable"):
        told = {**headers(KEY), "x-goog-hash": f"md5={md5(b'other')}"}
        answer = requests.post(url + kind, data=b"{}", headers=told)
        if kind == "resumable":
            answer = requests.put(answer.headers["location"], data=b"data")
        assert answer.status_code == 400
        assert "doesn't match calculated MD5" in answer.text
    assert list(bucket.list_blobs()) == []


def test_metadata_in_a_batch(server: Portico, bucket: Any) -> None:
    bucket.blob("o", encryption_key=KEY).upload_from_string("x")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers(KEY).items())
    get = f"GET /storage/v1/b/{bucket.name}/o/o HTTP/1.1\r\n"
    body = "".join(f"--b\r\ncontent-type: application/http\r\n\r\n{get}{one}\r\n\r\n" for one in (lines, ""))
    told = {"content-type": "multipart/mixed; boundary=b"}
    answer = requests.post(f"{server.url}/batch/storage/v1", data=f"{body}--b--", headers=told)
    assert answer.text.count("HTTP/1.1 200") == 2
    assert answer.text.count(md5(b"x")) == 1


def test_no_data_set_is_made_of_what_nobody_can_read(server: Portico, bucket: Any) -> None:
    bucket.blob("x.csv", encryption_key=KEY).upload_from_string("a,b\n1,2\n")
    schema = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
    uris = [f"gs://{bucket.name}/x.csv"]
    body = {
        "displayName": "d",
        "metadataSchemaUri": schema,
        "metadata": {"inputConfig": {"gcsSource": {"uri": uris}}},
    }
    begun = requests.post(f"{server.url}/v1/projects/p/locations/us-central1/datasets", json=body).json()
    operation = f"{server.url}/v1/{begun['name']}"
    done = until(lambda: (one := requests.get(operation).json()).get("done") and one, "it is refused")
    assert done["error"]["code"] == 3
    assert "rewrite the object without one" in done["error"]["message"]


def test_a_bucket_that_takes_no_keys_of_customers(make_bucket: Any) -> None:
    bucket = make_bucket()
    bucket.blob("plain").upload_from_string("x")
    bucket.encryption.customer_supplied_encryption_enforcement_config = EncryptionEnforcementConfig(
        restriction_mode="FullyRestricted"
    )
    bucket.patch()
    secret = bucket.blob("o", encryption_key=KEY)
    for write in (lambda: secret.upload_from_string("x"), lambda: secret.rewrite(bucket.blob("plain"))):
        with pytest.raises(exceptions.PreconditionFailed, match="customer-supplied encryption"):
            write()
    bucket.blob("plain").upload_from_string("y")
    google = EncryptionEnforcementConfig(restriction_mode="FullyRestricted")
    free = EncryptionEnforcementConfig(restriction_mode="NotRestricted")
    bucket.encryption.google_managed_encryption_enforcement_config = google
    bucket.encryption.customer_supplied_encryption_enforcement_config = free
    bucket.patch()
    secret.upload_from_string("x")
    with pytest.raises(exceptions.PreconditionFailed, match="standard encryption"):
        bucket.blob("plain").upload_from_string("z")


def test_a_session_outlives_a_kill(own_server: Portico) -> None:
    from google.auth.credentials import AnonymousCredentials

    url = own_server.url
    client = storage.Client("p", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})
    bucket = client.create_bucket("kept")
    bucket.blob("whole", encryption_key=KEY).upload_from_string(BIG)
    begun = f"{url}/upload/storage/v1/b/kept/o?uploadType=resumable&name=o"
    place = requests.post(begun, headers=headers(KEY), json={}).headers["location"]
    size = 1 << 18
    chunk = {"content-range": f"bytes 0-{size - 1}/*"}
    assert requests.put(place, data=BIG[:size], headers=chunk).status_code == 308
    own_server.kill()
    own_server.start()
    asked = requests.put(place, headers={"content-range": "bytes */*"})
    assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{size - 1}")
    rest = {"content-range": f"bytes {size}-{len(BIG) - 1}/{len(BIG)}"}
    assert reason(requests.put(place, data=BIG[size:], headers=rest)) == NO_KEY
    made = requests.put(place, data=BIG[size:], headers={**rest, **headers(KEY)}).json()
    assert made["md5Hash"] == md5(BIG)
    for name in ("whole", "o"):
        assert bucket.blob(name, encryption_key=KEY).download_as_bytes() == BIG
    assert len(list((own_server.home / "objects").glob("*/*"))) == 2


def test_a_damaged_file_is_told(own_server: Portico) -> None:
    url = f"{own_server.url}/storage/v1/b/first/o"
    assert requests.post(f"{own_server.url}/storage/v1/b?project=p", json={"name": "first"}).ok
    upload = f"{own_server.url}/upload/storage/v1/b/first/o?uploadType=media&name=o"
    assert requests.post(upload, data=b"x" * 100, headers=headers(KEY)).ok
    [file] = (own_server.home / "objects").glob("*/*")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    for path in ("o?alt=media", "o/rewriteTo/b/first/o/copy"):
        told = headers(KEY) | source(KEY) | headers(OTHER) if "rewrite" in path else headers(KEY)
        answer = requests.request("POST" if "rewrite" in path else "GET", f"{url}/{path}", headers=told)
        assert answer.status_code == 500
        assert "is damaged" in answer.json()["error"]["message"]


def sealed(path: Path, *pieces: bytes) -> int:
    """An open file with these pieces, each written in uneven steps."""
    whole = b""
    for piece in pieces:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        sealer, hasher = sealing.Sealer(fd, KEY), Hasher()
        for start in range(0, len(piece), 50_001):
            sealer.write(piece[start : start + 50_001])
            hasher.update(piece[start : start + 50_001])
        sealer.finish(hasher.crc32c, hasher.md5)
        os.close(fd)
        whole += path.read_bytes()
    path.write_bytes(whole)
    return os.open(path, os.O_RDWR)


def test_sealed_pieces_against_their_bytes(tmp_path: Path) -> None:
    chance = random.Random(3)
    sizes = [0, 1, sealing.BLOCK, sealing.BLOCK * 2 - 1, sealing.BLOCK * 17 + 5, 0, 300]
    pieces = [chance.randbytes(size) for size in sizes]
    data = b"".join(pieces)
    fd = sealed(tmp_path / "file", *pieces)
    found = sealing.Sealed(fd, KEY)
    assert (found.size, found.crc32c, found.md5) == (len(data), crc32c(data), None)
    for _ in range(100):
        start, count = chance.randrange(len(data) + 10), chance.randrange(200_000)
        assert found.read(count, start) == data[start : start + count]
    os.close(fd)


def test_a_piece_goes_on_where_a_kill_has_cut_it(tmp_path: Path) -> None:
    data = random.Random(4).randbytes(4 * sealing.BLOCK + 99)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    sealing.Sealer(fd, KEY).write(data[: 3 * sealing.BLOCK])
    whole = os.fstat(fd).st_size
    for size in (whole - 1, whole // 2, 100, 87, 0):
        os.ftruncate(fd, size)
        there = sealing.received(size)
        sealer, hasher = sealing.Sealer(fd, KEY), Hasher()
        assert (sealer.size, sealer.read(len(data), 0)) == (there, data[:there])
        sealer.write(data[there : 2 * sealing.BLOCK + 5])
        sealer.settle()  # what a request brought that fills no block
        sealer.write(data[sealer.size :])
        hasher.update(data)
        sealer.finish(hasher.crc32c, hasher.md5)
        assert sealing.Sealed(fd, KEY).read(len(data), 0) == data
    os.close(fd)


def test_a_sealed_file_that_was_changed_is_not_read(tmp_path: Path) -> None:
    fd = sealed(tmp_path / "file", BIG)
    whole = (tmp_path / "file").read_bytes()
    with pytest.raises(DataLoss, match="damaged"):
        sealing.Sealed(fd, OTHER)
    middle = len(whole) // 2
    os.pwrite(fd, bytes([whole[middle] ^ 1]), middle)
    with pytest.raises(DataLoss, match="damaged"):
        sealing.Sealed(fd, KEY).read(len(BIG), 0)
    block = sealing.BLOCK + 28
    os.pwrite(fd, whole, 0)
    start = len(whole) - len(whole[88:]) % block - 2 * block
    os.pwrite(fd, whole[start + block : start + 2 * block] + whole[start : start + block], start)  # exchanged
    with pytest.raises(DataLoss, match="damaged"):
        sealing.Sealed(fd, KEY).read(len(BIG), 0)
    os.ftruncate(fd, len(whole) - block)
    with pytest.raises(DataLoss, match="damaged"):
        sealing.Sealed(fd, KEY).read(len(BIG), 0)
    os.close(fd)
