"""The files behind objects: written once, flushed to the disk, then never changed.

A file is `HOME/objects/XX/ID`; no part of its path comes from a user. Whoever writes a file, or has one
that no row names yet, holds a shared or exclusive lock (flock) on it, which the kernel releases when the
process dies; by that, `objects_sweep` tells an upload that is under way from one that a crash has left.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from portico.ids import Ids
from portico.store import disk, mark
from portico.store.objects.generations import StoredFile
from portico.store.objects.hashes import Hasher, combine_crc32c

if TYPE_CHECKING:
    from portico.store.objects.sealing import Sealer

_PIECE = 1 << 20


def path_of(home: Path, file: str) -> Path:
    return home / "objects" / file[:2] / file


def remove(home: Path, files: Iterable[str]) -> None:
    """Unlinks files that no row needs any more. Whoever has one open reads it to its end."""
    for file in files:
        path_of(home, file).unlink(missing_ok=True)


def create(home: Path, ids: Ids) -> tuple[str, int]:
    """An empty file: its id and a descriptor for writing that holds the lock. Close that after the commit.

    Raises:
        ResourceExhausted: the disk is full.
    """
    disk.require_room(home)
    file = mark.new_file(home, ids)
    path = path_of(home, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return file, fd


def flush(home: Path, file: str, fd: int) -> None:
    """Brings the file's bytes and its name to the disk."""
    os.fsync(fd)
    directory = os.open(path_of(home, file).parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _NewFile:
    """Leaving the `with` block closes the file, and removes it unless `keep` was called, which whoever commits a row
    with it does after the commit."""

    file: str
    stored: StoredFile  # once it is finished
    _fd: int

    def __init__(self, home: Path) -> None:
        self._home = home
        self._kept = False

    def keep(self) -> None:
        self._kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            remove(self._home, [self.file])
        os.close(self._fd)


class FileWriter(_NewFile):
    """Writes one new file and its checksums; under a `key` it is sealed, the checksums are of what is in it. Not for
    two threads at once."""

    def __init__(self, home: Path, ids: Ids, key: bytes | None = None) -> None:
        super().__init__(home)
        self._hasher = Hasher()
        self._sealer: Sealer | None = None
        self.file, self._fd = create(home, ids)
        if key is not None:
            from portico.store.objects.sealing import Sealer  # few need it, and it takes its time

            self._sealer = Sealer(self._fd, key)

    @property
    def size(self) -> int:
        return self._hasher.size

    def write(self, data: bytes) -> None:
        self._hasher.update(data)
        if self._sealer is not None:
            self._sealer.write(data)
        else:
            write_all(self._fd, data)

    def finish(self) -> StoredFile:
        """Brings the file to the disk. Nothing may be written afterwards."""
        if self._sealer is not None:
            self._sealer.finish(self._hasher.crc32c, self._hasher.md5)
        flush(self._home, self.file, self._fd)
        self.stored = StoredFile(self.file, self._hasher.size, self._hasher.crc32c, self._hasher.md5)
        return self.stored


class FileCopy(_NewFile):
    """A new file with the bytes of finished ones, end to end. Used as FileWriter is, `stored` is its result.

    A single source is linked, not copied: files never change, so two names may share one. Sealed ones, all under one
    key, are laid end to end as they are.
    """

    def __init__(self, home: Path, ids: Ids, sources: Sequence[StoredFile]) -> None:
        super().__init__(home)
        if len(sources) == 1 and self._link(ids, sources[0]):
            return
        self.file, self._fd = create(home, ids)
        try:
            for source in sources:
                _append(path_of(home, source.id), None if source.sealed else source.size, self._fd)
            flush(home, self.file, self._fd)
        except BaseException:
            remove(home, [self.file])
            os.close(self._fd)
            raise
        size = sum(source.size for source in sources)
        crc32c = sources[0].crc32c
        for source in sources[1:]:
            crc32c = crc32c and combine_crc32c(crc32c, source.crc32c, source.size)
        md5 = sources[0].md5 if len(sources) == 1 else None
        self.stored = StoredFile(self.file, size, crc32c, md5 if crc32c else None)

    def _link(self, ids: Ids, source: StoredFile) -> bool:
        self.file = mark.new_file(self._home, ids)
        path = path_of(self._home, self.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path_of(self._home, source.id), os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        try:
            os.link(path_of(self._home, source.id), path)
        except FileNotFoundError:
            os.close(self._fd)
            raise
        except OSError:  # a file system without links, or too many of them
            os.close(self._fd)
            return False
        flush(self._home, self.file, self._fd)
        self.stored = StoredFile(self.file, source.size, source.crc32c, source.md5 if source.crc32c else None)
        return True


def _append(source: Path, size: int | None, target: int) -> None:
    """Appends `size` bytes of `source`, or all of it, inside the kernel where it can."""
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        left = os.fstat(fd).st_size if size is None else size
        in_kernel = hasattr(os, "copy_file_range")
        while left:
            if in_kernel:
                try:
                    copied = os.copy_file_range(fd, target, min(left, 1 << 30))
                except OSError:
                    in_kernel = False
                    continue
            else:
                piece = os.read(fd, min(left, _PIECE))
                write_all(target, piece)
                copied = len(piece)
            if not copied:
                raise EOFError(f"{source} ends {left} bytes early")
            left -= copied
    finally:
        os.close(fd)
