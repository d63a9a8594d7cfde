from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from portico.prediction import tap as module
from portico.prediction.tap import Tap, read_spool_file


def spooled(folder: Path) -> list[module.Record]:
    return [record for file in sorted(folder.glob("*.tap")) for record in read_spool_file(file)]


def test_records_reach_the_spool_in_order(tmp_path: Path) -> None:
    tap = Tap(tmp_path)
    for number in range(200):
        tap.put(number * 1.5, "endpoint", "model", b"request %d" % number, b"answer", 0.25)
        if number % 70 == 0:
            tap.flush()
    tap.close()
    assert not list(tmp_path.glob("*.part"))
    records = spooled(tmp_path)
    assert [record.request for record in records] == [b"request %d" % n for n in range(200)]
    made = [record.id for record in records]
    assert made == sorted(set(made))
    assert records[7] == module.Record(
        made[7], 7 * 1.5, "endpoint", "model", 0, "", b"request 7", b"answer", 0.25
    )
    assert tap.report == {"tap_taken": 200, "tap_dropped": 0}


def test_a_full_buffer_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 500)
    monkeypatch.setattr(module, "_MAX_BYTES", 1000)
    tap = Tap(tmp_path)
    monkeypatch.setattr(tap, "_thread", module.ThreadPoolExecutor(1))
    held = threading.Event()
    tap._thread.submit(held.wait)  # the writer is busy
    sizes = [100, 100, 100, 100, 100, 100, 100, 100]
    taken = [bool(tap.put(0, "e", "m", b"r" * size, b"a", 0)) for size in sizes]
    assert taken == [True] * 6 + [False] * 2
    held.set()
    tap.flush()
    asyncio.run(tap.sync())
    assert not tap.put(0, "e", "m", b"r" * 2000, b"a", 0)
    assert tap.put(0, "e", "m", b"r" * 700, b"a", 0)  # more than a chunk, and there is room for it
    tap.close()
    assert [len(record.request) for record in spooled(tmp_path)] == [100] * 6 + [700]
    assert tap.report == {"tap_taken": 7, "tap_dropped": 3}


def test_the_buffer_is_used_again(tmp_path: Path) -> None:
    tap = Tap(tmp_path)
    requests = [b"%d" % number * 40_000 for number in range(30)]
    for request in requests:
        assert tap.put(0, "e", "m", request, b"", 0, caller_id="mine")
        asyncio.run(tap.sync())
    tap.close()
    assert [record.request for record in spooled(tmp_path)] == requests
    assert {record.caller_id for record in spooled(tmp_path)} == {"mine"}
    assert tap._bytes <= 4 * module._CHUNK


def test_a_full_spool_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPOOL_BYTES", 3000)
    monkeypatch.setattr(module, "_FILE_BYTES", 1000)
    tap = Tap(tmp_path)
    for _ in range(10):
        tap.put(0, "e", "m", b"r" * 1500, b"a", 0)
        tap.flush()
    tap.close()
    assert len(spooled(tmp_path)) == 2
    assert tap.report == {"tap_taken": 10, "tap_dropped": 8}


def test_what_a_dead_front_left_is_kept(tmp_path: Path) -> None:
    tap = Tap(tmp_path)
    for number in range(3):
        tap.put(number, "e", "m", b"request", b"answer", 0)
    tap.close()
    (whole,) = tmp_path.glob("*.tap")
    whole.write_bytes(whole.read_bytes()[:-5])
    whole.rename(whole.with_suffix(".part"))
    Tap(tmp_path).close()
    assert [record.at for record in spooled(tmp_path)] == [0, 1]


def test_what_was_lost_is_said(tmp_path: Path) -> None:
    tap = Tap(tmp_path)
    for _ in range(3):
        tap.put(0, "e", "m", b"request", b"answer", 0)
    asyncio.run(tap.sync())
    for _ in range(5):
        tap.put(0, "e", "m", b"request", b"answer", 0)
    # It dies here, with five records in its buffer.
    Tap(tmp_path).close()
    (lost,) = tmp_path.glob("*.lost")
    assert lost.read_text() == "5"
    assert len(spooled(tmp_path)) == 3
    Tap(tmp_path).close()
    assert len(list(tmp_path.glob("*.lost"))) == 1
