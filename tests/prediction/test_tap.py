from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.prediction import spool as spool_module
from portico.prediction import tap as module
from portico.prediction.spool import HEAD, NUMBER, START, Block, Place, Record, Spool, names_of
from portico.prediction.spool_copies import Copies
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


@pytest.fixture(params=["native", "python"], autouse=True)
def writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the usual case in C, and without."""
    if request.param == "python":
        monkeypatch.setattr(module, "Writer", None)
    elif module.Writer is None:
        pytest.skip("it was not built: there was no C compiler")


def taken_and_dropped(tap: Tap) -> tuple[int, int]:
    return tap.report["tap_taken"], tap.report["tap_dropped"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that fill up soon."""
    monkeypatch.setattr(module, "_BLOCK_BYTES", START + 4096)


def made(home: Path, index: int = 0) -> Tap:
    return Tap(home / "spool" / f"front-{index}", index)


class Reader:
    """Reads on and on, as the watcher does."""

    def __init__(self, home: Path, folder: str = "front-0") -> None:
        self.spool, self.folder = Spool(home), folder
        self.place = Place()

    def __call__(self, limit: int = 2**30, give_back: bool = True) -> list[Record]:
        found, self.place = self.spool.read(self.folder, self.place, self.spool.ends()[self.folder], limit)
        if give_back:
            self.spool.give_back(self.folder, self.place)
        return found


def requests(records: list[Record]) -> list[bytes]:
    return [record.request for record in records]


def test_records_are_read_at_once_and_in_order(home: Path) -> None:
    tap, read = made(home), Reader(home)
    ids: list[int] = []
    records: list[Record] = []
    for number in range(200):
        ids.append(int(tap.put(*record(b"request %d" % number, at=number * 1.5, seconds=0.25))))
        if number % 70 == 0:
            records += read()
            assert len(records) == number + 1
            tap.tick()
    records += read()
    assert requests(records) == [b"request %d" % n for n in range(200)]
    assert [record.id for record in records] == ids == sorted(set(ids))
    assert records[7] == Record(
        ids[7], 7 * 1.5, "endpoint", "model", "m", "1", 0, "", b"request 7", b"answer", 0.25
    )
    assert taken_and_dropped(tap) == (200, 0)
    assert not read() and not read.spool.waiting()
    tap.close()


def test_a_block_holds_all_sorts_of_records(home: Path) -> None:
    tap, other = made(home), names_of("endpöint", "other", "m", "2")
    tap.put(*record(b"", b"", names=other, caller="mine ö", method=2))
    tap.put(*record(b"a", b"bc", holdout=True))
    tap.put(*record(b"def", b"", names=other, method=1, holdout=True))
    found = [(r.endpoint, r.deployed_model, r.request, r.answer, r.caller_id, r.method, r.holdout)
             for r in Reader(home)()]  # fmt: skip
    assert found == [
        ("endpöint", "other", b"", b"", "mine ö", 2, False),
        ("endpoint", "model", b"a", b"bc", "", 0, True),
        ("endpöint", "other", b"def", b"", "", 1, True),
    ]
    tap.close()


@pytest.mark.usefixtures("small")
def test_blocks_follow_each_other_and_are_used_again(home: Path) -> None:
    tap, read = made(home), Reader(home)
    records: list[Record] = []
    for number in range(3000):
        assert tap.put(*record(b"%d" % number, names=NAMES + b"%d" % (number % 7)))
        if number % 50 == 0:
            tap.tick()
            records += read(limit=4000)
            settle(tap)
    while found := read(limit=1000):
        records += found
    assert requests(records) == [b"%d" % number for number in range(3000)]
    assert [record.model_version for record in records] == [f"1{number % 7}" for number in range(3000)]
    assert len(list((home / "spool" / "front-0").iterdir())) < module._BLOCKS
    tap.close()


