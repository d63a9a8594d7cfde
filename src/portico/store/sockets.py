"""Where processes have their Unix sockets: an address is short, and a home's path need not be."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from portico.errors import FailedPrecondition

_LONGEST: Final = 70  # bytes of a folder; Linux takes 107 for the whole address, macOS 103


def run_folder(home: Path) -> Path:
    """Where the processes of `home` keep their sockets: `HOME/run`, or a private folder when that is too long."""
    return folder(home / "run")


def folder(wanted: Path) -> Path:
    """`wanted`, or where its path is too long a folder of the system's in its place; made for this user alone.

    Raises:
        FailedPrecondition: another user has made it before.
    """
    place = wanted.absolute()
    if len(os.fsencode(place)) > _LONGEST:
        digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
        # Not tempfile.gettempdir(): TMPDIR may differ between the processes that have to agree.
        place = Path("/tmp", f"portico-{os.getuid()}-{digest}")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = place.lstat() if place != wanted.absolute() else place.stat()
    if not stat.S_ISDIR(told.st_mode) or told.st_uid != os.getuid():
        raise FailedPrecondition(f"{place} belongs to another user.")
    if stat.S_IMODE(told.st_mode) & 0o077:
        place.chmod(0o700)
    return place
