"""A company's people by its OpenID provider: what the provider says of itself, and of who signed in.

https://openid.net/specs/openid-connect-core-1_0.html (3.1, the authorization code flow), RFC 7636 (PKCE)
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from portico.errors import InvalidArgument, PermissionDenied, Unavailable
from portico.store.resources import Private

KIND: Final = "portico:oidc"
NAME: Final = "oidc/provider"
# Never one with a shared secret, nor none.
_ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
_TIMEOUT: Final = 10.0  # seconds
_MOST: Final = 1 << 20  # bytes of an answer
_FRESH: Final = 600.0  # seconds that what a provider says of itself is remembered
_SKEW: Final = 60  # seconds


class OidcPrivate(Private):
    client_secret: str = ""


@dataclass(frozen=True, slots=True)
class Provider:
    """What a provider says of itself. `by_form`: it takes the client's secret in the form alone."""

    issuer: str
    authorization: str
    token: str
    keys: str
    algorithms: tuple[str, ...]
    by_form: bool


_known: dict[str, tuple[float, Any]] = {}  # what was fetched, by address
_lock = threading.Lock()


def discovered(issuer: str) -> Provider:
    """
    Raises:
        InvalidArgument: it is no provider. Unavailable: it does not answer.
    """
    told = _fetched(issuer.rstrip("/") + "/.well-known/openid-configuration")
    if told.get("issuer") != issuer:
        raise InvalidArgument(f"What is at {issuer} says that it is {told.get('issuer')!r}.", field="issuer")
    offered = told.get("id_token_signing_alg_values_supported") or ["RS256"]
    algorithms = tuple(one for one in offered if one in _ALGORITHMS)
    if not algorithms:
        raise InvalidArgument(f"{issuer} signs with a shared secret, or not at all.", field="issuer")
    methods = told.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    authorization, token, keys = (
        str(told.get(one) or "") for one in ("authorization_endpoint", "token_endpoint", "jwks_uri")
    )
    for address in (authorization, token, keys):
        check_address(address, led_by=issuer)
    return Provider(issuer, authorization, token, keys, algorithms, "client_secret_basic" not in methods)


def check_address(address: str, led_by: str = "") -> None:
    """`led_by`: the address that named this one, or redirected to it.

    Raises:
        InvalidArgument: what is said there could be read on the way, or somebody elsewhere leads to this machine.
    """
    parts, here = urlsplit(address), _is_loopback(address)
    if led_by and here and not _is_loopback(led_by):
        raise InvalidArgument(f"{led_by} leads to {address!r}, on this machine.", field="issuer")
    if not (parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and here))):
        raise InvalidArgument(f"{address!r} is no https address.", field="issuer")


class _Redirects(HTTPRedirectHandler):
    """Looks at each address that is redirected to, and takes no secret there."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if req.data is not None:
            return None  # is told as an error
        check_address(newurl, led_by=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener: Final = build_opener(_Redirects)


def who(
    provider: Provider, client: Mapping[str, Any], secret: str, form: Mapping[str, str], now: float
) -> tuple[str, str]:
    """The address that the provider says somebody has, in lower case, and who that is for it. `form`: the `code` that
    they brought, the `code_verifier` and the `nonce` of this sign-in, and the `redirect_uri`.

    Raises:
        PermissionDenied: it says nothing that can be relied on. Unavailable: it does not answer.
    """
    asked = {"grant_type": "authorization_code"}
    asked |= {name: form.get(name, "") for name in ("code", "code_verifier", "redirect_uri")}
    headers = {}
    if provider.by_form:
        asked |= {"client_id": client["clientId"], "client_secret": secret}
    else:
        pair = f"{quote(client['clientId'], safe='')}:{quote(secret, safe='')}"
        headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    told = _asked(Request(provider.token, urlencode(asked).encode(), headers))
    claims = _claims(provider, str(told.get("id_token") or ""), client["clientId"], now)
    if not form.get("nonce") or not hmac.compare_digest(str(claims.get("nonce", "")), form["nonce"]):
        raise PermissionDenied("The provider's answer is not of this sign-in.")
    email = str(claims.get("email") or "").lower()
    if not email or claims.get("email_verified") is not True:
        raise PermissionDenied("The provider does not say that an e-mail address of yours is verified.")
    return email, f"{provider.issuer} {claims['sub']}"


def _claims(provider: Provider, token: str, client: str, now: float) -> dict[str, Any]:
    import jwt

    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in provider.algorithms:
            raise PermissionDenied("The provider's token is not signed as the provider says that it signs.")
        key = _key(provider, header)
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=[str(header["alg"])],
            audience=client, issuer=provider.issuer, leeway=_SKEW,
            options={"require": ["exp", "iat", "sub", "aud", "iss"]},
        )  # fmt: skip
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise PermissionDenied(f"The provider's token can't be verified: {error}.") from None
    audience = claims["aud"]
    if claims.get("azp", client) != client or (
        isinstance(audience, list) and len(audience) > 1 and "azp" not in claims
    ):
        raise PermissionDenied("The provider's token is for somebody else.")
    if float(claims["iat"]) < now - _FRESH:
        raise PermissionDenied("The provider's token is too old.")
    return claims


def _key(provider: Provider, header: Mapping[str, Any]) -> Any:
    """The key with which a token says that it is signed; asked for anew where it is not known yet.

    Raises:
        PermissionDenied: there is none.
    """
    import jwt

    for again in (False, True):
        keys = [
            one for one in _fetched(provider.keys, again=again).get("keys") or () if one.get("use") != "enc"
        ]
        found = [one for one in keys if one.get("kid") == header.get("kid")]
        if len(found) == 1:
            return jwt.PyJWK.from_dict(found[0], algorithm=str(header.get("alg"))).key
    raise PermissionDenied("The provider's token is signed with a key that it does not show.")


def _fetched(address: str, *, again: bool = False) -> dict[str, Any]:
    check_address(address)
    with _lock:
        until, told = _known.get(address, (0.0, None))
    if again or time.monotonic() > until:
        told = _asked(Request(address))
        with _lock:
            _known[address] = (time.monotonic() + _FRESH, told)
    found: dict[str, Any] = told
    return found


def _asked(request: Request) -> dict[str, Any]:
    request.add_header("accept", "application/json")
    host = urlsplit(request.full_url).netloc
    try:
        with _opener.open(request, timeout=_TIMEOUT) as answer:
            found = json.loads(answer.read(_MOST))
    except HTTPError as error:
        raise PermissionDenied(f"The provider at {host} refused: {error.code} {error.reason}.") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"The provider at {host} does not answer: {error}.") from None
    if not isinstance(found, dict):
        raise Unavailable(f"The provider at {host} answered with no JSON object.")
    return found


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
