"""Cloud Storage by what Amazon's clients send: signed by HMAC keys, with headers of theirs."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import zlib
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
import requests
from google.cloud import storage
from tests.services.iam.test_permissions import Someone
from tests.services.iam.test_service_accounts import client
from tests.services.storage.test_signed_urls import code

PROJECT = "amazon-signatures"
NAME = "a folder/größe.txt"
WRONG = (403, "SignatureDoesNotMatch")
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Signer:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, sigv4-query-string-auth.html"""

    def __init__(self, portico: Any, key: str, secret: str) -> None:
        self.host, self.key, self.secret = f"127.0.0.1:{portico.port}", key, secret
        self.date = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.date[:8]}/us-east-1/s3/aws4_request"

    def signature(self, method: str, path: str, query: str, headers: dict[str, str], payload: str) -> str:
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join((method, path, query, lines, ";".join(sorted(headers)), payload))
        digest = hashlib.sha256(request.encode()).hexdigest()
        key = f"AWS4{self.secret}".encode()
        for part in self.scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = "\n".join(("AWS4-HMAC-SHA256", self.date, self.scope, digest))
        return hmac.digest(key, text.encode(), "sha256").hex()

    def url(self, method: str, path: str) -> str:
        told = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{self.key}/{self.scope}",
            "X-Amz-Date": self.date, "X-Amz-Expires": "300", "X-Amz-SignedHeaders": "host",
        }  # fmt: skip
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(told.items()))
        signed = self.signature(method, quote(path), query, {"host": self.host}, "UNSIGNED-PAYLOAD")
        return f"http://{self.host}{quote(path)}?{query}&X-Amz-Signature={signed}"

    def send(
        self, method: str, path: str, params: dict[str, str] | None = None, body: bytes = b"",
        *, payload: bytes | None = None, **more: str,
    ) -> requests.Response:  # fmt: skip
        query = "&".join(f"{name}={quote(value, safe='~')}" for name, value in sorted((params or {}).items()))
        digest = hashlib.sha256(body if payload is None else payload).hexdigest()
        given = {name.replace("_", "-"): value for name, value in more.items()}
        headers = {"host": self.host, "x-amz-content-sha256": digest, "x-amz-date": self.date, **given}
        signed = self.signature(method, quote(path), query, headers, digest)
        told = f"Credential={self.key}/{self.scope}, SignedHeaders={';'.join(sorted(headers))}, Signature={signed}"
        headers |= {"authorization": f"AWS4-HMAC-SHA256 {told}"}
        url = f"http://{self.host}{quote(path)}{'?' * bool(query)}{query}"
        return requests.request(method, url, data=body, headers=headers, timeout=240)


@pytest.fixture(scope="module")
def someone(portico: Any) -> Someone:
    iam = client(portico, "iam", "v1")
    made = Someone(portico, iam, PROJECT, "amazon")
    projects = client(portico, "cloudresourcemanager", "v3").projects()
    policy = projects.getIamPolicy(resource=f"projects/{PROJECT}", body={}).execute()
    policy["bindings"].append({"role": "roles/storage.admin", "members": [made.member]})
    projects.setIamPolicy(resource=f"projects/{PROJECT}", body={"policy": policy}).execute()
    return made


@pytest.fixture(scope="module")
def key(someone: Someone) -> tuple[str, str]:
    made, secret = storage.Client(PROJECT).create_hmac_key(someone.email)
    return made.access_id, secret


@pytest.fixture
def signer(portico: Any, key: tuple[str, str]) -> Signer:
    return Signer(portico, *key)


def texts(answer: requests.Response, path: str) -> list[str | None]:
    assert answer.status_code == 200, answer.text
    found = ElementTree.fromstring(answer.content).findall(
        "/".join(f"{NAMESPACE}{one}" for one in path.split("/"))
    )
    return [one.text for one in found]


@pytest.fixture
def bucket(signer: Signer) -> str:
    name = f"amazon-{time.time_ns()}"
    body = (
        b"<CreateBucketConfiguration><LocationConstraint>EU</LocationConstraint></CreateBucketConfiguration>"
    )
    assert signer.send("PUT", f"/{name}", body=body).status_code == 200
    return name


