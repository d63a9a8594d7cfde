"""Signatures of version 2, and bodies in chunks, as Amazon's clients send them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import time
import zlib
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import google_crc32c
import pytest
import requests
from google.cloud import storage
from tests.services.storage.test_amazon_signatures import (
    NAME,
    PROJECT,
    WRONG,
    Signer,
    bucket,
    key,
    signer,
    someone,
)
from tests.services.storage.test_signed_urls import code

__all__ = ["bucket", "key", "signer", "someone"]
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
TRAILED = f"{SIGNED}-TRAILER"
UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
BODY = bytes(range(256)) * 300


def crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()


def in_chunks(signer: Signer, before: str, payload: str, trailer: str, pieces: list[bytes]) -> bytes:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html, sigv4-streaming-trailers.html"""
    signing = f"AWS4{signer.secret}".encode()
    for part in signer.scope.split("/"):
        signing = hmac.digest(signing, part.encode(), "sha256")

    def sign(kind: str, *hashes: str) -> str:
        nonlocal before
        text = "\n".join((f"AWS4-HMAC-SHA256-{kind}", signer.date, signer.scope, before, *hashes))
        before = hmac.digest(signing, text.encode(), "sha256").hex()
        return before

    made = b""
    for piece in [*pieces, b""]:
        made += f"{len(piece):x}".encode()
        if payload != UNSIGNED:
            nothing, digest = (hashlib.sha256(one).hexdigest() for one in (b"", piece))
            made += f";chunk-signature={sign('PAYLOAD', nothing, digest)}".encode()
        made += b"\r\n" + piece + b"\r\n" * bool(piece)
    if trailer:
        made += f"{trailer}\r\n".encode()
        if payload != UNSIGNED:
            signed = sign("TRAILER", hashlib.sha256(f"{trailer}\n".encode()).hexdigest())
            made += f"x-amz-trailer-signature:{signed}\r\n".encode()
    return made + b"\r\n"


def send(
    signer: Signer, path: str, payload: str, trailer: str = "", *,
    body: bytes = BODY, spoil: Any = bytes, length: int = -1,
) -> requests.Response:  # fmt: skip
    headers = {
        "host": signer.host, "x-amz-content-sha256": payload, "x-amz-date": signer.date,
        "x-amz-decoded-content-length": str(len(body) if length < 0 else length), "content-encoding": "aws-chunked",
    }  # fmt: skip
    if trailer:
        headers["x-amz-trailer"] = trailer.partition(":")[0]
    signed = signer.signature("PUT", quote(path), "", headers, payload)
    told = f"Credential={signer.key}/{signer.scope}, SignedHeaders={';'.join(sorted(headers))}, Signature={signed}"
    pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]
    data = spoil(in_chunks(signer, signed, payload, trailer, pieces))
    headers |= {"authorization": f"AWS4-HMAC-SHA256 {told}"}
    return requests.put(f"http://{signer.host}{quote(path)}", data, headers=headers, timeout=240)


@pytest.mark.parametrize(
    ("payload", "trailer"),
    [
        (SIGNED, ""),
        (TRAILED, f"x-amz-checksum-crc32:{crc32(BODY)}"),
        (UNSIGNED, f"x-amz-checksum-crc32:{crc32(BODY)}"),
        (UNSIGNED, f"x-amz-checksum-sha1:{base64.b64encode(hashlib.sha1(BODY).digest()).decode()}"),
        (UNSIGNED, f"x-amz-checksum-crc32c:{base64.b64encode(google_crc32c.Checksum(BODY).digest()).decode()}"),
    ],
)  # fmt: skip
def test_a_body_in_chunks_is_the_object(payload: str, trailer: str, signer: Signer, bucket: str) -> None:
    path = f"/{bucket}/{NAME}"
    answer = send(signer, path, payload, trailer)
    assert answer.status_code == 200, answer.text
    blob = storage.Client(PROJECT).bucket(bucket).get_blob(NAME)
    assert blob.download_as_bytes() == BODY and blob.content_encoding is None
    if payload == SIGNED:
        assert send(signer, path, payload, body=b"").status_code == 200
        assert storage.Client(PROJECT).bucket(bucket).get_blob(NAME).size == 0


