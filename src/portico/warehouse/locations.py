"""Where a job may look for datasets: in the location that it was told, where it was told one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from portico.errors import NotFound

_HIDDEN: Final = "_"  # what the datasets begin with that the warehouse has for itself


class _Place:
    def __init__(self, location: str) -> None:
        self.location = location
        self.passed: set[tuple[str, str]] = set()


_place: ContextVar[_Place | None] = ContextVar("place", default=None)


@contextmanager
def within(location: str) -> Iterator[None]:
    """In the block datasets of other locations are not found; "" for all locations."""
    token = _place.set(_Place(location) if location else None)
    try:
        yield
    finally:
        _place.reset(token)


def told() -> str:
    """The location of the block; "" for all."""
    place = _place.get()
    return place.location if place is not None else ""


def look(project: str, dataset: str, location_of: Callable[[], str | None]) -> None:
    """`location_of`: that of the dataset, None where there is none.

    Raises:
        NotFound: the dataset is in another location than its job.
    """
    place = _place.get()
    if place is None or dataset.startswith(_HIDDEN) or (project, dataset) in place.passed:
        return
    if (found := location_of()) is not None and found.lower() != place.location.lower():
        raise NotFound(
            f"Not found: Dataset {project}:{dataset} was not found in location {place.location}; it is in {found}",
            reason="notFound",
        )
    place.passed.add((project, dataset))
