"""The bytecode of an environment's packages, made once for all environments that have the same files.

An environment is read-only to what runs in it, so its bytecode is made with it. That takes most of an installation's
time, while its files are links to those of a cache, and the same as in other environments. Bytecode is kept under the
digest of its source, and linked: Python does not compare it with the source at run time (PEP 552, "unchecked").
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from portico.sandbox import installer
from portico.sandbox.installer import Teller

_FOLDER = ".bytecode"
_LIST = ".sources.txt"
_TAG = "import sys, importlib.util; print(sys.implementation.cache_tag, importlib.util.MAGIC_NUMBER.hex())"


def make(environment: Path, cache: Path, teller: Teller) -> None:
    """Gives every module of `environment` its bytecode, from what is kept in `cache` where that has it. A file that
    can't be compiled has none."""
    python = str(environment / "bin" / "python")
    told = subprocess.run([python, "-I", "-S", "-c", _TAG], capture_output=True, text=True, check=True)
    tag, magic = told.stdout.split()
    kept = cache / _FOLDER / magic
    lacking: list[tuple[Path, Path]] = []
    for source in sorted(environment.glob("lib/python3*/site-packages/**/*.py")):
        made = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
        made.unlink(missing_ok=True)  # what a wheel brings may be another source's: it would be kept for all
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        if not _linked(kept / digest[:2] / digest, made):
            lacking.append((source, kept / digest[:2] / digest))
    if not lacking:
        return
    listed = environment / _LIST
    listed.write_text("".join(f"{source}\n" for source, _ in lacking))
    command = [
        python,
        "-I",
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode",
        "unchecked-hash",
        "-i",
        str(listed),
    ]
    doing = f"compiling the bytecode of {len(lacking)} modules"
    installer.run([*command, "-j", str(os.cpu_count() or 1)], teller, doing, quiet=True)
    listed.unlink()
    for source, place in lacking:
        _linked(source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc", place)


def sweep(cache: Path) -> None:
    """Removes what no environment has any more."""
    for place in _files(cache / _FOLDER):
        with contextlib.suppress(FileNotFoundError):
            if place.stat().st_nlink == 1:
                place.unlink()


def _files(folder: Path) -> Iterator[Path]:
    return folder.glob("*/*/*")


def _linked(file: Path, place: Path) -> bool:
    """Whether `place` is there: a link to `file`, or what another put there."""
    try:
        os.link(file, place)
    except FileExistsError:
        return True
    except FileNotFoundError:
        if place.parent.exists() or not file.exists():
            return False
        place.parent.mkdir(parents=True, exist_ok=True)
        return _linked(file, place)
    except OSError:  # another file system, too many links
        return False
    return True
