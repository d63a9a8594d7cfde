"""The watcher reads what the fronts have written, and counts."""

from __future__ import annotations

from pathlib import Path

from portico.host.watching import Watcher
from portico.prediction.tap import Tap
from portico.store import segments
from portico.store.database import Database


def test_all_that_waits_is_read_and_what_is_small_is_merged(tmp_path: Path) -> None:
    database = Database(tmp_path)
    database.create_tables()
    watcher = Watcher(tmp_path)
    tap = Tap(tmp_path / "spool" / "front-0")
    for _ in range(segments._MANY + 1):
        tap.put(0.0, b"endpoint\0model\0m\x001", bytes(100), b"", 0.0)
        tap.flush()
        watcher.ingest()
    with database.read() as connection:
        found = segments.listed(connection, "log/endpoint")
    assert sum(segment.rows for segment in found) == segments._MANY + 1
    assert len(found) < segments._MANY
    tap.close()
    database.close()
