"""Writes `facts.json`, Google's permissions, predefined roles and what methods check, of the services that are served
here, from a file of all of them: `python -m portico.services.iam.make_facts SOURCE`.

Source: the public data set iann0036/iam-dataset (MIT licence), as {"permissions": [...], "roles": {name: {"title",
"has"}}, "methods": {api: {method: [permission]}}}; `has` are places in "permissions", or the first and last of several.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from portico.services.iam.facts import FILE, unpacked

_SERVICES = (
    "aiplatform",
    "artifactregistry",
    "bigquery",
    "iam",
    "logging",
    "monitoring",
    "pubsub",
    "resourcemanager",
    "storage",
)
_APIS = (
    "aiplatform",
    "artifactregistry",
    "bigquery",
    "cloudresourcemanager",
    "iam",
    "iamcredentials",
    "logging",
    "monitoring",
    "pubsub",
    "storage",
)


def compact(source: dict[str, Any]) -> dict[str, Any]:
    every: list[str] = source["permissions"]
    kept = sorted(one for one in every if one.partition(".")[0] in _SERVICES)
    place = {permission: at for at, permission in enumerate(kept)}
    roles = {}
    for name, role in sorted(source["roles"].items()):
        held = sorted(place[one] for one in unpacked(every, role["has"]) if one in place)
        if held:
            roles[name] = {"title": role["title"], "has": _ranges(held)}
    methods = {
        api: {id.removeprefix(f"{api}."): sorted(of) for id, of in sorted(source["methods"][api].items())}
        for api in _APIS
    }
    return {"permissions": kept, "roles": roles, "methods": methods}


def _ranges(places: Iterable[int]) -> list[Any]:
    found: list[list[int]] = []
    for one in places:
        if found and found[-1][1] == one - 1:
            found[-1][1] = one
        else:
            found.append([one, one])
    return [first if first == last else [first, last] for first, last in found]


def written(made: dict[str, Any]) -> str:
    """As JSON with a line for each permission, role and API."""
    parts = ['"permissions":[\n' + ",\n".join(map(_packed, made["permissions"])) + "\n]"]
    for key in ("roles", "methods"):
        lines = [f"{_packed(name)}:{_packed(of)}" for name, of in made[key].items()]
        parts.append(f'"{key}":{{\n' + ",\n".join(lines) + "\n}")
    return "{" + ",\n".join(parts) + "}\n"


def _packed(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    FILE.write_text(written(compact(json.loads(Path(sys.argv[1]).read_text()))))
