"""What feeds monitoring: the hot path writes records into memory that the watcher shares (`prediction.spool`).

A record costs the hot path a few tenths of a microsecond: one call (`_tap.c`; where it was not built, this module does
the same, more slowly) copies it, none asks the system for anything, and nothing is held back, which would make the
processor's cache cold for the next requests. Making blocks, which may have to wait for the disk, is for a thread. Where
the watcher does not keep up a folder grows to `_BLOCKS` blocks; then records are dropped and counted.
"""

from __future__ import annotations

import logging
import mmap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, Final

from portico.prediction.spool import HEAD, NAMES, NUMBER, RECORD, START, Block

try:
    from portico.prediction._tap import Writer
except ImportError:  # there was no C compiler
    Writer = None

log = logging.getLogger(__name__)

_BLOCK_BYTES: Final = 16 * 2**20
_BLOCKS: Final = 16
_READY: Final = 256 * 1024  # bytes of a block that are made ready for writing at once
_FEW: Final = 64 * 1024  # bytes of a block that are not worth beginning it anew
_QUIET: Final = 600.0  # seconds after which blocks beyond the first two go; the next spike finds them made
_NUMBERS: Final = 2**16  # of names in a block

PLACE, LAST = range(2)  # the tap's numbers: where its next record begins, the id of the last one

_time = time.time
_FIXED: Final = RECORD.size


