"""What this machine has for jobs, and what those of an engine have that runs them elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from portico.store.jobs import Resources

_GROUP = Path("/sys/fs/cgroup")
_SHORT = 0.03  # of the memory


def runs_short() -> bool:
    """Whether so little memory is left that soon something will be killed."""
    with open("/proc/meminfo", "rb") as file:
        told = {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(b":") for line in file)}
    whole, left = told[b"MemTotal"], told[b"MemAvailable"]
    with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
        most = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        kept = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        whole, left = min(whole, most), min(left, most - used + int(kept["inactive_file"]))
    return left < whole * _SHORT


def resources() -> Resources:
    """All cores, the memory (of the container, where there is one with a limit) and NVIDIA's accelerators."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):
        memory = min(memory, int((_GROUP / "memory.max").read_text()))
    accelerators = sum(1 for device in Path("/dev").glob("nvidia*") if device.name[6:].isdigit())
    return Resources(float(max(1, os.cpu_count() or 1)), memory, accelerators)


def write(home: Path, machines: Sequence[Resources]) -> None:
    """Notes in the home what an engine's machines have; none of them where jobs run on this one."""
    path = _path(home)
    if not machines:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps([asdict(one) for one in machines]))
    temporary.replace(path)


def elsewhere(home: Path) -> list[Resources]:
    """The machines of an engine that runs jobs elsewhere; empty where they run on this machine."""
    try:
        return [Resources(**one) for one in json.loads(_path(home).read_text())]
    except FileNotFoundError:
        return []


def fitted(home: Path, asked: Resources) -> Resources | None:
    """What is `asked` for where a machine elsewhere has it, or else no more than the largest has of each; None where
    jobs run on this machine."""
    machines = elsewhere(home)
    if not machines or any(one.holds(asked) for one in machines):
        return asked if machines else None
    largest = max(machines, key=lambda one: (one.cores, one.memory))
    return Resources(
        min(asked.cores, largest.cores),
        min(asked.memory, largest.memory),
        min(asked.accelerators, largest.accelerators),
    )


def _path(home: Path) -> Path:
    return home / "run" / "machines.json"
