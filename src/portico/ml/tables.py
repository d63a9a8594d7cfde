"""The one reader of tables: CSV, JSON Lines and Parquet files as Arrow, whole or in batches of bounded memory.

Whatever it left out, filled in or guessed is told in words: `Read.notes`.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml import csv_files, data_files, json_shapes, parquet_files, values
from portico.ml.data_files import DataFile, mib, opened, table_bytes
from portico.ml.errors import DataError

_ROWS = 65_536
_TOO_DEEP = '"nested too deeply"'
_SUFFIXES = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def format_of(path: Path) -> str:
    """ "csv", "jsonl" or "parquet", by the file's suffix (also before `.gz`).

    Raises:
        DataError: no known suffix.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    found = _SUFFIXES.get(suffixes[-1] if suffixes else "")
    if found is None:
        raise DataError(f"{path.name}: the name ends with none of {', '.join(sorted(_SUFFIXES))}")
    return found


@dataclass(slots=True)
class Read:
    """A table, what was noticed while reading it (`notes`), and which rows came from which file.

    `starts` are each file's name and the position of its first row in the table.
    """

    table: pa.Table
    notes: list[str] = field(default_factory=list)
    starts: list[tuple[str, int]] = field(default_factory=list)

    def place(self, row: int) -> str:
        """The file that row `row` (from 0) of the table came from, and its number there, from 1, without a header."""
        name, start = [start for start in self.starts if start[1] <= row][
            -1
        ]  # empty files begin where the next does
        return f"{name}, row {row - start + 1}"


def read(files: Sequence[Path | DataFile], *, format: str = "") -> Read:
    """All rows of `files`, in their order, under one schema.

    CSV files share a header as `csv_files` says. A column that a JSON or Parquet file lacks is null there; a column
    whose type differs between files becomes text, integers beside floats become floats.

    Raises:
        DataError: no file, no row, a file that cannot be read, or more than `table_bytes()` of cells.
    """
    if not files:
        raise DataError("no data files were given")
    named = [DataFile.of(file) for file in files]
    source = _Files(named, format)
    tables: list[pa.Table] = []
    size = rows = 0
    starts = []
    for file in named:
        starts.append((file.name, rows))
        for batch in source.batches(file):
            size += batch.nbytes
            rows += batch.num_rows
            if size > table_bytes():
                raise DataError(_too_large(file.name, size, at_least=True))
            tables.append(pa.Table.from_batches([batch]))
    if not rows:
        what = named[0].name + (f" and {len(named) - 1} more files" if len(named) > 1 else "")
        raise DataError(f"there is no row of data in {what}")
    table, notes = _joined(tables)
    return Read(table, source.notes() + notes, starts)


def iter_batches(files: Sequence[Path | DataFile], *, max_rows: int = _ROWS) -> Generator[pa.RecordBatch]:
    """The rows of `files` in batches of at most `max_rows`, holding a few MB at a time.

    Raises:
        DataError: a file cannot be read as its format; the message names it.
    """
    named = [DataFile.of(file) for file in files]
    source = _Files(named, "")
    for file in named:
        for batch in source.batches(file):
            for start in range(0, batch.num_rows, max_rows):
                yield batch.slice(start, max_rows)


def _too_large(name: str, size: float, at_least: bool = False) -> str:
    more = "at least " if at_least else ""
    return (
        f"{name}: the table takes {more}{mib(size)} in memory; at most {mib(table_bytes())} (an eighth of this "
        "machine's memory) are read as one table"
    )


