"""What a stand-in for a public table is declared with."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from portico.errors import PermissionDenied

PROJECT = "bigquery-public-data"

_making = threading.local()


@dataclass(frozen=True, slots=True)
class PublicTable:
    """One table: what its rows are, its columns with their types in GoogleSQL, and what makes its rows.

    A name that ends with * is of tables a day: the rows have a column more, `_TABLE_SUFFIX`, which says whose they are.
    """

    name: str  # DATASET.TABLE
    rows_are: str
    columns: str
    rows: Callable[[], pa.Table | list[dict[str, Any]]]
    together: bool = False  # made at once with the others of its data set, since they belong to each other
    project: str = PROJECT  # what another has is its owner's to write

    @property
    def path(self) -> str:
        """As a query names it, but for the project of Google's public data."""
        return self.name if self.project == PROJECT else f"{self.project}.{self.name}"

    @property
    def dataset(self) -> str:
        return self.name.partition(".")[0]

    @property
    def table(self) -> str:
        return self.name.partition(".")[2]

    @property
    def prefix(self) -> str:
        """With which the tables' names begin where there is one a day."""
        return self.table[:-1] if self.table.endswith("*") else ""

    @property
    def description(self) -> str:
        return (
            f"A stand-in of Portico's for Google's public table {self.project}.{self.name}: {self.rows_are}."
        )


@contextlib.contextmanager
def making() -> Iterator[None]:
    """While this thread makes stand-ins it may write where nobody else may."""
    _making.on = True
    try:
        yield
    finally:
        _making.on = False


def check_writable(project: str, shown: str) -> None:
    """
    Raises:
        PermissionDenied: it is public data.
    """
    if project == PROJECT and not getattr(_making, "on", False):
        raise PermissionDenied(
            f"Access Denied: {shown}: public data is read by everyone and written by nobody; write to a data set of "
            "a project of your own",
            reason="accessDenied",
        )
