"""Data files as people know them, opened whatever packs them, and the bounds within which they are read."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Final

import pyarrow as pa

from portico.ml.errors import DataError

LINE_BYTES: Final = 16 << 20  # of a line of JSON, or of a CSV header
MAX_COLUMNS: Final = 50_000
BATCH_BYTES: Final = 32 << 20  # of a batch, about


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file, and the name that messages give it: an object's `gs://` name, or the path's last part."""

    path: Path
    name: str

    @classmethod
    def of(cls, file: Path | DataFile) -> DataFile:
        return file if isinstance(file, DataFile) else cls(file, file.name)


@cache
def table_bytes() -> int:
    """How many bytes of cells one table may hold: an eighth of the machine's memory, and 512 MiB at least."""
    return max(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8, 512 << 20)


@contextmanager
def opened(file: DataFile, kind: str) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked where they are gzip's; what can't be read becomes a DataError with its name.

    Raises:
        DataError: the file, or what was done with it in the context, failed.
    """
    try:
        with file.path.open("rb") as raw:
            if raw.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield raw
    except (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{file.name} cannot be read as {kind}: {error}") from error


def lines(file: IO[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, without their ends, with their numbers from 1.

    Raises:
        DataError: a line is longer than `LINE_BYTES`, or the text is not UTF-8 by the look of it.
    """
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise DataError(
                f"{name}, line {number}: it is longer than {mib(LINE_BYTES)}, the most that is read"
            )
        if number == 1:
            check_encoding(line, name)
            line = line.removeprefix(b"\xef\xbb\xbf")
        if stripped := line.strip():
            yield number, stripped


def check_encoding(head: bytes, name: str) -> None:
    """Raises DataError: the first bytes of a text are those of UTF-16."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:4]:
        raise DataError(f"{name} is not UTF-8 text, it looks like UTF-16; save it as UTF-8")


def mib(size: float) -> str:
    return f"{size / (1 << 20):,.0f} MiB" if size < 10 << 30 else f"{size / (1 << 30):,.1f} GiB"


class Ahead(io.RawIOBase):
    """A readable file of bytes that begins with `head`."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head, self._file = head, file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._file.read(size)
        taken = self._head if size < 0 else self._head[:size]
        self._head = self._head[len(taken) :]
        return taken