def test_buckets_are_made_listed_and_deleted(signer: Signer, bucket: str) -> None:
    found = storage.Client(PROJECT).get_bucket(bucket)
    assert found.location == "EU"
    assert bucket in texts(signer.send("GET", "/"), "Buckets/Bucket/Name")
    assert signer.send("HEAD", f"/{bucket}").headers["x-amz-bucket-region"] == "EU"
    assert ElementTree.fromstring(signer.send("GET", f"/{bucket}", {"location": ""}).content).text == "EU"
    assert code(signer.send("PUT", f"/{bucket}")) == (409, "BucketAlreadyOwnedByYou")
    theirs = storage.Client("another").create_bucket(f"theirs-{time.time_ns()}").name
    assert code(signer.send("PUT", f"/{theirs}")) == (409, "BucketAlreadyExists")
    assert code(signer.send("GET", f"/{theirs}"))[0] == 403
    assert signer.send("PUT", f"/{bucket}/o", body=b"x").status_code == 200
    assert code(signer.send("DELETE", f"/{bucket}")) == (409, "BucketNotEmpty")
    assert signer.send("DELETE", f"/{bucket}/o").status_code == 204
    assert signer.send("DELETE", f"/{bucket}").status_code == 204
    assert signer.send("HEAD", f"/{bucket}").status_code == 404
    assert code(signer.send("GET", f"/{bucket}")) == (404, "NoSuchBucket")
    assert code(signer.send("PUT", f"/{bucket}", body=b"<no")) == (400, "MalformedXML")
    assert code(signer.send("GET", f"/{bucket}", {"policy": ""})) == (501, "NotImplemented")


def test_objects_are_put_got_and_deleted(signer: Signer, bucket: str) -> None:
    path, body = f"/{bucket}/{NAME}", b"hello"
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()
    more = {"x_amz_meta_colour": "blue", "content_type": "text/plain", "x_amz_checksum_crc32": crc}
    put = signer.send("PUT", path, body=body, **more)
    assert put.status_code == 200 and put.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
    blob = storage.Client(PROJECT).bucket(bucket).get_blob(NAME)
    assert blob.metadata == {"colour": "blue"} and blob.content_type == "text/plain"
    got = signer.send("GET", path)
    assert (got.content, got.headers["x-amz-meta-colour"]) == (body, "blue")
    assert not [one for one in got.headers if one.startswith("x-goog-")]
    assert code(signer.send("PUT", path, body=b"other", x_amz_checksum_crc32=crc)) == (400, "BadDigest")
    assert code(signer.send("PUT", path, body=b"other", payload=body)) == (400, "XGoogContentSHA256Mismatch")
    for header in ("x_amz_tagging", "x_amz_object_lock_mode", "x_amz_checksum_crc64nvme"):
        assert code(signer.send("PUT", path, body=b"other", **{header: "a"})) == (501, "NotImplemented")
    assert signer.send("GET", path).content == body
    assert signer.send("DELETE", path).status_code == 204
    assert code(signer.send("GET", path)) == (404, "NoSuchKey")


