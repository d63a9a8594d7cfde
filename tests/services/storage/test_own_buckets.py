"""The images' bucket of a home that an older Portico made."""

from __future__ import annotations

from pathlib import Path

from portico.services.storage import own
from portico.store.database import Database
from portico.store.objects import buckets
from portico.store.objects.names import IMAGES


def test_it_becomes_the_servers(tmp_path: Path) -> None:
    database = Database(tmp_path)
    database.create_tables()
    own.take(database)
    with database.write() as connection:
        buckets.insert(connection, IMAGES, "first", {"location": "US"}, 1.0)
        buckets.set_policy(connection, IMAGES, {"bindings": []}, 1.0)
    own.take(database)
    with database.read() as connection:
        row = buckets.get(connection, IMAGES)
    database.close()
    assert (row.project, row.policy, row.fields["location"]) == ("portico", None, "US")
