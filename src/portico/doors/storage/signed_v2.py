"""Signed requests, V2: in a URL, by an account's RSA key or one of its HMAC keys, or in a header, by an HMAC key; in
Google's words or Amazon's.

https://cloud.google.com/storage/docs/access-control/signed-urls-v2, .../docs/aws-simple-migration,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode

from portico.doors.storage.requests import Request
from portico.doors.storage.signed import OF_CLIENTS, SKEW, Signed, check_time, pairs_of, paths, require
from portico.errors import InvalidArgument, PermissionDenied

_IN_URL: Final = ("GoogleAccessId", "Expires", "Signature")
_AMAZONS_IN_URL: Final = ("AWSAccessKeyId", "Expires", "Signature")
IN_URL: Final = frozenset((*_IN_URL, *_AMAZONS_IN_URL))
"""The parameters by which a URL is signed, which say nothing of what it asks for."""
# In Google's URLs the answer's form, and which generation it is of, are not signed.
_BESIDE: Final = frozenset(
    {"response-content-type", "response-content-disposition", "generation", "userproject"}
)
# The parameters that are signed elsewhere, where they are there.
_PARTS: Final = frozenset({
    "acl", "billing", "compose", "cors", "defaultObjectAcl", "delete", "encryption", "encryptionConfig", "legal-hold",
    "lifecycle", "location", "logging", "notification", "object-lock", "partNumber", "policy", "requestPayment",
    "response-cache-control", "response-content-disposition", "response-content-encoding",
    "response-content-language", "response-content-type", "response-expires", "restore", "retention", "storageClass",
    "tagging", "torrent", "uploadId", "upload_id", "uploads", "versionId", "versioning", "versions", "website",
    "websiteConfig",
})  # fmt: skip
_SCHEMES: Final = {"GOOG1": "x-goog-", "AWS": "x-amz-"}


def read(request: Request, path: bytes, now: float) -> Signed | None:
    """The signature of a request to `path`, as it came; None without one of V2.

    Raises:
        InvalidArgument: it is incomplete, malformed, or has run out. PermissionDenied: its time is none of ours.
    """
    scheme, _, told = request.headers.get("authorization", "").partition(" ")
    if scheme in _SCHEMES:
        key, colon, signature = told.strip().rpartition(":")
        if not colon or not key:
            raise InvalidArgument(f"Authorization is {scheme} ACCESS_ID:SIGNATURE.", reason="InvalidSecurity")
        return _by_hmac(request, path, scheme, key, signature, _dated(request, _SCHEMES[scheme], now))
    if "AWSAccessKeyId" in request.params:
        expires = _expiry(request, _AMAZONS_IN_URL, now)
        params = request.params
        return _by_hmac(request, path, "AWS", params["AWSAccessKeyId"], params["Signature"], expires)
    if "GoogleAccessId" in request.params or "Signature" in request.params:
        return _in_url(request, path, now)
    return None


def _by_hmac(request: Request, path: bytes, scheme: str, key: str, signature: str, date: str) -> Signed:
    """`date`: what stands for the time in the text that is signed."""
    prefix = _SCHEMES[scheme]
    others = tuple(one for one in _SCHEMES.values() if one != prefix)
    for name in request.headers:
        if name.startswith(others) and name not in OF_CLIENTS:
            raise InvalidArgument(
                f"The header {name} is not signed: a signature by {scheme} has those alone that begin with {prefix}.",
                reason="MalformedSecurityHeader",
            )
    parts = sorted((name, value) for name, value in pairs_of(request) if name in _PARTS)
    tail = "&".join(f"{name}={value}" if value else name for name, value in parts)
    head = _head(request, date, prefix, OF_CLIENTS if scheme == "GOOG1" else frozenset())
    texts = tuple("\n".join((*head, f"{one}?{tail}" if tail else one)) for one in dict.fromkeys(paths(path)))
    shown = {"StringToSign": texts[0]}
    return Signed(
        key, _decode(signature), texts, shown, by_hmac=True, fits=_by_secret, amazons=scheme == "AWS"
    )


def _in_url(request: Request, path: bytes, now: float) -> Signed:
    params = request.params
    head = _head(request, _expiry(request, _IN_URL, now), "x-goog-", OF_CLIENTS)
    more = sorted(
        (name.lower(), value)
        for name, value in pairs_of(request)
        if name not in _IN_URL and name.lower() not in _BESIDE
    )
    tails = [f"?{urlencode(more)}" if more else ""]
    if more and not any(value for _, value in more):  # ?uploads
        tails.append("?" + "&".join(name for name, _ in more))
    resources = dict.fromkeys(own + tail for own in paths(path) for tail in tails)
    texts = tuple("\n".join((*head, one)) for one in resources)
    how: dict[str, Any] = {} if "@" in params["GoogleAccessId"] else {"by_hmac": True, "fits": _by_secret}
    signature = _decode(params["Signature"])
    return Signed(params["GoogleAccessId"], signature, texts, {"StringToSign": texts[0]}, **how)


def _head(request: Request, date: str, prefix: str, unsigned: frozenset[str]) -> list[str]:
    """The lines of the text that is signed before its resource."""
    extensions: dict[str, list[str]] = {}
    for name, value in request.scope["headers"]:
        key = name.decode("latin-1").lower()
        if key.startswith(prefix) and key not in unsigned and "encryption-key" not in key:
            extensions.setdefault(key, []).append(" ".join(value.decode("latin-1").split()))
    return [
        request.method, request.headers.get("content-md5", ""), request.headers.get("content-type", ""), date,
        *(f"{name}:{','.join(extensions[name])}" for name in sorted(extensions)),
    ]  # fmt: skip


def _expiry(request: Request, needed: tuple[str, ...], now: float) -> str:
    """When a URL runs out, as it says that: seconds since the epoch."""
    require(needed, request.params)
    expires = request.params["Expires"]
    if not re.fullmatch(r"-?\d{1,12}", expires):
        raise InvalidArgument(f"Expires is a number of seconds, not {expires!r}.")
    check_time(now, float(expires), now)
    return expires


def _dated(request: Request, prefix: str, now: float) -> str:
    """The date that is signed: that of the header Date, or none where another header has it, which is signed, too."""
    own = request.headers.get(f"{prefix}date")
    told = own or request.headers.get("date", "")
    try:
        when = parsedate_to_datetime(told).timestamp()
    except ValueError:
        raise InvalidArgument(
            f"A signed request has a Date such as Tue, 01 Dec 2026 10:00:00 GMT, not {told[:80]!r}.",
            reason="MissingSecurityHeader",
        ) from None
    if abs(now - when) > SKEW:
        raise PermissionDenied(
            "The difference between the request time and the server's time is too large.",
            reason="RequestTimeTooSkewed",
        )
    return "" if own else told


def _decode(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument("Signature must be base64.") from None


def _by_secret(secret: str, text: bytes, signature: bytes) -> bool:
    return hmac.compare_digest(hmac.digest(secret.encode(), text, "sha1"), signature)
