"""Where the replicas of a set have their sockets, logs and scratch files."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from portico.errors import FailedPrecondition

# A Unix socket's address holds 104 bytes on macOS, 108 on Linux, the closing zero included.
_LONGEST = 100
_SAID = 16 << 10  # bytes of a log that are shown


def socket_paths(home: Path, set_id: str, count: int) -> list[str]:
    """The sockets of the `count` replicas of `set_id`; the same for every process that asks."""
    folder = home.resolve() / "run" / "r"
    names = [f"{short(set_id)}-{number}.sock" for number in range(count)]
    if len(os.fsencode(folder)) + len(names[-1]) + 1 > _LONGEST:
        # Not tempfile.gettempdir(): TMPDIR may differ between the processes that have to agree.
        of_home = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:10]
        folder = Path("/tmp") / f"portico-{os.getuid()}-{of_home}"
    return [str(folder / name) for name in names]


def why(path: str) -> str:
    """Where the manager says why the replica behind the socket `path` ended."""
    return f"{path}.why"


def make_socket_folder(path: str) -> None:
    """Makes the folder of the socket `path`, for this user alone.

    Raises:
        FailedPrecondition: another user has made it before.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    told = os.lstat(folder)
    if not stat.S_ISDIR(told.st_mode) or told.st_uid != os.getuid():
        raise FailedPrecondition(
            f"{folder} belongs to another user: replicas cannot have their sockets there."
        )
    os.chmod(folder, 0o700)


def folder(home: Path, set_id: str) -> Path:
    """The folder of a set: `<number>.log` is what a replica said, `<number>-*/` its scratch folder."""
    return home / "replicas" / short(set_id)


def said(home: Path, set_id: str) -> list[str]:
    """What the first replica of a set has written of late, as lines of plain text."""
    try:
        with (folder(home, set_id) / "0.log").open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _SAID))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    lines = (
        "".join(one if one.isprintable() else " " for one in line).rstrip() for line in text.splitlines()
    )
    return [line for line in lines if line]


def scratches(home: Path) -> list[Path]:
    """The scratch folders of all sets."""
    return [path for path in (home / "replicas").glob("*/*-*") if path.is_dir()]


def short(set_id: str) -> str:
    """A name for `set_id` that is short and safe in a path."""
    return hashlib.sha256(set_id.encode()).hexdigest()[:12]
