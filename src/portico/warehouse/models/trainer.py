"""Where models are trained: a process that only imports, and forks a child for each training, which may be stopped or
die without the warehouse. A fork after a learner has computed hangs (OpenMP), so the process itself never does.

A connection is a training, or a question to a model that a stranger made: a line of JSON comes in, {"ok": …} or
{"error": …} goes out. Whoever closes the connection has the child ended.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa

from portico.errors import BY_CODE, Internal, PorticoError, ResourceExhausted, Unavailable
from portico.ml import openmp
from portico.ml.bqml import kinds
from portico.ml.bqml.model import Given
from portico.ml.bqml.options import packed, unpacked
from portico.ml.bqml.tensorflow import TensorFlowModel
from portico.sandbox.parent import die_with_parent
from portico.store import sockets
from portico.warehouse.models import kept, tensorflow

_SOCKET = "trainer"
_IMPORTED = "imported.given"
_MEMORY = 75  # percent of the machine's memory that one training may take
_STARTS = 3  # attempts to reach the process
_ASKED = 600  # seconds that a stranger's model may take for an answer


class Trainer:
    """The warehouse's side. The process starts with the first training."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def training(self) -> Training:
        """
        Raises:
            Unavailable: the process dies again and again. Internal: it can't be started.
        """
        for _ in range(_STARTS):
            self._start()
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(sockets.folder(self._folder) / _SOCKET))
            except OSError:  # it has died since
                connection.close()
                self.close()
            else:
                return Training(connection)
        raise Unavailable("The process that trains models died; ask again.", reason="backendError")

    def _start(self) -> None:
        with self._starting:
            if self._process is None or self._process.poll() is not None:
                arguments = [str(self._folder), str(os.getpid())]
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "portico.warehouse.models.trainer", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    env={**openmp.ENVIRONMENT, **os.environ},
                )
                assert self._process.stdout is not None
                if self._process.stdout.readline().strip() != b"ready":
                    raise Internal(
                        "The process that trains models can't be started; the server's log says why."
                    )


class Training:
    """One training, which another thread may interrupt."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._interrupted = False

    def interrupt(self) -> None:
        self._interrupted = True
        with contextlib.suppress(OSError):  # it has ended meanwhile
            self._connection.shutdown(socket.SHUT_RDWR)

    def run(self, folder: Path) -> bool:
        """Trains what `give` wrote into `folder`; False where it was interrupted.

        Raises:
            PorticoError: what the training refuses. ResourceExhausted: its process died.
        """
        return self._told(
            {"train": str(folder)},
            "The training's process died, most likely for want of memory; train on fewer rows or columns",
        )

    def ask(
        self, folder: Path, name: str, tables: list[pa.Table], settings: dict[str, Any]
    ) -> pa.Table | None:
        """What the ML function `name` of the model in `folder` answers; None where it was interrupted.

        Raises:
            PorticoError: what the function refuses. ResourceExhausted: its process died, or took too long.
        """
        with tempfile.TemporaryDirectory() as scratch:
            for place, table in enumerate(tables):
                _write(Path(scratch) / f"rows{place}.arrow", table)
            self._connection.settimeout(_ASKED)
            finished = self._told(
                {
                    "ask": str(folder),
                    "name": name,
                    "settings": settings,
                    "scratch": scratch,
                    "tables": len(tables),
                },
                f"The imported model's process died, or did not answer within {_ASKED} seconds",
            )
            return _read(Path(scratch) / "answer.arrow") if finished else None

    def _told(self, message: dict[str, Any], died: str) -> bool:
        with self._connection:
            try:
                self._connection.sendall(json.dumps(message).encode() + b"\n")
                answered = self._connection.makefile("rb").readline()
            except OSError:
                answered = b""
        if self._interrupted:
            return False
        if not answered:
            raise ResourceExhausted(died, reason="resourcesExceeded")
        found = json.loads(answered)
        if error := found.get("error"):
            raise BY_CODE.get(error["code"], Internal)(error["message"], reason=error["reason"])
        return True


class Asking:
    """What one query asks of strangers' models and of endpoints, which another thread may interrupt."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work: list[Training] = []
        self._interrupted = False

    def interrupt(self) -> None:
        with self._lock:
            self._interrupted = True
            for one in self._at_work:
                one.interrupt()

    def go_on(self) -> None:
        """duckdb's InterruptException where it was interrupted."""
        if self._interrupted:
            raise _interruption()

    def ask(
        self, trainer: Trainer, folder: Path, name: str, tables: list[pa.Table], settings: dict[str, Any]
    ) -> pa.Table:
        """As `Training.ask`; duckdb's InterruptException where it was interrupted."""
        training = trainer.training()
        with self._lock:
            self._at_work.append(training)
            if self._interrupted:
                training.interrupt()
        try:
            found = training.ask(folder, name, tables, settings)
        finally:
            with self._lock:
                self._at_work.remove(training)
        if found is None:
            raise _interruption()
        return found


