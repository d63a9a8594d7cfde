"""How much lies below a folder."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def below(folder: Path | str) -> Iterator[os.stat_result]:
    """Every file, link and folder below; what cannot be looked at, or goes meanwhile, is left out."""
    waiting = [os.fspath(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    yield entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)


def size_of(folder: Path) -> int:
    """The bytes of the files below."""
    return sum(found.st_size for found in below(folder) if not stat.S_ISDIR(found.st_mode))
