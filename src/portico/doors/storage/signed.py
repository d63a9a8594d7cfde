"""Signed requests, V4: who signed one asks, whoever sends it. By an account's RSA key, or one of its HMAC keys. V2 is
in `signed_v2`.

https://cloud.google.com/storage/docs/authentication/canonical-requests,
https://cloud.google.com/storage/docs/authentication/signatures
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from portico.doors.storage.chunks import KINDS, Chain, Chunks
from portico.doors.storage.errors import WrongSignature
from portico.doors.storage.requests import Request
from portico.errors import InvalidArgument, PermissionDenied, Unimplemented
from portico.services.iam import rsa_keys

ALGORITHM: Final = "GOOG4-RSA-SHA256"
HMAC: Final = "GOOG4-HMAC-SHA256"
AMAZONS: Final = "AWS4-HMAC-SHA256"
_V4: Final = ("algorithm", "credential", "date", "expires", "signedheaders", "signature")
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_GOOGLES: Final = "storage.googleapis.com"
_LONGEST: Final = 7 * 24 * 3600  # seconds that a V4 URL may be good
SKEW: Final = 900.0  # seconds that the clock of who signs may be ahead
# What clients send by themselves, which changes nothing.
OF_CLIENTS: Final = frozenset({"x-goog-api-client", "x-goog-gcs-idempotency-token", "x-goog-user-project"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """Whose words a V4 signature is in: how its parameters and headers begin, what its key begins with, and how its
    scope ends."""

    prefix: str
    key: str
    ending: str


_GOOGLE: Final = Dialect("x-goog-", "GOOG4", "storage/goog4_request")
_AMAZON: Final = Dialect("x-amz-", "AWS4", "s3/aws4_request")


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request says of its signer: an account's address, or an HMAC key's id. `texts`: of one of these the
    signature must be; `shown`: the first of them. `fits`: whether a key makes a signature of a text. `amazons`: it is
    in Amazon's words, as the rest of the request is then. `goes_on`: takes the key, where more than this is signed."""

    signer: str
    signature: bytes
    texts: tuple[str, ...]
    shown: dict[str, str]
    by_hmac: bool = False
    fits: Callable[[Any, bytes, bytes], bool] = rsa_keys.verifies
    amazons: bool = False
    goes_on: Callable[[Any], None] | None = None

    def check(self, keys: Iterable[Any]) -> None:
        """
        Raises:
            WrongSignature: it is by none of these keys: public ones, or secrets.
        """
        for key in keys:
            if any(self.fits(key, text.encode(), self.signature) for text in self.texts):
                if self.goes_on is not None:
                    self.goes_on(key)
                return
        raise WrongSignature(self.shown)


def by_secret(scope: str, beginning: str = _GOOGLE.key) -> Callable[[str, bytes, bytes], bool]:
    """What tells whether an HMAC key's secret makes a V4 signature; `scope` is its credential's."""

    def fits(secret: str, text: bytes, signature: bytes) -> bool:
        key = _signing_key(secret, scope, beginning)
        return hmac.compare_digest(hmac.digest(key, text, "sha256"), signature)

    return fits


def _signing_key(secret: str, scope: str, beginning: str) -> bytes:
    key = f"{beginning}{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def pairs_of(request: Request) -> list[tuple[str, str]]:
    """The query's parameters, in their order."""
    return parse_qsl(request.scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)


def is_signed_header(authorization: str | None) -> bool:
    """Whether an Authorization header is a signature, and no token."""
    return bool(authorization) and str(authorization).startswith(("GOOG4-", "GOOG1 ", "AWS4-", "AWS "))


def is_shown(http: str, query: bytes) -> bool:
    """Whether it is a signed URL that only shows something: a page of any site may link to it."""
    return http in ("GET", "HEAD") and b"signature=" in query.lower()


def read(request: Request, path: bytes, now: float) -> Signed | None:
    """The signature of a request to `path`, /BUCKET/OBJECT as it came; None without one. What it says of the body is
    held when that is read.

    Raises:
        InvalidArgument: it is incomplete, malformed, or has run out. PermissionDenied: it is not good yet.
        Unimplemented: it is of another kind than Google's own.
    """
    pairs = pairs_of(request)
    by_name = {name.lower(): value for name, value in pairs}
    authorization = request.headers.get("authorization", "")
    if is_signed_header(authorization):
        dialect = _AMAZON if authorization.startswith("AWS4-") else _GOOGLE
        return _v4(request, path, pairs, _in_header(request, authorization, dialect), now, dialect)
    for dialect in (_GOOGLE, _AMAZON):
        if any(dialect.prefix + name in by_name for name in _V4):
            return _v4(request, path, pairs, by_name, now, dialect)
    return None


