"""Who is asking: the key file that `portico up` makes, the tokens signed with it, the tokens minted here, and those
that jobs show."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

from portico.clock import Clock
from portico.errors import InvalidArgument, Unauthenticated
from portico.jobs import tokens
from portico.jobs.tokens import key_file
from portico.prediction.front.peers import no_token
from portico.services.call import Caller
from portico.store.database import Database

PROJECT = "portico"
_EMAIL = f"developer@{PROJECT}.iam.gserviceaccount.com"
_LIFETIME = 3600  # seconds
_MAX_CACHED = 4096
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def write_key_file(home: Path, url: str) -> Path:
    """Makes the key file if it is missing and points its token address to `url`."""
    path = key_file(home)
    try:
        key: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        key = _new_key()
    token_uri = f"{url}/-/token"
    if key.get("token_uri") != token_uri:
        key["token_uri"] = token_uri
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(key, file, indent=2)
        temporary.replace(path)
    return path


def _new_key() -> dict[str, Any]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": os.urandom(20).hex(),
        "private_key": pem.decode(),
        "client_email": _EMAIL,
        "client_id": str(10**20 + int.from_bytes(os.urandom(8))),
        "universe_domain": "googleapis.com",
    }


class Identity:
    """Verifies bearer tokens. Thread-safe; verified tokens are remembered until they expire, by the monotonic clock:
    the wall clock, which may jump, is asked once."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._home, self._path = home, key_file(home)
        self._clock = clock
        self._database: Database | None = None  # opened when a job first shows its token: so after a fork
        self._key: dict[str, Any] = {}
        self._public: Any = None
        self._known: OrderedDict[str, tuple[float, Caller]] = OrderedDict()

    def caller(self, authorization: str | None, owner: bool = False) -> Caller:
        """The caller of a request with this Authorization header; without one the `owner`.

        Raises:
            Unauthenticated: the header is there and can't be verified, or it isn't and this is not the owner.
        """
        if not authorization:
            if owner:
                return Caller()
            raise no_token()
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("The Authorization header must be 'Bearer TOKEN'.")
        token = token.strip()
        if tokens.is_jobs(token):
            return self._job(token)
        known = self._known.get(token)
        if known is not None and known[0] > self._clock.monotonic():
            return known[1]
        claims = self._claims(token)
        caller = Caller(str(claims.get("sub") or claims.get("iss")))
        left = float(claims["exp"]) - self._clock.now()
        self._known[token] = (self._clock.monotonic() + left, caller)
        while len(self._known) > _MAX_CACHED:
            self._known.popitem(last=False)
        return caller

    def _job(self, token: str) -> Caller:
        """Asked anew each time: with the job its token ends."""
        claims = tokens.verified(self._home, token, self._clock.now())
        if claims is None:
            raise Unauthenticated("The token is none that this server gave to a job, or has run out.")
        self._database = self._database or Database(self._home)
        if not tokens.is_running(self._database, claims):
            raise Unauthenticated("The job that this token was given to does not run any more.")
        return Caller(claims.account)

    def mint(self, form: dict[str, str]) -> dict[str, Any]:
        """Answers the token endpoint (RFC 7523): a signed assertion for an access token.

        Raises:
            InvalidArgument: another grant type. Unauthenticated: the assertion can't be verified.
        """
        import jwt

        if form.get("grant_type") != _JWT_BEARER:
            raise InvalidArgument(f"grant_type must be {_JWT_BEARER}.", field="grant_type")
        claims = self._claims(form.get("assertion", ""))
        now = int(self._clock.now())
        token = jwt.encode(
            {"iss": "portico", "sub": claims["iss"], "iat": now, "exp": now + _LIFETIME},
            self._key["private_key"],
            algorithm="RS256",
            headers={"kid": self._key["private_key_id"]},
        )
        return {"access_token": token, "expires_in": _LIFETIME, "token_type": "Bearer"}

    def _claims(self, token: str) -> dict[str, Any]:
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public_key(),
                algorithms=["RS256"],
                options={
                    "require": ["exp", "iss"],
                    "verify_aud": False,
                    "verify_iat": False,
                },  # clocks go back
                leeway=10,
            )
        except (jwt.PyJWTError, OSError, ValueError) as error:
            raise Unauthenticated(
                f"The token can't be verified ({error}). Use the key file that `portico env` names."
            ) from None
        if claims["iss"] not in (self._key["client_email"], "portico"):
            raise Unauthenticated("The token's issuer is not an account of this server.")
        return claims

    def _public_key(self) -> Any:
        if self._public is None:
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            self._key = json.loads(self._path.read_text())
            private = load_pem_private_key(self._key["private_key"].encode(), None)
            self._public = private.public_key()
        return self._public
