"""Files that a user's code makes while it runs, opened by a server: the code may put anything in their place."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def open_inside(path: Path, root: Path) -> int | None:
    """A descriptor to read from; None where there is no regular file, or a link leads out of `root`. It is what was
    opened that counts."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    real = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    if stat.S_ISREG(os.fstat(descriptor).st_mode) and real.is_relative_to(root.resolve()):
        return descriptor
    os.close(descriptor)
    return None
