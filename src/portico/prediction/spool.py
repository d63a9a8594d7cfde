"""Where a front's records wait for the watcher: blocks of memory that both processes share, each a file of the spool.

`HOME/spool/front-N/K.block` begins with numbers (`HEAD` to `BOOT`); then come records one after another: a fixed
part (`RECORD`), the request, the answer, and what the caller sent as X-Request-Id. A record whose method is `NAMES` is
no request: its answer says who answers what has that number of names in this block from here on. The front writes a
record, then `HEAD`; the watcher reads up to there, commits, and sets `READ`. What is in a block is in the page cache,
so a killed front loses nothing. After the machine itself went down its blocks count for nothing, but their copies do
(`prediction.spool_copies`): a file that is called after the number of its block, and is one itself.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from struct import Struct
from typing import Final

import msgspec

log = logging.getLogger(__name__)

# The numbers at a block's start: the front's are HEAD (the end of the last whole record), NUMBER (which block of the
# folder's sequence) and BOOT (of which run of the machine); the watcher's are READ, the end of a record, and, of
# copies, GREW: how many bytes came at last.
HEAD, READ, NUMBER, BOOT, GREW = range(5)
START: Final = 4096  # of the records: copies are written by the page
# id, at, seconds, bytes of the request and the answer, number of the names, method, holdout, bytes of the caller's id
RECORD: Final = Struct("=QddIIHB?H")
NAMES: Final = 255

_POPULATE_WRITE: Final = 23  # Linux's MADV_POPULATE_WRITE, since 5.14
_AT_ONCE: Final = 2**20  # bytes that are made ready before others have their turn

_WEAK: Final = platform.machine() not in (
    "x86_64",
    "AMD64",
)  # a processor may show HEAD before what lies before it


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


@cache
def boot() -> int:
    """A number of the present run of this machine; 0 where the system does not say it."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return 0
    return int(text.replace("-", "")[:16], 16)


class Block:
    """A block's file, mapped. `memory` is the whole of it, `numbers` those at its start."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            OSError: there is no such file any more.
            ValueError: it is no block.
        """
        self.path = path
        self._file = path.open("r+b")
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            if self.size < START:
                raise ValueError(f"{path} has {self.size} bytes")
            self.memory = mmap.mmap(self._file.fileno(), self.size)
        except BaseException:
            self._file.close()
            raise
        self.numbers = memoryview(self.memory)[:64].cast("Q")

    @classmethod
    def make(cls, path: Path, size: int) -> Block:
        """A new one, with all its room: to find none for a mapped page later would be fatal.

        Raises:
            OSError: there is no room for it.
        """
        new = path.with_suffix(".new")
        try:
            with new.open("wb") as file:
                # Not written: writing makes the cache's folios large, and then each first byte of a page costs more.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.write(bytes(size))
            made = cls(new)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        for start in range(0, size, _AT_ONCE):
            made.ready(start, min(start + _AT_ONCE, size))
            time.sleep(0)
        made.numbers[BOOT] = boot()
        made.path = new.rename(path)
        return made

    @property
    def present(self) -> bool:
        """Whether it is of the present run of the machine."""
        return self.numbers[BOOT] == boot()

    @property
    def idle(self) -> bool:
        """Whether everything in it was read."""
        return self.numbers[READ] >= self.numbers[HEAD]

    def ready(self, begin: int, end: int) -> None:
        """Has the system make whole pages ready for writing: at once this costs less than at each page's first byte,
        which it has to catch again whenever it has brought the page to the disk. Where it can't, nothing changes."""
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                self.memory.madvise(_POPULATE_WRITE, begin, end - begin)

    def begin(self, number: int) -> None:
        """Makes an idle one the next of the sequence. The number comes last, since the watcher looks there first."""
        numbers = self.numbers
        numbers[HEAD] = numbers[READ] = START
        numbers[NUMBER] = number

    def close(self) -> None:
        self.numbers.release()
        self.memory.close()
        self._file.close()


class Place(msgspec.Struct, frozen=True, order=True):
    """A place in the sequence of a folder's blocks."""

    number: int = 0
    position: int = START


class _Seen:
    """A block as the reader knows it: what was met between its start and `position`."""

    def __init__(self, block: Block, inode: int) -> None:
        self.block, self.inode = block, inode
        self.begin(block.numbers[NUMBER])

    def begin(self, number: int) -> None:
        self.number = number
        self.position = START
        self.names: dict[int, list[str]] = {}
        self.count = 0

    def end(self) -> int:
        """Where what can be trusted ends."""
        return min(self.block.numbers[HEAD], self.block.size)

    def go_to(self, position: int) -> None:
        """Reads on from there."""
        if self.position > position:
            self.begin(self.number)
        for _ in self.read(position, skip=True):
            pass

    def read(self, end: int, skip: bool = False) -> Iterator[Record]:
        """The records up to `end`; with `skip` none, but their names are known afterwards."""
        memory, at = self.block.memory, self.position
        while at < end:
            fixed = RECORD.unpack_from(memory, at) if at + RECORD.size <= end else None
            if fixed is None or (at := at + RECORD.size + fixed[3] + fixed[4] + fixed[8]) > end:
                log.error("%s can't be read from byte %d on", self.block.path, self.position)
                self.position = end
                return
            made, when, seconds, asked, answered, number, method, holdout, _ = fixed
            if method != NAMES and number not in self.names:
                log.error("%s can't be read from byte %d on", self.block.path, self.position)
                self.position = end
                return
            begin = self.position + RECORD.size
            middle = begin + asked
            called_at = middle + answered
            self.position = at
            if method == NAMES:
                self.names[number] = memory[middle:called_at].decode().split("\0")
                continue
            self.count += 1
            if not skip:
                endpoint, deployed_model, model, version = self.names[number]
                yield Record(made, when, endpoint, deployed_model, model, version, method,
                             memory[called_at:at].decode(), memory[begin:middle], memory[middle:called_at],
                             seconds, holdout)  # fmt: skip


