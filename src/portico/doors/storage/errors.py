"""Cloud Storage's own error shapes: JSON for its JSON API, XML for its XML API.

https://cloud.google.com/storage/docs/json_api/v1/status-codes, .../xml-api/reference-status
"""

from __future__ import annotations

from xml.sax.saxutils import escape

import orjson

from portico.errors import PermissionDenied, PorticoError

_REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    413: "uploadTooLarge",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    501: "notImplemented",
    503: "backendError",
}
_XML_CODES = {
    400: "InvalidArgument",
    401: "AuthenticationRequired",
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    409: "BucketNotEmpty",
    412: "PreconditionFailed",
    416: "InvalidRange",
    429: "SlowDown",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}


class WrongSignature(PermissionDenied):
    """A request whose signature is of something else, or by somebody else. `signed`: of what it would be right, by the
    names that Google's answer has for that."""

    def __init__(self, signed: dict[str, str]) -> None:
        super().__init__("Access denied.", reason="SignatureDoesNotMatch")
        self.signed = signed


_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your Google secret key and "
    "signing method."
)


def render(error: PorticoError, *, with_status: bool = False) -> tuple[int, bytes]:
    """The status and the JSON body, in it the canonical code where that is asked for. 304 has none."""
    status = error.http_status
    if status == 304:
        return status, b""
    item = {
        "message": error.message,
        "domain": "global",
        "reason": error.reason or _REASONS.get(status, "internalError"),
    }
    if error.violations and error.violations[0].field:
        item |= {"locationType": "parameter", "location": error.violations[0].field}
    shown = {"code": status, "message": error.message, "errors": [item]}
    if with_status:
        shown["status"] = error.code
    return status, orjson.dumps({"error": shown})


def render_xml(error: PorticoError) -> tuple[int, bytes]:
    """The status and the XML body. 304 has none."""
    if error.http_status == 304:
        return 304, b""
    status, code = code_of(error)
    message = escape(error.message)
    details, more = message, ""
    if isinstance(error, WrongSignature):
        details = _MISMATCH
        more = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in error.signed.items())
    return status, (
        f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code>"
        f"<Message>{message}</Message><Details>{details}</Details>{more}</Error>"
    ).encode()


def code_of(error: PorticoError) -> tuple[int, str]:
    """The status, and what the XML API calls the error."""
    status = error.http_status
    code = _XML_CODES.get(status, "InternalError")
    if "doesn't match calculated" in error.message:
        code = "BadDigest"
    elif "CustomerEncryption" in error.reason or error.reason.startswith("customerEncryption"):
        code = error.reason[0].upper() + error.reason[1:]
    elif error.reason[:1].isupper():  # already one of the XML API's codes
        code = error.reason
    elif status == 404 and error.message.startswith("The specified bucket"):
        code = "NoSuchBucket"
    if status == 401 and error.reason == "required":  # a caller who is not known, and need not be
        status, code = 403, "AccessDenied"
    return status, code
