"""Requests that are signed as Amazon's S3 has it, which other clients than Google's send: what their headers mean here,
and the answer's headers as those clients read them.

https://cloud.google.com/storage/docs/aws-simple-migration, .../interoperability
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from portico.doors.storage.requests import Request
from portico.errors import InvalidArgument, Unimplemented

_THEIRS, _OURS = "x-amz-", "x-goog-"
_SAME: Final = ("acl", "copy-source", "metadata-directive", "storage-class", "project-id")
# How a request is signed, which is looked at elsewhere; what is asked of the answer, which has it anyway or not.
_ELSEWHERE: Final = (
    "checksum-algorithm",  # of a multipart upload: its parts say theirs
    "checksum-mode",
    "content-sha256",
    "date",
    "sdk-checksum-algorithm",
    "user-agent",
)


def translate(request: Request) -> None:
    """Puts Google's names for Amazon's into the request's headers, and Amazon's for Google's into its answer's.

    Raises:
        InvalidArgument, Unimplemented: a header is malformed, or asks for what is not built.
    """
    for name, value in list(request.headers.items()):
        if not name.startswith(_THEIRS):
            continue
        rest = name.removeprefix(_THEIRS)
        if rest in _SAME or rest.startswith("meta-"):
            request.headers[_OURS + rest] = value
        elif rest.startswith("checksum-") and rest not in _ELSEWHERE:
            _check_sum(request, rest.removeprefix("checksum-"), value)
        elif rest not in _ELSEWHERE:
            raise Unimplemented(f"The header {name} is not built in Portico's XML API: send none.")
    send = request.send

    async def sent(message: dict[str, Any]) -> None:
        if headers := message.get("headers"):
            ours, theirs = _OURS.encode(), _THEIRS.encode()
            named = [
                (theirs + one.removeprefix(ours) if one.startswith(ours) else one, to) for one, to in headers
            ]
            message = {**message, "headers": named}
        await send(message)

    request.send = sent


def _check_sum(request: Request, kind: str, value: str) -> None:
    """Has the body checked, which is not here yet."""
    if kind == "crc32c":
        request.headers["x-goog-hash"] = f"crc32c={value}"
        return
    if kind not in ("crc32", "sha256"):
        raise Unimplemented(
            f"Checksums by {kind} are not built in Portico: with boto3 let the client take CRC32, or send none by "
            "Config(request_checksum_calculation='when_required')."
        )
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument(f"x-amz-checksum-{kind} must be base64.", reason="InvalidDigest") from None
    if kind == "crc32":
        request.must_sum_to(digest)
    else:
        request.must_hash_to(digest.hex())
