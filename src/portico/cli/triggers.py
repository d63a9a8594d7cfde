"""`portico triggers`: what starts pipelines by itself, and what it has started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portico.client.api import Client


def found(client: Client, name: str) -> list[dict[str, Any]]:
    """All triggers, or the runs of one, the newest first."""
    if not name:
        return list(client.pages(f"{client.parent}/triggers", "triggers"))
    return list(client.pages(f"{client.trigger_name(name)}/runs", "runs"))


def in_lines(some: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each trigger or run."""
    for one in some:
        if "/runs/" in one["name"]:
            what = one.get("pipelineJob", "").rpartition("/")[2] or one.get("error", {}).get("message", "")
            yield f"{one['eventTime'][:19]}Z  {one['state']:<8} {what}: {one['reason']}"
        else:
            last = f", the last at {one['lastFireTime'][:19]}Z" if "lastFireTime" in one else ""
            off = " (disabled)" if one.get("disabled") else ""
            short = one["name"].rpartition("/")[2]
            yield f"{short}{off}  {_cause(one)}: {one['firedCount']} events{last}"


def _cause(trigger: dict[str, Any]) -> str:
    if told := trigger.get("object"):
        return f"{told['uriPrefix']}…{told.get('uriSuffix', '')}"
    if told := trigger.get("datasetVersion"):
        return f"versions of {told['dataset']}"
    return f"alerts of {trigger['alert']['source']}"
