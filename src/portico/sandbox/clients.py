"""How Google's clients in users' code find this server: what that code gets to see of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from portico.sandbox import environments

# The clients' settings, and a folder for PYTHONPATH: set by `client.jobs`, which knows.
clients: Callable[[Path], tuple[dict[str, str], Path]] | None = None


def pointed_here(home: Path, python: Path, paths: list[Path]) -> tuple[dict[str, str], list[Path]]:
    """The environment variables of code that `python`, an environment's, runs with `paths` for its modules; and what it
    reads for that.

    Raises:
        Unavailable: the server's address is not known yet.
    """
    environment, (injected, *others) = in_container(home)
    environment |= {
        "PATH": f"{python.parent}:{injected}/bin:/usr/local/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": str(python.parent.parent),
        "PYTHONPATH": ":".join(map(str, [injected, *paths])),
    }
    return environment, [*environments.prefixes(python), injected, *paths, *others]


def in_container(home: Path) -> tuple[dict[str, str], list[Path]]:
    """The same for a container, whose Python is its own.

    Raises:
        Unavailable: the server's address is not known yet.
    """
    settings, injected = clients(home) if clients else ({}, Path("/"))
    environment = {**settings, "PYTHONPATH": str(injected)}
    environment.pop("GOOGLE_APPLICATION_CREDENTIALS", None)  # the server's own
    environment.pop("PUBSUB_EMULATOR_HOST", None)  # with which a client would not say whose job it is
    certificate = settings.get("PORTICO_CERTIFICATE")
    return environment, [injected, *([Path(certificate)] if certificate else [])]
