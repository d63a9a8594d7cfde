"""Segments of several writers: swept when their writer is dead, and not before; merged beside new ones."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portico.clock import SystemClock
from portico.ids import RandomIds
from portico.store.database import Database
from portico.store.home import begin
from portico.store.segments import Segments, listed, streams

pytestmark = pytest.mark.usefixtures("either_store")


def opened(home: Path) -> tuple[Database, Segments]:
    database = Database(home)
    return database, Segments(home, database, SystemClock(), RandomIds())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    begin(tmp_path, 1.0)
    return tmp_path


def table(number: int) -> pa.Table:
    return pa.table({"n": [number]})


def files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "warehouse" / "segments").iterdir())


def test_a_sweep_leaves_what_another_process_writes_until_it_dies(home: Path) -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:  # a worker that writes, and then is killed
        _, segments = opened(home)
        with segments.writing() as writing:
            writing.write(table(1))
            writing.write(table(2))
            os.write(tell, b"!")
            signal.pause()
        os._exit(0)
    os.read(ready, 1)
    _, segments = opened(home)
    assert segments.sweep() == 0 and len(files(home)) == 2
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert segments.sweep() == 2 and files(home) == []


def test_what_was_not_kept_is_gone_and_what_was_added_stays(home: Path) -> None:
    database, segments = opened(home)
    with segments.writing() as writing:
        writing.write(table(1))
    assert files(home) == []
    with segments.writing() as writing:
        file = writing.write(table(2))
        with database.write() as connection:
            segments.add(connection, "s", file, 1, 0.0, 0.0)
        assert opened(home)[1].sweep() == 0  # added, and still locked
        writing.keep()
    assert segments.sweep() == 0 and files(home) == [file]
    assert [found.to_pylist() for found in segments.scan("s")] == [[{"n": 2}]]


def test_a_segment_that_comes_while_others_are_merged_stays(home: Path) -> None:
    database, segments = opened(home)

    def add(number: int) -> None:
        _, other = opened(home)
        with other.writing() as writing, database.write() as connection:
            other.add(connection, "s", writing.write(table(number)), 1, number, number)
            writing.keep()

    for number in range(64):
        add(number)
    write = segments._written

    def slow(*given: Any) -> str:
        add(64)
        return write(*given)

    segments._written = slow  # type: ignore[method-assign]
    segments.merge_crowded()
    assert [row["n"] for found in segments.scan("s") for row in found.to_pylist()] == list(range(65))
    with database.read() as connection:
        assert [segment.rows for segment in listed(connection, "s")] == [64, 1]


class Moved(SystemClock):
    later = 0.0

    def now(self) -> float:
        return super().now() + 366 * 86400.0  # the wall clock jumps; what matters is the other

    def monotonic(self) -> float:
        return super().monotonic() + self.later


def test_merged_files_stay_for_their_readers_also_when_the_watcher_starts_again(home: Path) -> None:
    database, segments = opened(home)
    for number in range(64):
        file = segments.write(table(number))
        with database.write() as connection:
            segments.add(connection, "s", file, 1, number, number)
    with database.read() as connection:
        before = listed(connection, "s")
    segments.merge_crowded()
    clock = Moved()
    again = Segments(home, database, clock, RandomIds())
    assert again.sweep() == 0
    assert [again.read(segment).to_pylist() for segment in before] == [[{"n": n}] for n in range(64)]
    again.merge_crowded()
    assert len(files(home)) == 65
    clock.later = 61.0
    again.merge_crowded()
    assert len(files(home)) == 1
    assert [row["n"] for found in again.scan("s") for row in found.to_pylist()] == list(range(64))


def test_rows_are_taken_from_the_parts_of_a_file_that_hold_them(home: Path) -> None:
    database, segments = opened(home)
    with segments.writing() as writing:
        file = writing.write(pa.table({"n": range(100), "m": [str(n) for n in range(100)]}))
        path = home / "warehouse" / "segments" / file
        pq.write_table(pq.read_table(path), path, row_group_size=30)
        with database.write() as connection:
            segment = segments.add(connection, "taken", file, 100, 0.0, 1.0)
        for rows in ([5], [99, 0, 31, 30, 29, 59, 60], list(range(100))[::-1]):
            assert segments.take(segment, rows).column("n").to_pylist() == rows
            assert segments.take(segment, rows, ("m",)).to_pydict() == {"m": [str(n) for n in rows]}
        with database.read() as connection:
            assert streams(connection, "tak") == ["taken"] and streams(connection, "tak_") == []


def test_cells_are_counted_without_being_read(home: Path) -> None:
    database, segments = opened(home)
    table = pa.table({"n": [1, 2, 3], "l": [["a"], ["b", "c"], ["d", "e", "f"]]})
    with segments.writing() as writing:
        files = [segments.write(table), writing.write(table)]
        with database.write() as connection:
            added = [segments.add(connection, "counted", file, 3, 0.0, 1.0) for file in files]
        assert [segments.cells(one, "l") for one in added] == [6, 6]
