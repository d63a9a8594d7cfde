"""What a database must do to hold a home's rows: SQLite in the home itself, or PostgreSQL by a URL.

All that is particular to one of them stands in `sqlite.py` and `postgresql.py`; tables and statements are the same.
Which one a home has stands in `HOME/database.url`, for its owner's eyes alone, since it may hold a password: every
process of a home reads it there. Without that file it is SQLite.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument, PorticoError, Unavailable


class RefusedHome(FailedPrecondition):
    """The message says what is wrong and how to recover."""


def refused(home: Path, restored_by: str, words: str, *, accept: bool = False) -> RefusedHome:
    """`words` say what is wrong with the database; with `accept` it may be taken as it is."""
    ways = [
        restored_by,
        "or restore a backup into a new home (portico restore BACKUP --home NEW), or begin anew with another --home",
    ]
    if accept:
        ways.append(
            "or, when what it lacks is lost for good, take this database as it is, which deletes no file: "
            f"portico check --accept --home {home}"
        )
    return RefusedHome(
        f"The database of {home} {words}, and the home's files need it. Nothing was changed. To recover, "
        + "; ".join(ways)
        + "."
    )


class DatabaseAway(Unavailable):
    """The database does not answer now. The message says which, and why."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a sound database says: `id` is empty where it was never started by a Portico that gives ids. `absent` says
    in words that there is no database ("is missing"), and `used` whether anything was ever kept in it."""

    id: str = ""
    writes: int = 0
    used: bool = False
    absent: str = ""


class Backend(Protocol):
    """`held` is a connection of the driver's own: statements that begin and end a transaction go straight to it."""

    restored_by: str
    """How the right database is put back, as a step of a recovery."""
    lost_how: str
    """What to look for where writes are missing."""
    errors: tuple[type[Exception], ...]
    """What statements and the driver raise."""
    elsewhere: bool
    """Whether it may be another home's: it does not lie in the home."""

    def engine(self) -> sa.Engine: ...
    def begin_read(self, held: Any) -> None: ...
    def begin_write(self, held: Any) -> Any:
        """When it returns no other write is under way, on any machine. What it returns is given to `commit`."""

    def commit(self, held: Any, begun: Any, counted: bool) -> int | None:
        """On the disk when this returns. With `counted` the number of this write; None where it changed nothing."""

    def rollback(self, held: Any) -> bool:
        """False where the connection is broken, which is no error here."""

    def begin_room(self) -> None:
        """Sets aside what `room` gives."""

    def room(self) -> AbstractContextManager[None]:
        """While the disk is nearly full a write has room here."""

    def meaning(self, error: BaseException) -> PorticoError | None:
        """What a failed statement means, where it is no fault of ours."""

    def refusal(self, error: BaseException) -> PorticoError:
        """The same of one that keeps Portico from starting."""

    def look(self) -> Found:
        """Reads the database, makes nothing, and checks its structure. Raises RefusedHome: it is damaged."""

    def kept(self) -> AbstractContextManager[None]:
        """For a block that looks at a database that may be refused: nothing of it gets lost by that."""

    def integrity(self) -> str:
        """What a whole check finds, its first fault; "" when it is sound."""

    def checkpoint(self, connection: Connection) -> None:
        """Before the last process of a home ends."""

    def copy_to(self, target: Path) -> None:
        """Writes all rows into a new file of SQLite's, as of one moment."""

    def take(self, source: Path) -> None:
        """Makes the rows of such a file those of this database, which has none."""

    def hold(self, lost: Callable[[str], None]) -> AbstractContextManager[None]:
        """While the block runs no other server works on this database. `lost` is called, with the reason, should one
        have come between. Raises FailedPrecondition: one works on it now."""


def of(home: Path) -> Backend:
    from portico.store.postgresql import PostgreSQL
    from portico.store.sqlite import SQLite

    url = url_of(home)
    if url is None:
        return SQLite(home)
    return PostgreSQL(home, parse(url))


def url_path(home: Path) -> Path:
    return home / "database.url"


def url_of(home: Path) -> str | None:
    """The URL of the home's database; None where it is SQLite."""
    try:
        return url_path(home).read_text().strip()
    except FileNotFoundError:
        return None


def choose(home: Path, url: str) -> None:
    """The home's rows are in the database of this URL from now on.

    Raises:
        InvalidArgument: it is no such URL. FailedPrecondition: the home has its rows in SQLite.
    """
    parse(url)
    if (home / "portico.db").exists():
        raise FailedPrecondition(
            f"The home {home} has its rows in portico.db. To move them: portico backup DEST --home {home}, then "
            "portico restore DEST --home NEW --database URL."
        )
    made = url_path(home).with_suffix(".part")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(url + "\n")
        file.flush()
        os.fsync(descriptor)
    made.rename(url_path(home))


@contextlib.contextmanager
def chosen(home: Path, url: str | None) -> Iterator[None]:
    """For a block that looks whether the database of `url` is the home's: where it fails the choice is as before."""
    before = url_of(home)
    if url is not None:
        choose(home, url)
    try:
        yield
    except BaseException:
        if url is not None and before is None:
            url_path(home).unlink(missing_ok=True)
        elif url is not None and before is not None:
            choose(home, before)
        raise


def parse(url: str) -> sa.URL:
    """
    Raises:
        InvalidArgument: it does not name a database of PostgreSQL's.
    """
    try:
        found = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        found = None
    if found is None or found.drivername not in ("postgresql", "postgres") or not found.database:
        # Not the URL itself: it may have a password.
        raise InvalidArgument(
            "Not a database URL. One looks like postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
        )
    return found
