"""Requests that are signed as Amazon's S3 has it, which other clients than Google's send: what their headers mean here,
and the answer's headers as those clients read them.

https://cloud.google.com/storage/docs/aws-simple-migration, .../interoperability
"""

from __future__ import annotations

from typing import Any, Final

from portico.doors.storage.requests import Request
from portico.doors.storage.sums import Sum
from portico.errors import Unimplemented

_THEIRS, _OURS = "x-amz-", "x-goog-"
_SAME: Final = ("acl", "copy-source", "metadata-directive", "storage-class", "project-id")
# How a request is signed, which is looked at elsewhere; what is asked of the answer, which has it anyway or not.
_ELSEWHERE: Final = (
    "checksum-algorithm",  # of a multipart upload: its parts say theirs
    "checksum-mode",
    "content-sha256",
    "date",
    "decoded-content-length",
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
        if rest in _SAME or rest.startswith(("meta-", "copy-source-if-")):
            request.headers[_OURS + rest] = value
        elif rest.startswith("checksum-") and rest not in _ELSEWHERE:
            told = Sum(rest.removeprefix("checksum-"))
            told.must_be(value)
            request.sums.append(told)
        elif rest == "trailer":
            request.sums += [
                Sum(one.strip().lower().removeprefix("x-amz-checksum-")) for one in value.split(",")
            ]
        elif rest not in _ELSEWHERE:
            raise Unimplemented(f"The header {name} is not built in Portico's XML API: send none.")
    if request.chunks is not None:  # how the body came is nothing that the object has
        codings = [one.strip() for one in request.headers.pop("content-encoding", "").split(",")]
        if left := ",".join(one for one in codings if one and one != "aws-chunked"):
            request.headers["content-encoding"] = left
    send = request.send

    async def sent(message: dict[str, Any]) -> None:
        if headers := message.get("headers"):
            named = [
                (theirs + one.removeprefix(ours) if one.startswith(ours) else one, to) for one, to in headers
            ]
            named += [(theirs + b"version-id", to) for one, to in headers if one == ours + b"generation"]
            message = {**message, "headers": named}
        await send(message)

    ours, theirs = _OURS.encode(), _THEIRS.encode()
    request.send = sent
