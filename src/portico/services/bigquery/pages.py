"""Pages of BigQuery's lists."""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument
from portico.services.call import Call


def page(call: Call, kind: str, key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """One page of a list that is known as a whole."""
    start = token(call)
    size = int(call.params.get("maxResults") or len(items) or 1)
    shown = items[start : start + size]
    answer: dict[str, Any] = {"kind": kind, key: shown, "totalItems": len(items)}
    if start + size < len(items):
        answer["nextPageToken"] = str(start + size)
    return answer


def token(call: Call) -> int:
    """
    Raises:
        InvalidArgument: the page token is none of ours.
    """
    given = str(call.params.get("pageToken") or "0")
    if not given.isdigit():
        raise InvalidArgument(f"Invalid page token: {given!r}", reason="invalid", field="pageToken")
    return int(given)
