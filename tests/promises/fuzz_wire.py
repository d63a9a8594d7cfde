"""Wrong requests to what no document lists: uploads, downloads, batches, the XML API, predictions."""

from __future__ import annotations

import json
import random
from urllib.parse import urlencode

from nonsense import INSTANCES, SEGMENTS, TEXTS
from world import World

# fmt: off
_HEADERS = (
    ("content-range", ("bytes 0-1/2", "bytes */*", "bytes 5-1/2", "bytes x", "bytes 0-/2", "items 0-1/2", "bytes 0-1/*",
                       "bytes 99999999999999999999-1/2", "")),
    ("range", ("bytes=0-1", "bytes=5-1", "bytes=-5", "bytes=-", "bytes=0-1,3-4", "items=0-1", "bytes=99999999999999-")),
    ("x-goog-hash", ("crc32c=AAAAAA==", "md5=x", "crc32c", "=", "sha=1", "crc32c=AAAAAA==,md5=!")),
    ("content-md5", ("x", "AAAA", "", "1B2M2Y8AsgTpgAmY7PhCfg==")),
    ("content-type", ("text/plain", "multipart/related", "multipart/related; boundary=x", "multipart/mixed; boundary=",
                      "application/json", "", "a" * 500, "multipart/related; boundary=\"")),
    ("x-upload-content-length", ("5", "-1", "x", "99999999999999999999")),
    ("x-upload-content-type", ("a/b", "\x01", "")),
    ("x-goog-if-generation-match", ("0", "x", "-1", "99999999999999999999")),
    ("if-none-match", ("*", "x", "\"", "W/\"x\"")),
    ("if-modified-since", ("yesterday", "Mon, 01 Jan 2024 00:00:00 GMT", "")),
    ("x-goog-encryption-algorithm", ("AES256", "x")),
    ("x-goog-copy-source", ("/a/b", "x")),
    ("content-encoding", ("gzip", "br", "x")),
    ("accept-encoding", ("gzip", "identity;q=0", "\"")),
    ("x-goog-meta-a", ("b", "\xff", "")),
    ("authorization", ("Bearer", "Bearer x", "Basic eDp5", "", "Bearer " + "a" * 5000, "Bearer a.b.c")),
)
_PARAMS = (
    ("uploadType", ("media", "multipart", "resumable", "x", "")),
    ("upload_id", ("x", "", "\0", "a" * 500)),
    ("uploadId", ("x", "", "\0")),
    ("uploads", ("",)),
    ("partNumber", ("1", "0", "-1", "x", "99999", "²")),
    ("name", ("fuzzed", *TEXTS)),
    ("generation", ("1", "0", "-1", "x", "99999999999999999999", "²")),
    ("ifGenerationMatch", ("1", "0", "-1", "x", "²")),
    ("ifMetagenerationNotMatch", ("1", "x")),
    ("alt", ("media", "json", "x")),
    ("projection", ("full", "x")),
    ("predefinedAcl", ("private", "x")),
    ("contentEncoding", ("gzip", "\n")),
    ("max-parts", ("1", "0", "-1", "x", "²")),
    ("part-number-marker", ("1", "-1", "x", "²")),
    ("kmsKeyName", ("x",)),
)
_BODIES = (
    b"", b"data", b"{}", b"[]", b"{", b"\xff\xfe", b'{"name": 5}', b'{"name": "a", "size": "x"}', b"<a/>", b"<a>",
    b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
    b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b'{"metadata": {"a": 1}}', b'{"customTime": "x"}', b'{"name": null}',
    b"--x\r\nContent-Type: application/json\r\n\r\n{}\r\n--x\r\nContent-Type: text/plain\r\n\r\nhi\r\n--x--",
    b"--x\r\n\r\n{\r\n--x\r\n\r\n\r\n--x--", b"--x\r\n\r\n--x--", b"--x--", b"--x\n\n[]\n--x\n\nhi\n--x--",
    b"--x\r\nContent-Type: application/http\r\n\r\nGET /storage/v1/b HTTP/1.1\r\n\r\n--x--",
    b"--x\r\nContent-Type: application/http\r\n\r\nGET /v1/x HTTP/1.1\r\n\r\n\r\n--x--",
    b"--x\r\nContent-Type: application/http\r\n\r\nnonsense\r\n\r\n--x--",
    b"--x\r\nContent-Type: application/http\r\n\r\nPOST /batch/storage/v1 HTTP/1.1\r\n\r\n\r\n--x--",
)
_PREDICTIONS = (
    b"", b"{}", b"null", b"[]", b'{"instances": []}', b'{"instances": {}}', b'{"instances": null}',
    b'{"instances": [[1e999]]}', b'{"instances": [NaN]}', b'{"httpBody": 1}', b'{"httpBody": {"data": "!"}}',
    b'{"httpBody": {"data": 5}}', b"{" * 3000, b'{"instances": [1], "parameters": 5}', b"\xff",
    b'{"instances": [1], "unknown": 5}', b'{"instances": [{"a": "\\ud800"}]}',
    b'{"instances": ' + b"[" * 3000, b'{"instances": [{"a": 1, "b": 2, "c": 3}], "deployedModelId": "x"}',
    b'{"instances": [{"a": 1, "b": 2, "c": 3}], "deployedModelId": 5}', b'{"instances": [{"a": 9' + b"9" * 500 + b"}]}",
    b'{"instances": [{"a": true, "b": "x", "c": null}]}', b'{"instances": [[1, 2, 3]], "parameters": {"a": [[]]}}',
)
# fmt: on


