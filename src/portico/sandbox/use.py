"""What running code uses: memory and processes, and room on the disk."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def of_below(pid: int) -> tuple[int, int]:
    """Bytes of memory that what runs below the process `pid` takes (shared pages count for each), and how many
    processes that are.

    The kernel is asked for each process's children: that costs a hundredth of looking at all that run on the machine.
    """
    if not os.path.exists(f"/proc/self/task/{threading.get_native_id()}/children"):
        return _of_below_anywhere(pid)
    memory = count = 0
    for below in _below(pid):
        with contextlib.suppress(OSError), open(f"/proc/{below}/statm") as file:
            memory += int(file.read().split()[1]) * _PAGE
            count += 1
    return memory, count


def _below(pid: int) -> Iterator[int]:
    threads: list[str] = []
    with contextlib.suppress(OSError):
        threads = os.listdir(f"/proc/{pid}/task")
    for thread in threads:
        children: list[str] = []
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
            children = file.read().split()
        for child in map(int, children):
            yield child
            yield from _below(child)


def _of_below_anywhere(pid: int) -> tuple[int, int]:
    import psutil

    memory = count = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                memory += process.memory_info().rss
                count += 1
    return memory, count


def disk(folder: Path) -> int:
    """Bytes on the disk below `folder`."""
    taken = 0
    for entry in folder.rglob("*"):
        with contextlib.suppress(OSError):
            taken += entry.lstat().st_blocks * 512
    return taken
