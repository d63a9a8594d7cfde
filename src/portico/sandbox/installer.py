"""uv, run for somebody who waits: niced once, ended with whoever started it, and telling how far it is."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from portico.sandbox import isolation, walled
from portico.sandbox.niceness import PREPARING

_EVERY = 10.0  # seconds of silence before it is told what is done
_LOOK = 0.2  # seconds between two looks whether it shall stop


@dataclass(slots=True)
class Teller:
    """Whom to tell: `progress` gets lines, also what is still done after some seconds of silence; `check` is asked
    several times a second and raises where the work shall stop. `busy` gets the lock's file where another has been
    doing the same for a while, and raises where that is not to be waited for here."""

    progress: Callable[[str], None] = lambda line: None
    check: Callable[[], None] = lambda: None
    busy: Callable[[Path], None] = lambda path: None
    _began: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)

    def say(self, line: str) -> None:
        self._told = time.monotonic()
        self.progress(line)

    def begin(self) -> None:
        """From now on seconds are counted."""
        self._began = self._told = time.monotonic()

    def still(self, words: str) -> None:
        """That `words` are what is done now; to be called again and again meanwhile."""
        self.check()
        now = time.monotonic()
        if now - self._told >= _EVERY:
            self.say(f"{words} ({now - self._began:.0f} s)")

    def wait(self, words: str) -> None:
        """The same, a moment later."""
        self.still(words)
        time.sleep(_LOOK)


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    stdout: str
    stderr: list[str]


def niced() -> list[str]:
    """What a command is preceded by to be of an installation's niceness, also where this process has some already."""
    more = PREPARING - os.nice(0)
    return ["nice", "-n", str(more)] if more > 0 else []


def run_uv(
    arguments: Sequence[str], teller: Teller, doing: str, given: str = "", *, quiet: bool = False
) -> Ended:
    import uv

    return run([os.fsdecode(uv.find_uv_bin()), *arguments], teller, doing, given, quiet=quiet)


def run(command: Sequence[str], teller: Teller, doing: str, given: str = "", *, quiet: bool = False) -> Ended:
    """Runs the command, with `given` for it to read. `doing` says what it does where its own lines don't; `quiet`
    keeps these to the caller. What it fetches may be named by somebody who is not this user: so that is not who asks
    for it, where this machine's own servers are named (`walled`)."""
    environ = os.environ | {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
    environ.pop("VIRTUAL_ENV", None)
    running = subprocess.Popen(
        [*isolation.keeping({"layers": None, **walled.noting()}), *niced(), *command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ,
    )  # fmt: skip
    try:
        return _follow(running, teller, _Stage(doing), given, quiet)
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGTERM)
        for pipe in (running.stdout, running.stderr):
            assert pipe is not None
            pipe.close()
        running.wait()


def _follow(
    running: subprocess.Popen[bytes], teller: Teller, stage: _Stage, given: str, quiet: bool
) -> Ended:
    assert running.stdin is not None and running.stdout is not None and running.stderr is not None
    try:
        running.stdin.write(given.encode())
        running.stdin.close()
    except BrokenPipeError:
        pass
    told: dict[int, bytearray] = {one.fileno(): bytearray() for one in (running.stdout, running.stderr)}
    lines: list[str] = []
    errors = told[running.stderr.fileno()]
    with selectors.DefaultSelector() as pipes:
        for number in told:
            pipes.register(number, selectors.EVENT_READ)
        while pipes.get_map():
            for key, _ in pipes.select(_LOOK):
                piece = os.read(key.fd, 1 << 16)
                told[key.fd] += piece
                if not piece:
                    pipes.unregister(key.fd)
            *whole, rest = errors.split(b"\n")
            errors[:] = rest
            for raw in whole:
                lines.append(raw.decode(errors="replace") + "\n")
                if (line := lines[-1].strip()) and not quiet:
                    stage.hear(line)
                    teller.say(line)
            teller.still(stage.words())
    lines += [errors.decode(errors="replace")] if errors else []
    return Ended(running.wait(), told[running.stdout.fileno()].decode(errors="replace"), lines)


@dataclass(slots=True)
class _Stage:
    """What uv does, as far as its lines tell."""

    doing: str
    packages: int = 0
    large: dict[str, bool] = field(
        default_factory=dict
    )  # what it says that it downloads -> whether it is there

    def hear(self, line: str) -> None:
        if found := re.match(r"(Resolved|Prepared) (\d+) package", line):
            after = {"Resolved": "downloading", "Prepared": "installing"}
            self.doing, self.packages = after[found[1]], int(found[2])
        elif found := re.match(r"Downloading (.+)", line):
            self.large[found[1]] = False
        elif found := re.match(r"Downloaded (\S+)", line):
            for one in self.large:
                if one.split(" ")[0] == found[1]:
                    self.large[one] = True

    def words(self) -> str:
        if self.doing == "downloading" and self.large:
            coming = [one for one, there in self.large.items() if not there]
            return (
                f"downloading: {len(self.large) - len(coming)} of {len(self.large)} large packages are there, "
                f"{', '.join(coming) or 'small ones'} to come"
            )
        named = {
            "downloading": f"downloading what is not here yet of {self.packages} packages",
            "installing": f"installing {self.packages} packages",
        }
        return named.get(self.doing, self.doing)
