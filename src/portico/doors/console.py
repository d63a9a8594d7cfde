"""The door to the console: starts its process with the first page, and passes requests on.

The console has no rights of its own. It is told whether a visitor is the owner (see `prediction.front.peers`) and which
credentials they sent, and asks the API as them.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import h11

from portico.doors.http.answers import Send
from portico.doors.http.incoming import Incoming
from portico.errors import Unavailable
from portico.store.sockets import run_folder

PATH: Final = "/-/console"
CALLBACK: Final = f"{PATH}/sign-in/callback"
"""Where a company's provider leads people back to: the one page that another site leads to."""
_OWNER: Final = b"x-portico-owner"
_HOPS: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te", _OWNER})
_PIECE: Final = 1 << 16


class ConsoleDoor:
    """Of a home; the loop's. The process ends when it is unused, and with this one."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._secret = secrets.token_hex(32)
        self._process: subprocess.Popen[str] | None = None
        # One thread, which stays: the process ends with the thread that started it.
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="console")

    def owns(self, path: str) -> bool:
        return path == PATH or path.startswith(f"{PATH}/")

    async def handle(self, scope: dict[str, Any], receive: Incoming, send: Send) -> None:
        """Answers the request.

        Raises:
            Unavailable: the console can't be started, or ended meanwhile.
        """
        for again in (True, False):
            passing = _Passing(*await self._connected())
            try:
                await passing.request(scope, receive)
                await passing.answer(send)
                return
            except (
                OSError,
                h11.RemoteProtocolError,
            ):  # it ended: a page that was only asked for is asked for anew
                if passing.begun or not again:
                    raise Unavailable(
                        "The console ended while it worked on this page. Load it again."
                    ) from None
            finally:
                passing.close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        path = run_folder(self._home) / "console.sock"
        try:
            return await asyncio.open_unix_connection(str(path))
        except OSError:  # it does not run
            await asyncio.get_running_loop().run_in_executor(self._keeper, self._start, path)
        try:
            return await asyncio.open_unix_connection(str(path))
        except OSError:
            raise Unavailable("The console can't be started; the server's log says why.") from None

    def _start(self, path: Path) -> None:
        """Starts it unless it runs, and waits until it answers."""
        if self._process is not None and self._process.poll() is None and path.exists():
            return
        command = [
            sys.executable, "-m", "portico.console.process", str(self._home), str(path), str(os.getpid())
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._process.stdin as told:
            told.write(f"{self._secret}\n")
        self._process.stdout.readline()


class _Passing:
    """A request to the console and its answer back, piece by piece. `begun`: it can't be passed on a second time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._wire = h11.Connection(h11.CLIENT)
        self.begun = False

    def close(self) -> None:
        self._writer.close()

    async def request(self, scope: dict[str, Any], receive: Incoming) -> None:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = [(name, value) for name, value in scope["headers"] if name not in _HOPS]
        headers += [(_OWNER, b"1" if scope["state"]["owner"] else b"0"), (b"connection", b"close")]
        sized = any(name == b"content-length" for name, _ in headers)
        more = sized or scope["method"] not in ("GET", "HEAD")
        if more and not sized:
            headers.append((b"transfer-encoding", b"chunked"))
        self._send(h11.Request(method=scope["method"], target=target, headers=headers))
        while more:
            self.begun = True
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError
            if piece := message.get("body"):
                self._send(h11.Data(data=piece))
                await self._writer.drain()
            more = message.get("more_body", False)
        self._send(h11.EndOfMessage())
        await self._writer.drain()

    def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        self._writer.write(self._wire.send(event) or b"")

    async def answer(self, send: Send) -> None:
        while True:
            event = self._wire.next_event()
            if event is h11.NEED_DATA:
                self._wire.receive_data(await self._reader.read(_PIECE))
            elif isinstance(event, h11.Response):
                self.begun = True
                kept = [(name, value) for name, value in event.headers if name not in _HOPS]
                await send({"type": "http.response.start", "status": event.status_code, "headers": kept})
            elif isinstance(event, h11.Data):
                await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
            elif isinstance(event, h11.EndOfMessage):
                await send({"type": "http.response.body", "body": b""})
                return
            else:
                raise ConnectionResetError
