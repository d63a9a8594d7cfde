"""What this machine has for jobs."""

from __future__ import annotations

import os
from pathlib import Path

from portico.store.jobs import Resources


def resources() -> Resources:
    """All cores, the memory (of the container, where there is one with a limit) and NVIDIA's accelerators."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such group, or "max"
        pass
    accelerators = sum(1 for device in Path("/dev").glob("nvidia*") if device.name[6:].isdigit())
    return Resources(float(max(1, os.cpu_count() or 1)), memory, accelerators)
