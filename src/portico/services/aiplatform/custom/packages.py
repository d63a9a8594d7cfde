"""A user's Python packages (sdists and wheels), unpacked for a job, and what they need.

Nothing of them runs here: an sdist's own `*.egg-info/requires.txt`, or its PKG-INFO, says what it needs. Its modules
are found where setuptools finds them, below its root or below `src`.
"""

from __future__ import annotations

import email
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from portico.errors import InvalidArgument
from portico.store.gcs import Gcs

_MOST_BYTES = 2 << 30  # of one package, unpacked


@dataclass(frozen=True, slots=True)
class Unpacked:
    """`paths` for PYTHONPATH, and the `requirements` (PEP 508)."""

    paths: list[Path]
    requirements: list[str]


def unpack(gcs: Gcs, uris: Sequence[str], folder: Path, field: str) -> Unpacked:
    """Raises InvalidArgument: one is not there, or is no package."""
    paths, requirements = [], []
    for number, uri in enumerate(uris):
        name = uri.rpartition("/")[2]
        target = folder / str(number)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        try:
            file = gcs.path(gcs.find(uri))
            root = _extract(file, name, target)
        except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise InvalidArgument(f"{uri} can't be unpacked: {error}", field=f"{field}[{number}]") from None
        paths.append(
            root / "src" if (root / "src").is_dir() and not (root / "src" / "__init__.py").exists() else root
        )
        requirements += _requirements(root)
    return Unpacked(paths, list(dict.fromkeys(requirements)))


def _extract(file: Path, name: str, target: Path) -> Path:
    """Unpacks into `target`; the folder in which the package's own files are."""
    if name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(file) as archive:
            _bounded(sum(entry.file_size for entry in archive.infolist()), name)
            archive.extractall(target)
    else:
        with tarfile.open(file) as archive:
            _bounded(sum(entry.size for entry in archive.getmembers()), name)
            archive.extractall(target, filter="data")
    entries = list(target.iterdir())
    return entries[0] if not name.endswith(".whl") and len(entries) == 1 and entries[0].is_dir() else target


def _bounded(size: int, name: str) -> None:
    if size > _MOST_BYTES:
        raise InvalidArgument(f"{name} has {size:,} bytes unpacked; at most {_MOST_BYTES:,} are taken.")


def _requirements(root: Path) -> list[str]:
    for listed in sorted(root.glob("**/*.egg-info/requires.txt")):
        lines = listed.read_text().partition("\n[")[0].splitlines()  # the rest are extras
        return [line.strip() for line in lines if line.strip()]
    for metadata in [*sorted(root.glob("*.dist-info/METADATA")), root / "PKG-INFO"]:
        if metadata.is_file():
            wanted = email.message_from_string(metadata.read_text()).get_all("Requires-Dist") or []
            return [line for line in wanted if "extra ==" not in line]
    return []
