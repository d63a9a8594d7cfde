"""What a model's file says about the library that made it, read without loading it.

A pickle is never loaded here: its bytes are searched for the version that the library writes into them.
What a library thinks of another version's file, it says itself, in the replica that loads it.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from portico.errors import FailedPrecondition
from portico.store.replicas import ReplicaSet

_MOST = 1 << 28  # of the unpacked bytes: a file that unpacks to more is left to the replica's own check
_CHUNK = 1 << 20
_KEEP = 128  # more bytes than a version and its name span

# An estimator's state in a pickle: the key, then the version as a short or a long string (protocols 2 to 5).
_SKLEARN = re.compile(rb"_sklearn_version(?:\x94|q.|r....)?(?:\x8c(.)|X(....))", re.DOTALL)
_VERSION = re.compile(rb"\d+\.\d+[0-9A-Za-z.+]{0,20}")  # it becomes part of a requirement
# A saved booster, also inside a pickle: UBJSON, the old binary format (no third number), and JSON.
_XGBOOST = [
    re.compile(rb"version\[#L.{7}\x03i(.)i(.)i(.)", re.DOTALL),
    re.compile(rb"\Abinf.{20}([\x01-\xff])\0\0\0(.)\0\0\0", re.DOTALL),
    re.compile(rb'"version":\s*\[(\d+),\s*(\d+),\s*(\d+)\]'),
]


class SupportsRead(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model's file, and the version of the library that made it ("" when the file does not tell)."""

    path: Path
    version: str


def find(folder: Path, names: Sequence[str], framework: str) -> Artifact:
    """The first of `names` in `folder`.

    Raises:
        FailedPrecondition: none of them is there.
    """
    for name in names:
        path = folder / name
        if path.is_file():
            return Artifact(path, made_with(path, framework))
    held = ", ".join(sorted(entry.name for entry in folder.iterdir())[:10]) if folder.is_dir() else ""
    raise FailedPrecondition(
        f"The model's artifacts have no {' or '.join(names)}, which is what this image serves; "
        f"they have {held or 'no files'}."
    )


def of(spec: ReplicaSet) -> tuple[Path, list[str]]:
    """The file that replicas of `spec` serve, which names them in messages, and the requirements of their environment.

    Raises:
        FailedPrecondition: there is no such file.
    """
    if spec.container:
        return Path(spec.container["root"]).with_name("its code"), spec.requirements
    artifact = find(Path(spec.model_dir), spec.artifacts, spec.framework)
    beside = ["skops"] if artifact.path.suffix == ".skops" else []
    return artifact.path, exact(spec.requirements, spec.framework, spec.version, artifact) + beside


def made_with(path: Path, framework: str) -> str:
    """The version of `framework` ("sklearn" or "xgboost") that wrote the file `path`; "" when it does not tell."""
    if framework not in ("sklearn", "xgboost"):
        return ""
    try:
        for window in _windows(path):
            if framework == "sklearn":
                if match := _SKLEARN.search(window):
                    length = int.from_bytes(match[1] or match[2], "little")
                    told = window[match.end() : match.end() + length]
                    if _VERSION.fullmatch(told) and len(told) == length:  # else cut: the next piece has it
                        return told.decode()
                continue
            for pattern in _XGBOOST:
                if match := pattern.search(window):
                    text = match[0].startswith(b'"')
                    return ".".join(part.decode() if text else str(part[0]) for part in match.groups())
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        pass  # not what its name says: the replica tells why it cannot be loaded
    return ""


def exact(requirements: Sequence[str], framework: str, version: str, artifact: Artifact) -> list[str]:
    """`requirements` of an image with the library pinned to the very version that made `artifact`, where that is
    known and of the image's minor `version` ("1.5"). Of another one it is loaded as the image's container would:
    with the image's library, which warns or refuses.
    """
    if framework != "sklearn" or not artifact.version or _minor(artifact.version) != _minor(version):
        return list(requirements)
    return [
        f"scikit-learn=={artifact.version}" if line.startswith("scikit-learn==") else line
        for line in requirements
    ]


def _minor(version: str) -> tuple[int, int]:
    numbers = re.findall(r"\d+", version)
    return int(numbers[0]), int(numbers[1])


def _windows(path: Path) -> Iterator[bytes]:
    """The unpacked bytes of `path`, in pieces that overlap so that no pattern is cut."""
    with path.open("rb") as plain:
        start = plain.read(8)
        plain.seek(0)
        # The ways in which joblib packs, by their first bytes; its zlib and lz4 files have no name for theirs.
        if start[:2] == b"\x1f\x8b":
            source: Iterator[bytes] = _chunks(gzip.GzipFile(fileobj=plain))
        elif start[:3] == b"BZh":
            source = _chunks(bz2.BZ2File(plain))
        elif start[:6] == b"\xfd7zXZ\x00" or start[:3] == b"\x5d\x00\x00":
            source = _chunks(lzma.LZMAFile(plain))  # noqa: SIM115
        elif start[:1] == b"\x78":
            source = _inflate(plain)
        else:
            source = _chunks(plain)
        tail, total = b"", 0
        for chunk in source:
            yield tail + chunk
            tail = (tail + chunk)[-_KEEP:]
            total += len(chunk)
            if total > _MOST:
                return


def _chunks(file: SupportsRead) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _inflate(file: SupportsRead) -> Iterator[bytes]:
    unpack = zlib.decompressobj()
    for chunk in _chunks(file):
        yield unpack.decompress(chunk, _CHUNK)
        while unpack.unconsumed_tail:
            yield unpack.decompress(unpack.unconsumed_tail, _CHUNK)
