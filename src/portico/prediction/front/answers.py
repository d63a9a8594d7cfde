"""Answers as bytes on the wire: Google's error shape, and the pieces of a prediction's answer."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

import orjson

from portico.errors import PermissionDenied, PorticoError

JSON: Final = b"application/json; charset=UTF-8"
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
} | {499: b"HTTP/1.1 499 Client Closed Request\r\n"}


def error_body(error: PorticoError) -> bytes:
    """The error shape of Google's APIs: google.rpc.Status under "error" (https://google.aip.dev/193)."""
    body: dict[str, Any] = {"code": error.http_status, "message": error.message, "status": error.code}
    if error.violations:
        violations = [{"field": v.field, "description": v.description} for v in error.violations]
        body["details"] = [
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}
        ]
    elif isinstance(error, PermissionDenied) and error.permission:
        told = {"permission": error.permission, "resource": error.resource}
        body["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "iam.googleapis.com",
                "metadata": told,
            }
        ]
    return orjson.dumps({"error": body}, option=orjson.OPT_INDENT_2)


class Answers:
    """Renders answers with the current Date, which `tick` renews each second."""

    def __init__(self) -> None:
        self.tick()

    def tick(self) -> None:
        self._date = f"date: {formatdate(usegmt=True)}\r\nx-content-type-options: nosniff\r\n".encode()
        # The head of every good answer up to its length.
        self.ok = b"%b%bcontent-type: %b\r\ncontent-length: " % (_STATUS_LINES[200], self._date, JSON)

    def render(self, status: int, body: bytes, headers: bytes = b"", content_type: bytes = JSON) -> bytes:
        """A whole answer; `headers` are complete lines."""
        head = self.head(status, headers, content_type)
        return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)

    def head(self, status: int, headers: bytes, content_type: bytes) -> bytes:
        """An answer's lines up to what says where its body ends."""
        line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        return b"%b%bcontent-type: %b\r\n%b" % (line, self._date, content_type, headers)

    def error(self, error: PorticoError, headers: bytes = b"") -> bytes:
        if error.retry_after is not None:
            headers += b"retry-after: %d\r\n" % max(1, round(error.retry_after))
        if error.http_status == 401:
            headers += b'www-authenticate: Bearer realm="portico"\r\n'
        return self.render(error.http_status, error_body(error), headers)
