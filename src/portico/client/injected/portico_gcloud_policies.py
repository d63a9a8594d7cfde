"""`gcloud … get-iam-policy`, `add-iam-policy-binding` and `remove-iam-policy-binding`, of whatever has a policy.

It runs in the caller's own Python, as `portico_gcloud_command` does.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import portico_gcloud_asking as asking
import portico_gcloud_filters as filters
import portico_gcloud_shown as shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NEEDS = ("--member", "--role")
_CONDITION = re.compile(r"(?:^|,)(expression|title|description)=")
_VERSION = 3  # of policies: the one with conditions


def commands(
    kind: str, label: str, path: Callable[[str], str], api: str, body: bool
) -> dict[str, asking.Command]:
    """The three for resources of this kind. `path` is a resource's in the API; `body`: getIamPolicy takes one."""

    def got(asked: asking.Asked) -> dict[str, Any]:
        place = path(asked.names[0])
        query, sent = f"?options.requestedPolicyVersion={_VERSION}", None
        if body:
            query, sent = "", {"options": {"requestedPolicyVersion": _VERSION}}
        told: dict[str, Any] = asked.ask("POST", f"{place}:getIamPolicy{query}", sent, api)
        return told

    def get(asked: asking.Asked) -> int:
        found = filters.chosen([got(asked)], asked.options)
        if asked.options.get("--flatten"):
            shown.resources(found, {"--format": asked.form})
            return 0
        for one in found:
            shown.resource(one, asked.form)
        return 0

    def add(asked: asking.Asked) -> int:
        policy, binding = got(asked), _binding(asked)
        held = [one for one in policy.setdefault("bindings", []) if _same(one, binding)]
        if not held:
            policy["bindings"].append({**binding, "members": [asked.options["--member"]]})
        elif asked.options["--member"] not in held[0]["members"]:
            held[0]["members"].append(asked.options["--member"])
        return put(asked, policy)

    def remove(asked: asking.Asked) -> int:
        policy, member = got(asked), asked.options["--member"]
        every = "--all" in asked.options
        binding = {"role": asked.options["--role"]} if every else _binding(asked)
        held = [
            one for one in policy["bindings"] if member in one["members"]
            and (one["role"] == binding["role"] if every else _same(one, binding))
        ]  # fmt: skip
        if not held:
            what = "principal and role" if every else "principal, role, and condition"
            raise ValueError(f"Policy binding with the specified {what} not found!")
        for one in held:
            one["members"].remove(member)
        policy["bindings"] = [one for one in policy["bindings"] if one["members"]]
        return put(asked, policy)

    def put(asked: asking.Asked, policy: dict[str, Any]) -> int:
        policy["version"] = _VERSION
        told = asked.ask("POST", f"{path(asked.names[0])}:setIamPolicy", {"policy": policy}, api)
        print(f"Updated IAM policy for {kind} [{asked.names[0]}].", file=sys.stderr)
        shown.resource(told, asked.form)
        return 0

    return {
        "get-iam-policy": asking.Command(get, asking.LISTED, (label,)),
        "add-iam-policy-binding": asking.Command(add, ("--condition",), (label,), _NEEDS),
        "remove-iam-policy-binding": asking.Command(remove, ("--condition", "--all"), (label,), _NEEDS),
    }


def _binding(asked: asking.Asked) -> dict[str, Any]:
    """The role, and the condition where `--condition` has one."""
    told = asked.options.get("--condition", "None")
    if told == "None":
        return {"role": asked.options["--role"]}
    parts = _CONDITION.split(told)  # an expression has commas of its own
    condition = dict(zip(parts[1::2], parts[2::2]))  # noqa: B905  3.7's zip
    if parts[0] or not condition.get("expression") or not condition.get("title"):
        raise asking.Usage(
            "Invalid value for [--condition]: condition must be either `None` or a list of key=value pairs. If not "
            "`None`, `expression` and `title` are required keys.\n"
            "Example: --condition=expression=[expression],title=[title],description=[description]"
        )
    return {"role": asked.options["--role"], "condition": condition}


def _same(one: dict[str, Any], binding: dict[str, Any]) -> bool:
    return one["role"] == binding["role"] and one.get("condition") == binding.get("condition")