def left_copies(home: Path) -> set[Path]:
    """The copies of blocks that were in use when the machine went down."""
    found = set()
    for path in (home / "spool").glob("front-*/*.copy"):
        try:
            block = Block(path)
        except ValueError:  # the machine went down when it was made
            path.unlink()
            continue
        if not block.present:
            found.add(path)
        block.close()
    return found


class Spool:
    """The watcher's side: reads the blocks of all fronts, in order, from where it is told."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "spool"
        self._copies = left_copies(home)
        self._seen: dict[Path, _Seen] = {}
        self._folders: defaultdict[str, list[_Seen]] = defaultdict(list)

    def waiting(self) -> int:
        """Bytes that were not read yet."""
        self._look()
        return sum(max(0, seen.end() - seen.block.numbers[READ]) for seen in self._seen.values())

    def ends(self) -> dict[str, Place]:
        """Where each folder ends now."""
        self._look()
        found: dict[str, Place] = {}
        for path, seen in self._seen.items():
            name = path.parent.name
            found[name] = max(found.get(name, Place()), Place(seen.number, seen.end()))
        if _WEAK:
            time.sleep(0.001)
        return found

    def read(self, folder: str, begin: Place, end: Place, limit: int) -> tuple[list[Record], Place]:
        """The records of a folder between two places, in all about `limit` bytes; and where the next ones begin."""
        records: list[Record] = []
        size = 0
        for seen in self._of(folder):
            if not begin.number <= seen.number <= end.number:
                continue
            last = end.position if seen.number == end.number else seen.end()
            if seen.block.numbers[NUMBER] != seen.number:  # all was read, and the front has begun it anew
                continue
            first = begin.position if seen.number == begin.number else START
            if first >= last:
                continue
            seen.go_to(first)
            for record in seen.read(last):
                records.append(record)
                size += len(record.request) + len(record.answer) + RECORD.size
                if size > limit:
                    return records, Place(seen.number, seen.position)
            begin = Place(seen.number, seen.position)
        return records, begin

    def lost(self, folder: str) -> dict[int, int]:
        """About how many records the machine took with it at most when it went down, by the numbers of their blocks; of
        copies that are read to the end, but not given back.

        Nobody knows what came after a copy: it is taken for as much as had come since the copy before.
        """
        found = {}
        for seen in self._of(folder):
            if seen.block.path in self._copies and seen.position >= seen.end() > START:
                found[seen.number] = round(seen.count / (seen.end() - START) * seen.block.numbers[GREW])
        return {number: count for number, count in found.items() if count}

    def give_back(self, folder: str, place: Place) -> None:
        """Lets the front have what lies before `place`, which must be committed."""
        for seen in self._of(folder):
            if seen.number > place.number:
                break
            end = seen.end() if seen.number < place.number else place.position
            if not seen.block.present:
                if end >= seen.end():
                    self._copies.discard(seen.block.path)
                    seen.block.path.unlink(missing_ok=True)
            elif seen.block.numbers[NUMBER] == seen.number and not seen.block.idle:
                seen.block.numbers[READ] = end

    def _of(self, folder: str) -> list[_Seen]:
        """In the order of their numbers."""
        return sorted(self._folders[folder], key=lambda seen: seen.number)

    def _look(self) -> None:
        """Meets new blocks, forgets those that are gone, and sees which the front has begun anew."""
        found: dict[Path, _Seen] = {}
        for path in [*self._folder.glob("front-*/*.block"), *self._copies]:
            seen = self._seen.pop(path, None)
            try:
                inode = path.stat().st_ino
                if seen is None or seen.inode != inode:
                    seen = _Seen(Block(path), inode)
            except (OSError, ValueError):  # it is just going
                continue
            if path not in self._copies and not seen.block.present:
                seen.block.close()
                path.unlink(missing_ok=True)
                continue
            if seen.number != seen.block.numbers[NUMBER]:
                seen.begin(seen.block.numbers[NUMBER])
            found[path] = seen
        for gone in self._seen.values():
            gone.block.close()
        self._seen = found
        self._folders = defaultdict(list)
        for path, seen in found.items():
            self._folders[path.parent.name].append(seen)
