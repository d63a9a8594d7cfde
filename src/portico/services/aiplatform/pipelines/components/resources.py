"""What the container of a task asks of the machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portico.errors import InvalidArgument
from portico.jobs.engines import machine
from portico.services.aiplatform.pipelines.components import prebuilt
from portico.store.jobs import Resources

_LITTLE = 512 << 20  # bytes that a task is sure of where it says nothing
_SHARE = 0.75  # of a machine's memory that one task may use
_QUANTITY = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>m|[kMGTPE]i?|Ki)?")
_UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18} | {
    f"{prefix}i": 1024.0**power for power, prefix in enumerate("KMGTPE", 1)
}  # fmt: skip


def asks_of(container: Mapping[str, Any], home: Path) -> Resources:
    """What a PipelineContainerSpec asks for: what it requests, or else its limits, and no more than one task may use
    here. Without either it asks for one core and little memory, and uses what is free.

    Raises:
        InvalidArgument: a quantity is none.
    """
    if prebuilt.waits(container):  # for a job that needs the cores
        return Resources(0.0, _LITTLE)
    given = container.get("resources") or {}
    cpu, memory = (
        _cpu(given, "Request") or _cpu(given, "Limit"),
        _memory(given, "Request") or _memory(given, "Limit"),
    )
    count = (
        (given.get("accelerator") or {}).get("resourceCount")
        or (given.get("accelerator") or {}).get("count")
        or 0
    )
    asked = Resources(cpu or 1.0, memory or _LITTLE, int(_quantity(count, "accelerator.count")))
    if elsewhere := machine.fitted(home, asked):
        return elsewhere
    here = machine.resources()
    return Resources(min(asked.cores, max(1.0, here.cores - 1)), min(asked.memory, _most()))


def memory_of(container: Mapping[str, Any]) -> int:
    """Bytes of memory that a PipelineContainerSpec may use at most.

    Raises:
        InvalidArgument: its limit is no quantity.
    """
    return min(_memory(container.get("resources") or {}, "Limit") or _most(), _most())


def _most() -> int:
    return int(machine.resources().memory * _SHARE)


def _cpu(given: Mapping[str, Any], kind: str) -> float:
    """https://github.com/kubeflow/pipelines: newer versions say as words what older ones say as numbers."""
    return _quantity(given.get(f"resourceCpu{kind}") or given.get(f"cpu{kind}") or 0, f"resourceCpu{kind}")


def _memory(given: Mapping[str, Any], kind: str) -> int:
    """Bytes. A plain number in `memoryLimit` counts gigabytes (10^9 bytes), one in `resourceMemoryLimit` bytes."""
    if words := given.get(f"resourceMemory{kind}"):
        return int(_quantity(words, f"resourceMemory{kind}"))
    return int(_quantity(given.get(f"memory{kind}") or 0, f"memory{kind}") * 1e9)


def _quantity(told: Any, field: str) -> float:
    found = _QUANTITY.fullmatch(str(told))
    if found is None:
        raise InvalidArgument(
            f"{told!r} is no quantity; one looks like 4, 500m, 16G or 512Mi.", field=f"resources.{field}"
        )
    return float(found["number"]) * _UNITS.get(found["unit"] or "", 1.0)
