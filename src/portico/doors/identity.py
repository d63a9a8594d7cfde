"""Who is asking: by tokens that this server gave, that keys of service accounts signed, or that jobs show."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from portico.clock import Clock
from portico.errors import NotFound, Unauthenticated
from portico.jobs import tokens as job_tokens
from portico.jobs.tokens import key_file
from portico.prediction.front.peers import no_token
from portico.services.call import ANONYMOUS, OWNER, Caller
from portico.services.iam import account_keys, accounts, hmac_keys, rsa_keys, sessions, tokens
from portico.services.iam.accounts import State
from portico.services.iam.bindings import acting
from portico.services.iam.changes import Changes
from portico.store import replicas
from portico.store.database import Database

PROJECT = "portico"
_MAX_CACHED = 4096
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SKEW: Final = 300  # seconds that the clocks of who signs may be ahead
# Where Google's clients say that they send an assertion, wherever they send it.
_TOKEN_ENDPOINTS: Final = (
    "https://oauth2.googleapis.com/token",
    "https://www.googleapis.com/oauth2/v4/token",
)
_HOSTS: Final = (".googleapis.com", ".vertexai.goog", ".localhost", "localhost", "127.0.0.1", "::1")


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
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": os.urandom(20).hex(),
        "private_key": rsa_keys.make(OWNER, 0).private,
        "client_email": OWNER,
        "client_id": str(10**20 + int.from_bytes(os.urandom(8))),
        "universe_domain": "googleapis.com",
    }


class NoToken(Exception):
    """The token endpoint's refusal: an error of RFC 6749, section 5.2, and what is wrong."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.body = {"error": error, "error_description": description}


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was verified: until when it is good (monotonic), and while how much has changed; None for the
    owner's. `audiences`: what it counts for, everything without any."""

    until: float
    changes: int | None
    caller: Caller
    audiences: tuple[str, ...]


