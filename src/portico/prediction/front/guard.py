"""Refuses what a web page in someone's browser could send to a loopback port (design decision 8)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from portico.errors import InvalidArgument, PermissionDenied

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HOST = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]+)?")
_OWN_SITES = frozenset({"", "none", "same-origin"})


class Guard:
    """Checks headers (lower-case names) before anything else is looked at. `hosts`: the names beside loopback's for
    which this server answers, "*.example.com" for all just below one."""

    def __init__(self, hosts: frozenset[str] = frozenset()) -> None:
        self._hosts = _LOOPBACK | hosts

    def check(self, headers: Mapping[str, str], led_here: Collection[str] = ()) -> None:
        """`led_here`: the ways (Sec-Fetch-Mode) in which another site may send a browser here all the same, since what
        it asks for proves by itself that it is meant.

        Raises:
            PermissionDenied: a foreign Origin, a cross-site request, or a Host that is not ours.
        """
        host = headers.get("host", "")
        name = _name(host)
        if name not in self._hosts and f"*.{name.partition('.')[2]}" not in self._hosts:
            raise PermissionDenied(f"This server does not answer for the host {host!r}; use 127.0.0.1.")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise PermissionDenied(f"Requests from the web origin {origin!r} are refused.")
        if not is_own(headers) and headers.get("sec-fetch-mode") not in led_here:
            site = headers.get("sec-fetch-site")
            raise PermissionDenied(f"Requests that a web page sends from elsewhere ({site}) are refused.")


def is_own(headers: Mapping[str, str]) -> bool:
    """Whether no page of another site has a browser send this."""
    return headers.get("sec-fetch-site", "") in _OWN_SITES


def require_json(headers: Mapping[str, str]) -> None:
    """A body must say that it is JSON: a web page can't send that across sites without asking first.

    Raises:
        InvalidArgument: it does not.
    """
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise InvalidArgument(
            f"The request body has the content type {media or '(none)'!r}; send application/json."
        )


def _name(host: str) -> str:
    """The host without its port; "" for what is no host (two Host headers come as one with a comma)."""
    match = _HOST.fullmatch(host)
    return match[1].lower() if match else ""
