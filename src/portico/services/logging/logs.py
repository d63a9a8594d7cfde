"""Logs: each is there as long as it has entries."""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.logging import serving
from portico.services.logging.entries import LOG
from portico.services.standard import pages
from portico.store import audit, log_entries


@implements("logging", "logs.list", "projects.logs.list")
def logs_list(call: Call) -> dict[str, Any]:
    """The logs of what was written by this API, the audit log's, and serving's."""
    parent = str(call.params["parent"])
    size = pages.page_size(call.params.get("pageSize"), default=50, maximum=1000)
    after = pages.read_token(call.params.get("pageToken", ""), "logs", parent)
    with call.rooms.database.read() as connection:
        read = (log_entries.logs, audit.logs, serving.logs)
        every = sorted({log for logs in read for log in logs(connection, parent)})
    found = [log for log in every if after is None or log > after]
    answer: dict[str, Any] = {"logNames": found[:size]} if found else {}
    if len(found) > size:
        answer["nextPageToken"] = pages.write_token(found[size - 1], "logs", parent)
    return answer


@implements("logging", "logs.delete", "projects.logs.delete")
def logs_delete(call: Call) -> dict[str, Any]:
    name = str(call.params["logName"])
    if not LOG.fullmatch(name):
        raise InvalidArgument(f"{name!r} is not projects/PROJECT/logs/LOG.", field="logName")
    if audit.LOGS in name:
        raise InvalidArgument("The audit log can't be deleted.", field="logName")
    if name.endswith((serving.CONTAINER, serving.ACCESS)):
        raise InvalidArgument(
            "What serving writes is read from the prediction log and the replicas, and goes with them.",
            field="logName",
        )
    with call.rooms.database.write() as connection:
        if not log_entries.delete(connection, name):
            raise NotFound(f"The log {name!r} has no entries.")
    return {}
