"""Tokens that this server signs, with the key of the home's key file: access tokens, and ID tokens as Google's."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from portico.jobs.tokens import key_file
from portico.services.iam import rsa_keys

ISSUER: Final = "portico"
GOOGLE: Final = "https://accounts.google.com"
LONGEST: Final = 3600  # seconds


@dataclass(frozen=True, slots=True)
class HomeKey:
    """`email` is the owner's account; `private` PEM, `public` the key as the library reads it."""

    id: str
    email: str
    private: str
    public: Any


def home_key(home: Path) -> HomeKey:
    """
    Raises:
        OSError, ValueError, KeyError: there is no key file, or it is damaged.
    """
    path = key_file(home)
    return _read(path, path.stat().st_mtime_ns)


@functools.lru_cache(8)
def _read(path: Path, changed: int) -> HomeKey:
    key = json.loads(path.read_text())
    return HomeKey(
        key["private_key_id"], key["client_email"], key["private_key"],
        rsa_keys.private(key["private_key"]).public_key(),
    )  # fmt: skip


def access_token(home: Path, email: str, now: float, seconds: int, *, session: str = "") -> str:
    """Good for so many seconds, as long as the account is, and its `session` where it is of one."""
    key = home_key(home)
    claims = {"iss": ISSUER, "sub": email, "iat": int(now), "exp": int(now) + seconds}
    if session:
        claims["sid"] = session
    return rsa_keys.sign_jwt(key.private, key.id, claims)


def id_token(
    home: Path, email: str, number: str, audience: str, now: float, *, with_email: bool = True
) -> str:
    """Says to `audience` who its bearer is; at this server it opens nothing."""
    key = home_key(home)
    claims = {
        "iss": GOOGLE,
        "sub": number,
        "azp": number,
        "aud": audience,
        "iat": int(now),
        "exp": int(now) + LONGEST,
    }
    if with_email:
        claims |= {"email": email, "email_verified": True}
    return rsa_keys.sign_jwt(key.private, key.id, claims)


def stamp(seconds: float) -> str:
    """A time in whole seconds, as google-auth reads it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def certificates(home: Path) -> dict[str, str]:
    """By key id, for `google.oauth2.id_token.verify_token`: the public key as PEM."""
    from cryptography.hazmat.primitives import serialization

    key = home_key(home)
    pem = key.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {key.id: pem.decode()}
