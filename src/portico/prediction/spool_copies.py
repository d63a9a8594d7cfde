"""Brings what waits in the spool to the disk: copies of its blocks, for the case that the machine goes down.

The blocks themselves are not synced: the system would have to catch the front's next writing to each page. A copy is
`HOME/spool/front-N/NUMBER.copy`, where the number is the block's in its folder's sequence. Where it can be, it is
written past the page cache, so that the predictions that are answered meanwhile keep the processor's caches.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path
from struct import Struct
from typing import Final

from portico.prediction.spool import BOOT, HEAD, NUMBER, READ, START, Block, left_copies

_NUMBERS: Final = Struct("=QQQQQ")  # as a block begins: HEAD, READ, NUMBER, BOOT, GREW
_PAGE: Final = 4096  # what is written begins and ends at one


class Copies:
    """Of all fronts. One process has one; it may have a thread of its own."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "spool"
        self._blocks: dict[Path, tuple[int, Block]] = {}  # with their inodes
        # Our copies; where they end, and how many bytes came at last.
        self._copied: dict[Path, tuple[int, int]] = {}
        self._direct = getattr(os, "O_DIRECT", 0)
        self._page = mmap.mmap(-1, _PAGE)  # lies as a direct write wants it
        for path in set(self._folder.glob("front-*/*.copy")) - left_copies(home):
            self._copied[path] = START, 0

    def bring(self) -> None:
        """Copies what nobody has read yet. Blocks.

        Raises:
            OSError: there is no room for it.
        """
        self._look()
        wanted = set()
        for path, (_, block) in self._blocks.items():
            if not block.present:
                continue
            number, end = block.numbers[NUMBER], min(block.numbers[HEAD], block.size)
            copy = path.with_name(f"{number}.copy")
            wanted.add(copy)
            copied, grew = self._copied.get(copy, (START, 0))
            if max(block.numbers[READ], copied) < end or (copied == end and grew):
                try:
                    self._bring(block, number, end, copy)
                except OSError as error:
                    if error.errno != errno.EINVAL or not self._direct:
                        raise
                    self._direct = 0  # this file system has none
                    self._bring(block, number, end, copy)
        for copy in self._copied.keys() - wanted:
            copy.unlink(missing_ok=True)
            del self._copied[copy]

    def _bring(self, block: Block, number: int, end: int, copy: Path) -> None:
        """What lies before `end`. What counts is the number in the copy, which comes to the disk last."""
        file = os.open(copy, os.O_RDWR | os.O_CREAT | self._direct, 0o600)
        try:
            numbers = number, block.numbers[BOOT]
            if copy not in self._copied:
                _sync_folder(copy.parent)
                self._write_page(file, _NUMBERS.pack(START, START, *numbers, 0), 0)
                self._copied[copy] = START, 0
            begin, _ = self._copied[copy]
            at, whole = begin // _PAGE * _PAGE, end // _PAGE * _PAGE
            while at < whole:
                with memoryview(block.memory) as memory, memory[at:whole] as part:
                    at += os.pwrite(file, part, at)
            self._write_page(file, block.memory[whole:end], whole)  # the front is writing behind it
            os.fdatasync(file)
            if block.numbers[NUMBER] != number:  # meanwhile all was read, and the front has begun it anew
                return
            self._write_page(file, _NUMBERS.pack(end, START, *numbers, end - begin), 0)
            os.fdatasync(file)
            self._copied[copy] = end, end - begin
        finally:
            os.close(file)

    def _write_page(self, file: int, content: bytes, at: int) -> None:
        self._page[:] = content.ljust(_PAGE, b"\0")
        os.pwrite(file, self._page, at)

    def _look(self) -> None:
        """Meets new blocks and forgets those that are gone."""
        found: dict[Path, tuple[int, Block]] = {}
        for path in self._folder.glob("front-*/*.block"):
            known = self._blocks.get(path)
            with contextlib.suppress(OSError, ValueError):  # it is just going
                inode = path.stat().st_ino
                if known is None or known[0] != inode:
                    known = inode, Block(path)
                found[path] = known
        for path, one in self._blocks.items():
            if found.get(path) is not one:
                one[1].close()
        self._blocks = found


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
