"""What running code uses: memory and processes, and room on the disk."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from portico.store.sizes import below

_PAGE = os.sysconf("SC_PAGE_SIZE")


def of_below(pid: int) -> tuple[int, int]:
    """Bytes of memory that what runs below the process `pid` takes (shared pages count for each), and how many
    processes that are.

    The kernel is asked for each process's children: that costs a hundredth of looking at all that run on the machine.
    """
    if not _knows_children():
        return _of_below_anywhere(pid)
    found = [size for one in _below(pid) if (size := _resident(one)) is not None]
    return sum(found), len(found)


def weighed_below(pid: int) -> int:
    """The same bytes, but a page that several share counts once, as what is forked shares with what it came of.

    It takes some milliseconds a GiB, in which what runs gets no other memory: for where `of_below` says too much.
    """
    if not _knows_children():
        return _of_below_anywhere(pid)[0]
    return sum(_share(one) or _resident(one) or 0 for one in _below(pid))


def _knows_children() -> bool:
    return os.path.exists(f"/proc/self/task/{threading.get_native_id()}/children")


def _resident(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return None


def _share(pid: int) -> int:
    """Its part of the pages that it has; 0 where the kernel does not say that."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
    except OSError:
        return 0


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
    """Bytes on the disk below `folder`, where others may remove folders meanwhile."""
    return sum(found.st_blocks * 512 for found in below(folder))