def _interruption() -> Exception:
    from duckdb import InterruptException

    return InterruptException("INTERRUPT Error: Interrupted!")


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def give(folder: Path, given: Given) -> None:
    """Writes what a training is given."""
    tables = {"": given.rows, **given.others}
    names = list(tables)
    for place, table in enumerate(tables.values()):
        _write(folder / f"rows{place}.arrow", table)
    (folder / "given.json").write_text(
        json.dumps(
            {
                "model_type": given.model_type,
                "options": packed(given.options),
                "names": names,
                "inputs": given.inputs,
                "outputs": given.outputs,
                "before": given.before,
            },
            default=str,  # dates as classes of CLASS_WEIGHTS
        )
    )
    (folder / _IMPORTED).write_bytes(given.imported)


def _train(folder: Path) -> None:
    told = json.loads((folder / "given.json").read_text())
    tables = {}
    for place, name in enumerate(told["names"]):
        with pa.memory_map(str(folder / f"rows{place}.arrow")) as source:
            tables[name] = pa.ipc.open_file(source).read_all()
    rows = tables.pop("")
    imported = (folder / _IMPORTED).read_bytes()
    given = Given(
        rows,
        unpacked(told["options"]),
        tables,
        told["model_type"],
        imported,
        told["inputs"],
        told["outputs"],
        told["before"],
    )
    kinds.train(given).save(folder)
    for path in (folder / "given.json", folder / _IMPORTED, *folder.glob("rows*.arrow")):
        path.unlink()


def _answer(asked: dict[str, Any]) -> None:
    scratch, folder = Path(asked["scratch"]), Path(asked["ask"]).resolve()
    os.chdir(scratch)  # a stranger's model may name files beside it
    tables = [_read(scratch / f"rows{place}.arrow") for place in range(asked["tables"])]
    _write(
        scratch / "answer.arrow",
        kinds.load(folder).call(asked["name"], tables, asked["settings"]),
    )


def _child(connection: socket.socket) -> None:
    answer: dict[str, Any] = {"ok": True}
    try:
        asked = json.loads(connection.makefile("rb").readline())
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _MEMORY // 100
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        with kept.said():
            if "train" in asked:
                folder = Path(asked["train"]).resolve()
                os.chdir(folder)  # an imported model may name files beside it
                _train(folder)
            else:
                _answer(asked)
    except PorticoError as error:
        answer = {"error": {"code": error.code, "message": error.message, "reason": error.reason}}
    except MemoryError:
        os._exit(1)
    except BaseException as error:
        if "bad_alloc" in str(error):  # of a library that is not Python's
            os._exit(1)
        import traceback

        traceback.print_exc()
        said = f"The training failed: {type(error).__name__}; the server's log has the details."
        answer = {"error": {"code": "INTERNAL", "message": said, "reason": "internalError"}}
    connection.sendall(json.dumps(answer).encode() + b"\n")


def _end_with(connection: socket.socket) -> None:
    """Ends this process with its connection: nobody waits for the model any more."""
    if not connection.recv(1):
        os._exit(1)


def main(folder: Path, parent: int) -> None:
    die_with_parent(parent)
    TensorFlowModel.runner = staticmethod(tensorflow.runner(folder.resolve().parent / "envs"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the system
    for name in (
        "scipy.optimize",
        "sklearn.cluster",
        "sklearn.decomposition",
        "sklearn.metrics",
        "statsmodels.tsa.api",
        "xgboost",
    ):
        __import__(name)
    gc.collect()
    gc.freeze()  # a child's collections would copy every page that they look at
    path = sockets.folder(folder) / _SOCKET
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    os.chmod(path, 0o600)
    server.listen(16)
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        own = os.getpid()
        if os.fork() == 0:
            try:
                die_with_parent(own)
                server.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _child(connection)
            finally:
                sys.stderr.flush()
                os._exit(0)
        connection.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
