"""What clients use on the wire and the discovery documents lack (design decision 1)."""

from __future__ import annotations

import re

from portico.doors.contract import Match, Method, Parameter

# Operations are polled at /ui/projects/…/operations/N, and below resources that no document lists.
_OPERATION = re.compile(
    r"(?:(?P<prefix>ui|v1|v1beta1)/)?(?P<parent>projects/[^/]+/locations/[^/]+(?:/[^/]+/[^/]+)*)"
    r"/operations(?:/(?P<id>[^/:]+)(?::(?P<verb>wait|cancel))?)?"
)
_VERBS = {
    ("GET", True, None): "get",
    ("GET", False, None): "list",
    ("DELETE", True, None): "delete",
    ("POST", True, "wait"): "wait",
    ("POST", True, "cancel"): "cancel",
}


def match(http: str, raw_path: str) -> Match | None:
    """The operation method that `http` on `raw_path` means, or None."""
    found = _OPERATION.fullmatch(raw_path.strip("/"))
    if found is None:
        return None
    verb = _VERBS.get((http, found["id"] is not None, found["verb"]))
    if verb is None:
        return None
    name = f"{found['parent']}/operations/{found['id']}" if found["id"] else found["parent"]
    parameters = tuple(
        Parameter(n, t, f, False, (), False)
        for n, t, f in (
            ("filter", "string", ""),
            ("pageSize", "integer", "int32"),
            ("pageToken", "string", ""),
            ("returnPartialSuccess", "boolean", ""),
            ("timeout", "string", "google-duration"),
        )
    )
    version = found["prefix"] if found["prefix"] in ("v1", "v1beta1") else "v1"
    path = f"{version}/{{+name}}" + (f":{found['verb']}" if found["verb"] else "")
    method = Method(
        "aiplatform",
        version,
        f"projects.locations.operations.{verb}",
        http,
        path,
        path,
        parameters,
        "",
        "",
        "",
    )
    return Match(method, {"name": name})
