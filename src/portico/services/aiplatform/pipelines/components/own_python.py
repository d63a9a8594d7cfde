"""A Python of one task alone, over that of its environment: what `pip install` in a component writes to.

It is a virtual environment in the task's scratch folder, whose packages come before those of the shared one.
"""

from __future__ import annotations

import os
from pathlib import Path

_COMMANDS = ("pip", "pip3")
_ASKED = [Path("/etc/debian_version")]  # by pip, which tells its index what it runs on
# How this machine's pip reaches its index; what holds a password does not go behind the walls.
_PASSED: tuple[str, ...] = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "SSL_CERT_FILE",
)
_PASSED += ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


def make(python: Path, scratch: Path) -> Path:
    """Makes it in `scratch`, over `python`, an environment's, which has pip; its own Python."""
    shared = python.parent.parent
    [packages] = (shared / "lib").glob("python3*/site-packages")
    root = scratch / ".python"
    own, commands = root / "lib" / packages.parent.name / "site-packages", root / "bin"
    own.mkdir(parents=True)
    commands.mkdir()
    (root / "pyvenv.cfg").write_text((shared / "pyvenv.cfg").read_text())
    (own / "_shared.pth").write_text(f"import site; site.addsitedir({str(packages)!r})\n")
    target = os.path.realpath(python)
    for name in {"python", "python3", packages.parent.name, Path(target).name}:
        (commands / name).symlink_to(target)
    for name in _COMMANDS:
        script = commands / name
        script.write_text(f'#!/bin/sh\nexec "{commands}/python" -m pip "$@"\n')
        script.chmod(0o755)
    return commands / "python"


def of_pip() -> tuple[dict[str, str], list[Path]]:
    """Variables for pip in it, and what it reads for them."""
    found = {name: os.environ[name] for name in _PASSED if "@" not in os.environ.get(name, "@")}
    files = _ASKED + [
        Path(part) for value in found.values() for part in value.split() if part.startswith("/")
    ]
    return {
        **found,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }, [one for one in files if one.exists()]
