"""A model's files are immutable: their digest is kept, and what changed on the disk is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

from portico.errors import FailedPrecondition


def digest(path: Path) -> str:
    """One hexadecimal SHA-256 over the names and contents of the file `path`, or of all files below it."""
    whole = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        name = file.name if file == path else file.relative_to(path).as_posix()
        with file.open("rb") as content:
            of_file = hashlib.file_digest(content, "sha256").digest()
        whole.update(hashlib.sha256(name.encode()).digest() + of_file)
    return whole.hexdigest()


def check_digest(path: Path, expected: str) -> None:
    """
    Raises:
        FailedPrecondition: the files at `path` are not those whose digest is `expected` ("" is not looked at).
    """
    if expected and digest(path) != expected:
        raise FailedPrecondition(
            f"The model's files in {path.name!r} have changed on the disk since they were uploaded, so they are "
            "not loaded. Undeploy the model and upload it again."
        )


def size(path: Path) -> int:
    """Bytes of the file `path`, or of all files below it."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())
