"""Streams of rows in immutable Parquet files: the prediction log.

A stream is a name. Its rows come in segments, each a file below `HOME/warehouse/segments/` named by an id; the row
in the table is the only moment at which a segment becomes visible, and small ones are merged behind the readers.
Readers hold a listing: a file that was merged away stays for `_GRACE` seconds.

Any process may read, write and add segments: adding only appends. The watcher's thread alone merges and sweeps. A
file that no row names yet is locked (flock) by whoever writes it, and the kernel lets go of it when he dies: so a
sweep tells what is under way from what a crash has left.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.clock import Clock
from portico.ids import Ids
from portico.store import disk, mark
from portico.store import home as home_store
from portico.store.database import Database
from portico.store.tables.log import segments as _table
from portico.store.tables.log import segments_left as _left

_listed = (
    sa.select(_table)
    .where(
        _table.c.stream == sa.bindparam("stream"),
        _table.c.id > sa.bindparam("after"),
        _table.c.last >= sa.bindparam("start"),
        _table.c.first < sa.bindparam("end"),
    )
    .order_by(_table.c.id)
)
_newest = sa.select(sa.func.max(_table.c.id)).where(_table.c.stream == sa.bindparam("stream"))
_insert = sa.insert(_table)

_SMALL, _SMALL_FILE = 50_000, 1 << 20  # rows, bytes: larger segments are left as they are
_MANY = 64  # so many small ones in a row are merged
_LEVEL = 6  # of zstd: a sixth smaller than its usual 1 or 3, for two microseconds a row
_FEW = 1000  # rows; for fewer, making ready to compress so well takes longer than all else, and they are merged soon
_RECENT = 16 << 20  # bytes of tables that are kept in memory, for those who read what has just been written
_GRACE = 60.0  # seconds that merged files stay for readers


@dataclass(frozen=True, slots=True)
class Segment:
    """`first` and `last` are the times of its rows, in seconds since the epoch. Ids grow with time of arrival."""

    id: int
    stream: str
    file: str
    rows: int
    first: float
    last: float


class Segments:
    """Anyone may read and `writing`; `write`, `merge` and `sweep` are for the one thread that sweeps."""

    def __init__(self, home: Path, database: Database, clock: Clock, ids: Ids) -> None:
        self._home = home
        self._folder = folder(home)
        self._database = database
        self._clock = clock
        self._ids = ids
        self._seen: dict[str, float] = {}  # files that were merged away, and since when
        self._recent: dict[str, Any] = {}  # tables by file, the oldest first
        self._recent_bytes = 0

    def writing(self) -> Writing:
        """For files that stay unnamed for long, in a process that does not sweep."""
        return Writing(self._home, self._ids)

    def write(self, table: Any) -> str:
        """Writes an Arrow table to a new file, on disk when this returns; `add` makes it visible."""
        name = self._written(table.schema, [table], table.num_rows < _FEW)
        self._recent[name] = table
        self._recent_bytes += table.nbytes
        while self._recent_bytes > _RECENT:
            self._recent_bytes -= self._recent.pop(next(iter(self._recent))).nbytes
        return name

    def _written(self, schema: Any, tables: Iterable[Any], few: bool = False) -> str:
        name, file = _created(self._home, self._ids)
        try:
            with file:
                _write(schema, tables, file, few)
        except BaseException:  # a full disk, among others: it must not stay full of this
            (self._folder / name).unlink(missing_ok=True)
            raise
        return name

    def add(
        self, connection: Connection, stream: str, file: str, rows: int, first: float, last: float
    ) -> Segment:
        """Makes a written file the newest segment of `stream`, in the caller's transaction."""
        values = {"stream": stream, "file": file, "rows": rows, "first": first, "last": last}
        made = connection.execute(_insert, values).inserted_primary_key
        assert made is not None
        return Segment(int(made[0]), **values)  # type: ignore[arg-type]

    def read(self, segment: Segment, columns: Sequence[str] | None = None) -> Any:
        """The segment as an Arrow table, without those of `columns` that are younger than it."""
        if (recent := self._recent.get(segment.file)) is not None:
            names = recent.schema.names
            return recent.select([name for name in columns if name in names]) if columns else recent
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._folder / segment.file) as file:
            held = set(file.schema_arrow.names)
            wanted = [name for name in columns if name in held] if columns else None
            return file.read(wanted, use_threads=False)

    def take(self, segment: Segment, rows: Sequence[int], columns: Sequence[str] | None = None) -> Any:
        """Rows of a segment, one at least, in the order in which they are named: of its file only the parts that hold
        them are read."""
        if segment.file in self._recent:
            return self.read(segment, columns).take(rows)
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._folder / segment.file) as file:
            held = set(file.schema_arrow.names)
            wanted = [name for name in columns if name in held] if columns else None
            sizes = [file.metadata.row_group(part).num_rows for part in range(file.metadata.num_row_groups)]
            ends, asked = np.cumsum(sizes), np.asarray(rows, np.int64)
            parts = np.searchsorted(ends, asked, side="right")
            needed = np.unique(parts)
            tables = [file.read_row_group(int(part), wanted, use_threads=False) for part in needed]
            starts = np.cumsum([0, *(table.num_rows for table in tables)])
            place = np.searchsorted(needed, parts)
            found = starts[place] + asked - (ends[parts] - np.asarray(sizes)[parts])
            return pa.concat_tables(tables).take(found)

    def cells(self, segment: Segment, column: str) -> int:
        """How many cells the lists of a column have, by what the file says of itself: there an empty one has one."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        if (recent := self._recent.get(segment.file)) is not None:
            return int(pc.sum(pc.list_value_length(recent[column])).as_py() or 0)
        with pq.ParquetFile(self._folder / segment.file) as file:
            parts = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        held = (part.column(place) for part in parts for place in range(part.num_columns))
        return sum(one.num_values for one in held if one.path_in_schema.partition(".")[0] == column)

    def scan(
        self,
        stream: str,
        start: float | None = None,
        end: float | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[Any]:
        """The tables of the segments that may hold rows of [start, end), oldest arrival first."""
        with self._database.read() as connection:
            found = listed(connection, stream, start=start, end=end)
        for segment in found:
            yield self.read(segment, columns)

    def merge_crowded(self) -> None:
        """Merges every stream that has many small segments. Call it now and then."""
        self._remove_left()
        with self._database.read() as connection:
            small = sa.select(_table.c.stream).where(_table.c.rows < _SMALL).group_by(_table.c.stream)
            crowded = list(connection.execute(small.having(sa.func.count() >= _MANY)).scalars())
        for stream in crowded:
            self.merge(stream)

    def merge(self, stream: str) -> int:
        """Merges runs of small segments; returns how many files that spared."""
        with self._database.read() as connection:
            small = [s for s in listed(connection, stream) if s.rows < _SMALL and self._size(s) < _SMALL_FILE]
        if len(small) < _MANY:
            return 0
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.unify_schemas([pq.read_schema(self._folder / segment.file) for segment in small])
        file = self._written(schema, self._groups(small, schema))
        with self._database.write() as connection:
            connection.execute(sa.delete(_table).where(_table.c.id.in_([s.id for s in small[:-1]])))
            # It takes the place of the newest: ids go on growing with time of arrival.
            connection.execute(
                sa.update(_table)
                .where(_table.c.id == small[-1].id)
                .values(
                    file=file,
                    rows=sum(s.rows for s in small),
                    first=min(s.first for s in small),
                    last=max(s.last for s in small),
                )
            )
            until = self._clock.now() + _GRACE
            connection.execute(sa.insert(_left), [{"file": s.file, "until": until} for s in small])
        return len(small) - 1

    def _size(self, segment: Segment) -> int:
        return (self._folder / segment.file).stat().st_size

    def _groups(self, small: list[Segment], schema: Any) -> Iterator[Any]:
        """Their rows in few tables, not in one: 64 of them can be two gigabytes."""
        import pyarrow as pa

        held: list[Segment] = []
        for segment in small:
            held.append(segment)
            if sum(one.rows for one in held) >= _SMALL or segment is small[-1]:
                tables = [self.read(one) for one in held]
                yield pa.concat_tables([schema.empty_table(), *tables], promote_options="default")
                held = []

    def sweep(self) -> int:
        """Removes the files that no row needs, nobody is writing, and that were made in a run of this database; how
        many. Call it at start."""
        with self._database.read() as connection:
            needed = set(connection.execute(sa.select(_table.c.file)).scalars()) | left(connection)
            runs = home_store.runs(connection)
        made = [path for path in self._folder.glob("*.parquet") if mark.run_of(path.stem) in runs]
        return sum(self._remove_if_left(path) for path in made if path.name not in needed)

    def _remove_if_left(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its writer may have added it since the listing: with the lock in hand, look again.
                with self._database.read() as connection:
                    if connection.execute(sa.select(_table.c.id).where(_table.c.file == path.name)).first():
                        return False
                path.unlink()
                return True
        except (FileNotFoundError, BlockingIOError):
            return False

    def _remove_left(self) -> None:
        """Removes the merged files whose time is over."""
        with self._database.read() as connection:
            found = list(connection.execute(sa.select(_left.c.file)).scalars())
        now = self._clock.monotonic()
        self._seen = {file: self._seen.get(file, now) for file in found}
        due = [file for file, since in self._seen.items() if now - since >= _GRACE]
        for file in due:
            (self._folder / file).unlink(missing_ok=True)
        if due:
            with self._database.write() as connection:
                connection.execute(sa.delete(_left).where(_left.c.file.in_(due)))


@dataclass(slots=True)
class Writing:
    """Files of segments that will be added together. A context: until it ends no sweep takes them, and then they are
    gone, unless `keep` was called after the commit of what added them."""

    _home: Path
    _ids: Ids
    _files: list[str] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def write(self, table: Any) -> str:
        """As `Segments.write`."""
        name, file = _created(self._home, self._ids)
        self._stack.enter_context(file)
        self._files.append(name)
        _write(table.schema, [table], file)
        return name

    def keep(self) -> None:
        self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._files:
            (folder(self._home) / name).unlink(missing_ok=True)
        self._stack.close()


def folder(home: Path) -> Path:
    return home / "warehouse" / "segments"


def _created(home: Path, ids: Ids) -> tuple[str, IO[bytes]]:
    """A new file, locked as long as it is open. Raises ResourceExhausted where the disk is full."""
    disk.require_room(home)
    folder(home).mkdir(parents=True, exist_ok=True)
    while True:
        name = f"{mark.new_file(home, ids)}.parquet"
        file = (folder(home) / name).open("xb")
        fcntl.flock(file, fcntl.LOCK_SH)
        if os.fstat(file.fileno()).st_nlink:  # else a sweep came between
            return name, file
        file.close()


def _write(schema: Any, tables: Iterable[Any], file: IO[bytes], few: bool = False) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, schema, **_layout(schema, few)) as writer:
        for table in tables:
            writer.write_table(table)
    file.flush()
    os.fsync(file.fileno())


def _layout(schema: Any, few: bool) -> dict[str, Any]:
    """How Parquet holds the columns: numbers that grow as differences, words that repeat as a dictionary, and lists of
    texts, which hardly ever repeat, as they are."""
    import pyarrow as pa

    types = pa.types
    encodings, repeat = {}, []
    for column in schema:
        if types.is_integer(column.type) or types.is_timestamp(column.type):
            encodings[column.name] = "DELTA_BINARY_PACKED"
        elif types.is_decimal(column.type):
            encodings[column.name] = "DELTA_BYTE_ARRAY"
        elif not types.is_list(column.type):
            repeat.append(column.name)
    return {
        "compression": "lz4" if few else "zstd", "compression_level": None if few else _LEVEL,
        "write_statistics": False, "use_dictionary": repeat, "column_encoding": encodings,
    }  # fmt: skip


def listed(
    connection: Connection,
    stream: str,
    *,
    start: float | None = None,
    end: float | None = None,
    after: int = 0,
) -> list[Segment]:
    """The segments of `stream` with an id above `after` that may hold rows of [start, end), oldest id first."""
    asked = {
        "stream": stream,
        "start": -math.inf if start is None else start,
        "end": math.inf if end is None else end,
        "after": after,
    }
    return [
        Segment(r.id, r.stream, r.file, r.rows, r.first, r.last) for r in connection.execute(_listed, asked)
    ]


def streams(connection: Connection, prefix: str) -> list[str]:
    """The streams whose names begin with `prefix`."""
    chosen = sa.select(_table.c.stream).where(_table.c.stream.startswith(prefix, autoescape=True)).distinct()
    return sorted(connection.execute(chosen).scalars())


def newest(connection: Connection, stream: str) -> int:
    """The highest id of a segment of `stream`; 0 where there is none."""
    return int(connection.execute(_newest, {"stream": stream}).scalar() or 0)


def every(connection: Connection) -> list[Segment]:
    """All segments of all streams."""
    rows = connection.execute(sa.select(_table).order_by(_table.c.id))
    return [Segment(r.id, r.stream, r.file, r.rows, r.first, r.last) for r in rows]


def left(connection: Connection) -> set[str]:
    """The files that were merged away and wait for their readers."""
    return set(connection.execute(sa.select(_left.c.file)).scalars())
