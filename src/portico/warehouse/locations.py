"""Where a job may look for datasets: in the location that it was told, where it was told one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from portico.errors import InvalidArgument, NotFound

DEFAULT: Final = "US"
_KNOWN: Final = (
    "US", "EU", "us-central1", "us-east1", "us-east4", "us-east5", "us-south1", "us-west1", "us-west2", "us-west3",
    "us-west4", "northamerica-northeast1", "northamerica-northeast2", "northamerica-south1", "southamerica-east1",
    "southamerica-west1", "africa-south1", "me-central1", "me-central2", "me-west1", "asia-east1", "asia-east2",
    "asia-northeast1", "asia-northeast2", "asia-northeast3", "asia-south1", "asia-south2", "asia-southeast1",
    "asia-southeast2", "asia-southeast3", "australia-southeast1", "australia-southeast2", "europe-central2",
    "europe-north1", "europe-north2", "europe-southwest1", "europe-west1", "europe-west2", "europe-west3",
    "europe-west4", "europe-west6", "europe-west8", "europe-west9", "europe-west10", "europe-west12",
    "aws-ap-northeast-2", "aws-ap-southeast-2", "aws-eu-central-1", "aws-eu-west-1", "aws-us-east-1",
    "aws-us-west-2", "azure-eastus2",
)  # fmt: skip  # https://cloud.google.com/bigquery/docs/locations#supported_locations
_HIDDEN: Final = "_"  # what the datasets begin with that the warehouse has for itself


def canonical(name: str) -> str:
    """A location as BigQuery writes it.

    Raises:
        InvalidArgument: there is none of this name.
    """
    if (found := next((one for one in _KNOWN if one.lower() == name.lower()), None)) is None:
        raise InvalidArgument(
            f"Invalid value for location: {name[:80]} is not a valid value; it is US, EU or one of "
            "https://cloud.google.com/bigquery/docs/locations#supported_locations",
            reason="invalid",
            field="location",
        )
    return found


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
