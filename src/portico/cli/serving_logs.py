"""What serving has left of an endpoint: the access log, and what its models' own processes wrote, as log entries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from portico.cli.audit import entries
from portico.client.api import Client

_MOST = 100  # entries that are shown
_POLL = 1.0  # seconds between two looks


def newest(client: Client, endpoint: str, since: str = "") -> list[dict[str, Any]]:
    """The newest entries, the oldest of them first; `since` an RFC 3339 time."""
    _, project, _, location, _, endpoint_id = endpoint.split("/")
    wanted = [
        'resource.type="aiplatform.googleapis.com/Endpoint"',
        f'resource.labels.endpoint_id="{endpoint_id}"',
        f'resource.labels.location="{location}"',
    ]
    wanted += [f'timestamp>="{since}"'] if since else []
    return list(entries(client, project, " AND ".join(wanted), _MOST))[::-1]


def followed(client: Client, endpoint: str) -> Iterator[dict[str, Any]]:
    """The newest entries, and those that come; never ends by itself."""
    since, seen = "", frozenset[str]()
    while True:
        found = newest(client, endpoint, since)
        yield from (entry for entry in found if entry["insertId"] not in seen)
        if found:
            since = found[-1]["timestamp"]
            seen = frozenset(entry["insertId"] for entry in found)
        time.sleep(_POLL)


def line(entry: dict[str, Any]) -> str:
    """An entry for people."""
    told, request = entry["jsonPayload"], entry.get("httpRequest")
    if request is None:
        where = "{deployed_model_id}/{replica_id}".format(**entry["labels"])
        return f"{entry['timestamp']}  {where}  {told['message']}"
    if "error" in told:
        return f"{entry['timestamp']}  {told['deployedModelId'] or '-'}  {told['error']['message']}"
    took = float(request["latency"].rstrip("s")) * 1000
    return (
        f"{entry['timestamp']}  {told['deployedModelId']}  {told['apiMethod']} {request['status']} in {took:.2f} ms, "
        f"request {told['requestId']}"
    )
