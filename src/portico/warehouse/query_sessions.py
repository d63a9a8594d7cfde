"""Sessions of queries: temporary tables, functions, variables and a transaction that outlive a job.

https://cloud.google.com/bigquery/docs/sessions-intro. A session is one script that is given a text after the other, in
a thread and on a connection of its own. Its transaction does not keep others from writing: what both change is refused.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from portico.errors import InvalidArgument
from portico.warehouse import block_reader, scripts
from portico.warehouse.asked import Asked, Done

if TYPE_CHECKING:
    from portico.warehouse.catalog import Cursor

IDLE, LONGEST = 24 * 3600.0, 7 * 24 * 3600.0  # seconds after which one ends
T = TypeVar("T")


class _Session:
    def __init__(self, identity: str, cursor: Cursor, writing: threading.RLock, asked: Asked) -> None:
        self.caller = asked.caller
        self.location = asked.location
        self.used = self.began = time.monotonic()
        self.script = scripts.SessionScript(cursor, writing, asked, identity)
        self._cursor = cursor
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="session")

    def do(self, what: Callable[[], T]) -> T:
        """Does something in the session's thread, once what it was asked before is done."""
        self.used = time.monotonic()
        done: Future[T] = self._thread.submit(what)
        return done.result()

    def end(self) -> None:
        """What is at work is interrupted; what was not committed is rolled back, and temporary tables are dropped."""
        self.script.interrupt()
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        self.script.close()
        self._cursor.close()


class QuerySessions:
    """Those of one warehouse; from several threads."""

    def __init__(self, connect: Callable[[], Cursor], writing: threading.RLock) -> None:
        self._connect = connect
        self._writing = writing
        self._open: dict[str, _Session] = {}

    def begin(self, identity: str, asked: Asked) -> None:
        self._sweep()
        self._open[identity] = _Session(identity, self._connect(), self._writing, asked)

    def open(self) -> frozenset[str]:
        """Those that have not ended."""
        self._sweep()
        return frozenset(self._open)

    def location_of(self, identity: str) -> str:
        """Where a session's jobs run; "" where there is none."""
        found = self._open.get(identity)
        return found.location if found is not None else ""

    def run(
        self, identity: str, text: str, asked: Asked, running: Callable[[scripts.Script], None]
    ) -> list[Done]:
        """Runs a text in a session; `running` is told what to interrupt.

        Raises:
            InvalidArgument: there is no such session of the caller's, or it has ended.
        """
        found = self._require(identity, asked.caller)
        block = block_reader.read(text)

        def run() -> list[Done]:
            self._require(identity, asked.caller)  # it may have ended while this waited
            running(found.script)
            return found.script.next(block, asked)

        try:
            return found.do(run)
        finally:
            if found.script.aborted:
                self._end(identity)

    def abort(self, identity: str, caller: str) -> None:
        """
        Raises:
            InvalidArgument: there is no such session of the caller's.
        """
        self._require(identity, caller)
        self._end(identity)

    def _require(self, identity: str, caller: str) -> _Session:
        self._sweep()
        found = self._open.get(identity)
        if found is None or found.caller != caller:
            raise InvalidArgument("Invalid input session id.", reason="invalid")
        return found

    def _end(self, identity: str) -> None:
        found = self._open.pop(identity, None)
        if found is not None:
            found.end()

    def _sweep(self) -> None:
        now = time.monotonic()
        for identity, one in list(self._open.items()):
            if now - one.used > IDLE or now - one.began > LONGEST:
                self._end(identity)
