"""What clients use on the wire and the discovery documents lack (design decision 1): where operations are polled."""

from __future__ import annotations

import functools
import re

from portico.doors.contract.documents import Match, Method, Parameter
from portico.services.standard.apis import declared

_REST = r"/operations(?:/(?P<id>[^/:]+)(?::(?P<verb>wait|cancel))?)?"
_VERBS = {
    ("GET", True, None): "get",
    ("GET", False, None): "list",
    ("DELETE", True, None): "delete",
    ("POST", True, "wait"): "wait",
    ("POST", True, "cancel"): "cancel",
}
_PARAMETERS = tuple(
    Parameter(name, kind, form, False, (), False)
    for name, kind, form in (
        ("filter", "string", ""),
        ("pageSize", "integer", "int32"),
        ("pageToken", "string", ""),
        ("returnPartialSuccess", "boolean", ""),
        ("timeout", "string", "google-duration"),
    )
)


@functools.cache
def _patterns() -> list[tuple[str, tuple[str, ...], re.Pattern[str]]]:
    return [
        (api.name, api.versions, re.compile(api.root + api.operations + _REST))
        for api in declared().values()
        if api.operations
    ]


def match(http: str, raw_path: str) -> Match | None:
    """The operation method that `http` on `raw_path` means, or None."""
    for api, versions, pattern in _patterns():
        found = pattern.fullmatch(raw_path.strip("/"))
        verb = found and _VERBS.get((http, found["id"] is not None, found["verb"]))
        if found is None or verb is None:
            continue
        name = f"{found['parent']}/operations/{found['id']}" if found["id"] else found["parent"]
        version = found["prefix"] if found["prefix"] in versions else versions[0]
        path = f"{version}/{{+name}}" + (f":{found['verb']}" if found["verb"] else "")
        method = f"projects.locations.operations.{verb}"
        return Match(Method(api, version, method, http, path, path, _PARAMETERS, "", "", ""), {"name": name})
    return None
