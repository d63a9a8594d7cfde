"""`portico audit`: who did what, and whether the log of it is whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portico.cli.options import Home, Json, Project, group, home_of, print_json

if TYPE_CHECKING:
    from portico.client.api import Client

audit = group("Who did what: the audit log.")
_PAGE = 1000


@audit.command("list")
def list_(
    filter: Annotated[str, typer.Argument(help="In the Logging query language.", show_default=False)] = "",
    resource: Annotated[str, typer.Option(help="What it was done to: a resource's name.")] = "",
    who: Annotated[str, typer.Option(help="Who did it: an account's e-mail address.")] = "",
    limit: Annotated[int, typer.Option(help="How many entries, the newest first.")] = 50,
    project: Project = "portico",
    home: Home = None,
    json: Json = False,
) -> None:
    """List what was done, the newest first."""
    from portico.client.api import Client

    wanted = ['logName:"cloudaudit.googleapis.com"', f"({filter})" if filter else ""]
    wanted.append(f'protoPayload.resourceName="{resource}"' if resource else "")
    wanted.append(f'protoPayload.authenticationInfo.principalEmail="{who}"' if who else "")
    client = Client(home=home_of(home))
    found = list(entries(client, project, " AND ".join(filter_ for filter_ in wanted if filter_), limit))
    if json:
        print_json(found)
    else:
        none = f"Nothing that was done in the project {project!r} fits; --project names another."
        print("\n".join(map(_line, found)) or none)


@audit.command()
def verify(
    expect: Annotated[
        str, typer.Option(help="NUMBER:DIGEST as it was printed before; the log must still have it.")
    ] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """Look whether any entry was cut, edited or put elsewhere; the exit status is 1 where one was."""
    from portico.client.api import Client

    number, _, digest = expect.partition(":")
    query = {"expectNumber": number, "expectDigest": digest} if expect else {}
    found = Client(home=home_of(home)).call("GET", "audit:verify", **query)
    if json:
        print_json(found)
    elif found["whole"]:
        print(
            f"The audit log is whole: {found['entries']} entries, the last {found['last']}:{found['digest']}"
        )
    else:
        print(f"The audit log is broken at entry {found['broken']}: {found['reason']}.")
    sys.exit(0 if found["whole"] else 1)


@audit.command()
def export(
    to: Annotated[str, typer.Option(help="gs://BUCKET/OBJECT, as JSON lines, or bq://DATASET.TABLE.")],
    project: Project = "portico",
    home: Home = None,
) -> None:
    """Copy the whole audit log to Cloud Storage or into a table of BigQuery, each entry with its number and digest."""
    from portico.client.api import Client

    if to.startswith("bq://") and to.count(".") == 1 and ":" not in to.removeprefix("bq://"):
        to = f"bq://{project}.{to.removeprefix('bq://')}"
    found = Client(home=home_of(home)).call("POST", "audit:export", {"uri": to})
    print(f"{found['entries']} entries written to {to}")


def entries(client: Client, project: str, filter: str, limit: int) -> Iterator[dict[str, Any]]:
    """Those of the project that pass, the newest first."""
    body: dict[str, Any] = {
        "resourceNames": [f"projects/{project}"],
        "filter": filter,
        "orderBy": "timestamp desc",
    }
    while limit > 0:
        body["pageSize"] = min(limit, _PAGE)
        answer = client.call("POST", "/apis/logging/v2/entries:list", body)
        yield from answer.get("entries", [])
        limit -= len(answer.get("entries", []))
        body["pageToken"] = answer.get("nextPageToken", "")
        if not body["pageToken"]:
            return


def _line(entry: dict[str, Any]) -> str:
    told = entry["protoPayload"]
    failed = f": {told['status']['message']}" if "status" in told else ""
    who = told["authenticationInfo"]["principalEmail"]
    return f"{entry['timestamp'][:19]}Z  {who}  {method(entry)}  {told['resourceName']}{failed}"


def method(entry: dict[str, Any]) -> str:
    """What was done, in short: EndpointService.CreateEndpoint."""
    return ".".join(entry["protoPayload"]["methodName"].split(".")[-2:])
