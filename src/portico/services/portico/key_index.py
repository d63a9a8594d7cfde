"""Where in the log the predictions of a key or a request id are: made once a segment, so that nobody who looks for a
few reads all requests again.

A file below `HOME/warehouse/keys/` says of a segment, for request ids or for keys of some columns, which names its
predictions have; it is made when it is first wanted, and goes after its segment. It holds hashes of 64 bits: of a
million labels and a hundred million predictions two that are not each other's are taken for it once in 180,000 logs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy.engine import Connection

from portico.prediction.prediction_log import id_words
from portico.services.call import Rooms
from portico.services.portico.joining import keys_of
from portico.store import disk, labels, segments
from portico.store.segments import Segment, Segments

Columns = tuple[str, ...]
IDS: Final[Columns] = ()
"""In place of a key's columns: request ids."""
_COLUMNS: Final = ("logging_time", "request_id", "caller_request_id", "request_payload")


class Place(NamedTuple):
    """A prediction: its time in microseconds, its request, and which instance of that it is of."""

    time: int
    request_id: int
    instance: int


@dataclass(frozen=True)
class Index:
    """The names of a segment's predictions, by hash; of one name in order of their places. `table` has the columns
    `key`, `time`, `request_id`, `row` and `index`; `instances` is how many predictions the segment has."""

    table: Any
    instances: int

    @cached_property
    def _keys(self) -> Any:
        return self._column("key")

    def _column(self, name: str) -> Any:
        column = self.table[name]
        return column.chunk(0).to_numpy() if column.num_chunks == 1 else column.to_numpy()

    def spans(self, hashes: Any) -> tuple[Any, Any]:
        """For each hash where in the table its predictions begin and end."""
        import numpy as np

        return np.searchsorted(self._keys, hashes), np.searchsorted(self._keys, hashes, side="right")

    def rows(self, begins: Any, ends: Any) -> Any:
        """The predictions of these spans, as numbers that no other one of the segment has."""
        import numpy as np

        kept = ends > begins
        begins, ends = begins[kept], ends[kept]
        lengths = ends - begins
        before = np.repeat(np.cumsum(lengths) - lengths, lengths)
        chosen = np.arange(int(lengths.sum())) - before + np.repeat(begins, lengths)
        return self._rows[chosen]

    @cached_property
    def _rows(self) -> Any:
        return (self._column("row").astype("u8") << 32) | self._column("index").astype("u8")

    @cached_property
    def _times(self) -> Any:
        return self._column("time")

    def newest(self, hashes: Any, times: Any) -> Iterator[tuple[int, Place, int]]:
        """Of those hashes that have a prediction at or before their time: which one of `hashes`, the place of the
        newest such prediction, and the number that `rows` has for it."""
        import numpy as np

        begins, ends = self.spans(hashes)
        found: list[tuple[int, int]] = []
        for which in np.flatnonzero(ends > begins).tolist():
            begin, end = int(begins[which]), int(ends[which])
            last = begin + int(np.searchsorted(self._times[begin:end], times[which], side="right")) - 1
            if last >= begin:
                found.append((which, last))
        if not found:
            return
        chosen = self.table.take([at for _, at in found])
        low, high = id_words(chosen["request_id"])
        when, index = chosen["time"].to_pylist(), chosen["index"].to_pylist()
        for position, (asked, at) in enumerate(found):
            number = (int(high[position]) << 64) + int(low[position])
            yield asked, Place(when[position], number, index[position]), int(self._rows[at])


class Indexes:
    """Of the segments of a home."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._folder = rooms.home / "warehouse" / "keys"
        self._segments = Segments(rooms.home, rooms.database, rooms.clock, rooms.ids)

    def of(self, segment: Segment, columns: Columns) -> Index:
        """Of the keys of these columns, or of request ids; read from its file, or made."""
        import pyarrow as pa

        digest = hashlib.sha256(orjson.dumps(columns)).hexdigest()[:16]
        path = self._folder / f"{Path(segment.file).stem}-{digest}.arrow"
        try:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
        except (FileNotFoundError, pa.ArrowInvalid):
            table = _made(self._segments.read(segment, _COLUMNS), columns)
            with contextlib.suppress(OSError):  # whoever wants it next makes it again
                self._keep(path, table)
        return Index(table, int(table.schema.metadata[b"instances"]))

    def _keep(self, path: Path, table: Any) -> None:
        import pyarrow as pa

        if disk.room(self._rooms.home).full:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._rooms.database.read() as connection:
            known = {Path(one.file).stem for one in segments.every(connection)}
        for old in self._folder.iterdir():
            if old.name.partition("-")[0] not in known:
                old.unlink(missing_ok=True)
        made = path.with_suffix(f".{self._rooms.ids.token()}")
        try:
            with pa.OSFile(str(made), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            made.replace(path)
        finally:
            made.unlink(missing_ok=True)


def _made(rows: Any, columns: Columns) -> Any:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    found: list[tuple[int, int, int]] = []  # hash, row, index
    counts = pc.fill_null(pc.list_value_length(rows["request_payload"]), 0).to_pylist()
    if columns == IDS:
        numbers, callers = rows["request_id"].to_pylist(), rows["caller_request_id"].to_pylist()
        for row, count in enumerate(counts):
            told = {str(int(numbers[row])), callers[row]} - {None, ""}
            found += [(_hash(f"id:{i}:{one}"), row, i) for i in range(count) for one in told]
    else:
        for row, texts in enumerate(rows["request_payload"].to_pylist()):
            for index, text in enumerate(texts or ()):
                found += [(_hash(key), row, index) for key in keys_of(read_instance(text), [columns])]
    parts = np.array(found, np.uint64).reshape(-1, 3)
    at, within = parts[:, 1].astype(np.int64), parts[:, 2].astype(np.int64)
    times = (
        rows["logging_time"].combine_chunks().cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()[at]
    )
    ids = rows["request_id"].take(at)
    low, high = id_words(ids) if len(at) else (at, at)
    order = np.lexsort((within, low, high, times, parts[:, 0]))
    made = {
        "key": parts[order, 0], "time": times[order], "request_id": ids.take(order),
        "row": at[order].astype(np.int32), "index": within[order].astype(np.int32),
    }  # fmt: skip
    return pa.table(made).combine_chunks().replace_schema_metadata({"instances": str(sum(counts))})


def read_instance(text: str) -> Any:
    """An instance of a logged request; None where it is no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # a raw request, which has no columns
        return None


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


def hashes(names: Iterable[str]) -> Any:
    """Of names ("id:…", "key:…") as `Index` has them."""
    import numpy as np

    return np.array([_hash(name) for name in names], np.uint64)


def microseconds(seconds: Sequence[float]) -> Any:
    """The last whole microseconds that are not after these times."""
    import numpy as np

    times = np.asarray(seconds, float)
    whole = np.rint(times * 1e6).astype(np.int64)
    return whole - (whole / 1e6 > times)


def columns_of(key: str) -> Columns:
    """The columns of a key ("key:…")."""
    return tuple(orjson.loads(key[4:])[0])


def columns_of_labels(connection: Connection, endpoint: str) -> set[Columns]:
    """The columns of the keys by which an endpoint's labels are named."""
    found, after = set[Columns](), ""
    while key := labels.next_key(connection, endpoint, after):
        found.add(columns_of(key))
        after = f"key:[{orjson.dumps(columns_of(key)).decode()}-"  # behind whatever has a comma there
    return found
