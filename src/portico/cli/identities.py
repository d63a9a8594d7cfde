"""`portico users` and `portico iam`: who may call, and why they may do what they do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from portico.cli.options import Home, Json, group, home_of, print_json
from portico.errors import InvalidArgument

users = group("People who call with tokens of their own.")
iam = group("Who may do what.")

Email = Annotated[str, typer.Argument(help="The user's e-mail address.", show_default=False)]


@users.command()
def add(
    email: Email,
    name: Annotated[str, typer.Option(help="The name of the person.")] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """Make a user, who may do what policies say of user:EMAIL: nothing, until one says something."""
    _told(call(home, "POST", "users", {"email": email, "displayName": name}), json)


@users.command("list")
def list_(home: Home = None, json: Json = False) -> None:
    """List the users."""
    found = call(home, "GET", "users").get("users") or []
    if json:
        print_json(found)
    else:
        print("\n".join(map(_line, found)) or "There are no users; portico users add makes one.")


@users.command()
def disable(email: Email, home: Home = None, json: Json = False) -> None:
    """Let no token of a user's be good, until they are enabled."""
    _told(call(home, "POST", f"users/{email}:disable", {}), json)


@users.command()
def enable(email: Email, home: Home = None, json: Json = False) -> None:
    """Let a user's tokens be good again."""
    _told(call(home, "POST", f"users/{email}:enable", {}), json)


@users.command()
def delete(email: Email, home: Home = None) -> None:
    """Forget a user."""
    call(home, "DELETE", f"users/{email}")


@users.command()
def token(
    email: Annotated[str, typer.Argument(help="The user's e-mail address, or owner.", show_default=False)],
    seconds: Annotated[int, typer.Option(min=1, max=43200, help="How long it is good.")] = 3600,
    home: Home = None,
) -> None:
    """Print a token with which a user calls, google.oauth2.credentials.Credentials(TOKEN), or signs in to the console;
    for `owner` one of who runs the server, from another machine."""
    print(call(home, "POST", f"users/{email}:createToken", {"lifetime": f"{seconds}s"})["token"])


@users.command()
def password(
    email: Email,
    none: Annotated[bool, typer.Option("--none", help="Let them have none any more.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Give a user a password for the console, asked for here, or the first line of what is piped in. What they are
    signed in with ends."""
    import sys

    if none:
        chosen = ""
    elif sys.stdin.isatty():
        chosen = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        chosen = sys.stdin.readline().rstrip("\n")
    if not chosen and not none:
        raise InvalidArgument("There is no password to set; --none takes one away.")
    _told(call(home, "POST", f"users/{email}:setPassword", {"password": chosen}), json)


@users.command()
def company(
    issuer: Annotated[
        str, typer.Argument(help="The address of its OpenID provider; shows it without one.")
    ] = "",
    client_id: Annotated[str, typer.Option(help="What the provider calls this server.")] = "",
    secret_file: Annotated[Path | None, typer.Option(help="A file with the client's secret.")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Whose addresses are let in; repeatable.")] = None,
    create: Annotated[bool, typer.Option("--create", help="Who is let in becomes a user.")] = False,
    name: Annotated[str, typer.Option(help="What the console calls it.")] = "",
    off: Annotated[bool, typer.Option("--off", help="Let nobody sign in that way any more.")] = False,
    home: Home = None,
) -> None:
    """Let a company's people sign in to the console with its OpenID provider, which leads them back to
    /-/console/sign-in/callback."""
    if off:
        call(home, "DELETE", "oidc")
        return
    if not issuer:
        print_json(call(home, "GET", "oidc"))
        return
    if secret_file is None:
        raise InvalidArgument("--secret-file names the file with the client's secret.")
    told = {
        "issuer": issuer, "clientId": client_id, "clientSecret": secret_file.expanduser().read_text().strip(),
        "displayName": name, "domains": domain or [], "createUsers": create,
    }  # fmt: skip
    print_json(call(home, "POST", "oidc:set", told))


@iam.command()
def why(
    principal: Annotated[
        str, typer.Argument(help="user:EMAIL, serviceAccount:EMAIL or the address alone.", show_default=False)
    ],
    permission: Annotated[str, typer.Argument(help="Such as aiplatform.models.get.", show_default=False)],
    resource: Annotated[
        str,
        typer.Argument(
            help="A full resource name, //SERVICE.googleapis.com/projects/…; gs://BUCKET/OBJECT; projects/PROJECT, or "
            "the name of what is in Vertex AI.",
            show_default=False,
        ),
    ],
    home: Home = None,
    json: Json = False,
) -> None:
    """Say whether somebody has a permission on something, and which bindings were looked at."""
    asked = {"principal": principal, "permission": permission, "fullResourceName": full_name(resource)}
    path = "/apis/policytroubleshooter/v1/iam:troubleshoot"
    found = call(home, "POST", path, {"accessTuple": asked})
    if json:
        print_json(found)
    else:
        print("\n".join(explained(asked, found)))


def full_name(resource: str) -> str:
    """The full name of what is named as one writes it elsewhere."""
    if found := re.fullmatch(r"gs://([^/]+)(?:/(.+))?", resource):
        inside = f"/objects/{found[2]}" if found[2] else ""
        return f"//storage.googleapis.com/projects/_/buckets/{found[1]}{inside}"
    if re.fullmatch(r"projects/[^/]+", resource):
        return f"//cloudresourcemanager.googleapis.com/{resource}"
    if found := re.fullmatch(r"projects/[^/]+/(serviceAccounts|roles|datasets)/.+", resource):
        return f"//{'bigquery' if found[1] == 'datasets' else 'iam'}.googleapis.com/{resource}"
    return f"//aiplatform.googleapis.com/{resource}" if resource.startswith("projects/") else resource


def explained(asked: dict[str, str], found: dict[str, Any]) -> Iterator[str]:
    """What the troubleshooter answered, a line a binding."""
    has = "has" if found["access"] == "GRANTED" else "does not have"
    yield f"{asked['principal']} {has} {asked['permission']} on {asked['fullResourceName']}."
    for policy in found.get("explainedPolicies") or ():
        yield f"  policy of {policy['fullResourceName']}"
        for one in policy["bindingExplanations"]:
            inside = [
                name
                for name, each in one["memberships"].items()
                if each["membership"] == "MEMBERSHIP_INCLUDED"
            ]
            reasons = []
            if one["rolePermission"] != "ROLE_PERMISSION_INCLUDED":
                reasons.append("the role lacks it")
            if not inside:
                reasons.append(f"its members are others: {', '.join(one['memberships']) or 'none'}")
            if not reasons and one["access"] != "GRANTED":
                reasons.append(f"its condition does not hold: {one['condition'].get('expression', '')}")
            grants = f"grants it to {', '.join(inside)}" if not reasons else f"does not: {'; '.join(reasons)}"
            yield f"    {one['role']} {grants}"
    if not found.get("explainedPolicies"):
        yield "  No policy counts for it: there is none, or it is not there."


def call(home: Any, verb: str, path: str, body: Any = None) -> dict[str, Any]:
    """A method of Portico's own API, of the server that runs on `home`."""
    from portico.client.api import Client

    return Client(home=home_of(home)).call(verb, path, body)


def _told(user: dict[str, Any], json: bool) -> None:
    if json:
        print_json(user)
    else:
        print(_line(user))


def _line(user: dict[str, Any]) -> str:
    name = f"  {user['displayName']}" if user.get("displayName") else ""
    return f"{user['email']}{name}{'  (disabled)' if user.get('disabled') else ''}"