class Identity:
    """Verifies bearer tokens. Thread-safe; verified tokens are remembered until they expire, by the monotonic clock:
    the wall clock, which may jump, is asked once. Those of others than the owner until an account or a key changes."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._home = home
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def caller(
        self,
        authorization: str | None,
        owner: bool = False,
        *,
        anonymous: bool = False,
        api: str = "",
        host: str = "",
    ) -> Caller:
        """The caller of a request with this Authorization header; without one the `owner`, or, where that is allowed,
        somebody `anonymous`. `api`: which one is called, at which `host`, where that is known already: what an account
        signed itself counts for the API that it names.

        Raises:
            Unauthenticated: the header is there and can't be verified, or it isn't and this is not the owner.
        """
        if not authorization:
            if owner:
                return Caller()
            if anonymous:
                return Caller(ANONYMOUS)
            raise no_token()
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("The Authorization header must be 'Bearer TOKEN'.")
        token = token.strip()
        if job_tokens.is_jobs(token):
            return self._job(token)
        known = self._known.get(token) or self._learnt(token, host)
        good = known.until > self._clock.monotonic()
        if not good or (known.changes is not None and known.changes != self._changes.number()):
            known = self._learnt(token, host)
        if api and known.audiences and not any(_is_for(one, api, host) for one in known.audiences):
            raise Unauthenticated(f"The token is for {', '.join(known.audiences)}, not for {api} here.")
        return known.caller

    def _learnt(self, token: str, host: str) -> _Known:
        changes = self._changes.number()
        claims = self._verified(token, host)
        caller, audience = Caller(claims["sub"]), claims.get("aud") or ()
        known = _Known(
            self._clock.monotonic() + float(claims["exp"]) - self._clock.now(),
            None if caller.owner else changes,
            caller,
            (audience,) if isinstance(audience, str) else tuple(map(str, audience)),
        )
        self._known[token] = known
        while len(self._known) > _MAX_CACHED:
            self._known.popitem(last=False)
        return known

    def _job(self, token: str) -> Caller:
        """Asked anew each time: with the job its token ends."""
        claims = job_tokens.verified(self._home, token, self._clock.now())
        if claims is None:
            raise Unauthenticated("The token is none that this server gave to a job, or has run out.")
        resource = self._works_on(claims)
        if resource is None:
            raise Unauthenticated("The job that this token was given to does not run any more.")
        with self._database.read() as connection:
            state = accounts.state(connection, claims.account)
        caller = acting(claims.account, resource, state)
        if caller is None:
            raise Unauthenticated(f"{claims.account} is {state.value}.")
        return caller

    def _works_on(self, claims: job_tokens.Claims) -> str | None:
        """The resource that a job is of, or that an image's own server serves ("": an agent's, which needs none); None
        where it does not run any more."""
        if not claims.job.startswith(job_tokens.REPLICAS):
            job = job_tokens.running(self._database, claims)
            return None if job is None else job.resource
        try:
            with self._database.read() as connection:
                replicas.get(connection, claims.job.removeprefix(job_tokens.REPLICAS))
        except NotFound:
            return None
        return ""

    def signer(self, name: str, *, by_hmac: bool) -> tuple[str, list[Any]] | None:
        """An account that signs what it gives to others, by its address or by the id of an HMAC key; and its public
        keys, or that key's secret: none of one that is disabled or deleted. None where there never was such a one."""
        if by_hmac:
            with self._database.read() as connection:
                return hmac_keys.signer(connection, name)
        keys = self._keys(name)
        return None if keys is None else (name, keys)

    def _keys(self, email: str) -> list[Any] | None:
        if accounts.is_owner(email):
            return [tokens.home_key(self._home).public]
        with self._database.read() as connection:
            state = accounts.state(connection, email)
            if state is State.UNKNOWN:
                return None
            held = account_keys.of(connection, accounts.named(email)) if state is State.ENABLED else []
        now = self._clock.now()
        return [rsa_keys.public(one) for key in held if (one := account_keys.usable(key, now))]

    def lasting(self, caller: Caller) -> Caller | None:
        """Who began something, when they go on with it; None where the account is not good any more."""
        if caller.owner or caller.anonymous:
            return caller
        with self._database.read() as connection:
            gone = accounts.state(connection, caller.email) in (State.DISABLED, State.DELETED)
        return None if gone else caller

    def session(self, token: str) -> tuple[str, str] | None:
        """Whose session a token is of, and which."""
        try:
            claims = self._signed(token)
        except Unauthenticated:
            return None
        ours = claims["iss"] == tokens.ISSUER and "sid" in claims
        return (str(claims["sub"]), str(claims["sid"])) if ours else None

    def mint(self, form: Mapping[str, str], host: str) -> dict[str, Any]:
        """Answers the token endpoint at `host` (RFC 7523): a signed assertion for an access token, or for an ID token
        where it names a `target_audience`.

        Raises:
            NoToken: it can't be verified, or asks for what is not given.
        """
        if form.get("grant_type") != _JWT_BEARER:
            raise NoToken("unsupported_grant_type", f"grant_type must be {_JWT_BEARER}.")
        try:
            claims = self._signed(form.get("assertion", ""))
        except Unauthenticated as error:
            raise NoToken("invalid_grant", error.message) from None
        email, audience = str(claims["iss"]), claims.get("aud")
        if audience not in (*_TOKEN_ENDPOINTS, f"http://{host}/-/token", f"https://{host}/-/token"):
            raise NoToken(
                "invalid_grant", f"The assertion's audience {audience!r} is not this token endpoint."
            )
        if claims.get("sub", email) != email:
            raise NoToken("unauthorized_client", "An account gets no tokens of others: sub must be iss.")
        now = self._clock.now()
        if target := claims.get("target_audience"):
            with self._database.read() as connection:
                found = (
                    None if accounts.is_owner(email) else accounts.require(connection, accounts.named(email))
                )
            number = found.body["uniqueId"] if found else email
            return {"id_token": tokens.id_token(self._home, email, number, str(target), now)}
        token = tokens.access_token(self._home, email, now, tokens.LONGEST)
        return {"access_token": token, "expires_in": tokens.LONGEST, "token_type": "Bearer"}

    def _verified(self, token: str, host: str) -> dict[str, Any]:
        """The claims of a token with which somebody may call, at `host`, `sub` being who it is.

        Raises:
            Unauthenticated: it is none.
        """
        claims = self._signed(token)
        if claims["iss"] == tokens.ISSUER:
            if not accounts.is_owner(str(claims.get("sub"))):
                self._require_active(str(claims.get("sub")))
            if "sid" in claims:
                with self._database.read() as connection:
                    if not sessions.stands(connection, claims["sub"], claims["sid"]):
                        raise Unauthenticated("The session of this token has ended. Sign in again.")
            return claims
        if claims.get("sub", claims["iss"]) != claims["iss"]:
            raise Unauthenticated("An account signs for itself alone: the token's sub must be its iss.")
        audience = claims.get("aud")
        if audience is None and not claims.get("scope"):
            raise Unauthenticated("The token says neither for which API it is (aud) nor for which scope.")
        for one in [audience] if isinstance(audience, str) else audience or ():
            if not _is_api(str(one), host):
                raise Unauthenticated(f"The token is for {one!r}, not for an API that is served here.")
        return claims | {"sub": claims["iss"]}

    def _signed(self, token: str) -> dict[str, Any]:
        """The claims of a JWT that this server signed as an access token, or an account that may sign with its key.

        Raises:
            Unauthenticated: it is none, has run out, or its key or account is gone or disabled.
        """
        import jwt

        try:
            home = tokens.home_key(self._home)
            key_id = jwt.get_unverified_header(token).get("kid", home.id)
            if key_id == home.id:
                claims = self._decoded(token, home.public)
                if claims["iss"] not in (home.email, tokens.ISSUER):
                    raise Unauthenticated("The token's issuer is not an account of this server.")
                return claims
            told = jwt.decode(token, options={"verify_signature": False})
            email = str(told.get("iss"))
            with self._database.read() as connection:
                held = account_keys.certificate(
                    connection, accounts.named(email), str(key_id), self._clock.now()
                )
            if held is None:
                raise Unauthenticated(
                    f"The key {key_id!r} is none of an account of this server, or is disabled."
                )
            claims = self._decoded(token, rsa_keys.public(held))
            if float(claims["exp"]) > self._clock.now() + tokens.LONGEST + _SKEW:
                raise Unauthenticated("The token is good for more than an hour: sign one that ends earlier.")
        except (jwt.PyJWTError, OSError, ValueError, KeyError) as error:
            raise Unauthenticated(
                f"The token can't be verified ({error}). Use the key file that `portico env` names, or one of a "
                "service account."
            ) from None
        self._require_active(email)
        return claims

    def _decoded(self, token: str, key: Any) -> dict[str, Any]:
        import jwt

        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["RS256"], leeway=10,
            options={"require": ["exp", "iss"], "verify_aud": False, "verify_iat": False},  # clocks go back
        )  # fmt: skip
        return claims

    def _require_active(self, email: str) -> None:
        """
        Raises:
            Unauthenticated: there is no such account or user, or it is disabled.
        """
        with self._database.read() as connection:
            state = accounts.state(connection, email)
        if state is State.ENABLED:
            return
        raise Unauthenticated(
            f"{email} is disabled." if state is State.DISABLED else f"{email} is no account of this server."
        )

    @cached_property
    def _database(self) -> Database:
        return Database(self._home)  # when it is first asked: so after a fork

    @cached_property
    def _changes(self) -> Changes:
        return Changes(self._database)