def test_a_block_that_was_read_is_begun_anew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW", START + 1000)
    tap, read, copies = made(home), Reader(home), Copies(home)
    records: list[Record] = []
    for number in range(2000):
        tap.put(*record(b"%d" % number, names=NAMES + b"%d" % (number // 300)))
        if number % 20 == 0:
            copies.bring()
        if number % 30 == 0:
            records += read()
        tap.tick()
        assert tap._own[module.PLACE] < START + 6000
    records += read()
    assert requests(records) == [b"%d" % number for number in range(2000)]
    assert [record.model_version for record in records] == [f"1{number // 300}" for number in range(2000)]
    tap.close()


def settle(tap: Tap) -> None:
    """Until the thread has made what it was asked for."""
    tap._thread.submit(int).result()


@pytest.mark.usefixtures("small")
def test_another_reader_goes_on_where_the_first_committed(home: Path) -> None:
    tap, first = made(home), Reader(home)
    for number in range(120):
        tap.put(*record(b"%d" % number, names=NAMES + b"%d" % (number % 3)))
        settle(tap)
    read = first(limit=800)  # it ends within a block
    committed = first.place
    first(limit=2000, give_back=False)  # and is killed
    second = Reader(home)
    second.place = committed
    read += second()
    assert requests(read) == [b"%d" % number for number in range(120)]
    assert [record.model_version for record in read] == [f"1{number % 3}" for number in range(120)]
    tap.close()


def test_a_block_has_its_room_and_is_made_ready_step_by_step(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READY", 8192)
    tap, read = made(home), Reader(home)
    (block,) = (home / "spool" / "front-0").glob("0.block")
    assert block.stat().st_blocks * 512 >= block.stat().st_size == module._BLOCK_BYTES
    ready = []
    monkeypatch.setattr(Block, "ready", lambda _, begin, end: ready.append((begin, end)))
    sent = [b"%d" % number * (20_000 if number % 7 == 0 else 500) for number in range(100)]
    for request in sent:
        assert tap.put(*record(request))
        assert not ready or tap._own[module.PLACE] <= ready[-1][1]
    assert [end for _, end in ready[:-1]] == [begin for begin, _ in ready[1:]] and len(ready) > 20
    assert requests(read()) == sent
    tap.close()


@pytest.mark.usefixtures("small")
def test_large_records_have_blocks_of_their_size(home: Path) -> None:
    tap, read = made(home), Reader(home)
    sent = [b"%d" % number * 140_000 for number in range(5)]
    for request in sent:
        assert tap.put(*record(request, caller="mine"))
    assert tap.put(*record(b"small"))
    records = read()
    assert requests(records) == [*sent, b"small"]
    assert [record.caller_id for record in records] == ["mine"] * 5 + [""]
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
    assert ids == sorted(set(ids)) and {one % 64 for one in ids} == {3}
    assert [record.id for record in Reader(home, "front-3")()] == ids
    tap.close()


@pytest.mark.usefixtures("small")
def test_what_is_full_drops_and_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCKS", 2)
    tap, read = made(home), Reader(home)
    settle(tap)
    taken = [bool(tap.put(*record(b"r" * 3500))) for _ in range(10)]
    assert taken == [True] * 2 + [False] * 8
    assert taken_and_dropped(tap) == (2, 8)
    assert len(read()) == 2
    assert tap.put(*record(b"r" * 3500))
    assert len(read()) == 1
    tap.close()


@pytest.mark.usefixtures("small")
def test_a_disk_that_refuses_costs_records_and_no_prediction(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Block, "make", refuse)
        tap = made(home)
        assert not tap.put(*record())
    assert taken_and_dropped(tap) == (0, 1)
    tap.tick()
    settle(tap)
    assert tap.put(*record(b"later"))
    assert requests(Reader(home)()) == [b"later"]
    tap.close()


@pytest.mark.usefixtures("small")
def test_the_hot_path_waits_for_no_disk(home: Path) -> None:
    tap = made(home)
    settle(tap)
    held = threading.Event()
    tap._thread.submit(held.wait)  # the thread waits for the disk
    taken = [bool(tap.put(*record(b"%d" % number))) for number in range(500)]
    kept = sum(taken)
    assert 100 < kept < 500 and all(taken[:kept])  # two blocks full, though the thread still waits
    tap.tick()
    held.set()
    settle(tap)
    assert tap.put(*record())
    assert len(Reader(home)()) == kept + 1
    tap.close()


@pytest.mark.usefixtures("small")
def test_blocks_that_nobody_needs_any_more_go(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tap, read = made(home), Reader(home)
    for _ in range(300):
        tap.put(*record())
        settle(tap)
    blocks = list((home / "spool" / "front-0").iterdir())
    assert len(blocks) > 4
    tap.tick()
    assert len(read()) == 300
    monkeypatch.setattr(module, "_QUIET", 0.0)
    for _ in range(20):
        tap.tick()
    assert len(list((home / "spool" / "front-0").iterdir())) == 2
    tap.put(*record(b"later"))
    assert requests(read()) == [b"later"]
    tap.close()


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


def test_a_killed_front_loses_nothing(home: Path) -> None:
    folder = home / "spool" / "front-0"
    with subprocess.Popen([sys.executable, "-c", DYING, folder], stdout=subprocess.PIPE, text=True) as front:
        assert front.stdout is not None
        time.sleep(0.3)
        front.send_signal(signal.SIGKILL)
        said = [int(line) for line in front.stdout.read().split("\n")[:-1]]
    tap, read = made(home), Reader(home)
    tap.put(*record(b"of the next"))
    found = requests(read())
    assert found.pop() == b"of the next"
    assert found == [b"%d" % number for number in range(len(found))] and len(found) > said[-1] > 1000
    tap.close()


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of the machine's present run."""
    now = [1]
    monkeypatch.setattr(spool_module, "boot", lambda: now[0])
    yield now


def test_what_came_after_the_last_copy_is_taken_for_as_much_as_came_before(
    home: Path, machines: list[int]
) -> None:
    tap, copies = made(home), Copies(home)
    for number in range(5):
        tap.put(*record(b"%d" % number))
        if number > 1:
            copies.bring()
    for _ in range(2):
        tap.put(*record(b"not on the disk"))
    machines[0] = 2
    read = Reader(home)
    assert requests(read(give_back=False)) == [b"0", b"1", b"2", b"3", b"4"]
    assert list(read.spool.lost("front-0").values()) == [1]
    tap = made(home)
    assert tap.put(*record(b"later"))
    read.spool.give_back("front-0", read.place)
    assert requests(read()) == [b"later"]
    assert not read.spool.lost("front-0")
    tap.close()


def test_files_that_are_no_blocks_stop_nobody(home: Path) -> None:
    folder = home / "spool" / "front-0"
    folder.mkdir()
    (folder / "0.block").touch()
    (folder / "1.new").write_bytes(b"half")
    assert Spool(home).ends() == {}
    tap = made(home)
    tap.put(*record())
    assert len(Reader(home)()) == 1
    tap.close()


def test_what_is_unreadable_spoils_nothing_before_it(home: Path) -> None:
    tap = made(home)
    for number in range(3):
        tap.put(*record(b"%d" % number))
    end = tap._own[module.PLACE]
    tap.put(*record(b"damaged"))
    tap._block.memory[end + 24 : end + 32] = b"\xff" * 8  # lengths
    read = Reader(home)
    assert requests(read()) == [b"0", b"1", b"2"]
    tap.put(*record(b"later"))
    assert requests(read()) == [b"later"]
    tap.close()


@pytest.mark.usefixtures("small")
def test_copies_hold_what_waits_and_nothing_else(home: Path, machines: list[int]) -> None:
    tap, read, copies = made(home), Reader(home), Copies(home)
    folder = home / "spool" / "front-0"
    for number in range(200):
        tap.put(*record(b"%d" % number, names=NAMES + b"%d" % (number % 3)))
        settle(tap)
        if number % 20 == 5:
            copies.bring()
        if number == 150:  # the next watcher knows nothing of what this one copied
            copies = Copies(home)
        if number == 100:
            assert len(read(limit=4000)) < 100
    copies.bring()
    blocks = {f"{block.numbers[NUMBER]}.copy": block for block in map(Block, folder.glob("*.block"))}
    held = {path.name for path in folder.glob("*.copy")}
    assert held <= blocks.keys() and held >= {name for name, block in blocks.items() if not block.idle}
    machines[0] = 2
    again = Reader(home)
    again.place = read.place
    tap = made(home)
    tap.put(*record(b"later"))
    rest = again(limit=5000) + again()
    assert requests(rest) == [*(b"%d" % number for number in range(200 - len(rest) + 1, 200)), b"later"]
    assert [record.model_version for record in rest[:3]] == [
        f"1{int(record.request) % 3}" for record in rest[:3]
    ]
    copies.bring()
    assert not list(folder.glob("*.copy"))
    assert not again.spool.lost("front-0")
    tap.close()


def test_file_systems_that_take_no_direct_writes(
    home: Path, machines: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, *mode)

    opened = os.open
    monkeypatch.setattr(os, "open", refuse)
    tap, copies = made(home), Copies(home)
    for number in range(300):
        tap.put(*record(b"%d" % number))
        if number % 7 == 0:
            copies.bring()
    machines[0] = 2
    assert requests(Reader(home)()) == [b"%d" % number for number in range(295)]
    tap.close()


def test_a_copy_that_was_not_whole_ends_where_it_was(home: Path, machines: list[int]) -> None:
    tap, copies = made(home), Copies(home)
    tap.put(*record(b"a"))
    copies.bring()
    (copy,) = (home / "spool" / "front-0").glob("*.copy")
    end = Block(copy).numbers[HEAD]
    tap.put(*record(b"b"))
    copies.bring()
    Block(copy).numbers[HEAD] = end  # the last number that came to the disk
    (copy.parent / "77.copy").touch()
    machines[0] = 2
    assert requests(Reader(home)()) == [b"a"]
    assert not list(copy.parent.iterdir())
    tap.close()


def test_traffic_that_ended_before_the_machine_did_has_lost_nothing(home: Path, machines: list[int]) -> None:
    tap, copies = made(home), Copies(home)
    tap.put(*record(b"a"))
    copies.bring()
    copies.bring()
    machines[0] = 2
    read = Reader(home)
    assert requests(read(give_back=False)) == [b"a"] and not read.spool.lost("front-0")
    tap.close()


def test_what_was_logged_after_the_last_copy_is_not_read_again(home: Path, machines: list[int]) -> None:
    tap, read, copies = made(home), Reader(home), Copies(home)
    tap.put(*record(b"a"))
    copies.bring()
    tap.put(*record(b"b"))
    assert requests(read()) == [b"a", b"b"]
    machines[0] = 2
    again = Reader(home)
    again.place = read.place
    assert not again() and not list((home / "spool" / "front-0").iterdir())
    tap.close()
