"""What waits for what in a compiled pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def waits_for(task: Mapping[str, Any], beside: Mapping[str, Any]) -> set[str]:
    """The tasks among those `beside` it in a compiled dag that a task waits for, by their keys."""
    named = set(task.get("dependentTasks") or [])
    inputs = task.get("inputs") or {}
    for some, key in (("parameters", "taskOutputParameter"), ("artifacts", "taskOutputArtifact")):
        named |= {one[key]["producerTask"] for one in (inputs.get(some) or {}).values() if key in one}
    named |= {
        one["taskFinalStatus"]["producerTask"]
        for one in (inputs.get("parameters") or {}).values()
        if "taskFinalStatus" in one
    }
    return named & set(beside)
