"""What a job has written below /gcs becomes objects as soon as its own code asks about them, not first when it ends.

Code that writes a model to /gcs/BUCKET/… and then registers gs://BUCKET/… expects it there: on Vertex AI a file is an
object once it is closed. So Google's clients, before a request that names objects, tell the job which ones over a
socket in the folder where the code runs (`client/injected`), and wait.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.errors import PorticoError
from portico.jobs.worker import Context
from portico.sandbox.isolation import View
from portico.services.aiplatform.custom.acting import Acting
from portico.services.standard.sources import gcs_of
from portico.store.objects.generations import ObjectRow

_ASKED = "written.asked"  # a pipe: one JSON line a question, {"id", "uris"}
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class Written:
    """`rows`: the objects that were made of files, by these, with what tells whether a file has changed since."""

    context: Context
    view: View
    acting: Acting
    rows: dict[Path, tuple[tuple[int, int, int], ObjectRow]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def told(self, folder: Path) -> Iterator[None]:
        """Meanwhile code that runs in `folder`, with `variables(folder)`, is heard."""
        folder.mkdir(parents=True, exist_ok=True)
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        asked = _pipe(directory)
        over = threading.Event()
        hearing = threading.Thread(target=self._hear, args=(directory, asked, over), daemon=True)
        hearing.start()
        try:
            yield
        finally:
            over.set()
            with contextlib.suppress(BlockingIOError):  # a full pipe is heard too
                os.write(asked, b"\n")
            hearing.join()
            os.close(asked)
            with contextlib.suppress(OSError):
                os.unlink(_ASKED, dir_fd=directory)
            os.close(directory)

    def publish(self, uris: list[str]) -> None:
        """Makes objects of the files whose URIs begin as one of `uris`, where they have changed."""
        beginnings = [uri.removeprefix("gs://").rstrip("*") for uri in uris if isinstance(uri, str)]
        with self._lock:
            for beginning in beginnings:
                for path in self._below(beginning):
                    with contextlib.suppress(OSError, PorticoError):  # what can't be kept is said at the end
                        self._keep(path)

    def row_of(self, path: Path) -> ObjectRow | None:
        """The object that a file was made, if it has not changed since."""
        known = self.rows.get(path)
        return known[1] if known and known[0] == _stamp(path.lstat()) else None

    def _below(self, beginning: str) -> Iterator[Path]:
        """Files among the job's changes whose place below the view begins so."""
        steps = beginning.split("/")
        if any(step in (".", "..") for step in steps):
            return
        top = self.view.changes.joinpath(*steps[:-1])
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder) / name
                if path.relative_to(self.view.changes).as_posix().startswith(beginning):
                    yield path

    def _keep(self, path: Path) -> None:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or self.row_of(path):
            return
        name = path.relative_to(self.view.changes).as_posix()
        if not self.acting.may("create", name.partition("/")[0]):
            return
        uri = f"gs://{name}"
        self.rows[path] = (_stamp(found), gcs_of(self.context).write(uri, path))

    def _hear(self, directory: int, asked: int, over: threading.Event) -> None:
        rest = b""
        while not over.is_set():
            select.select([asked], [], [])
            *lines, rest = (rest + os.read(asked, 1 << 16)).split(b"\n")
            rest = rest[-select.PIPE_BUF :]
            for line in lines:
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    question: Any = json.loads(line)
                    if _ID.fullmatch(question["id"]):
                        self.publish(question["uris"])
                        os.close(os.open(f"{question['id']}.written", _NEW, 0o600, dir_fd=directory))


_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def _pipe(directory: int) -> int:
    """A pipe in a folder, which nobody's closing ends."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_ASKED, dir_fd=directory)
    os.mkfifo(_ASKED, 0o600, dir_fd=directory)
    return os.open(_ASKED, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def variables(folder: Path) -> dict[str, str]:
    """What lets the code in `folder` be heard."""
    return {"PORTICO_WRITTEN": str(folder / _ASKED)}


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns
