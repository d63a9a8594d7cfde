"""Kinds of jobs for these tests; the warm server imports this module, too."""

from __future__ import annotations

import os
import select
from typing import Any

from portico.jobs.kinds import KINDS, JobKind


def nothing_follows(connection: Any, job: Any, now: float) -> None:
    pass


def quick(context: Any) -> str:
    return "done"


def patient(context: Any) -> None:
    """Says that it is there, and works until it shall stop."""
    context.folder.mkdir(parents=True, exist_ok=True)
    (context.folder / "pid").write_text(str(os.getpid()))
    while True:
        context.check()
        select.select([], [], [], 0.02)


def deaf(context: Any) -> None:
    """As `patient`, but nothing stops it."""
    context.folder.mkdir(parents=True, exist_ok=True)
    (context.folder / "pid").write_text(str(os.getpid()))
    while True:
        select.select([], [], [], 60)


for work in (quick, patient, deaf):
    name = f"here.{work.__name__}"
    KINDS.setdefault(name, JobKind(name, f"{__name__}:{work.__name__}", nothing_follows))
