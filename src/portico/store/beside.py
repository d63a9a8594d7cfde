"""What is written beside a change, in its transaction, by who makes it: whoever asked for the change need not know."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from sqlalchemy.engine import Connection


class Beside(Protocol):
    def write(self, connection: Connection) -> None:
        """Called at the end of each write transaction, before it is committed."""

    def kept(self) -> None:
        """Called when that was committed, while other writers still wait."""

    def dropped(self) -> None:
        """Called when a write transaction was rolled back."""

    def changed(self, name: str) -> None:
        """Called for each resource that is made, changed or deleted."""


beside: ContextVar[Beside | None] = ContextVar("beside", default=None)


def changed(name: str) -> None:
    if (pending := beside.get()) is not None:
        pending.changed(name)
