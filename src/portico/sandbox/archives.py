"""Archives that users give, unpacked."""

from __future__ import annotations

import tarfile
from pathlib import Path


def unpack(archive: tarfile.TarFile, target: Path) -> None:
    """Unpacks into `target`, for its owner alone: an archive says who else may read its files, and tarfile does
    as it says whatever the umask is.

    Raises:
        OSError, TarError: it is damaged, or would write elsewhere.
    """
    archive.extractall(target, filter=_ours)


def _ours(member: tarfile.TarInfo, target: str) -> tarfile.TarInfo:
    kept = tarfile.data_filter(member, target)
    return kept if kept.mode is None else kept.replace(mode=kept.mode & 0o700, deep=False)
