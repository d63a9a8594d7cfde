"""Runs one container and removes it with all that belongs to it: `python -I -S container_keeper.py SETTINGS`.

It ends as the container does. At SIGTERM, or when who started it dies, the container is asked to end, and killed after
a while; when this process itself is killed, another that waits for that removes the container. Self-contained.
SETTINGS is JSON:

    engine, name, image  `docker` or `podman`, the container, and its image, which is pulled where it is not there
    volume, options      a volume to make of overlayfs, with these options
    mounted              a file to make once the volume is there
    run                  what the engine is to be told
    grace                seconds that the container has to end after SIGTERM
    walled               "", or a file to have while the container may run (see `walled`)
    disk, memory         bytes that it may write, and that it may use
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from typing import Any

_PDEATHSIG = 1  # linux/prctl.h
_SIZE = 5.0  # seconds between two looks at what it has written


class _Asked(Exception):
    """SIGTERM came."""


def main() -> int:
    settings = json.loads(sys.argv[1])
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, _ask)
    engine, name = settings["engine"], settings["name"]
    running, last = None, _stand_by(settings)
    if settings["walled"]:
        with open(settings["walled"], "w") as note:
            note.write("container")
    try:
        _quietly(engine, "rm", "--force", name)
        if _quietly(engine, "image", "inspect", settings["image"]).returncode:
            _say(f"{settings['image']} is pulled")
            subprocess.run([engine, "pull", "--quiet", settings["image"]], stdout=sys.stderr, check=True)
        made = [
            "--driver=local",
            "--opt=type=overlay",
            "--opt=device=overlay",
            f"--opt=o={settings['options']}",
        ]
        _quietly(engine, "volume", "create", *made, settings["volume"])
        open(settings["mounted"], "w").close()
        running = subprocess.Popen([engine, *settings["run"]], start_new_session=True)
        return _watch(settings, running)
    except subprocess.CalledProcessError:
        return 1
    except _Asked:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _quietly(engine, "stop", f"--time={settings['grace']}", name)
        return 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _remove(settings)
        if running:
            running.wait()
        if settings["walled"]:
            os.unlink(settings["walled"])
        os.close(last)


def _stand_by(settings: dict[str, Any]) -> int:
    """Starts a process, of no parent, that removes what is left when the descriptor that this gives is closed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(writing)
            nothing = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(nothing, standard)
            os.read(reading, 1)
            _remove(settings)
        os._exit(0)
    os.close(reading)
    os.waitpid(child, 0)
    return writing


def _remove(settings: dict[str, Any]) -> None:
    _quietly(settings["engine"], "rm", "--force", settings["name"])
    _quietly(settings["engine"], "volume", "rm", settings["volume"])  # with the last that has it


def _watch(settings: dict[str, Any], running: subprocess.Popen[bytes]) -> int:
    """The status with which the container ends."""
    engine, name = settings["engine"], settings["name"]
    while True:
        try:
            status = running.wait(_SIZE)
            break
        except subprocess.TimeoutExpired:
            told = _quietly(
                engine, "container", "inspect", "--size", "--format={{.SizeRw}}", name
            ).stdout.strip()
            if told.isdigit() and int(told) > settings["disk"]:
                _say(f"No space left on device: the container wrote more than {settings['disk'] >> 20:,} MiB")
                return 1
    if (
        _quietly(engine, "container", "inspect", "--format={{.State.OOMKilled}}", name).stdout.strip()
        == "true"
    ):
        _say(f"Cannot allocate memory: the container used more than {settings['memory'] >> 20:,} MiB")
    return status


def _ask(*_: Any) -> None:
    raise _Asked


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _quietly(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