class _Files:
    """The files of one table, read one after the other, and what is to be told of them."""

    def __init__(self, files: Sequence[DataFile], format: str) -> None:
        self._format = format
        self._csv = [file for file in files if self._kind(file) == "csv"]
        self._header: list[str] | None = None
        self._header_file = ""
        self._told: dict[str, list[str]] = {}

    def _kind(self, file: DataFile) -> str:
        return self._format or format_of(Path(file.name))

    def notes(self) -> list[str]:
        return [
            words.format(names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else ""))
            for words, names in self._told.items()
        ]

    def _note(self, words: str, name: str) -> None:
        self._told.setdefault(words, []).append(name.replace("{", "(").replace("}", ")"))

    def batches(self, file: DataFile) -> Iterator[pa.RecordBatch]:
        kind = self._kind(file)
        if kind == "csv":
            yield from self._csv_batches(file)
        elif kind == "jsonl":
            yield from _jsonl(file)
        else:
            with opened(file, kind) as raw:
                reader = parquet_files.open_parquet(raw, file.name)
                size = parquet_files.least_bytes(reader.metadata)
                if size > table_bytes():
                    raise DataError(_too_large(file.name, size, at_least=True))
                yield from parquet_files.batches(reader, file.name, _ROWS)

    def _csv_batches(self, file: DataFile) -> Iterator[pa.RecordBatch]:
        names = self._names()
        with opened(file, "csv") as raw:
            cells, head = csv_files.first_line(raw, file.name)
            if not cells:
                self._note("{} is empty", file.name)
                return
            if cells == names:
                head = b""
            else:
                self._check_headless(cells, names, file)
            try:
                yield from csv_files.batches(raw, names, head=head, reject=lambda row: "error")
            except pa.ArrowInvalid as error:
                if "straddling" in str(error):
                    raise DataError(
                        f"{file.name}: a line is longer than 4 MiB, or a quote is never closed"
                    ) from None
                raise csv_files.complaint(file, len(names)) or error from None

    def _names(self) -> list[str]:
        """The header: that of the lexicographically first file that is not empty."""
        if self._header is None:
            self._header = []
            for file in sorted(self._csv, key=lambda file: file.name):
                with opened(file, "csv") as raw:
                    names, _ = csv_files.first_line(raw, file.name)
                if names:
                    csv_files.check_header(names, file.name)
                    self._header, self._header_file = names, file.name
                    break
            self._tell_header()
        return self._header

    def _tell_header(self) -> None:
        names = self._header or []
        for place, name in enumerate(names, 1):
            if not name.strip():
                self._note(
                    f"column {place} has no name and was left out, by the header of {{}}", self._header_file
                )
        if csv_files.looks_like_data(names):
            self._note("the first line of {}, all numbers, was taken for the header", self._header_file)

    def _check_headless(self, cells: Sequence[str], names: Sequence[str], file: DataFile) -> None:
        if csv_files.is_other_header(cells, names):
            raise DataError(
                f"the header of {file.name} is not that of {self._header_file}: {_shown(cells)} instead of "
                f"{_shown(names)}; each file must have exactly the same header, or none"
            )
        self._note("{} has no header line; its first line was read as data", file.name)


def _shown(names: Sequence[str]) -> str:
    return ",".join(names[:20])[:200] + (",…" if len(names) > 20 else "")


def _jsonl(file: DataFile) -> Iterator[pa.RecordBatch]:
    """Line by line: Arrow's reader fixes the types by its first block, and a later line may differ."""
    rows: list[dict[str, object]] = []
    size = cells = 0
    names: set[str] = set()
    with opened(file, "jsonl") as raw:
        for number, line in data_files.lines(raw, file.name):
            row = _json_row(line, f"{file.name}, line {number}")
            rows.append(row)
            size += len(line)
            names.update(row)
            if len(names) > data_files.MAX_COLUMNS:
                raise DataError(
                    f"{file.name}, line {number}: more than {data_files.MAX_COLUMNS:,} different names of columns"
                )
            cells = len(rows) * len(names)
            if len(rows) == _ROWS or size > data_files.BATCH_BYTES or cells > data_files.BATCH_BYTES:
                yield rows_to_batch(rows)
                rows, size, names = [], 0, set()
    if rows:
        yield rows_to_batch(rows)


def _json_row(line: bytes, where: str) -> dict[str, object]:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: not a JSON object; each line must hold one, with the columns' names")
    return row


def parse_json(line: bytes) -> Any:
    """
    Raises:
        ValueError: it is not JSON.
    """
    try:
        return orjson.loads(line)
    except ValueError:
        try:
            return json.loads(line)  # it also takes NaN, which Python's own json writes
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


