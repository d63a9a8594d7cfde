"""The address at which a caller reached this server."""

from __future__ import annotations

from collections.abc import Mapping


def base_url(headers: Mapping[str, str]) -> str:
    """By the headers of a request, of which the door says whether it came by TLS."""
    scheme = "https" if headers.get("x-forwarded-proto") == "https" else "http"
    return f"{scheme}://{headers.get('host', 'localhost')}"
