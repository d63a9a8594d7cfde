"""A home is its owner's alone: files 0600, folders 0700. The database, the models and what was predicted lie there."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

_OTHERS: Final = 0o077
# What homes were made of before they were private. What came later is made so.
_FOLDERS: Final = (
    "cache",
    "jobs",
    "models",
    "objects",
    "replicas",
    "run",
    "spool",
    "warehouse",
    "bigquery",
    "demo",
)
_LINKED: Final = (
    "envs"  # packages, linked to a cache that all environments share: their folder is shut, they stay
)
_FILES: Final = re.compile(r"portico\.db.*|credentials\.json|database\.url|server\.log")


def make_private(home: Path) -> None:
    """Makes `home` where it is missing, and takes from others what they may do in one that is there.

    What this process and its children make from now on is private too. A folder that holds other things beside what
    is Portico's stays as open as it is; what is Portico's in it is shut.

    Raises:
        OSError: the home can't be made.
    """
    os.umask(_OTHERS)
    home.mkdir(parents=True, exist_ok=True)
    held = os.listdir(home)
    files = [name for name in held if _FILES.fullmatch(name)]
    ours = {*_FOLDERS, *files, _LINKED}
    if not any(_is_open(home / name) for name in held if name not in ours):
        _shut(home.resolve())
    for name in files:
        _shut(home / name)
    if _LINKED in held:
        _shut(home / _LINKED)
    for name in _FOLDERS:
        if name in held and _is_open(home / name):
            _shut_all(home / name)


def _shut_all(folder: Path) -> None:
    """The folder itself last: should this end half-way, the next start finds it open and goes on."""
    for path, _, files in os.walk(folder, topdown=False):
        for name in files:
            _shut(Path(path, name))
        _shut(Path(path))


def _is_open(path: Path) -> bool:
    status = path.lstat()
    return bool(stat.S_IMODE(status.st_mode) & _OTHERS) and not stat.S_ISLNK(status.st_mode)


def _shut(path: Path) -> None:
    """Leaves alone what is not there, a link, somebody else's, and a folder that is meant for all (/tmp)."""
    try:
        status = path.lstat()
        ours = status.st_uid == os.geteuid() and not status.st_mode & stat.S_ISVTX
        if ours and _is_open(path):
            path.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)
    except FileNotFoundError:
        pass
