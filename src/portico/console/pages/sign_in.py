"""Signing in, by a password or with a token, for who is not known by their socket; and out again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from portico.console.api import Api, Visitor
from portico.console.looking import BASE, Looking, page
from portico.errors import InvalidArgument, NotFound, PermissionDenied, PorticoError

_GOING: Final = "portico-company"  # what a browser that set out for the provider must bring back
_MINUTES: Final = 10


@page("/sign-in")
def sign_in(looking: Looking) -> Response:
    to, company = _to(looking.query.get("to", "")), {}
    if not looking.signed_in:
        try:
            company = _asked(looking, "GET", "/-/company")
        except PorticoError:
            pass  # without it one signs in by password
    return looking.show("sign_in.html", "Sign in", to=to, company=company)


@page("/sign-in", "POST")
def signed_in(looking: Looking) -> Response:
    """
    Raises:
        Unauthenticated: the token is not good. PermissionDenied: address and password do not fit.
    """
    form = looking.form
    if form.get("username"):
        asked = {"grant_type": "password", "username": form["username"], "password": form.get("password", "")}
        token = _granted(looking, asked)
        _posted(looking, "/-/revoke", {"token": looking.session})  # of whoever was signed in here
        return looking.began(token, looking.go(_to(form.get("to", ""))))
    token = form.get("token", "").strip()
    if not token or any(c.isspace() for c in token):
        raise InvalidArgument(
            "Write your address and your password, or paste the whole token, and nothing else."
        )
    try:
        Api(looking.server, Visitor(owner=False, authorization=f"Bearer {token}")).call("GET", "clock")
    except PermissionDenied:
        pass  # it is known whose it is
    return looking.began(token, looking.go(_to(form.get("to", ""))))


@page("/sign-out", "POST")
def signed_out(looking: Looking) -> Response:
    _posted(looking, "/-/revoke", {"token": looking.session})
    return looking.began("", looking.go(f"{BASE}/sign-in"))


@page("/sign-in/company")
def to_company(looking: Looking) -> Response:
    """Leads to the company's provider, with what only this browser can bring back."""
    provider = _asked(looking, "GET", "/-/company/provider")
    if "authorizationEndpoint" not in provider:
        raise NotFound(str(provider.get("error", {}).get("message", "No provider is set.")))
    kept = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
    digest = hashlib.sha256(kept["verifier"].encode()).digest()
    asked = {
        "response_type": "code", "client_id": provider["clientId"], "redirect_uri": _callback(looking),
        "scope": "openid email profile", "state": kept["state"], "nonce": kept["nonce"],
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="), "code_challenge_method": "S256",
    }  # fmt: skip
    address = provider["authorizationEndpoint"]
    response = looking.go(f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}")
    kept["to"] = _to(looking.query.get("to", ""))
    sealed = looking.request.app.state.sessions.seal(json.dumps(kept))
    # Lax: the way back begins at another site.
    response.set_cookie(
        _GOING, sealed, _MINUTES * 60, path=f"{BASE}/sign-in", httponly=True, samesite="lax",
        secure=looking.secure,
    )  # fmt: skip
    return response


@page("/sign-in/callback")
def from_company(looking: Looking) -> Response:
    """
    Raises:
        PermissionDenied: this browser did not set out for it, or the provider says nothing good.
    """
    going = looking.request.cookies.get(_GOING, "")
    opened = looking.request.app.state.sessions.opened(going, _MINUTES * 60)
    kept: dict[str, str] = json.loads(opened) if opened else {}
    if (
        not hmac.compare_digest(kept.get("state", "").encode(), looking.query.get("state", "").encode())
        or not kept
    ):
        raise PermissionDenied("This sign-in was not begun in this browser, or too long ago. Begin it again.")
    if said := looking.query.get("error"):
        raise PermissionDenied(
            f"The provider let you not in: {looking.query.get('error_description') or said}."
        )
    form = {
        "grant_type": "authorization_code", "code": looking.query.get("code", ""), "nonce": kept["nonce"],
        "code_verifier": kept["verifier"], "redirect_uri": _callback(looking),
    }  # fmt: skip
    token = _granted(looking, form)
    _posted(looking, "/-/revoke", {"token": looking.session})
    # No redirect: a browser sends strict cookies only on a way that began here.
    response = looking.began(token, looking.show("signed_in.html", "Signed in", to=kept["to"]))
    response.delete_cookie(_GOING, f"{BASE}/sign-in", httponly=True, samesite="lax")
    return response


def _callback(looking: Looking) -> str:
    scheme = "https" if looking.secure else "http"
    return f"{scheme}://{looking.request.headers.get('host', 'localhost')}{BASE}/sign-in/callback"


def _granted(looking: Looking, form: dict[str, str]) -> str:
    """The token that the server gives for what a visitor showed.

    Raises:
        PermissionDenied: it gives none.
    """
    found = _posted(looking, "/-/token", form)
    if "access_token" not in found:
        raise PermissionDenied(str(found.get("error_description", "The server let nobody in.")))
    return str(found["access_token"])


def _posted(looking: Looking, path: str, form: dict[str, str]) -> dict[str, Any]:
    """What the server answers to a form, as to anybody."""
    return _asked(looking, "POST", path, urlencode(form))


def _asked(looking: Looking, verb: str, path: str, form: str | None = None) -> dict[str, Any]:
    headers = {"content-type": "application/x-www-form-urlencoded"} if form is not None else {}
    _, _, content = Api(looking.server, Visitor(owner=False)).sent(verb, path, form, headers)
    found: dict[str, Any] = json.loads(content)
    return found


def _to(address: str) -> str:
    """Where to go on: a page of ours, and nowhere else."""
    plain = address.startswith(f"{BASE}/") and "//" not in address and "\\" not in address
    return address if plain and address.isprintable() else f"{BASE}/"
