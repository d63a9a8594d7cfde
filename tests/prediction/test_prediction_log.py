"""Spooled predictions become rows, exactly once."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from portico.clock import SystemClock
from portico.ids import RandomIds
from portico.prediction.prediction_log import PredictionLog, lost, stream_of
from portico.prediction.tap import Tap, names_of
from portico.store import segments as module
from portico.store import served
from portico.store.database import Database
from portico.store.segments import Segments, listed

ENDPOINT = "projects/p/locations/l/endpoints/1"
NAMES = names_of(ENDPOINT, "7", "projects/p/locations/l/models/2", "3")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    database = Database(tmp_path)
    database.create_tables()
    with database.write() as connection:
        model = served.ServedModel("7", "projects/p/locations/l/models/2", "3", "m", "portico")
        served.put(connection, served.ServedEndpoint(ENDPOINT, [model], {"7": 100}, 1.0))
    return tmp_path


def made(home: Path) -> tuple[Database, Segments, PredictionLog]:
    database = Database(home)
    segments = Segments(home, database, SystemClock(), RandomIds())
    return database, segments, PredictionLog(home, database, segments)


def tap(home: Path, count: int, *, sync: bool = True, start: int = 0) -> Tap:
    made = Tap(home / "spool" / "front-0")
    for n in range(start, start + count):
        request = json.dumps({"instances": [{"x": n}, {"x": -n}]}).encode()
        answer = json.dumps(
            {"predictions": [{"value": n / 2}, {"value": 0}], "deployedModelId": "7"}
        ).encode()
        made.put(1000.5 + n, NAMES, request, answer, 0.001, 0, False, f"caller-{n}")
    if sync:
        asyncio.run(made.sync())
    return made


def rows(segments: Segments) -> list[dict[str, Any]]:
    return [row for table in segments.scan(stream_of(ENDPOINT)) for row in table.to_pylist()]


def test_records_become_googles_columns(home: Path) -> None:
    database, segments, log = made(home)
    tap(home, 3)
    (segment,) = log.ingest() or ()
    assert (segment.rows, segment.first, segment.last) == (3, 1000.5, 1002.5)
    first, _, last = rows(segments)
    assert first["endpoint"] == ENDPOINT and first["deployed_model_id"] == "7"
    assert (first["model"], first["model_version"]) == ("projects/p/locations/l/models/2", "3")
    assert first["logging_time"].timestamp() == 1000.5
    assert [json.loads(text) for text in last["request_payload"]] == [{"x": 2}, {"x": -2}]
    assert [json.loads(text) for text in last["response_payload"]] == [{"value": 1.0}, {"value": 0}]
    assert (last["caller_request_id"], last["api_method"], last["latency_seconds"]) == (
        "caller-2",
        "predict",
        0.001,
    )
    assert int(first["request_id"]) < int(last["request_id"]) < 10**29  # BigQuery's NUMERIC
    assert log.ingest() is None
    with database.read() as connection:
        assert lost(connection) == 0


def test_a_spool_file_is_read_once_wherever_it_was_killed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, segments, log = made(home)
    tap(home, 4)
    (file,) = (home / "spool" / "front-0").glob("*.tap")
    saved = home / "saved"
    shutil.copy(file, saved)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # before the commit: everything is read again
        patch.setattr(segments, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            log.ingest()
    assert rows(segments) == []
    with monkeypatch.context() as patch:  # after the commit, before the file is gone
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            log.ingest()
    assert len(rows(segments)) == 4 and file.exists()
    _, segments, again = made(home)
    again.ingest()
    assert len(rows(segments)) == 4 and not file.exists()
    assert segments.sweep() == 1  # what the first attempt wrote


def test_the_lost_are_counted(home: Path) -> None:
    database, segments, log = made(home)
    dying = tap(home, 5)
    for _ in range(6):
        dying.put(2000, NAMES, b"{}", b"{}", 0.1, 0, False, "")
    tap(home, 1, start=100).close()
    log.ingest()
    assert len(rows(segments)) == 6
    with database.read() as connection:
        assert lost(connection) == 6


@pytest.mark.parametrize("at_once", [50_000, 50])
def test_small_segments_are_merged_and_nothing_changes(
    home: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "_SMALL", at_once)
    database, segments, log = made(home)
    for start in range(0, 70 * 2, 2):
        tap(home, 2, start=start).close()
        log.ingest()
    before = rows(segments)
    assert len(before) == 140
    assert segments.merge(stream_of(ENDPOINT)) == 69
    assert rows(segments) == before
    with database.read() as connection:
        (segment,) = listed(connection, stream_of(ENDPOINT))
    assert (segment.rows, segment.first, segment.last) == (140, 1000.5, 1139.5)
    assert len(list((home / "warehouse" / "segments").iterdir())) == 71  # readers may still hold the old ones