def test_objects_are_copied(signer: Signer, bucket: str) -> None:
    google = storage.Client(PROJECT)
    blob = google.bucket(bucket).blob(NAME)
    blob.metadata = {"colour": "blue"}
    blob.upload_from_string("hello", "text/plain")
    source = f"{bucket}/{quote(NAME)}"
    answer = signer.send("PUT", f"/{bucket}/same", x_amz_copy_source=source)
    assert texts(answer, "ETag") == [f'"{hashlib.md5(b"hello").hexdigest()}"']
    same = google.bucket(bucket).get_blob("same")
    assert (same.metadata, same.content_type, same.size) == ({"colour": "blue"}, "text/plain", 5)
    more = {"x_amz_metadata_directive": "REPLACE", "x_amz_meta_colour": "red", "content_type": "a/b"}
    assert signer.send("PUT", f"/{bucket}/other", x_amz_copy_source=f"/{source}", **more).status_code == 200
    other = google.bucket(bucket).get_blob("other")
    assert (other.metadata, other.content_type) == ({"colour": "red"}, "a/b")
    theirs = google.create_bucket(f"secret-{time.time_ns()}", project="another")
    theirs.blob("o").upload_from_string("secret")
    refused = signer.send("PUT", f"/{bucket}/stolen", x_amz_copy_source=f"{theirs.name}/o")
    assert code(refused) == (403, "AccessDenied")
    assert code(signer.send("PUT", f"/{bucket}/x", x_amz_copy_source=f"{bucket}/none"))[0] == 404
    assert code(signer.send("PUT", f"/{bucket}/x", x_amz_copy_source="nothing"))[0] == 400
    versioned = signer.send("PUT", f"/{bucket}/x", x_amz_copy_source=f"{source}?versionId=1")
    assert code(versioned)[0] == 404


def test_many_are_deleted_at_once(signer: Signer, bucket: str) -> None:
    google = storage.Client(PROJECT).bucket(bucket)
    for name in ("a", "b & c", "held"):
        google.blob(name).upload_from_string("x")
    held = google.blob("held")
    held.temporary_hold = True
    held.patch()

    def delete(body: str) -> requests.Response:
        return signer.send("POST", f"/{bucket}", {"delete": ""}, body.encode())

    named = "".join(f"<Object><Key>{one}</Key></Object>" for one in ("a", "b &amp; c", "held", "none"))
    answer = delete(f"<Delete>{named}</Delete>")
    assert texts(answer, "Deleted/Key") == ["a", "b & c", "none"]
    assert (texts(answer, "Error/Key"), texts(answer, "Error/Code")) == (["held"], ["AccessDenied"])
    assert [one.name for one in google.list_blobs()] == ["held"]
    assert texts(delete(f"<Delete>{named}<Quiet>true</Quiet></Delete>"), "Deleted/Key") == []
    assert code(delete("<Delete></Delete>")) == (400, "MalformedXML")
    assert code(delete("<Delete><Object><Key>a</Key><ETag>1</ETag></Object></Delete>"))[0] == 501
    theirs = storage.Client("another").create_bucket(f"kept-{time.time_ns()}")
    theirs.blob("a").upload_from_string("x")
    answer = signer.send("POST", f"/{theirs.name}", {"delete": ""}, f"<Delete>{named}</Delete>".encode())
    assert texts(answer, "Error/Code") == ["AccessDenied"] * 4 and theirs.get_blob("a") is not None


def test_objects_are_listed_in_both_ways(signer: Signer, bucket: str) -> None:
    google = storage.Client(PROJECT).bucket(bucket)
    for name in ("a/1", "a/2", "b", "c/1", "d & e"):
        google.blob(name).upload_from_string("x")
    path = f"/{bucket}"
    second = {"list-type": "2", "delimiter": "/", "max-keys": "2"}
    answer = signer.send("GET", path, second)
    assert (texts(answer, "Contents/Key"), texts(answer, "CommonPrefixes/Prefix")) == (["b"], ["a/"])
    assert texts(answer, "IsTruncated") == ["true"] and texts(answer, "KeyCount") == ["2"]
    [token] = texts(answer, "NextContinuationToken")
    answer = signer.send("GET", path, {**second, "continuation-token": str(token)})
    assert (texts(answer, "Contents/Key"), texts(answer, "CommonPrefixes/Prefix")) == (["d & e"], ["c/"])
    assert texts(answer, "IsTruncated") == ["false"]
    found: list[Any] = []
    params = {"delimiter": "/", "max-keys": "1", "marker": "", "encoding-type": "url"}
    while True:
        answer = signer.send("GET", path, params)
        found += texts(answer, "Contents/Key") + texts(answer, "CommonPrefixes/Prefix")
        if texts(answer, "IsTruncated") == ["false"]:
            break
        params["marker"] = requests.utils.unquote(str(texts(answer, "NextMarker")[0]))
    assert found == ["a/", "b", "c/", "d%20%26%20e"]
    answer = signer.send("GET", path, {"list-type": "2", "start-after": "a/1", "prefix": "a/"})
    assert texts(answer, "Contents/Key") == ["a/2"]
    assert texts(signer.send("GET", path, {"list-type": "2", "max-keys": "0"}), "Contents/Key") == []


