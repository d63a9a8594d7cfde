"""`portico users group`: who is in which group."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from portico.cli.identities import call
from portico.cli.options import Home, Json, group, print_json
from portico.errors import AlreadyExists

groups = group("Groups, as which policies name many at once: group:EMAIL.")

Group = Annotated[str, typer.Argument(help="The group's address.", show_default=False)]
Members = Annotated[
    list[str] | None, typer.Argument(help="Addresses of users, service accounts, groups.", show_default=False)
]


@groups.command()
def add(group: Group, members: Members = None, home: Home = None, json: Json = False) -> None:
    """Put members into a group, which is made where it is missing."""
    try:
        found = call(home, "POST", "groups", {"email": group})
    except AlreadyExists:
        found = call(home, "GET", f"groups/{group}")
    for member in members or ():
        found = call(home, "POST", f"groups/{group}:addMember", {"member": member})
    _told(found, json)


@groups.command()
def remove(group: Group, members: Members = None, home: Home = None, json: Json = False) -> None:
    """Take members out of a group."""
    found = call(home, "GET", f"groups/{group}")
    for member in members or ():
        found = call(home, "POST", f"groups/{group}:removeMember", {"member": member})
    _told(found, json)


@groups.command("list")
def list_(
    group: Annotated[str, typer.Argument(help="The group's address; all without one.")] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """List the groups, or the members of one."""
    if group:
        _told(call(home, "GET", f"groups/{group}"), json)
        return
    found = call(home, "GET", "groups").get("groups") or []
    if json:
        print_json(found)
    else:
        made = [f"{one['email']}  ({len(one.get('members') or ())} members)" for one in found]
        print("\n".join(made) or "There are no groups; portico users group add makes one.")


@groups.command()
def delete(group: Group, home: Home = None) -> None:
    """Forget a group; its members stay."""
    call(home, "DELETE", f"groups/{group}")


def _told(group: dict[str, Any], json: bool) -> None:
    if json:
        print_json(group)
    else:
        print("\n".join([group["email"], *(f"  {one}" for one in group.get("members") or ())]))