def rows_to_batch(rows: Sequence[dict[str, object]]) -> pa.RecordBatch:
    """JSON objects as a batch: the union of their keys; a column of mixed types or deep nesting becomes text."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.RecordBatch.from_arrays(
        [_cells([row.get(name) for row in rows]) for name in names], names=names
    )


def _cells(cells: list[Any]) -> pa.Array:
    kinds = {type(cell) for cell in cells}
    # Arrow would make 1.0 of a True among floats.
    mixed = bool in kinds and not kinds <= {bool, type(None)}
    if not mixed and not (kinds & {dict, list} and json_shapes.is_costly(cells)):
        try:
            return pa.array(cells)
        except (pa.ArrowException, OverflowError):
            pass
    return pa.array([_as_text(cell) for cell in cells], pa.string())


def _as_text(cell: object) -> str | None:
    if not isinstance(cell, (list, dict)):
        return values.category(cell)
    try:
        return json.dumps(cell, default=str)
    except RecursionError:
        return _TOO_DEEP


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """The tables below each other, as `read` joins files."""
    return _joined(tables)[0]


def _joined(tables: Sequence[pa.Table]) -> tuple[pa.Table, list[str]]:
    filled = [table for table in tables if table.num_rows] or list(tables[:1])
    types: dict[str, pa.DataType] = {}
    rows: dict[str, int] = {}
    mixed: dict[str, None] = {}
    if not all(table.schema.equals(filled[0].schema) for table in filled):
        for table in filled:
            for column in table.schema:
                rows[column.name] = rows.get(column.name, 0) + table.num_rows
                known = types.setdefault(column.name, column.type)
                if known == column.type:
                    continue
                types[column.name] = _common(known, column.type)
                if not pa.types.is_null(known) and not pa.types.is_null(column.type):
                    mixed[column.name] = None
        for name in mixed:
            if pa.types.is_floating(types[name]) and any(_is_long(table, name) for table in filled):
                types[name] = pa.string()
        total = sum(table.num_rows for table in filled)
        size = sum(_width(kind) * (total - rows[name]) for name, kind in types.items())
        if size > table_bytes():
            raise DataError(_too_large("the files have different columns", size))
        schema = pa.schema(list(types.items()))
        filled = [_cast(table, schema) for table in filled]
    table = pa.concat_tables(
        filled
    ).combine_chunks()  # else each column of a wide table is in a hundred pieces
    notes = [
        f"column {name!r} is not in all files: {total - count:,} of {total:,} rows have no value for it"
        for name, count in rows.items()
        if count < total
    ]
    notes += [
        f"column {name!r} has values of different types and was read as text"
        for name in mixed
        if pa.types.is_string(types[name])
    ]
    nameless = [place for place, name in enumerate(table.column_names, 1) if not name.strip()]
    for place in nameless:
        notes.append(f"column {place} has no name and was left out")
    if nameless:
        table = table.select([place for place, name in enumerate(table.column_names) if name.strip()])
    return table, notes


def _is_long(table: pa.Table, name: str) -> bool:
    """Whether a column holds an integer that a floating-point number would round."""
    place = table.schema.get_field_index(name)
    if place < 0 or not pa.types.is_integer(table.schema.types[place]):
        return False
    least, most = pc.min_max(table.column(place)).as_py().values()
    return least is not None and (least < -(2**53) or most > 2**53)


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_null(one):
        return other
    if pa.types.is_null(other) or one == other:
        return one
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (one, other)):
        return pa.float64()
    return pa.string()


def _width(kind: pa.DataType) -> float:
    try:
        return float(kind.bit_width) / 8
    except ValueError:
        return 4.0


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    places = {name: place for place, name in enumerate(table.schema.names)}
    columns = []
    for column in schema:
        place = places.get(column.name)
        columns.append(
            pa.nulls(table.num_rows, column.type) if place is None else _as(table.column(place), column.type)
        )
    return pa.Table.from_arrays(columns, schema=schema)


def _as(array: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if array.type == kind:
        return array
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_nested(array.type) or pa.types.is_binary(array.type):
        return pa.chunked_array(
            [pa.array([_as_text_or_shown(cell) for cell in array.to_pylist()], pa.string())]
        )
    return array.cast(kind, safe=False) if pa.types.is_floating(kind) else array.cast(kind)


def _as_text_or_shown(cell: object) -> str | None:
    return str(cell) if isinstance(cell, bytes) else _as_text(cell)