def test_nothing_but_the_right_signature_counts(portico: Any, signer: Signer, bucket: str) -> None:
    path = f"/{bucket}/{NAME}"
    assert signer.send("PUT", path, body=b"hello").status_code == 200
    url = signer.url("GET", path)
    assert requests.get(url, timeout=240).text == "hello"
    assert code(requests.put(url, b"x", timeout=240)) == WRONG
    assert requests.put(signer.url("PUT", f"/{bucket}/new"), b"x", timeout=240).status_code == 200
    wrong = Signer(portico, signer.key, signer.secret[::-1])
    for answer in (
        requests.get(wrong.url("GET", path), timeout=240),
        wrong.send("GET", path),
        wrong.send("GET", "/"),
        wrong.send("GET", f"/{bucket}"),
    ):
        assert code(answer) == WRONG
    nobody = Signer(portico, "GOOG1ENOBODYS", signer.secret)
    assert code(nobody.send("GET", "/")) == (403, "InvalidSecurity")
    old = Signer(portico, signer.key, signer.secret)
    old.date = "20200101T000000Z"
    old.scope = "20200101/us-east-1/s3/aws4_request"
    assert code(old.send("GET", path)) == (400, "ExpiredToken")
    unsigned = {"x-amz-meta-more": "x"}
    assert code(requests.get(url, headers=unsigned, timeout=240)) == (400, "MalformedSecurityHeader")
    other = {"authorization": "AWS AKID:signature"}
    refused = requests.get(f"{portico.url}/{bucket}", headers=other, timeout=240)
    assert code(refused) == (400, "MissingSecurityHeader")


