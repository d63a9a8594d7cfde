"""A full disk: what grows is refused in words, and what makes room still works.

`HOME/reserve` holds blocks that nobody uses. While the disk is low they are lent to each write of the database, a row
that is deleted or a job that ends, and taken back after it, before anybody else on this disk can have them; objects,
models and whatever else grows are refused. So whether the disk is full stands in the file system, for all processes.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portico.errors import ResourceExhausted

RESERVE = 8 << 20  # bytes
LOW = 4 << 20  # bytes of free disk; with less the reserve is given up
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SQLITE_FULL, _SQLITE_IOERR = 13, 10


class DiskFull(ResourceExhausted):
    """The message says what to free."""


@dataclass(frozen=True, slots=True)
class Room:
    """`free` and `reserve` are bytes; `full` says that what grows is refused."""

    free: int
    reserve: int
    full: bool


def path(home: Path) -> Path:
    return home / "reserve"


def room(home: Path) -> Room:
    """How it stands; changes nothing."""
    free, held = _free(home), _held(home)
    short = RESERVE - held if held is not None else 0
    return Room(free, held or 0, free < LOW or (short > 0 and free < short + 2 * LOW))


def require_room(home: Path) -> None:
    """Called before something grows.

    Raises:
        DiskFull
    """
    if room(home).full:
        raise exhausted(home)


@contextlib.contextmanager
def lent(home: Path) -> Iterator[None]:
    """While the disk is low the block has the reserve's room. For one process at a time."""
    lend(home)
    try:
        yield
    finally:
        gather(home)


def lend(home: Path) -> None:
    if _free(home) < LOW and _held(home):
        with contextlib.suppress(OSError):
            os.truncate(path(home), 0)


def gather(home: Path) -> None:
    """Brings the reserve to its size again, or as near as there is room; `begin` makes it."""
    held = _held(home)
    if held is None or held >= RESERVE:
        return
    with contextlib.suppress(OSError):
        fill(home, min(RESERVE, held + _free(home)))


def fill(home: Path, size: int = RESERVE) -> None:
    """
    Raises:
        OSError: there is no room.
    """
    descriptor = os.open(path(home), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        elif size:
            os.pwrite(descriptor, bytes(size), 0)
    finally:
        os.close(descriptor)


def begin(home: Path) -> None:
    """Makes the reserve where there is none; on a disk that is nearly full, an empty one."""
    if _held(home) is None:
        fill(home, RESERVE if _free(home) >= RESERVE + 2 * LOW else 0)


def is_full(error: BaseException) -> bool:
    """Whether `error`, or what it comes from, says that the disk, a quota or a file's largest size is used up."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if getattr(seen, "sqlite_errorcode", 0) & 0xFF == _SQLITE_FULL:
            return True
        if isinstance(seen, DiskFull):
            return True
        seen = getattr(seen, "orig", None) or seen.__cause__ or seen.__context__
    return False


def failed_for_room(home: Path, error: BaseException) -> bool:
    """As `is_full`; of an error of SQLite's that does not say why, whether there is room tells."""
    code = getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", 0) & 0xFF
    return is_full(error) or (code == _SQLITE_IOERR and _free(home) < LOW)


def exhausted(home: Path) -> DiskFull:
    return DiskFull(words(home), reason="quotaExceeded")


def words(home: Path) -> str:
    """What is full, and what to free."""
    return (
        f"The disk that holds {home} is full: {_free(home) / 2**20:,.0f} MiB are free. Delete what is not needed "
        "(objects and buckets, models, batch outputs; deleting works while the disk is full; what a bucket has "
        "soft-deleted goes when its softDeletePolicy.retentionDurationSeconds is set to 0), or free room on this "
        f"disk: with {(RESERVE + 2 * LOW) >> 20} MiB what grows is taken again."
    )


def _free(home: Path) -> int:
    """Bytes that this user may still write."""
    found = os.statvfs(home)
    return found.f_bavail * found.f_frsize


def _held(home: Path) -> int | None:
    """Bytes of the reserve; None in a home that has none, or whose disk was too small for one."""
    try:
        return os.stat(path(home)).st_size
    except FileNotFoundError:
        return None
