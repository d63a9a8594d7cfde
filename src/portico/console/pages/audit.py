"""The audit log: who did what, and whether the log is whole."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from portico.console.looking import PAGE, Looking, page

_PLACE = "/projects/{project}/locations/{location}"
_FIELDS = {
    "resource": "protoPayload.resourceName",
    "who": "protoPayload.authenticationInfo.principalEmail",
    "what": "protoPayload.methodName",
}


@page(f"{_PLACE}/audit")
def audit(looking: Looking) -> Response:
    asked = {name: looking.query.get(name, "").strip() for name in _FIELDS}
    parts = ['logName:"cloudaudit.googleapis.com"']
    parts += [f"{_FIELDS[name]}:{json.dumps(value)}" for name, value in asked.items() if value]
    body: dict[str, Any] = {
        "resourceNames": [f"projects/{looking.project}"],
        "filter": " AND ".join(parts),
        "orderBy": "timestamp desc",
        "pageSize": PAGE,
        "pageToken": looking.query.get("page", ""),
    }
    found = looking.api.call("POST", "/apis/logging/v2/entries:list", body)
    verdict = None
    if looking.query.get("verify"):
        verdict = looking.api.call("GET", "audit:verify")
    more = found.get("nextPageToken", "")
    return looking.show(
        "audit.html",
        "Audit",
        entries=found.get("entries") or [],
        asked=asked,
        more=looking.with_query(page=more, verify="") if more else "",
        verdict=verdict,
    )
