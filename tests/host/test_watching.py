"""When the watcher puts its looks off."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.host import watching
from portico.host.watching import Watcher
from portico.prediction.tap import Tap
from portico.store.database import Database


@pytest.fixture
def watcher(tmp_path: Path) -> Watcher:
    database = Database(tmp_path)
    database.create_tables()
    database.close()
    return Watcher(tmp_path)


def test_looks_are_put_off_while_predictions_take_all_cores(
    tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    tap = Tap(tmp_path / "spool" / "front-0")
    for _ in range(10):
        tap.put(0.0, b"endpoint\0model\0m\x001", bytes(100), b"", 0.0)
    tap.flush()

    monkeypatch.setattr(watcher._spare, "cores", lambda: 1.5)
    assert not watcher.gives_way()
    monkeypatch.setattr(watcher._spare, "cores", lambda: 0.1)
    assert watcher.gives_way()
    with monkeypatch.context() as patch:
        patch.setattr(watching, "_WAITING", 1000)  # the spool fills up
        assert not watcher.gives_way()
    with monkeypatch.context() as patch:
        patch.setattr(watching, "_PATIENCE", 0.0)  # it has waited long enough
        assert not watcher.gives_way()
        watcher.ingest()
    assert watcher.gives_way()
    with monkeypatch.context() as patch:  # while it reads
        patch.setattr(watching, "_SOME", 1)
        for _ in range(10):
            tap.put(0.0, b"endpoint\0model\0m\x001", bytes(100), b"", 0.0)
            tap.flush()
        waiting, looked = watcher._log.waiting(), watcher._looked
        assert not watcher.ingest(wanted=False)
        assert 0 < watcher._log.waiting() < waiting and watcher._looked == looked
    watcher.ingest()
    assert not watcher._log.waiting()
    tap.close()
