"""Records that a front hands over are read in order, once; what can't be kept is counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from portico.prediction import tap as module
from portico.prediction.spool import FRAME, START, Place, Record, Spool, files, names_of
from portico.prediction.tap import Tap

NAMES = names_of("endpoint", "model", "m", "1")


def record(
    request: bytes = b"request", answer: bytes = b"answer", *, at: float = 0.0, names: bytes = NAMES,
    seconds: float = 0.0, method: int = 0, holdout: bool = False, caller: str = "",
) -> tuple[Any, ...]:  # fmt: skip
    return at, names, request, answer, seconds, method, holdout, caller


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that fill up soon."""
    monkeypatch.setattr(module, "_FILE_BYTES", START + 4096)
    monkeypatch.setattr(module, "_MANY", 500)


def taken_and_dropped(tap: Tap) -> tuple[int, int]:
    return tap.report["tap_taken"], tap.report["tap_dropped"]


def made(home: Path, index: int = 0) -> Tap:
    return Tap(home / "spool" / f"front-{index}", index)


class Reader:
    """Reads on and on, as the watcher does."""

    def __init__(self, home: Path, folder: str = "front-0") -> None:
        self.spool, self.folder = Spool(home), folder
        self.place = Place()
        self.lost = 0

    def __call__(self, limit: int = 2**30, give_back: bool = True) -> list[Record]:
        begin, end = self.place, self.spool.ends()[self.folder]
        found, self.place = self.spool.read(self.folder, begin, end, limit)
        self.lost += sum(self.spool.lost(self.folder, begin, self.place).values())
        if give_back:
            self.spool.give_back(self.folder, self.place)
        return found


def requests(records: list[Record]) -> list[bytes]:
    return [record.request for record in records]


def test_records_are_read_in_order_as_they_were_put(home: Path) -> None:
    tap, read = made(home), Reader(home)
    ids: list[int] = []
    records: list[Record] = []
    for number in range(200):
        ids.append(int(tap.put(*record(b"request %d" % number, at=number * 1.5, seconds=0.25))))
        if number % 70 == 0:
            tap.flush()
            records += read()
            assert len(records) == number + 1
            tap.tick()
    tap.flush()
    records += read()
    assert requests(records) == [b"request %d" % n for n in range(200)]
    assert [record.id for record in records] == ids == sorted(set(ids))
    assert records[7] == Record(
        ids[7], 7 * 1.5, "endpoint", "model", "m", "1", 0, "", b"request 7", b"answer", 0.25
    )
    assert taken_and_dropped(tap) == (200, 0)
    assert not read() and not read.spool.waiting() and not read.lost
    tap.close()


def test_what_waits_is_written_soon_and_by_one_timer(home: Path) -> None:
    timers: list[Any] = []
    tap = Tap(home / "spool" / "front-0", 0, lambda seconds, then: timers.append(then))
    for number in range(3):
        tap.put(*record(b"%d" % number))
    assert len(timers) == 1 and not Reader(home)()
    timers.pop()()
    assert requests(Reader(home)()) == [b"0", b"1", b"2"]
    tap.put(*record())
    assert len(timers) == 1
    tap.close()


def test_a_file_holds_all_sorts_of_records(home: Path) -> None:
    tap, other = made(home), names_of("endpöint", "other", "m", "2")
    tap.put(*record(b"", b"", names=other, caller="mine ö", method=2))
    tap.put(*record(b"a", b"bc", holdout=True))
    tap.put(*record(b"def" * 1_000_000, b"", names=other, method=1, holdout=True))
    found = [(r.endpoint, r.deployed_model, r.request[:3], r.answer, r.caller_id, r.method, r.holdout)
             for r in Reader(home)()]  # fmt: skip
    assert found == [
        ("endpöint", "other", b"", b"", "mine ö", 2, False),
        ("endpoint", "model", b"a", b"bc", "", 0, True),
        ("endpöint", "other", b"def", b"", "", 1, True),
    ]
    tap.close()


@pytest.mark.usefixtures("small")
def test_files_follow_each_other_and_go(home: Path) -> None:
    tap, read = made(home), Reader(home)
    records: list[Record] = []
    for number in range(3000):
        assert tap.put(*record(b"%d" % number, names=NAMES + b"%d" % (number % 7)))
        if number % 50 == 0:
            tap.tick()
            records += read(limit=8000)
    tap.close()
    while found := read(limit=1000):
        records += found
    assert requests(records) == [b"%d" % number for number in range(3000)]
    assert [record.model_version for record in records] == [f"1{number % 7}" for number in range(3000)]
    assert len(files(home / "spool" / "front-0")) == 1 and not read.lost


@pytest.mark.usefixtures("small")
def test_another_reader_goes_on_where_the_first_committed(home: Path) -> None:
    tap, first = made(home), Reader(home)
    for number in range(400):
        tap.put(*record(b"%d" % number))
    tap.flush()
    read = first(limit=800)  # it ends within a file
    committed = first.place
    first(limit=2000, give_back=False)  # and is killed
    second = Reader(home)
    second.place = committed
    read += second()
    assert requests(read) == [b"%d" % number for number in range(400)]
    tap.close()


