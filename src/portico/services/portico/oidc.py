"""With whom a company's people sign in: one OpenID provider."""

from __future__ import annotations

import re
from typing import Any, Final

from portico.errors import InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.iam import oidc
from portico.services.iam.oidc import KIND, NAME, OidcPrivate
from portico.store import resources

_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


@implements("portico", "oidc.get")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        found = resources.get(connection, NAME)
    if found is None:
        raise NotFound("No provider is set: portico users company sets one.")
    return dict(found.body)


@implements("portico", "oidc.set")
def set_(call: Call) -> dict[str, Any]:
    """Who is let in by it must be a user, or becomes one where `createUsers` says so."""
    told = call.body
    issuer, client = str(told.get("issuer") or ""), str(told.get("clientId") or "")
    domains = [str(one).lower() for one in told.get("domains") or ()]
    for field, value in (
        ("issuer", issuer),
        ("clientId", client),
        ("clientSecret", told.get("clientSecret")),
    ):
        if not value:
            raise InvalidArgument(f"{field} is required.", field=field)
    for one in domains:
        if not _DOMAIN.fullmatch(one):
            raise InvalidArgument(f"{one!r} is no domain, such as example.com.", field="domains")
    if told.get("createUsers") and not domains:
        raise InvalidArgument(
            "createUsers needs domains: else whoever the provider knows is let in.", field="domains"
        )
    oidc.check_address(issuer)
    oidc.discovered(issuer)
    body: dict[str, Any] = {"issuer": issuer, "clientId": client, "domains": domains}
    body |= {
        "displayName": str(told.get("displayName") or issuer),
        "createUsers": bool(told.get("createUsers")),
    }
    now = call.rooms.clock.now()
    with call.rooms.database.write() as connection:
        if resources.get(connection, NAME) is not None:
            resources.delete(connection, NAME)
        resources.insert(
            connection, name=NAME, kind=KIND, parent="", body=body, now=now,
            private=OidcPrivate(str(told["clientSecret"])),
        )  # fmt: skip
    return body


@implements("portico", "oidc.delete")
def delete(call: Call) -> dict[str, Any]:
    """Sessions that stand go on."""
    with call.rooms.database.write() as connection:
        if resources.get(connection, NAME) is None:
            raise NotFound("No provider is set.")
        resources.delete(connection, NAME)
    return {}