def _v4(
    request: Request,
    path: bytes,
    pairs: list[tuple[str, str]],
    by_name: dict[str, str],
    now: float,
    dialect: Dialect,
) -> Signed:
    prefix = dialect.prefix
    require([prefix + name for name in _V4], by_name)
    date, scope, algorithm = (by_name[prefix + one] for one in ("date", "credential", "algorithm"))
    signer, _, scope = scope.partition("/")
    by_hmac = check_algorithm(algorithm, signer, dialect)
    check_scope(scope, date, dialect.ending)
    begun, seconds = moment(date), by_name[f"{prefix}expires"]
    if not re.fullmatch(r"\d{1,7}", seconds) or not 1 <= int(seconds) <= _LONGEST:
        raise InvalidArgument(f"{prefix}expires must be between 1 and {_LONGEST} seconds, not {seconds!r}.")
    check_time(begun, begun + int(seconds), now)
    names = by_name[f"{prefix}signedheaders"].split(";")
    headers = _headers(request, names)
    payload = headers.get(f"{prefix}content-sha256", _UNSIGNED)
    if payload.startswith("STREAMING-"):
        if dialect is not _AMAZON or payload not in KINDS:
            raise Unimplemented(
                f"Bodies in chunks as {payload} are not built in Portico: one of {', '.join(KINDS)} is, signed by "
                f"{AMAZONS}."
            )
    elif payload != _UNSIGNED:
        request.must_hash_to(payload)
    rest = [pair for pair in pairs if pair[0].lower() != f"{prefix}signature"]
    queries = dict.fromkeys((_query(rest, whole=False), _query(rest, whole=True)))
    requests = [
        "\n".join((
            request.method, resource, query,
            "".join(f"{name}:{host if name == 'host' else headers[name]}\n" for name in names),
            ";".join(names), payload,
        ))
        for host, resource in dict.fromkeys(_places(path, headers["host"])) for query in queries
    ]  # fmt: skip
    texts = tuple(
        "\n".join((algorithm, date, scope, hashlib.sha256(one.encode()).hexdigest())) for one in requests
    )
    signature = unhex(by_name[f"{prefix}signature"])
    shown = {"StringToSign": texts[0], "CanonicalRequest": requests[0]}
    if dialect is _AMAZON:
        fits = by_secret(scope, dialect.key)
        goes_on = partial(_take_chunks, request, payload, date, scope, signature.hex())
        return Signed(
            signer, signature, texts, shown, by_hmac=True, fits=fits, amazons=True,
            goes_on=goes_on if payload in KINDS else None,
        )  # fmt: skip
    return Signed(signer, signature, texts, shown, **by_key(by_hmac, scope))


def _take_chunks(request: Request, payload: str, date: str, scope: str, signature: str, secret: str) -> None:
    """Has the body taken from its chunks; the request's `signature` is the one before the first's.

    Raises:
        InvalidArgument: the length of what is in them is no number.
    """
    told = request.headers.get("x-amz-decoded-content-length")
    if told is not None and not re.fullmatch(r"\d{1,15}", told, re.ASCII):
        raise InvalidArgument(f"x-amz-decoded-content-length is a number of bytes, not {told[:80]!r}.")
    chain = (
        Chain(_signing_key(secret, scope, _AMAZON.key), date, scope, signature) if KINDS[payload] else None
    )
    request.chunks = Chunks(chain, None if told is None else int(told))


def by_key(by_hmac: bool, scope: str) -> dict[str, Any]:
    """How a V4 signature is checked."""
    return {"by_hmac": True, "fits": by_secret(scope)} if by_hmac else {}


def check_algorithm(algorithm: str, signer: str, dialect: Dialect = _GOOGLE) -> bool:
    """Whether a V4 signature is by an HMAC key.

    Raises:
        Unimplemented: it is of a kind that is not built. InvalidArgument: its signer is none of its kind.
    """
    if algorithm not in ((ALGORITHM, HMAC) if dialect is _GOOGLE else (AMAZONS,)):
        raise others()
    if ("@" in signer) != (algorithm == ALGORITHM):
        kind = "an account's address" if algorithm == ALGORITHM else "the access id of an HMAC key"
        raise InvalidArgument(
            f"The credential of {algorithm} begins with {kind}, not with {signer[:80]!r}.",
            reason="InvalidCredential",
        )
    return algorithm != ALGORITHM


