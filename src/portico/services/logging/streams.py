"""Entries of many writers in one order, each opened no sooner than it may have the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Placed = tuple[float, str, dict[str, Any]]
"""Time, what orders entries of one time, and the entry."""


class Stream(NamedTuple):
    """None of its entries comes before `bound` (seconds since the epoch) in the order in which `open` gives them."""

    bound: float
    open: Callable[[], Iterator[Placed]]


def in_order(streams: Iterable[Stream], newest_first: bool) -> Iterator[Placed]:
    """The entries of all, merged."""
    sign, first = (-1, max) if newest_first else (1, min)
    waiting = sorted(streams, key=lambda one: sign * one.bound, reverse=True)
    heads: list[tuple[Placed, Iterator[Placed]]] = []
    while waiting or heads:
        head = first(heads, key=lambda one: one[0][:2], default=None)
        if head is None or (waiting and sign * waiting[-1].bound <= sign * head[0][0]):
            opened = waiting.pop().open()
        else:
            heads.remove(head)
            yield head[0]
            opened = head[1]
        if (entry := next(opened, None)) is not None:
            heads.append((entry, opened))
