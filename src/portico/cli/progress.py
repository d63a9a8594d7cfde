"""Progress of long work, on stderr, so that output stays clean: drawn on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST, EVERY = 2.0, 10.0  # seconds of waiting before the first line in a pipe, and between two


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """Shows the sentence that the yielded function was told last, with a spinner."""
    if not sys.stderr.isatty():
        with _lines() as tell:
            yield tell
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("…") as status:
        yield lambda sentence: status.update(escape(sentence))


@contextmanager
def bar() -> Iterator[Callable[[float, str], None]]:
    """Shows a bar; the yielded function is given how far the work is (0 to 1) and what it does now."""
    if not sys.stderr.isatty():
        with _lines() as tell:
            yield lambda fraction, sentence: tell(f"{fraction:.0%} {sentence}".rstrip())
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TaskProgressColumn(),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda fraction, sentence: progress.update(task, completed=fraction, description=sentence)


@contextmanager
def _lines() -> Iterator[Callable[[str], None]]:
    """What was told last, with the seconds that have passed: a thread writes it, since who waits can't."""
    told = ["working"]
    ended = threading.Event()
    started = time.monotonic()

    def write() -> None:
        pause = FIRST
        while not ended.wait(pause):
            pause = EVERY
            with contextlib.suppress(OSError, ValueError):  # nobody reads on
                print(f"… {told[0]} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)

    writer = threading.Thread(target=write, name="progress", daemon=True)
    writer.start()
    try:
        yield lambda sentence: told.__setitem__(0, sentence)
    finally:
        ended.set()
        writer.join()