def _in_header(request: Request, authorization: str, dialect: Dialect) -> dict[str, str]:
    """What "GOOG4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…" says, as a URL would; good for as long as
    clocks may differ."""
    algorithm, _, rest = authorization.partition(" ")
    if algorithm not in (ALGORITHM, HMAC, AMAZONS):
        raise others()
    parts = dict(one.strip().partition("=")[::2] for one in rest.split(","))
    told = {
        "algorithm": algorithm,
        "credential": parts.get("Credential", ""),
        "date": request.headers.get(f"{dialect.prefix}date", ""),
        "expires": str(int(SKEW)),
        "signedheaders": parts.get("SignedHeaders", ""),
        "signature": parts.get("Signature", ""),
    }
    return {dialect.prefix + name: value for name, value in told.items()}


def check_scope(scope: str, date: str, ending: str = _GOOGLE.ending) -> None:
    """
    Raises:
        InvalidArgument: a credential's scope is not that of a request to Cloud Storage at this date.
    """
    parts = scope.split("/")
    if len(parts) != 4 or parts[0] != date[:8] or "/".join(parts[2:]) != ending:
        raise InvalidArgument(
            f"The credential's scope is DATE/LOCATION/{ending}, its date that of the signature: not {scope!r}."
        )


def moment(text: str) -> float:
    """Seconds since the epoch of 20261129T172420Z.

    Raises:
        InvalidArgument: it is no such time.
    """
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InvalidArgument(f"X-Goog-Date is a time such as 20261129T172420Z, not {text!r}.") from None


def check_time(begun: float, end: float, now: float) -> None:
    """
    Raises:
        InvalidArgument: it has run out. PermissionDenied: it begins too far in the future.
    """
    if now >= end:
        shown = datetime.fromtimestamp(end, UTC).isoformat()
        raise InvalidArgument(
            f"The provided token has expired. Request signature expired at: {shown}", reason="ExpiredToken"
        )
    if begun > now + SKEW:
        raise PermissionDenied(
            "The difference between the request time and the server's time is too large.",
            reason="RequestTimeTooSkewed",
        )


def unhex(text: str) -> bytes:
    """
    Raises:
        InvalidArgument: it is no signature of V4.
    """
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidArgument("X-Goog-Signature must be hexadecimal.") from None


def _headers(request: Request, names: list[str]) -> dict[str, str]:
    """The signed headers as they came: those that the URL names, among them the host, and whatever else Cloud Storage
    gives a meaning.

    Raises:
        InvalidArgument
    """
    found: dict[str, list[str]] = {}
    for name, value in request.scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(" ".join(value.decode("latin-1").split()))
    if "host" not in names:
        raise InvalidArgument("X-Goog-SignedHeaders must have host.", reason="MalformedSecurityHeader")
    for name in names:
        if name not in found:
            raise InvalidArgument(
                "Your request has a malformed header. Header was included in signedheaders, but not in the request: "
                f"{name}.",
                reason="MalformedSecurityHeader",
            )
    for name in found:
        if name.startswith(("x-goog-", "x-amz-")) and name not in names and name not in OF_CLIENTS:
            raise InvalidArgument(
                "Your request has a malformed header. Header was included in the request, but not in signedheaders: "
                f"{name}.",
                reason="MalformedSecurityHeader",
            )
    return {name: ",".join(values) for name, values in found.items()}


def _places(path: bytes, host: str) -> Iterator[tuple[str, str]]:
    """The hosts and paths that a URL may have been signed for which came here: this server's own, or Google's, whose
    clients are led here."""
    _, bucket, name = (path + b"/").split(b"/", 2)
    for own in paths(path):
        yield host, own
        yield _GOOGLES, own
    for inside in paths(b"/" + name.removesuffix(b"/")):
        yield f"{bucket.decode('latin-1')}.{_GOOGLES}", inside


def paths(path: bytes) -> Iterator[str]:
    """As it came, and as a client that escapes what needs it alone signs it, whatever sends it."""
    yield path.decode("latin-1")
    yield quote(unquote_to_bytes(path), safe="/~")


def _query(pairs: list[tuple[str, str]], *, whole: bool) -> str:
    """Ordered by name, or, as Python's client has it, by `whole` parameter."""
    quoted = [(quote(name, safe="~"), quote(value, safe="~")) for name, value in pairs]
    joined = [f"{name}={value}" for name, value in (quoted if whole else sorted(quoted))]
    return "&".join(sorted(joined) if whole else joined)


def require(names: Iterable[str], given: dict[str, str]) -> None:
    """
    Raises:
        InvalidArgument: one of them is not given.
    """
    for name in names:
        if not given.get(name):
            raise InvalidArgument(
                f"A signed URL needs the parameter {name}.", reason="MissingSecurityElement"
            )


def others() -> Unimplemented:
    """What a signature of another kind is answered with."""
    return Unimplemented(
        f"Signatures are read by {ALGORITHM}, {HMAC}, {AMAZONS}, and of version 2: others are not built in Portico."
    )