class Tap:
    """Belongs to one event loop. `dropped` counts the records that found no room."""

    def __init__(self, folder: Path, index: int = 0) -> None:
        self.dropped = 0
        self._folder = folder
        self._index = index % 64
        self._own = memoryview(bytearray(16)).cast("Q")
        self._names: dict[bytes, int] = {}  # that the block has
        self._own[LAST] = self._seen = self._now()  # of what the last tick saw
        self._taken = 0  # records up to the last tick
        self._block: Block | None = None
        self._room = 0  # where what is ready of the block ends
        self._making = self._refused = False  # a block; by the disk, the last time
        self._lock = threading.Lock()  # of who makes one
        self._crowded = 0.0  # when more than two blocks were in use last
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tap")
        self.native = Writer is not None
        self.put = self._put  # what callers call
        if self.native:
            self._writer = Writer(self._own.obj, self._names, self._put)
            self.put = self._writer.put
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob("*.new"):
            unfinished.unlink()
        self._blocks: dict[int, Block] = {}  # never changed in place, since the thread replaces it
        for path in folder.glob("*.block"):
            try:
                block = Block(path)
                if block.present:
                    self._blocks[int(path.stem)] = block
                else:
                    block.close()
            except (OSError, ValueError):  # the machine went down when it was made
                log.warning("%s can't be read", path)
                path.unlink()
        if not self._turn(0):
            self._make(_BLOCK_BYTES)
            self._turn(0)

    def _put(
        self, at: float, names: bytes, request: bytes, answer: bytes, seconds: float, method: int = 0,
        holdout: bool = False, caller_id: str = "",
    ) -> bytes:  # fmt: skip
        """Keeps a request and its answer (or just the list of its predictions); `names` as of `names_of`. By position.

        Returns its id in digits, or nothing when the spool is full and it was dropped.
        """
        caller = caller_id.encode() if caller_id else b""
        size = _FIXED + len(request) + len(answer) + len(caller)
        number = self._names.get(names)
        if number is None or self._own[PLACE] + size > self._room:
            number = self._make_room(size, names)
            if number < 0:
                self.dropped += 1
                return b""
        self._own[LAST] = made = self._own[LAST] + 64
        fixed = (made, at, seconds, len(request), len(answer), number, method, holdout, len(caller))
        self._write(fixed, request, answer, caller)
        return b"%d" % made

    def _make_room(self, size: int, names: bytes) -> int:
        """The number of the names in a block that has room; -1 where there is none."""
        need = size + _FIXED + len(names)
        crowded = len(self._names) == _NUMBERS and names not in self._names
        end = self._block.size if self._block is not None else 0
        if (self._own[PLACE] + need > end or crowded) and not self._turn(need):
            return -1
        self._ready(need)
        number = self._names.get(names)
        if number is None:
            number = len(self._names)
            self._write((0, 0.0, 0.0, 0, len(names), number, NAMES, False, 0), names)
            self._names[names] = number
        return number

    def _write(self, fixed: tuple[Any, ...], *parts: bytes) -> None:
        block, place = self._block, self._own[PLACE]
        assert block is not None
        RECORD.pack_into(block.memory, place, *fixed)
        end = place + _FIXED
        for part in parts:
            begin, end = end, end + len(part)
            block.memory[begin:end] = part
        block.numbers[HEAD] = self._own[PLACE] = end

    def _turn(self, need: int) -> bool:
        """Goes on in another block that has room for so many bytes; False where there is none."""
        self._count()
        if need > _BLOCK_BYTES - START and len(self._blocks) < _BLOCKS:
            self._make(-(-(START + need) // mmap.PAGESIZE) * mmap.PAGESIZE)
        block = next((block for block in self._idle() if block.size >= START + need), None)
        if block is not None:
            self._begin(block)
        self._prepare()
        return block is not None

    def _begin(self, block: Block) -> None:
        numbers = [one.numbers[NUMBER] + 1 for one in self._blocks.values()]
        block.begin(max([int(_time() * 1e6), *numbers]))
        self._block, self._room = block, 0
        self._own[PLACE] = START
        self._names.clear()
        self._ready(0)

    def _ready(self, need: int) -> None:
        """Makes so many bytes of the block ready, and some more."""
        block, begin = self._block, self._room
        assert block is not None
        if self._own[PLACE] + need <= begin:
            return
        self._room = min(block.size, -(-(self._own[PLACE] + need) // _READY) * _READY)
        block.ready(begin, self._room)
        if self.native:
            self._writer.enter(memoryview(block.memory)[: self._room])

    def _idle(self) -> list[Block]:
        """The blocks that may be begun anew."""
        return [block for block in self._blocks.values() if block is not self._block and block.idle]

    def _prepare(self) -> None:
        """Has the thread make a block, if none is left to go on in."""
        if not (self._making or self._idle() or len(self._blocks) >= _BLOCKS):
            self._making = True
            self._thread.submit(self._make, _BLOCK_BYTES)

    def _make(self, size: int) -> None:
        with self._lock:
            free = next(number for number in count() if not (self._folder / f"{number}.block").exists())
            try:
                self._blocks = self._blocks | {free: Block.make(self._folder / f"{free}.block", size)}
                self._refused = False
            except OSError:
                if not self._refused:
                    log.exception("the spool gets no room: predictions may not be logged")
                self._refused = True
            self._making = False

    def _now(self) -> int:
        """An id of this moment: microseconds and the front's number, unique without asking anybody."""
        return int(_time() * 1e6) * 64 + self._index

    def _count(self) -> None:
        self._taken += (self._own[LAST] - self._seen) // 64
        self._own[LAST] = self._seen = max(self._own[LAST], self._now())

    def tick(self) -> None:
        """Keeps ids close to the time, and one more block than is in use. The loop calls it a few times a second.

        A block that was read up to its end is begun anew, so that quiet times write to the same few pages.
        """
        self._count()
        if self._block is not None and self._own[PLACE] > _FEW and self._block.idle:
            self._begin(self._block)
        self._prepare()
        idle, now = self._idle(), time.monotonic()
        if len(self._blocks) - len(idle) > 1:
            self._crowded = now
        elif len(self._blocks) > 2 and now - self._crowded > _QUIET and not self._making:
            gone = idle[-1]
            self._blocks = {number: block for number, block in self._blocks.items() if block is not gone}
            gone.path.unlink(missing_ok=True)
            gone.close()

    def close(self) -> None:
        """Blocks until the thread has ended. What is in the blocks stays there."""
        self._thread.shutdown(wait=True)
        self._count()
        if self.native:
            self._writer.leave()
        for block in self._blocks.values():
            block.close()

    @property
    def report(self) -> dict[str, Any]:
        taken = self._taken + (self._own[LAST] - self._seen) // 64
        return {"tap_taken": taken, "tap_dropped": self.dropped, "tap_native": self.native}
