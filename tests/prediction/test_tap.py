from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from portico.prediction import tap as module
from portico.prediction.tap import Tap, names_of, read_spool_file

NAMES = names_of("endpoint", "model", "m", "1")


def record(
    request: bytes = b"request", answer: bytes = b"answer", *, at: float = 0.0, names: bytes = NAMES,
    seconds: float = 0.0, method: int = 0, holdout: bool = False, caller: str = "",
) -> tuple[Any, ...]:  # fmt: skip
    return at, names, request, answer, seconds, method, holdout, caller


def spooled(folder: Path) -> list[module.Record]:
    return [record for file in sorted(folder.glob("*.tap")) for record in read_spool_file(file)]


def test_records_reach_the_spool_in_order(tmp_path: Path) -> None:
    tap = Tap(tmp_path)
    made = []
    for number in range(200):
        made.append(tap.put(*record(b"request %d" % number, at=number * 1.5, seconds=0.25)))
        if number % 70 == 0:
            tap.flush()
    tap.close()
    assert not list(tmp_path.glob("*.part"))
    records = spooled(tmp_path)
    assert [record.request for record in records] == [b"request %d" % n for n in range(200)]
    assert [record.id for record in records] == made == sorted(set(made))
    assert records[7] == module.Record(
        made[7], 7 * 1.5, "endpoint", "model", "m", "1", 0, "", b"request 7", b"answer", 0.25
    )
    assert tap.report == {"tap_taken": 200, "tap_dropped": 0}


def test_a_batch_holds_all_sorts_of_records(tmp_path: Path) -> None:
    tap = Tap(tmp_path)
    other = names_of("endpöint", "other", "m", "2")
    tap.put(*record(b"", b"", names=other, caller="mine ö", method=2))
    tap.put(*record(b"a", b"bc", holdout=True))
    tap.put(*record(b"def", b"", names=other, method=1, holdout=True))
    asyncio.run(tap.sync())
    tap.close()
    found = [(r.endpoint, r.deployed_model, r.request, r.answer, r.caller_id, r.method, r.holdout)
             for r in spooled(tmp_path)]  # fmt: skip
    assert found == [
        ("endpöint", "other", b"", b"", "mine ö", 2, False),
        ("endpoint", "model", b"a", b"bc", "", 0, True),
        ("endpöint", "other", b"def", b"", "", 1, True),
    ]


def test_large_requests_wait_for_no_others(tmp_path: Path) -> None:
    tap = Tap(tmp_path)
    requests = [b"%d" % number * 140_000 for number in range(30)]
    for request in requests:
        assert tap.put(*record(request, caller="mine"))
        assert not tap._taken and not tap._buffer
    tap.close()
    assert [record.request for record in spooled(tmp_path)] == requests
    assert {record.caller_id for record in spooled(tmp_path)} == {"mine"}


def test_ids_grow_across_taps_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_time", lambda: 1000.0)  # a clock that stands still
    tap = Tap(tmp_path, 3)
    made = [tap.put(*record()) for _ in range(500)]
    tap.close()
    monkeypatch.setattr(module, "_time", lambda: 1000.1)
    tap = Tap(tmp_path, 3)
    made += [tap.put(*record()) for _ in range(100)]
    tap.close()
    assert made == sorted(set(made)) and {one % 64 for one in made} == {3}
    assert [record.id for record in spooled(tmp_path)] == made


def test_files_end_by_size_and_what_is_full_drops_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SPOOL_BYTES", 3000)
    monkeypatch.setattr(module, "_FILE_BYTES", 1000)
    tap = Tap(tmp_path)
    taken = []
    for _ in range(10):
        taken.append(bool(tap.put(*record(b"r" * 1500))))
        asyncio.run(tap.sync())
    assert taken == [True] * 2 + [False] * 8
    assert tap.report == {"tap_taken": 2, "tap_dropped": 8}
    for file in tmp_path.glob("*.tap"):  # somebody reads it
        file.unlink()
    asyncio.run(tap.sync())
    assert tap.put(*record())
    tap.close()
    assert len(spooled(tmp_path)) == 1


def test_a_disk_that_refuses_costs_records_and_no_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tap = Tap(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module._File, "write", refuse)
        assert tap.put(*record())
        tap.flush()
    assert tap.report == {"tap_taken": 1, "tap_dropped": 1}
    asyncio.run(tap.sync())
    assert tap.put(*record(b"later"))
    tap.close()
    assert [record.request for record in spooled(tmp_path)] == [b"later"]
    Tap(tmp_path).close()
    assert not list(tmp_path.glob("*.lost"))


def test_the_hot_path_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FILE_BYTES", 1000)
    tap = Tap(tmp_path)
    held = threading.Event()
    tap._thread.submit(held.wait)  # the thread waits for the disk
    for number in range(500):
        assert tap.put(*record(b"%d" % number))
    tap.flush()
    written = [record for file in tmp_path.glob("*.part") for record in read_spool_file(file)]
    assert len(written) == 500  # though the thread still waits
    held.set()
    tap.close()
    assert [record.request for record in spooled(tmp_path)] == [b"%d" % number for number in range(500)]


def test_what_a_dead_front_left_is_kept(tmp_path: Path) -> None:
    tap = Tap(tmp_path)
    for number in range(3):
        tap.put(*record(at=float(number)))
    tap.flush()
    tap.put(*record(at=3))
    tap.close()
    (whole,) = tmp_path.glob("*.tap")
    whole.write_bytes(whole.read_bytes()[:-5])
    whole.rename(whole.with_suffix(".part"))
    (tmp_path / "9.part").touch()
    Tap(tmp_path).close()
    assert [record.at for record in spooled(tmp_path)] == [0, 1, 2]
    assert len(list(tmp_path.glob("*.tap"))) == 1


def test_what_never_reached_the_disk_spoils_nothing_before_it(tmp_path: Path) -> None:
    tap = Tap(tmp_path)
    for number in range(3):
        tap.put(*record(at=float(number)))
        tap.flush()
    tap.close()
    (file,) = tmp_path.glob("*.tap")
    data = bytearray(file.read_bytes())
    data[2 * len(data) // 3 + 20 :] = bytes(len(data) - 2 * len(data) // 3 - 20)  # a page of zeros
    file.write_bytes(data)
    assert [record.at for record in read_spool_file(file)] == [0, 1]


def test_what_was_lost_is_said(tmp_path: Path) -> None:
    tap = Tap(tmp_path)
    for _ in range(3):
        tap.put(*record())
    asyncio.run(tap.sync())
    for _ in range(5):
        tap.put(*record())
    # It dies here, with five records that are not written yet.
    Tap(tmp_path).close()
    (lost,) = tmp_path.glob("*.lost")
    assert lost.read_text() == "5"
    assert len(spooled(tmp_path)) == 3
    Tap(tmp_path).close()
    assert len(list(tmp_path.glob("*.lost"))) == 1
