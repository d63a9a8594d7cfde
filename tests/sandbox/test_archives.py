"""Archives that users give: unpacked for their owner alone."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path

import pytest

from portico.sandbox import archives


def packed(name: str, mode: int) -> tarfile.TarFile:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.mode = mode
        archive.addfile(member)
    data.seek(0)
    return tarfile.open(fileobj=data)


@pytest.mark.parametrize(("said", "kept"), [(0o644, 0o600), (0o777, 0o700), (0o4755, 0o700)])
def test_nobody_else_may_what_an_archive_lets_them(tmp_path: Path, said: int, kept: int) -> None:
    with packed("folder/file", said) as archive:
        archives.unpack(archive, tmp_path)
    assert stat.S_IMODE((tmp_path / "folder" / "file").stat().st_mode) == kept


def test_none_leads_out(tmp_path: Path) -> None:
    with packed("../file", 0o644) as archive, pytest.raises(tarfile.TarError):
        archives.unpack(archive, tmp_path / "below")
