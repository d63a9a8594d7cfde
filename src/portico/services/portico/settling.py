"""How control asks the watcher to do now whatever is due."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Final

from portico.errors import Unavailable
from portico.prediction.sync import ask_fronts

_FRONTS: Final = 10.0  # seconds
_POLL: Final = 0.05


def socket_path(home: Path) -> Path:
    """Where the watcher listens: a connection is answered `ok` once it has looked."""
    return home / "run" / "watcher.sock"


def settle(home: Path, timeout: float) -> None:
    """Returns when everything answered so far is in the prediction log, and what is due has been done.

    Raises:
        Unavailable: that takes longer than `timeout` seconds.
    """
    ask_fronts(home, {"flush": True}, time.monotonic() + _FRONTS)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                link.connect(str(socket_path(home)))
                if link.recv(16) == b"ok":
                    return
            except OSError:  # it is being started again
                pass
        time.sleep(_POLL)
    raise Unavailable("The watcher has not done yet what is due; ask again later.", retry_after=10)
