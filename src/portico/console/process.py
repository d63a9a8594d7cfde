"""The console's process: pages on a socket in the home's folder, until nobody has looked for a while."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn

from portico.console.app import make_app
from portico.sandbox.parent import die_with_parent

UNUSED = 900.0  # seconds without a request, after which it ends


class _Server(uvicorn.Server):
    """Says when it answers, and ends when it is unused."""

    def __init__(self, config: uvicorn.Config, unused: float) -> None:
        super().__init__(config)
        self._unused = unused
        self.last = time.monotonic()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        print("ready", flush=True)

    async def on_tick(self, counter: int) -> bool:
        left = await super().on_tick(counter)
        if self.server_state.tasks:
            self.last = time.monotonic()
        return left or time.monotonic() - self.last > self._unused


def main(home: Path, path: Path, parent: int, unused: float = UNUSED) -> None:
    """Serves until `parent` ends, or for so many seconds after the last request. Reads from its input the secret that
    its forms' tokens are made with: it is the same when it is started again."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    secret = bytes.fromhex(sys.stdin.readline().strip())
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    os.chmod(path, 0o600)
    pages = make_app(home, secret)

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        server.last = time.monotonic()
        await pages(scope, receive, send)

    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, ws="none", lifespan="off", loop="uvloop"
    )
    server = _Server(config, unused)
    asyncio.run(server.serve(sockets=[listener]))
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:5]))
