"""Starts the warehouse's process for whoever asks, and again where it ended. It ends with the process that keeps it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from portico.warehouse.client import FOLDER


class Keeper:
    """Of a home; one thread's, which has to stay: the warehouse ends with it. `memory`: what its engine may hold of it,
    such as 4GB; None for what DuckDB takes."""

    def __init__(self, home: Path, memory: str | None = None) -> None:
        self._folder = home / FOLDER
        self._memory = memory
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> bool:
        """Starts it unless it runs; whether it answers now."""
        if self._process is not None and self._process.poll() is None:
            return True
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "portico.warehouse.process",
                str(self._folder),
                str(os.getpid()),
                *([self._memory] if self._memory else []),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip() == "ready"