class WireFuzzer:
    """Makes requests from `seed`: method, target, body, headers."""

    def __init__(self, world: World, seed: int) -> None:
        self.random = random.Random(seed)
        self._world = world

    def wrong(self) -> tuple[str, str, bytes, dict[str, str]]:
        if self.random.random() < 0.25:
            return self._prediction()
        choose = self.random.choice
        rate = choose((0.01, 0.05, 0.15))
        bucket = choose((*[self._world.bucket] * 6, "no-such-bucket", choose(SEGMENTS)))
        name = choose(("rows.csv", "rows.csv", "new", choose(SEGMENTS), "a" * 1100, "%F0%9F%A6%84/../x"))
        path = choose(
            (
                f"/upload/storage/v1/b/{bucket}/o",
                f"/upload/storage/v1/b/{bucket}/o/{name}",
                f"/download/storage/v1/b/{bucket}/o/{name}",
                f"/storage/v1/b/{bucket}/o/{name}",
                f"/{bucket}/{name}",
                f"/{bucket}/{name}",
                f"/{bucket}",
                "/batch/storage/v1",
                "/upload/storage/v1/",
                "/download/storage/v1/b",
                "/-/token",
                "/-/" + choose(SEGMENTS),
            )
        )
        pairs = [(key, choose(values)) for key, values in _PARAMS if self.random.random() < rate]
        if path.startswith("/upload/"):
            pairs += [("uploadType", choose(("media", "multipart", "resumable"))), ("name", choose(TEXTS))]
        target = path + ("?" + urlencode(pairs) if pairs else "")
        headers = {key: choose(values) for key, values in _HEADERS if self.random.random() < rate}
        method = choose(("GET", "HEAD", "PUT", "POST", "POST", "DELETE", "PATCH", "OPTIONS"))
        if method == "DELETE" and bucket == self._world.bucket:
            method = "GET"  # what is there stays there
        return method, target, choose(_BODIES) if method in ("PUT", "POST", "PATCH") else b"", headers

    def _prediction(self) -> tuple[str, str, bytes, dict[str, str]]:
        choose = self.random.choice
        endpoint = choose(
            (
                self._world.endpoint,
                self._world.endpoint,
                self._world.location + "/endpoints/" + choose(SEGMENTS),
            )
        )
        target = f"/{choose(('v1', 'v1beta1'))}/{endpoint}:{choose(('predict', 'rawPredict', 'explain'))}"
        body = choose((*_PREDICTIONS, json.dumps({"instances": [choose(INSTANCES)]}).encode()))
        headers = {"content-type": choose(("application/json", "application/json", "text/plain"))}
        return "POST", target + choose(("", "", "?$alt=json;enum-encoding=int", "?x=%ff")), body, headers
