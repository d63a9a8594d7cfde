"""What the code of a job prints: into its log for people, and line by line for Cloud Logging."""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from portico.jobs import lines
from portico.jobs.worker import Context

_LINE = 16 << 10  # bytes of a line that are kept
_LOG = 64 << 20  # bytes of a job's log
_LAST = 20  # lines that an error tells
_READ = 1 << 16
_PATIENCE = 10.0  # seconds that is waited for the rest when all has ended


@dataclass(slots=True)
class _Pipe:
    task: str
    severity: str
    file: IO[bytes]
    rest: bytearray = field(default_factory=bytearray)


class Output:
    """Reads, in a thread of its own, what the tasks of a job write. With `several` the log says whose a line is. Lines
    of which `passed_over` holds, which sees each in turn, are none of the newest."""

    def __init__(
        self, context: Context, *, several: bool, passed_over: Callable[[str], bool] = lambda line: False
    ) -> None:
        self._say, self._several, self._passed_over = context.say, several, passed_over
        self._room = _LOG
        self._last: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_LAST))
        context.folder.mkdir(parents=True, exist_ok=True)
        self._lines = lines.Writer(context.folder)
        self._lock = threading.Lock()  # of what is written
        self._open: defaultdict[str, int] = defaultdict(int)  # pipes of a task
        self._ends: dict[str, float] = {}
        self._ended = threading.Condition()
        self._pipes = selectors.DefaultSelector()
        self._changed, self._change = os.pipe()
        self._pipes.register(self._changed, selectors.EVENT_READ)
        self._closing = False
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def service(self, text: str) -> None:
        """What Portico says of the job."""
        self._say(text)
        self.note(text)

    def note(self, text: str, severity: str = "INFO") -> None:
        """The same, where the log says it already."""
        self._write("service", severity, text)

    def follow(self, task: str, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        """Takes what `task` writes from now on, and closes both when it ends."""
        for file, severity in ((stdout, "INFO"), (stderr, "ERROR")):  # as Vertex AI has it
            with self._ended:
                self._open[task] += 1
            self._pipes.register(file, selectors.EVENT_READ, _Pipe(task, severity, file))
        os.write(self._change, b"!")

    def end(self, task: str) -> float:
        """When `task`, which has ended, had written its last; all that is read then."""
        with self._ended:
            self._ended.wait_for(lambda: not self._open[task], _PATIENCE)
            return self._ends.get(task, math.inf)

    def last(self, task: str) -> list[str]:
        """The newest lines of `task`, without those passed over."""
        return list(self._last[task])

    def drain(self) -> None:
        """Once all tasks have ended: waits until all that they wrote is read."""
        self._closing = True
        os.write(self._change, b"!")
        self._reading.join(_PATIENCE)

    def close(self) -> None:
        self.drain()
        self._lines.close()

    def _read(self) -> None:
        while not (self._closing and len(self._pipes.get_map()) == 1):
            for key, _ in self._pipes.select():
                if key.data is None:
                    os.read(self._changed, 64)
                else:
                    self._take(key.data)

    def _take(self, pipe: _Pipe) -> None:
        piece = os.read(pipe.file.fileno(), _READ)
        pipe.rest += piece
        *whole, pipe.rest = pipe.rest.split(b"\n")
        for line in whole:
            self._tell(pipe, line)
        if len(pipe.rest) > _LINE or (pipe.rest and not piece):
            self._tell(pipe, pipe.rest)
            pipe.rest = bytearray()
        if not piece:
            self._pipes.unregister(pipe.file)
            pipe.file.close()
            with self._ended:
                self._open[pipe.task] -= 1
                self._ends[pipe.task] = time.monotonic()
                self._ended.notify_all()

    def _tell(self, pipe: _Pipe, line: bytearray) -> None:
        for start in range(0, max(1, len(line)), _LINE):
            text = line[start : start + _LINE].decode(errors="replace").rstrip("\r")
            if not self._passed_over(text):
                self._last[pipe.task].append(text)
            if self._room <= 0:
                continue
            self._room -= len(text) + 1
            if self._room <= 0:
                text = f"(the log is full at {_LOG >> 20} MiB; the rest is left out)"
            self._say(f"{pipe.task}: {text}" if self._several else text)
            self._write(pipe.task, pipe.severity, text)

    def _write(self, task: str, severity: str, text: str) -> None:
        with (
            self._lock,
            contextlib.suppress(OSError, ValueError),
        ):  # a full disk takes a line of the log, not the job
            self._lines.write(task, severity, text)
