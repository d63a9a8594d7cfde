"""The file that says which home this is, and how far its database had come: what a database can't say of itself.

`HOME/home.id` holds the home's id, which the database has too, the present run's token, with which every file that
is made ends (so that the database knows later which files were made under it), and how many writes the database had
committed. The count is written after each commit and not synced: it costs a system call and survives whatever kills
the process; when the machine itself goes down it may lag behind by some seconds, and then less is noticed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from portico.ids import Ids

_TEXT = "portico home\nid {id}\nrun {run}\nwrites {writes:020}\n"
_PATTERN = re.compile(r"portico home\nid ([0-9a-f]{32})\nrun ([0-9a-f]{8})\nwrites (\d{20})\n")
_WRITES_AT = _TEXT.index("{id}") + 32 + len("\nrun ") + 8 + len("\nwrites ")
_RUN = 8  # digits of a run's token
NO_RUN = "0" * _RUN


@dataclass(frozen=True, slots=True)
class Mark:
    """`id` has 32 hexadecimal digits, `run` 8; `writes` is the number of the database's last known commit."""

    id: str
    run: str
    writes: int


def path(home: Path) -> Path:
    return home / "home.id"


def read(home: Path) -> Mark | None:
    """None where there is no such file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        text = path(home).read_bytes().decode("latin-1")
    except FileNotFoundError:
        return None
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(f"{path(home)} is damaged")
    return Mark(found[1], found[2], int(found[3]))


def write(home: Path, mark: Mark) -> None:
    """On the disk when this returns. In place, so that whoever has it open goes on counting in it."""
    text = _TEXT.format(id=mark.id, run=mark.run, writes=mark.writes).encode()
    fd = os.open(path(home), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, text, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    folder = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def open_count(home: Path) -> int | None:
    """A descriptor for `count`; None where the home has no such file yet."""
    try:
        return os.open(path(home), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def count(fd: int, writes: int) -> None:
    """Notes that the database has committed so many writes."""
    os.pwrite(fd, b"%020d" % writes, _WRITES_AT)


def counted(fd: int) -> bytes:
    """What `count` noted last: it is another after each commit."""
    return os.pread(fd, 20, _WRITES_AT)


def new_file(home: Path, ids: Ids) -> str:
    """A fresh unguessable id of 32 hexadecimal digits for a file, of which the last 8 say in which run it was made."""
    mark = read(home)
    return ids.token()[:-_RUN] + mark.run if mark is not None and mark.run != NO_RUN else ids.token()


def run_of(file: str) -> str:
    """The run in which a file with this id was made."""
    return file[-_RUN:]
