"""Wheels of packages that are there as source only. Building one runs its code, so that is done behind the walls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from portico.errors import FailedPrecondition
from portico.sandbox import isolation
from portico.sandbox.installer import Teller, niced

_SECONDS = 900
_LOOK = 0.5  # seconds between two looks whether it shall stop
_LIMITS = isolation.Limits(
    4 << 30, files=65_536, file_size=2 << 30, disk=8 << 30, seconds=_SECONDS, processes=512
)
# How this machine reaches the index; what holds a password does not go behind the walls.
_PASSED = (
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
_TAIL = 1000  # characters of what the build said that are told


def build(
    requirement: str, interpreter: str, folder: Path, links: Sequence[str] = (), teller: Teller | None = None
) -> None:
    """Puts a wheel of `requirement` (PEP 508) for the Python at `interpreter` into `folder`, where it is the caller's
    alone: nothing tells that it is what its name says. `links` are uv's options for more places to look at.

    Raises:
        FailedPrecondition: it can't be built, with what the build said; or nothing confines it here.
    """
    scratch = folder / "build"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        told = _install([*links, requirement], interpreter, scratch, teller or Teller())
        found = list((scratch / "out").glob("*.dist-info"))
        if told or len(found) != 1:
            raise FailedPrecondition(
                f"{requirement} has no wheel for this Python, and building it fails: {told or 'it made nothing'}"
            )
        _pack(scratch / "out", found[0], folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _install(asked: Sequence[str], interpreter: str, scratch: Path, teller: Teller) -> str:
    """Installs it from source into the folder `out` of `scratch`; why it could not, or empty."""
    import uv

    binary = os.fsdecode(uv.find_uv_bin())
    environment = {name: os.environ[name] for name in _PASSED if "@" not in os.environ.get(name, "@")}
    environment |= {"UV_CACHE_DIR": str(scratch / "cache"), "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    environment |= {"UV_NO_PROGRESS": "1", "UV_LINK_MODE": "copy", "UV_NO_CONFIG": "1"}
    named = [*(environment.get(name, "") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")), *asked]
    files = [Path(one) for one in named if one.startswith("/") and Path(one).exists()]
    python = Path(interpreter)
    command = [
        binary,
        "pip",
        "install",
        "--no-deps",
        "--python",
        interpreter,
        "--target",
        str(scratch / "out"),
    ]
    with open(os.devnull, "wb") as log:
        running = isolation.start(
            [*niced(), *command, *asked],
            readable=[Path(binary).parent, python.parent.parent, Path(sys.base_prefix), *files],
            scratch=scratch, log=log, limits=_LIMITS, environment=environment,
            network=True, processes=True, merged=True,
        )  # fmt: skip
    end = time.monotonic() + _SECONDS
    try:
        while True:
            try:
                said, _ = running.communicate(timeout=_LOOK)
                break
            except subprocess.TimeoutExpired:
                teller.still(f"building a wheel of {asked[-1]}")
            if time.monotonic() > end:
                return f"it took longer than {_SECONDS} seconds"
    finally:
        if running.poll() is None:
            running.terminate()
            running.communicate()
    return "" if running.returncode == 0 else " ".join(said.decode(errors="replace").split())[-_TAIL:]


def _pack(installed: Path, info: Path, folder: Path) -> None:
    """Makes what was installed a wheel again. Commands are left out: their entry points make them anew."""
    tags = re.findall(r"^Tag: (\S+)-(\S+)-(\S+)$", (info / "WHEEL").read_text(), re.MULTILINE)
    of_name = (
        ["py3-none-any"]
        if not tags
        else [".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True)]
    )
    name = f"{info.name.removesuffix('.dist-info')}-{'-'.join(of_name)}.whl"
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in sorted(installed.rglob("*")):
            inside = path.relative_to(installed)
            if (
                path.is_file()
                and not path.is_symlink()
                and inside.parts[0] != "bin"
                and path.suffix != ".pyc"
            ):
                wheel.write(path, inside.as_posix())
