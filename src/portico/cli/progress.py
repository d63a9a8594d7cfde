"""Progress of long work, on a terminal only and on stderr, so that output stays clean."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """Shows the sentence that the yielded function was told last, with a spinner."""
    if not sys.stderr.isatty():
        yield lambda sentence: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("…") as status:
        yield lambda sentence: status.update(escape(sentence))


@contextmanager
def bar() -> Iterator[Callable[[float, str], None]]:
    """Shows a bar; the yielded function is given how far the work is (0 to 1) and what it does now."""
    if not sys.stderr.isatty():
        yield lambda fraction, sentence: None
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