def test_ids_grow_across_taps_and_with_the_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_time", lambda: 1000.0)  # a clock that stands still
    tap = made(home, 3)
    ids = [int(tap.put(*record())) for _ in range(500)]
    monkeypatch.setattr(module, "_time", lambda: 1000.1)
    tap.tick()
    ids.append(int(tap.put(*record())))
    assert ids[-1] // 64 >= 1000.1e6
    tap.close()
    monkeypatch.setattr(module, "_time", lambda: 1000.2)
    tap = made(home, 3)
    ids += [int(tap.put(*record())) for _ in range(100)]
    tap.flush()
    assert ids == sorted(set(ids)) and {one % 64 for one in ids} == {3}
    assert [record.id for record in Reader(home, "front-3")()] == ids
    tap.close()


def test_a_clock_that_goes_back_hides_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Reader(home)
    for now in (2000.0, 1000.0, 3000.0):
        monkeypatch.setattr(module, "_time", lambda now=now: now)
        tap = made(home)
        tap.put(*record(b"%d" % now))
        tap.close()
        assert requests(read()) == [b"%d" % now]


@pytest.mark.usefixtures("small")
def test_what_is_full_drops_and_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FILES", 2)
    tap, read = made(home), Reader(home)
    taken = [bool(tap.put(*record(b"r" * 5000))) for _ in range(10)]
    assert taken == [True] * 2 + [False] * 8
    assert taken_and_dropped(tap) == (2, 8)
    assert len(read()) == 2
    tap.tick()
    assert tap.put(*record(b"r" * 5000))
    assert len(read()) == 1
    tap.close()


def test_a_disk_that_refuses_costs_records_and_no_prediction(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    def half(file: int, data: bytes, at: int) -> int:
        return written(file, data[: len(data) // 2], at)

    tap, written = made(home), os.pwrite
    for broken in (refuse, half):
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", broken)
            assert tap.put(*record(b"gone" * 100))
            tap.flush()
    assert taken_and_dropped(tap) == (0, 2)
    tap.put(*record(b"later"))
    tap.close()
    tap, read = made(home), Reader(home)
    assert requests(read()) == [b"later"] and not read.lost
    tap.close()


def test_a_disk_that_takes_no_file_drops_until_it_does(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        tap = made(home)
        assert not tap.put(*record())
        tap.tick()
    tap.tick()
    assert tap.put(*record(b"later")) and taken_and_dropped(tap) == (1, 1)
    tap.close()
    assert requests(Reader(home)()) == [b"later"]


DYING = """
import sys
from pathlib import Path
from portico.prediction.tap import Tap
tap = Tap(Path(sys.argv[1]))
for number in range(10**9):
    tap.put(0.0, b"endpoint\\0model\\0m\\0%d" % (number // 1000), b"%d" % number, b"answer", 0.0)
    if number % 100 == 0:
        tap.tick()
        print(number, flush=True)
"""


def test_a_killed_front_says_how_many_it_took_with_it(home: Path) -> None:
    folder = home / "spool" / "front-0"
    with subprocess.Popen([sys.executable, "-c", DYING, folder], stdout=subprocess.PIPE, text=True) as front:
        assert front.stdout is not None
        said = [int(front.stdout.readline()) for _ in range(500)]
        front.send_signal(signal.SIGKILL)
        said += [int(line) for line in front.stdout.read().split("\n")[:-1]]
    tap, read = made(home), Reader(home)
    tap.put(*record(b"of the next"))
    tap.flush()
    found = requests(read())
    assert found.pop() == b"of the next"
    assert found == [b"%d" % number for number in range(len(found))] and len(found) > 1000
    assert said[-1] < len(found) + read.lost <= said[-1] + 102
    tap.close()


def test_what_is_unreadable_spoils_nothing_before_and_after_it(home: Path) -> None:
    tap, read = made(home), Reader(home)
    ends = []
    for number in range(3):
        tap.put(*record(b"%d" % number))
        tap.flush()
        ends.append(tap._end)
    ((_, path),) = files(home / "spool" / "front-0")
    with path.open("r+b") as file:
        file.seek(ends[0] + FRAME.size)
        file.write(b"\xc1")  # what MessagePack never uses
    assert requests(read()) == [b"0", b"2"]
    with path.open("r+b") as file:  # a frame that was not written to its end
        file.seek(ends[2])
        file.write(FRAME.pack(1000, 1) + b"half")
    assert read() == []
    tap = made(home)
    tap.put(*record(b"later"))
    tap.close()
    assert requests(read()) == [b"later"]


def test_files_of_an_earlier_portico_go(home: Path) -> None:
    folder = home / "spool" / "front-0"
    folder.mkdir()
    (folder / "0.block").write_bytes(bytes(5000))
    (folder / "1.copy").write_bytes(b"half")
    made(home).close()
    assert [path.suffix for path in folder.iterdir()] == [".records"]


def test_what_waits_is_brought_to_the_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    tap, spool = made(home), Spool(home)
    tap.put(*record())
    tap.flush()
    spool.sync()
    ((_, path),) = files(home / "spool" / "front-0")
    assert synced == [str(path.parent), str(path)]
    spool.sync()
    assert len(synced) == 2
    tap.put(*record())
    tap.flush()
    spool.sync()
    assert synced[2:] == [str(path)]
    tap.close()
