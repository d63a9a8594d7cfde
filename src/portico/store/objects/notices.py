"""What happens to objects, noted for the notification configurations of their bucket: in the transaction of what
happened, so that nothing is lost. `services.storage.notifying` publishes it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from sqlalchemy.engine import Connection

from portico.store import events

if TYPE_CHECKING:
    from portico.store.objects.generations import ObjectRow

FINALIZE: Final = "OBJECT_FINALIZE"
METADATA_UPDATE: Final = "OBJECT_METADATA_UPDATE"
DELETE: Final = "OBJECT_DELETE"
ARCHIVE: Final = "OBJECT_ARCHIVE"
TYPES: Final = (FINALIZE, METADATA_UPDATE, DELETE, ARCHIVE)
WATCHERS: Final = "buckets/"
"""What the names of notification configurations begin with, and no trigger's does."""


def note(connection: Connection, type: str, row: ObjectRow, now: float, **generations: int | None) -> None:
    """`generations`: overwroteGeneration or overwrittenByGeneration."""
    told = {key: str(value) for key, value in generations.items() if value is not None}
    facts = {"row": asdict(row), "eventTime": now, "generations": told}
    events.note(connection, type, row.bucket, facts, now, row.name)


def watch(connection: Connection, name: str, types: list[str], bucket: str, prefix: str) -> None:
    """Has the configuration `name` wait for these types of events."""
    for type in types:
        events.watch(connection, f"{name}/{type}", type, bucket, prefix)


def forget(connection: Connection, name: str) -> None:
    """Removes what waits for the configuration, and what it waits for."""
    for type in TYPES:
        events.forget(connection, f"{name}/{type}")
