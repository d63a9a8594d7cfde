"""The one exception family: Google's canonical codes, rendered at the door as HTTP (later as gRPC).

A message says what is wrong and what to change, for the person who reads it in a client's traceback.
Codes and HTTP statuses: google/rpc/code.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One offending field of a request, as in google.rpc.BadRequest."""

    field: str
    description: str


class PorticoError(Exception):
    """Base of everything that Portico answers with an error.

    `field` names the offending request field (a dotted path). `reason` is the machine-readable word that
    Cloud Storage puts into `errors[].reason`. `retry_after` (seconds) becomes a Retry-After header.
    `http_status` overrides the status that belongs to the code (Cloud Storage's 412, for example).
    `metadata` is that of a google.rpc.ErrorInfo, which clients of gRPC read.
    """

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        violations: Sequence[Violation] = (),
        reason: str = "",
        retry_after: float | None = None,
        http_status: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = list(violations) or ([Violation(field, message)] if field else [])
        self.reason = reason
        self.retry_after = retry_after
        self.http_status = http_status or self.status
        self.metadata = metadata or {}


class InvalidArgument(PorticoError):
    code, status = "INVALID_ARGUMENT", 400


class FailedPrecondition(PorticoError):
    code, status = "FAILED_PRECONDITION", 400


class OutOfRange(PorticoError):
    code, status = "OUT_OF_RANGE", 400


class Unauthenticated(PorticoError):
    code, status = "UNAUTHENTICATED", 401


class PermissionDenied(PorticoError):
    """`permission` is what the caller lacks on `resource`, a full name."""

    code, status = "PERMISSION_DENIED", 403

    def __init__(self, message: str, *, permission: str = "", resource: str = "", **more: Any) -> None:
        super().__init__(message, **more)
        self.permission = permission
        self.resource = resource


class NotFound(PorticoError):
    code, status = "NOT_FOUND", 404


class AlreadyExists(PorticoError):
    code, status = "ALREADY_EXISTS", 409


class Aborted(PorticoError):
    """A concurrent change won: a stale etag, a lost race. The caller reads again and retries."""

    code, status = "ABORTED", 409


class ResourceExhausted(PorticoError):
    code, status = "RESOURCE_EXHAUSTED", 429


class Cancelled(PorticoError):
    code, status = "CANCELLED", 499


class Internal(PorticoError):
    code, status = "INTERNAL", 500


class DataLoss(PorticoError):
    code, status = "DATA_LOSS", 500


class Unimplemented(PorticoError):
    """What Google has and Portico has not. Every message has the words "not built", by which a reader, or a search of a
    log, tells it from a mistake of theirs; one that says it otherwise gets them."""

    code, status = "UNIMPLEMENTED", 501

    def __init__(self, message: str, **more: Any) -> None:
        if "not built" not in message:
            message = f"{message.rstrip().rstrip('.')}. This is not built in Portico."
        super().__init__(message, **more)


class Unavailable(PorticoError):
    code, status = "UNAVAILABLE", 503


class DeadlineExceeded(PorticoError):
    code, status = "DEADLINE_EXCEEDED", 504


# google/rpc/code.proto
NUMBERS = {
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}


def rpc_status(error: PorticoError) -> dict[str, object]:
    """`error` as google.rpc.Status, the form in which operations and jobs keep it."""
    return {"code": NUMBERS[error.code], "message": error.message}


BY_CODE: dict[str, type[PorticoError]] = {kind.code: kind for kind in PorticoError.__subclasses__()}
