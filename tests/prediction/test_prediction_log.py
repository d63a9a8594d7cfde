"""Spooled predictions become rows, exactly once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portico.clock import SystemClock
from portico.host.wiring import import_services
from portico.ids import RandomIds
from portico.prediction.prediction_log import PredictionLog, lost, stream_of
from portico.prediction.spool import Spool, names_of
from portico.prediction.tap import Tap
from portico.store import segments as module
from portico.store import served
from portico.store.database import Database
from portico.store.home import begin
from portico.store.segments import Segments, listed

pytestmark = pytest.mark.usefixtures("either_store")

ENDPOINT = "projects/p/locations/l/endpoints/1"
NAMES = names_of(ENDPOINT, "7", "projects/p/locations/l/models/2", "3")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    import_services()  # for all tables
    begin(tmp_path, 1.0)
    database = Database(tmp_path)
    with database.write() as connection:
        model = served.ServedModel("7", "projects/p/locations/l/models/2", "3", "m", "portico")
        served.put(connection, served.ServedEndpoint(ENDPOINT, [model], {"7": 100}, 1.0))
    return tmp_path


def made(home: Path) -> tuple[Database, Segments, PredictionLog]:
    database = Database(home)
    segments = Segments(home, database, SystemClock(), RandomIds())
    return database, segments, PredictionLog(home, database, segments)


def tap(home: Path, count: int, *, start: int = 0) -> Tap:
    made = Tap(home / "spool" / "front-0")
    for n in range(start, start + count):
        request = json.dumps({"instances": [{"x": n}, {"x": -n}]}).encode()
        answer = json.dumps(
            {"predictions": [{"value": n / 2}, {"value": 0}], "deployedModelId": "7"}
        ).encode()
        made.put(1000.5 + n, NAMES, request, answer, 0.001, 0, False, f"caller-{n}")
    made.flush()
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


def test_a_record_is_read_once_wherever_it_was_killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, segments, log = made(home)
    front = tap(home, 4)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # before the commit: everything is read again
        patch.setattr(segments, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            log.ingest()
    assert rows(segments) == []
    with monkeypatch.context() as patch:  # after the commit, before the front has its room back
        patch.setattr(Spool, "give_back", killed)
        with pytest.raises(KeyboardInterrupt):
            log.ingest()
    assert len(rows(segments)) == 4 and log.waiting()
    _, segments, again = made(home)
    assert again.ingest() is None
    assert len(rows(segments)) == 4 and not again.waiting()
    assert segments.sweep() == 1  # what the first attempt wrote
    front.put(2000, NAMES, b"{}", b"{}", 0.1)
    front.flush()
    again.ingest()
    assert len(rows(segments)) == 5
    front.close()


def test_only_what_lay_there_is_read(home: Path) -> None:
    _, segments, log = made(home)
    front = tap(home, 3)
    ends = log.ends()
    front.put(2000, NAMES, b"{}", b"{}", 0.1)
    front.flush()
    assert log.ingest(ends) and log.ingest(ends) is None
    assert len(rows(segments)) == 3
    log.ingest()
    assert len(rows(segments)) == 4
    front.close()


def test_what_a_killed_front_had_not_written_is_counted_once(home: Path) -> None:
    database, segments, _ = made(home)
    front = tap(home, 5)
    front.flush()
    for _ in range(2):
        front.put(2000, NAMES, b"{}", b"{}", 0.1)  # and is killed
    for _ in range(2):
        _, _, again = made(home)
        again.ingest()
        tap(home, 1, start=100).close()
        again.ingest()
    assert len(rows(segments)) == 7
    with database.read() as connection:
        assert lost(connection) == 2


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