def test_a_body_that_is_not_whole_or_not_right_is_no_object(signer: Signer, bucket: str) -> None:
    path, trailer = f"/{bucket}/o", f"x-amz-checksum-crc32:{crc32(BODY)}"
    other = f"x-amz-checksum-crc32:{crc32(b'other')}"

    def change(data: bytes) -> bytes:
        return data.replace(b"\x00\x01", b"\x00\x02", 1)

    assert code(send(signer, path, SIGNED, spoil=change)) == WRONG
    assert code(send(signer, path, UNSIGNED, trailer, spoil=change)) == (400, "BadDigest")
    assert code(send(signer, path, TRAILED, other)) == (400, "BadDigest")
    assert code(send(signer, path, SIGNED, spoil=lambda data: data[:-90])) == (400, "IncompleteBody")
    assert code(send(signer, path, SIGNED, length=5)) == (400, "IncompleteBody")
    assert code(send(signer, path, UNSIGNED, spoil=lambda data: b"zz" + data)) == (400, "InvalidChunk")
    spoilt = send(
        signer,
        path,
        TRAILED,
        trailer,
        spoil=lambda data: data.replace(b"trailer-signature:", b"trailer-signature:0"),
    )
    assert code(spoilt) == WRONG
    absent = send(
        signer, path, UNSIGNED, trailer, spoil=lambda data: data.partition(b"\r\nx-amz-c")[0] + b"\r\n\r\n"
    )
    assert code(absent) == (400, "IncompleteBody")
    assert code(send(signer, path, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")) == (501, "NotImplemented")
    assert code(send(signer, path, UNSIGNED, "x-amz-checksum-crc64nvme:a")) == (501, "NotImplemented")
    assert storage.Client(PROJECT).bucket(bucket).get_blob("o") is None


def v2(
    signer: Signer, method: str, path: str, tail: str = "", body: bytes = b"", scheme: str = "AWS",
    date: str = "", **more: str,
) -> requests.Response:  # fmt: skip
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html"""
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    headers["date"] = date or formatdate(usegmt=True)
    prefix = {"AWS": "x-amz-", "GOOG1": "x-goog-"}[scheme]
    own = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith(prefix))
    text = f"{method}\n\n{headers.get('content-type', '')}\n{headers['date']}\n{own}{quote(path)}{tail}"
    signed = base64.b64encode(hmac.digest(signer.secret.encode(), text.encode(), "sha1")).decode()
    headers["authorization"] = f"{scheme} {signer.key}:{signed}"
    return requests.request(
        method, f"http://{signer.host}{quote(path)}{tail}", data=body, headers=headers, timeout=240
    )


def test_a_header_of_version_2_is_a_signature(signer: Signer, bucket: str) -> None:
    path = f"/{bucket}/{NAME}"
    for scheme, prefix in (("AWS", "x_amz"), ("GOOG1", "x_goog")):
        more = {f"{prefix}_meta_colour": "blue", "content_type": "text/plain"}
        answer = v2(signer, "PUT", path, body=b"hello", scheme=scheme, **more)
        assert answer.status_code == 200, answer.text
        got = v2(signer, "GET", path, scheme=scheme)
        name = f"{prefix.replace('_', '-')}-meta-colour"
        assert (got.text, got.headers[name]) == ("hello", "blue")
        assert v2(signer, "GET", f"/{bucket}", "?versioning", scheme=scheme).status_code == 200
    assert v2(signer, "GET", "/").status_code == 200
    wrong = Signer.__new__(Signer)
    wrong.host, wrong.key, wrong.secret = signer.host, signer.key, signer.secret[::-1]
    assert code(v2(wrong, "GET", path)) == WRONG
    wrong.key = "GOOG1ENOBODYS"
    assert code(v2(wrong, "GET", path)) == (403, "InvalidSecurity")
    old = formatdate(time.time() - 3600, usegmt=True)
    assert code(v2(signer, "GET", path, date=old)) == (403, "RequestTimeTooSkewed")
    assert code(v2(signer, "GET", path, date="x")) == (400, "MissingSecurityHeader")
    stolen = v2(signer, "PUT", path, x_goog_acl="public-read")
    assert code(stolen) == (400, "MalformedSecurityHeader")


def test_a_url_of_version_2_is_signed_for_one_request(signer: Signer, bucket: str) -> None:
    path = f"/{bucket}/{NAME}"
    assert v2(signer, "PUT", path, body=b"hello").status_code == 200

    def url(method: str, expires: int, tail: str = "") -> str:
        text = f"{method}\n\n\n{expires}\n{quote(path)}{tail}"
        signed = base64.b64encode(hmac.digest(signer.secret.encode(), text.encode(), "sha1")).decode()
        told = f"AWSAccessKeyId={signer.key}&Expires={expires}&Signature={quote(signed, safe='')}"
        return f"http://{signer.host}{quote(path)}{tail or '?'}{'&' * bool(tail)}{told}"

    soon = int(time.time()) + 300
    assert requests.get(url("GET", soon), timeout=240).text == "hello"
    assert code(requests.put(url("GET", soon), b"x", timeout=240)) == WRONG
    assert code(requests.get(url("GET", soon) + "&acl", timeout=240)) == WRONG
    assert requests.get(url("GET", soon, "?acl"), timeout=240).status_code == 200
    assert code(requests.get(url("GET", soon - 600), timeout=240)) == (400, "ExpiredToken")


def test_a_body_that_nobody_waited_for_is_not_the_next_request(
    portico: Any, signer: Signer, bucket: str
) -> None:
    """boto3 asks before it sends a body, and keeps its connection."""
    head = f"PUT /none-{bucket}/o HTTP/1.1\r\nHost: {signer.host}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", portico.port), timeout=240) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # up to the connection's end
    assert answer.startswith(b"HTTP/1.1 404 ") and b"connection: close" in answer.lower()
    assert requests.put(
        f"{portico.url}/{bucket}/o", b"abc", headers={"Expect": "100-continue"}, timeout=240
    ).ok
