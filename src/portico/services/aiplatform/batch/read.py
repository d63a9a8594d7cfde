"""Reads a batch job's input in chunks of bounded size; what can't be read becomes a bad row, not a failed job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from portico.services.standard.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 4 << 20  # bytes read at a time
_CELLS = 1 << 20  # of a chunk of columns at most


@dataclass(slots=True)
class Chunk:
    """Consecutive rows of one file: `lines` of JSON with their `values`, or a `batch` of columns.

    `start` is the first row's number in its file, counted from 0, and `number` in all files together. `bad` says, by
    position in `lines`, which lines hold no row, and why; their value is None. A chunk of `rejected` CSV lines has
    only those, and they count for no number: the reader meets them sooner or later.
    `failure` says why the rest of the file can't be read; such a chunk has no rows. `done` is how many bytes
    of all files were read when the chunk was made. `text_cells`: the batch is CSV's, whose cells are
    text; those that stood in quotes may be marked.
    """

    source: str
    start: int
    done: int
    number: int = 0
    lines: list[bytes] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)
    batch: pa.RecordBatch | None = None
    text_cells: bool = False
    failure: str = ""

    def __len__(self) -> int:
        return len(self.lines) if self.batch is None else self.batch.num_rows


def read(
    sources: Sequence[Source], home: Path, format: str, max_rows: int, quotes: bool = False
) -> Iterator[Chunk]:
    """The rows of all `sources` in order, at most `max_rows` a chunk.

    A file that can't be read (or read further) ends with a chunk that says why in `failure`. With `quotes`, CSV cells
    that stood in quotes are marked (`csv_files.QUOTED`).
    """
    from portico.ml.data_files import opened

    before = rows = 0
    for source in sources:
        state = _Reading(source, before, rows, quotes)
        try:
            with opened(source.data(home), format) as file:
                state.position = getattr(file, "fileobj", file).tell  # of a .gz in its packed bytes
                yield from _READERS[format](state, file, max_rows)
        except ValueError as error:
            state.position = lambda: source.size  # noqa: B023 (used before the next file)
            named = str(error).startswith(source.uri)
            yield state.chunk(
                failure=str(error) if named else f"{source.uri} cannot be read as {format}: {error}"
            )
        before += source.size
        rows += state.row


@dataclass(slots=True)
class _Reading:
    source: Source
    before: int  # bytes of the files before this one
    rows_before: int
    quotes: bool = False
    row: int = 0
    position: Callable[[], int] = field(default=lambda: 0)

    def chunk(self, **parts: Any) -> Chunk:
        made = self.rejected(**parts)
        self.row += len(made)
        return made

    def rejected(self, **parts: Any) -> Chunk:
        """A chunk whose rows count for no number."""
        done = self.before + min(self.position(), self.source.size)
        return Chunk(self.source.uri, self.row, done, self.rows_before + self.row, **parts)


def _jsonl(state: _Reading, file: IO[bytes], max_rows: int) -> Iterator[Chunk]:
    from portico.ml.data_files import lines

    kept: list[bytes] = []
    size = 0
    for _, line in lines(file, state.source.uri):
        kept.append(line)
        size += len(line)
        if len(kept) == max_rows or size > _BLOCK:
            yield state.chunk(lines=kept)
            kept, size = [], 0
    if kept:
        yield state.chunk(lines=kept)


def parse(chunk: Chunk) -> None:
    """Fills in the `values` of a chunk of JSON lines, and what is `bad`."""
    if chunk.values or chunk.bad:
        return
    loads = orjson.loads
    try:
        chunk.values = [loads(line) for line in chunk.lines]
    except ValueError:
        chunk.values = [_value(chunk, position, line) for position, line in enumerate(chunk.lines)]


def _value(chunk: Chunk, position: int, line: bytes) -> Any:
    from portico.ml.tables import parse_json

    try:
        return orjson.loads(line)
    except ValueError:
        pass
    try:
        value = parse_json(line)  # it also takes NaN, which Python's own json writes; JSON's word is null
        chunk.lines[position] = orjson.dumps(value)
    except (ValueError, TypeError) as error:
        chunk.bad[position] = f"Row {chunk.start + position} is not JSON: {error}."
        return None
    return value


def _csv(state: _Reading, file: IO[bytes], max_rows: int) -> Iterator[Chunk]:
    from portico.ml import csv_files, values

    names, _ = csv_files.first_line(file, state.source.uri)
    if not names:
        raise ValueError("it has no header line with the columns' names")
    csv_files.check_header(names, state.source.uri)
    nameless = [place for place, name in enumerate(names, 1) if not name.strip()]
    if nameless:
        raise ValueError(f"column {nameless[0]} has no name in its header")
    rejected: list[tuple[str, str]] = []

    def reject(row: Any) -> str:
        complaint = f"A line has {row.actual_columns} cells; the header has {row.expected_columns}."
        rejected.append((row.text.replace(values.QUOTED, ""), complaint))
        return "skip"

    max_rows = max(1, min(max_rows, _CELLS // len(names)))
    for batch in csv_files.batches(file, names, reject=reject, mark_quoted=state.quotes):
        for at in range(0, batch.num_rows, max_rows):
            yield state.chunk(batch=batch.slice(at, max_rows), text_cells=True)
        if rejected:
            yield _rejected(state, rejected)
    if rejected:
        yield _rejected(state, rejected)


def _rejected(state: _Reading, rejected: list[tuple[str, str]]) -> Chunk:
    lines = [orjson.dumps(text) for text, _ in rejected]
    bad = {position: complaint for position, (_, complaint) in enumerate(rejected)}
    rejected.clear()
    return state.rejected(lines=lines, values=[None] * len(lines), bad=bad)


def _parquet(state: _Reading, file: IO[bytes], max_rows: int) -> Iterator[Chunk]:
    from portico.ml import parquet_files

    reader = parquet_files.open_parquet(file, state.source.uri)
    total = reader.metadata.num_rows or 1
    state.position = lambda: state.source.size * state.row // total
    size = max(1, min(max_rows, _CELLS // max(1, reader.metadata.num_columns)))
    for batch in parquet_files.batches(reader, state.source.uri, size):
        yield state.chunk(batch=batch)


_READERS: dict[str, Callable[[_Reading, IO[bytes], int], Iterator[Chunk]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
}
