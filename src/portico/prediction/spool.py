"""Where a front's records wait for the watcher: `HOME/spool/front-N/NUMBER.records`, which only grows.

A file begins with how many records were put (`COUNT`, mapped by the front, so that it counts what a killed front had
not written yet); then come frames: their length, how many records they hold, and these as one MessagePack list. The
front goes on in a file with a greater number when one is long enough, or when it starts; the watcher reads on from
where the log has been committed, and removes what it has read and the front has left.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final

import msgspec

log = logging.getLogger(__name__)

COUNT: Final = Struct("=Q")
START: Final = 64  # where the first frame begins
FRAME: Final = Struct("=II")  # bytes and records
SUFFIX: Final = ".records"

# id, at, names, request, answer, seconds, method, holdout, caller_id: as in Record
Row = tuple[int, float, bytes, bytes, bytes, float, int, bool, str]
_decode = msgspec.msgpack.Decoder(list[Row]).decode


class Record(msgspec.Struct, frozen=True, gc=False):
    """One answered request. `id` is unique and grows with time; `at` is domain time (seconds since the epoch);
    `caller_id` is what the caller sent as X-Request-Id, or empty; `method` is the router's number; `answer` the body,
    or of a prediction just the list of its predictions; `seconds` the time from the parsed head to the answer;
    `holdout` whether the answer says that it must not be acted upon."""

    id: int
    at: float
    endpoint: str
    deployed_model: str
    model: str
    model_version: str
    method: int
    caller_id: str
    request: bytes
    answer: bytes
    seconds: float
    holdout: bool = False


def names_of(endpoint: str, deployed_model: str, model: str, model_version: str) -> bytes:
    """What a record says of who answered."""
    return "\0".join((endpoint, deployed_model, model, model_version)).encode()


class Place(msgspec.Struct, frozen=True, order=True):
    """A place in the sequence of a folder's files."""

    number: int = 0
    position: int = START


def files(folder: Path) -> list[tuple[int, Path]]:
    """A front's files in the order of their numbers. It writes to the last one only."""
    return sorted((int(path.stem), path) for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())


class Spool:
    """The watcher's side: reads the files of all fronts, in order, from where it is told."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "spool"
        self._read: dict[str, Place] = {}
        self._synced: dict[Path, int] = {}

    def waiting(self) -> int:
        """Bytes that were not given back yet."""
        found = 0
        for folder in self._folders():
            read = self._read.get(folder.name, Place())
            for number, path in files(folder):
                if number >= read.number:
                    found += max(0, _size(path) - (read.position if number == read.number else START))
        return found

    def ends(self) -> dict[str, Place]:
        """Where each folder ends now."""
        last = {folder.name: files(folder)[-1:] for folder in self._folders()}
        return {name: Place(number, _size(path)) for name, found in last.items() for number, path in found}

    def read(self, folder: str, begin: Place, end: Place, limit: int) -> tuple[list[Record], Place]:
        """The records of a folder between two places, in all about `limit` bytes; and where the next ones begin."""
        records: list[Record] = []
        for number, path in files(self._folder / folder):
            if not begin.number <= number <= end.number:
                continue
            position = begin.position if number == begin.number else START
            last = end.position if number == end.number else _size(path)
            with path.open("rb") as file:
                for ends, rows, packed in _frames(file, position, last):
                    records += _records(path, rows, packed)
                    position = ends
                    limit -= len(packed)
                    if limit <= 0:
                        break
            begin = Place(number, position)
            if limit <= 0:
                break
        return records, begin

    def lost(self, folder: str, begin: Place, place: Place) -> dict[int, int]:
        """How many records of files between the two places, by number, were put and never written: the front was
        killed in the twentieth of a second in between, or the machine went down."""
        found = {}
        for number, path in files(self._folder / folder):
            if begin.number <= number < place.number:
                with path.open("rb") as file:
                    (put,) = COUNT.unpack(file.read(COUNT.size).ljust(COUNT.size, b"\0"))
                    found[number] = put - sum(rows for _, rows, _ in _frames(file, START, _size(path)))
        return {number: count for number, count in found.items() if count > 0}

    def give_back(self, folder: str, place: Place) -> None:
        """Removes the files that lie before `place`, which must be committed."""
        self._read[folder] = place
        for number, path in files(self._folder / folder):
            if number < place.number:
                path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Brings to the disk what was written since the last time. Blocks.

        Raises:
            OSError: there is no room for it.
        """
        synced = {}
        for folder in self._folders():
            for _, path in files(folder)[-2:]:
                size = _size(path)
                if path not in self._synced:
                    _sync(folder)
                if size > self._synced.get(path, START):
                    _sync(path)
                synced[path] = size
        self._synced = synced

    def _folders(self) -> list[Path]:
        return sorted(self._folder.glob("front-*"))


def _frames(file: BinaryIO, position: int, last: int) -> Iterator[tuple[int, int, bytes]]:
    """The whole frames between two positions: where each ends, how many records it holds, and these."""
    file.seek(position)
    while position + FRAME.size <= last:
        size, rows = FRAME.unpack(file.read(FRAME.size))
        position += FRAME.size + size
        if position > last:  # it was not written to its end, or not yet
            return
        yield position, rows, file.read(size)


def _records(path: Path, rows: int, packed: bytes) -> Iterator[Record]:
    try:
        found = _decode(packed)
    except msgspec.DecodeError:
        log.error("%s: %d records can't be read", path, rows)
        return
    for made, at, names, request, answer, seconds, method, holdout, caller in found:
        endpoint, deployed_model, model, version = names.decode().split("\0")
        yield Record(
            made,
            at,
            endpoint,
            deployed_model,
            model,
            version,
            method,
            caller,
            request,
            answer,
            seconds,
            holdout,
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # it was read meanwhile
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
