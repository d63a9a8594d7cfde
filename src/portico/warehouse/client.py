"""How the other rooms ask the warehouse, from any process of a home. Its own starts with the first ask (`keeper`)."""

from __future__ import annotations

import functools
import hashlib
import queue
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from portico.errors import BY_CODE, Internal, PorticoError, Unavailable, Unimplemented
from portico.store import sockets

FOLDER = "bigquery"  # of a home
FILE = "warehouse.duckdb"
MODELS = "models"
PUBLIC_DATA = "PORTICO_PUBLIC_DATA"  # in the environment of a server that was started with --public-data
OWNER = "owner@portico.local"  # the e-mail address of a caller that has none
_START = 20.0  # seconds that a start may take
_POLL = 0.1
ANONYMOUS = "_portico_results"  # a data set of each project, where queries' own results are


def job_name(project: str, job: str) -> str:
    """Under which a job is written down, and its result kept."""
    return f"projects/{project}/bigquery/jobs/{job}"


def child_name(script: str, number: int) -> str:
    """Under which the job of a script's statement is written down, of the one with this `number`, from 0."""
    key = hashlib.sha256(script.encode()).hexdigest()[:32]
    beside, _, _ = script.rpartition("/")
    return f"{beside}/script_job_{key}_{number}"


def result_file(folder: Path, job: str) -> Path:
    """Where the result of the job of this name is kept: by its digest, since it may be longer than a file's name."""
    return folder / "results" / f"{hashlib.sha256(job.encode()).hexdigest()}.arrow"


class WarehouseClient:
    """Asks the warehouse of a home; from any thread. Connections are kept."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._idle: queue.LifoQueue[socket.socket] = queue.LifoQueue()

    def ask(
        self, method: str, outside: Callable[[str, dict[str, Any]], Any] | None = None, /, **arguments: Any
    ) -> Any:
        """Asks, and answers through `outside` what the warehouse needs meanwhile of what is not in it.

        Raises:
            PorticoError: what the warehouse refuses, or that it can't be started.
        """
        line = orjson.dumps({"method": method, "arguments": arguments}) + b"\n"
        connection = self._connection()
        try:
            connection.sendall(line)
            found = _answer(connection)
            while need := found.get("need"):
                connection.sendall(_met(outside, need) + b"\n")
                found = _answer(connection)
        except OSError:
            connection.close()
            raise Unavailable("The warehouse ended while it worked on this request; ask again.") from None
        self._idle.put(connection)
        if error := found.get("error"):
            raise BY_CODE.get(error["code"], Internal)(error["message"], reason=error["reason"])
        return found["ok"]

    def _connection(self) -> socket.socket:
        while not self._idle.empty():
            try:
                kept = self._idle.get_nowait()
            except queue.Empty:
                break
            if _is_open(kept):
                return kept
            kept.close()
        deadline = time.monotonic() + _START
        while True:
            made = socket.socket(socket.AF_UNIX)
            try:
                made.connect(str(socket_path(self._home / FOLDER)))
                return made
            except (FileNotFoundError, ConnectionRefusedError):  # it does not run
                made.close()
            if not self._started() and time.monotonic() > deadline:
                raise Unavailable("The warehouse can't be started; the server's log says why.")

    def _started(self) -> bool:
        """Asks for its start."""
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(keeper_path(self._home)))
                if link.recv(16) == b"ok":
                    return True
            except OSError:
                pass
        time.sleep(_POLL)  # who keeps it is being started too
        return False


def socket_path(folder: Path) -> Path:
    """Where the process of the warehouse in a folder listens."""
    return sockets.folder(folder) / "socket"


def is_running(home: Path) -> bool:
    """Whether the warehouse of a home runs, which is not started by that."""
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(str(socket_path(home / FOLDER)))
        except OSError:
            return False
    return True


def keeper_path(home: Path) -> Path:
    """Where the process that keeps the warehouse listens: a connection is answered `ok` once the warehouse runs."""
    return sockets.run_folder(home) / "warehouse.sock"


def _is_open(connection: socket.socket) -> bool:
    """Whether the other end is still there; it says nothing unasked."""
    try:
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _answer(connection: socket.socket) -> dict[str, Any]:
    """What the process answers; rows that came as JSON stay so."""
    data = bytearray()
    while (end := data.find(b"\n")) < 0:
        data += _piece(connection)
    found: dict[str, Any] = orjson.loads(memoryview(data)[:end])
    if more := found.get("more"):
        while len(data) < end + 1 + more:
            data += _piece(connection)
        found["ok"]["rows"] = orjson.Fragment(bytes(memoryview(data)[end + 1 : end + more]))
    return found


def _piece(connection: socket.socket) -> bytes:
    piece = connection.recv(1 << 20)
    if not piece:
        raise ConnectionResetError
    return piece


def _met(outside: Callable[[str, dict[str, Any]], Any] | None, need: dict[str, Any]) -> bytes:
    """What the warehouse is told of what it needs."""
    try:
        if outside is None:
            raise Unimplemented("Files and jobs can't be reached from here.")
        return orjson.dumps({"ok": outside(need["what"], need["arguments"])})
    except PorticoError as error:
        return orjson.dumps({"error": {"code": error.code, "message": error.message, "reason": error.reason}})


def snapshot(home: Path, target: Path) -> list[str]:
    """Copies what the warehouse of a home holds into the folder `target`, while it runs too; the files' names."""
    folder = home / FOLDER
    if not (folder / FILE).exists():
        return []
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(socket_path(folder)))
            asked = {"method": "snapshot", "arguments": {"target": str(target / FILE)}}
            connection.sendall(orjson.dumps(asked) + b"\n")
            answered = _answer(connection)
            if error := answered.get("error"):
                raise Internal(error["message"])
    except (FileNotFoundError, ConnectionError):  # it does not run
        for path in folder.glob(f"{FILE}*"):
            shutil.copyfile(path, target / path.name)
        if (folder / MODELS).exists():
            shutil.copytree(folder / MODELS, target / MODELS)
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


@functools.cache
def warehouse(home: Path) -> WarehouseClient:
    """The one of a home."""
    return WarehouseClient(home)
