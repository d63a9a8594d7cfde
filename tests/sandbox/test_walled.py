"""Whose a connection is while others' code runs, and after a keeper of it died."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from tests.waiting import until

from portico.sandbox import walled

# Under a seccomp filter that lets everything pass: says its socket's inode, and ends with what it reads from.
FILTERED = """
import ctypes, os, socket, sys
class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction))]
allow = (Instruction * 1)(Instruction(0x06, 0, 0, 0x7FFF0000))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(Program(1, allow)), 0, 0) == 0
own = socket.create_connection(("127.0.0.1", PORT))
print(os.fstat(own.fileno()).st_ino, flush=True)
sys.stdin.read()
"""
# Takes in what loses its parent, has a keeper run that, and says of the inodes that it is told whose they are.
SUPERVISOR = """
import os, subprocess, sys
from pathlib import Path
from portico.sandbox import isolation, walled
run = Path(sys.argv[1])
walled.clear(run)
walled.note_in(run)
walled.take_in()
command = [*isolation.keeping({"layers": None, **walled.noting()}), sys.executable, "-c", sys.argv[2]]
kept = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(kept.pid, kept.stdout.readline().decode().strip(), flush=True)
for line in sys.stdin:
    print(walled.holds(run, walled.notes(run), int(line)), flush=True)
"""


def test_what_a_keeper_that_died_has_left_noted_takes_nothing_from_the_owner(tmp_path: Path) -> None:
    walled.clear(tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as own,
    ):
        inode = os.fstat(own.fileno()).st_ino
        assert not holds(tmp_path, inode)
        (walled.folder(tmp_path) / "1").write_text("of another process")
        assert not holds(tmp_path, inode)
        (walled.folder(tmp_path) / str(os.getpid())).write_text(walled.started(os.getpid()))
        assert holds(tmp_path, inode)
        walled.clear(tmp_path)  # as the next server does: this one, who lives, stays noted
        assert walled.notes(tmp_path) == [str(os.getpid())] and holds(tmp_path, inode)


@pytest.mark.skipif(sys.platform != "linux", reason="keepers are Linux's")
def test_a_keeper_that_was_killed_takes_nothing_from_an_owner_under_filters_of_its_own(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = FILTERED.replace("PORT", str(server.getsockname()[1]))
        with running(SUPERVISOR, str(tmp_path), client) as (told, asked), running(client) as (_, owners):
            keeper, inode = map(int, asked.readline().split())
            own = int(owners.readline())

            def is_walled(inode: int) -> bool:
                told.write(f"{inode}\n".encode())
                told.flush()
                return asked.readline() == b"True\n"

            assert is_walled(inode) and not is_walled(own)
            os.kill(keeper, signal.SIGKILL)
            until(lambda: walled.started(keeper) == "", "it has died")
            assert is_walled(inode) and not is_walled(own)


def holds(run: Path, inode: int) -> bool:
    return walled.holds(run, walled.notes(run), inode)


@contextlib.contextmanager
def running(script: str, *arguments: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """What a Python reads and writes that runs this; it has ended when this is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        yield process.stdin, process.stdout
