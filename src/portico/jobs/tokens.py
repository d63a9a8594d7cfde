"""What the code of a job shows as its own: a token that says on whose behalf it acts, and is good while the job runs.

It is signed with what the server's key file holds secret, which no job gets to see. That it is no JWT spares each job
the import of a library that signs, which takes longer than all else before its first line.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

from portico.store import jobs
from portico.store.database import Database
from portico.store.jobs import Job

_PREFIX = "portico-job."
REPLICAS = "replicas:"
"""What the job's id begins with in a token of a model's own server: the id of the set of its replicas follows."""


@dataclass(frozen=True, slots=True)
class Claims:
    """`account` is the service account as which the job with the id `job` acts; `until` in seconds since the epoch."""

    job: str
    account: str
    until: float


def key_file(home: Path) -> Path:
    """The service account key file of `home`, for GOOGLE_APPLICATION_CREDENTIALS."""
    return home / "credentials.json"


def mint(home: Path, claims: Claims) -> str:
    """A bearer token.

    Raises:
        OSError: this machine has no key file of the home's.
    """
    told = urlsafe_b64encode(json.dumps([claims.job, claims.account, claims.until]).encode())
    return f"{_PREFIX}{told.decode()}.{_signature(home, told)}"


def is_jobs(token: str) -> bool:
    return token.startswith(_PREFIX)


def verified(home: Path, token: str, now: float) -> Claims | None:
    """What a token says that was made here and has not run out; None for others."""
    told, _, signature = token.removeprefix(_PREFIX).partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(home, told.encode()).encode()):
        return None
    try:
        claims = Claims(*json.loads(urlsafe_b64decode(told)))
    except (binascii.Error, ValueError, TypeError):
        return None
    return claims if claims.until > now else None


def running(database: Database, claims: Claims) -> Job | None:
    """The job that a token was given to; None where it does not run any more."""
    with database.read() as connection:
        job = jobs.get(connection, claims.job)
    return job if job is not None and job.state == "RUNNING" else None


def _signature(home: Path, told: bytes) -> str:
    secret = json.loads(key_file(home).read_text())["private_key"].encode()
    return hmac.new(secret, b"job:" + told, hashlib.sha256).hexdigest()
