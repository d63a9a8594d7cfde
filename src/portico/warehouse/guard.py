"""Which names a statement may touch where not its caller's own: each is asked of who asked for the statement, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from portico.warehouse.client import ANONYMOUS
from portico.warehouse.public.declared import PROJECT

_HIDDEN: Final = "_"  # what the datasets begin with that the warehouse has for itself


class _Guard:
    def __init__(self, outside: Callable[..., Any], reads: bool) -> None:
        self._outside, self._reads = outside, reads
        self._passed: set[tuple[str, str, str, str, bool]] = set()

    def look(self, project: str, dataset: str, table: str, model: str) -> None:
        name, reads = (project, dataset, table, model), self._reads or _reading.get()
        if (*name, reads) not in self._passed and (*name, False) not in self._passed:
            self._outside(
                "permitted", project=project, dataset=dataset, table=table, model=model, reads=reads
            )
            self._passed.add((*name, reads))

    def need(self, project: str, dataset: str, table: str, permissions: Sequence[str]) -> None:
        self._outside("needed", project=project, dataset=dataset, table=table, permissions=list(permissions))


_reading: ContextVar[bool] = ContextVar("reading", default=False)
_guard: ContextVar[_Guard | None] = ContextVar("guard", default=None)


@contextmanager
def guarded(outside: Callable[..., Any] | None, reads: bool) -> Iterator[None]:
    """In the block every name is asked for; `reads`: for a query, that only reads. None asks nobody."""
    token = _guard.set(None if outside is None else _Guard(outside, reads))
    try:
        yield
    finally:
        _guard.reset(token)


@contextmanager
def reading(only: bool = True) -> Iterator[None]:
    """In the block names are looked up that the statement, whatever it changes, `only` reads."""
    token = _reading.set(only)
    try:
        yield
    finally:
        _reading.reset(token)


def need(project: str, dataset: str, table: str, *permissions: str) -> None:
    """Asks for what a statement needs beside what `look` asks: where it is carried out, since what a script or a
    routine makes of texts is not to be seen before.

    Raises:
        PermissionDenied: its caller lacks one of the permissions on what is named so.
    """
    guard = _guard.get()
    if guard is not None:
        guard.need(project, dataset, table, permissions)


def look(project: str, dataset: str, table: str = "", model: str = "") -> None:
    """
    Raises:
        PermissionDenied: the statement may not touch what is named so, whether it is there or not.
    """
    guard = _guard.get()
    hidden = dataset.startswith(_HIDDEN) and not (dataset == ANONYMOUS and table)  # results are their askers'
    if guard is not None and project != PROJECT and not hidden:
        guard.look(project, dataset, table, model)