def _is_api(audience: str, here: str) -> bool:
    """Whether it is the address of an API, at Google's or of this server, which was reached as `here`; the token
    endpoint is none."""
    try:
        parts = urlsplit(audience)
        name = (parts.hostname or "").lower()
        own = urlsplit(f"//{here}").hostname or ""
    except ValueError:
        return False
    return (_is_known(name) or name == own != "") and not parts.path.rstrip("/").endswith("/token")


def _is_known(name: str) -> bool:
    return any(name == one or (one[0] == "." and name.endswith(one)) for one in _HOSTS)


def _is_for(audience: str, api: str, host: str) -> bool:
    """Whether a call of `api` at `host` is what this address of an API means."""
    try:
        parts = urlsplit(audience)
        here = urlsplit(f"{parts.scheme}://{host}")
        same_port = (parts.port or 0) == (here.port or 0)
    except ValueError:
        return False
    name = (parts.hostname or "").lower()
    for domain in (".googleapis.com", ".vertexai.goog"):
        if name.endswith(domain):
            labels = name.removesuffix(domain).split(".")
            served = domain == ".vertexai.goog" and api == "aiplatform"
            return served or labels == ["www"] or any(one == api or one.endswith(f"-{api}") for one in labels)
    if host and not (same_port and (_is_known(name) or name == here.hostname)):
        return False
    first, _, rest = parts.path.strip("/").partition("/")
    return first != "apis" or rest.partition("/")[0] in ("", api)
