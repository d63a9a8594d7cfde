"""What this machine has for jobs."""

from __future__ import annotations

import contextlib
import os
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
