"""Whose a connection is while others' code runs, and after a keeper of it died."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from portico.sandbox import walled


def test_what_a_keeper_that_died_has_left_noted_takes_nothing_from_the_owner(tmp_path: Path) -> None:
    walled.clear(tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as own,
    ):
        inode = os.fstat(own.fileno()).st_ino
        assert not walled.holds(tmp_path, inode)
        (walled.folder(tmp_path) / "1").write_text("of another process")
        assert not walled.holds(tmp_path, inode)
        (walled.folder(tmp_path) / str(os.getpid())).write_text(walled.started(os.getpid()))
        assert walled.holds(tmp_path, inode)