BOTO = """
import io, json, sys, boto3, urllib.request
from botocore.config import Config
from botocore.exceptions import ClientError
url, key, secret, bucket = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret,
                  region_name="us-east-1", config=Config(signature_version="s3v4"))
found = {}
s3.create_bucket(Bucket=bucket)
found["buckets"] = [one["Name"] for one in s3.list_buckets()["Buckets"] if one["Name"] == bucket]
name = "a folder/gr\\u00f6\\u00dfe.txt"
s3.put_object(Bucket=bucket, Key=name, Body=b"hello", Metadata={"colour": "blue"}, ContentType="text/plain")
got = s3.get_object(Bucket=bucket, Key=name)
found["got"] = [got["Body"].read().decode(), got["Metadata"], got["ContentType"]]
found["range"] = s3.get_object(Bucket=bucket, Key=name, Range="bytes=1-2")["Body"].read().decode()
found["head"] = s3.head_object(Bucket=bucket, Key=name)["ContentLength"]
large = b"0123456789" * 2_000_000
s3.upload_fileobj(io.BytesIO(large), bucket, "large")
into = io.BytesIO()
s3.download_fileobj(bucket, "large", into)
found["large"] = into.getvalue() == large
for n in range(5):
    s3.put_object(Bucket=bucket, Key=f"many/{n}", Body=b"")
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
found["listed"] = [one["Key"] for page in pages for one in page.get("Contents", [])]
old = s3.get_paginator("list_objects").paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1})
found["below"] = [one["Prefix"] for page in old for one in page.get("CommonPrefixes", [])]
signed = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": name})
found["signed"] = urllib.request.urlopen(signed).read().decode()
versioned = {"Bucket": bucket, "VersioningConfiguration": {"Status": "Enabled"}}
s3.put_bucket_versioning(**versioned)
found["versioning"] = s3.get_bucket_versioning(Bucket=bucket)["Status"]
old = s3.put_object(Bucket=bucket, Key="many/0", Body=b"new")["VersionId"]
s3.put_object(Bucket=bucket, Key="many/0", Body=b"newer")
found["old"] = s3.get_object(Bucket=bucket, Key="many/0", VersionId=old)["Body"].read().decode()
listed = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix="many/0")
versions = [one for page in listed for one in page["Versions"]]
found["versions"] = [one["IsLatest"] for one in versions]
named = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in versions if not one["IsLatest"]]
s3.delete_objects(Bucket=bucket, Delete={"Objects": named})
s3.put_bucket_versioning(**versioned | {"VersioningConfiguration": {"Status": "Suspended"}})
s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "team", "Value": "blue"}]})
found["tags"] = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
s3.put_object_acl(Bucket=bucket, Key=name, ACL="public-read")
grants = s3.get_object_acl(Bucket=bucket, Key=name)["Grants"]
found["public"] = [one["Permission"] for one in grants if one["Grantee"].get("URI", "").endswith("/AllUsers")]
upload = s3.create_multipart_upload(Bucket=bucket, Key="begun")["UploadId"]
s3.upload_part(Bucket=bucket, Key="begun", UploadId=upload, PartNumber=1, Body=b"x")
found["uploads"] = [one["Key"] for one in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]]
parts = s3.list_parts(Bucket=bucket, Key="begun", UploadId=upload)["Parts"]
found["parts"] = [(one["PartNumber"], one["Size"]) for one in parts]
s3.abort_multipart_upload(Bucket=bucket, Key="begun", UploadId=upload)
second = boto3.client("s3", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret,
                      region_name="us-east-1", config=Config(signature_version="s3"))
second.put_object(Bucket=bucket, Key="second", Body=b"hello", Metadata={"colour": "blue"})
found["second"] = second.get_object(Bucket=bucket, Key="second")["Body"].read().decode()
signed = second.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "second"})
found["signed second"] = urllib.request.urlopen(signed).read().decode()
second.delete_object(Bucket=bucket, Key="second")
try:
    s3.put_object(Bucket=bucket, Key=name, Body=b"", IfNoneMatch="*")
except ClientError as error:
    found["there"] = error.response["Error"]["Code"]
s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": name})
found["copied"] = s3.get_object(Bucket=bucket, Key="copy")["Body"].read().decode()
s3.delete_object(Bucket=bucket, Key="copy")
told = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": each} for each in found["listed"]]})
found["deleted"] = len(told["Deleted"])
try:
    s3.get_object(Bucket=bucket, Key=name)
except ClientError as error:
    found["gone"] = error.response["Error"]["Code"]
s3.delete_bucket(Bucket=bucket)
try:
    s3.head_bucket(Bucket=bucket)
except ClientError as error:
    found["no bucket"] = error.response["Error"]["Code"]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_boto3_works(portico: Any, key: tuple[str, str], tmp_path: Any) -> None:
    """In an environment of its own."""
    python = os.environ.get("PORTICO_TEST_BOTO3_PYTHON", "")
    if not python:
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "boto3"], check=True)
        python = str(tmp_path / "boto3" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "boto3"], check=True)
    command = [python, "-c", BOTO, portico.url, *key, f"boto3-{time.time_ns()}"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    [bucket] = found.pop("buckets")
    assert bucket.startswith("boto3-")
    assert found == {
        "got": ["hello", {"colour": "blue"}, "text/plain"],
        "range": "el",
        "head": 5,
        "large": True,
        "listed": [NAME, "large", *(f"many/{n}" for n in range(5))],
        "below": ["a folder/", "many/"],
        "signed": "hello",
        "versioning": "Enabled",
        "old": "new",
        "versions": [False, False, True],
        "tags": [{"Key": "team", "Value": "blue"}],
        "public": ["READ"],
        "uploads": ["begun"],
        "parts": [[1, 1]],
        "second": "hello",
        "signed second": "hello",
        "there": "PreconditionFailed",
        "copied": "hello",
        "deleted": 7,
        "gone": "NoSuchKey",
        "no bucket": "404",
    }
