"""Which server runs on a home, and where."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    pid: int
    auth: Literal["owner", "required", "open"] = "owner"
    """Who needs no token (`portico up --auth`)."""
    unconfined: bool = False
    """Whether user code runs without walls (`portico up --unconfined`)."""
    grpc: int = 0
    """The port of what is known by gRPC alone."""
    public: str = ""
    """The address for other machines, by TLS; `host` and `port` are this one's then."""
    names: tuple[str, ...] = ()
    """For which other names than loopback's it answers."""
    trusted: str = ""
    """The file with the certificate that other machines' clients are told to trust."""
    fingerprint: str = ""

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    @property
    def grpc_address(self) -> str:
        return f"{self._host}:{self.grpc}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def default_home() -> Path:
    return Path(os.environ.get("PORTICO_HOME") or Path.home() / ".portico").absolute()


class AlreadyRunning(Exception):
    def __init__(self, address: Address | None) -> None:
        where = f" at {address.url} (process {address.pid})" if address else ""
        super().__init__(f"Portico already runs on this home{where}.")


def claim(home: Path) -> int:
    """Takes the home for this process; the lock is held as long as the returned descriptor is open.

    Raises:
        AlreadyRunning: another process holds it.
    """
    (home / "run").mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "run" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AlreadyRunning(_read(home)) from None
    return descriptor


def publish(home: Path, address: Address) -> None:
    temporary = home / "run" / "address.new"
    temporary.write_text(json.dumps(asdict(address)))
    temporary.replace(home / "run" / "address.json")


def withdraw(home: Path) -> None:
    (home / "run" / "address.json").unlink(missing_ok=True)


def running(home: Path) -> Address | None:
    """The address of the server that runs on `home` now, or None. Asking makes no files."""
    if not (home / "run" / "lock").exists():
        return None
    try:
        os.close(claim(home))
    except AlreadyRunning:
        return _read(home)
    except OSError:
        return None
    return None


def _read(home: Path) -> Address | None:
    try:
        return Address(**json.loads((home / "run" / "address.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
