"""A store with jobs in it, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kinds_here  # noqa: F401  registers its kinds
import pytest
from tests import waiting

from portico.store import jobs
from portico.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path)
    database.create_tables()
    yield database
    database.close()


@pytest.fixture
def add(database: Database) -> Callable[..., None]:
    """Adds a queued job: `add("1", "here.quick")`."""

    def added(id: str, kind: str, **more: Any) -> None:
        with database.write() as connection:
            jobs.insert(connection, id=id, kind=kind, resource="r", payload={}, **{"now": 1.0, **more})

    return added


@pytest.fixture
def read(database: Database) -> Callable[[str], jobs.Job]:
    def found(id: str) -> jobs.Job:
        with database.read() as connection:
            job = jobs.get(connection, id)
        assert job is not None
        return job

    return found


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Looks until what it is given is true."""
    return lambda looked: waiting.until(looked, "what is looked for")
