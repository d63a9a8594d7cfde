"""Reads local CSV, JSON Lines and Parquet files as Arrow tables, whole or in batches of bounded memory.

CSV columns are read as text: what a cell means is decided once, by `values`, and not by what a reader guesses
from the first block.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from portico.ml import values
from portico.ml.errors import DataError

FORMATS = ("csv", "jsonl", "parquet")
_BLOCK = 4 << 20
_DEEP = 16  # levels of a cell of JSON; a deeper one is text
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


def read_table(paths: Sequence[Path], *, format: str = "", columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of `paths`, in their order, under one schema.

    A column that a file lacks is null there; a column whose type differs between files becomes text.

    Raises:
        DataError: no file, a file that cannot be read, or a column of `columns` that no file has.
    """
    if not paths:
        raise DataError("no data files were given")
    tables = [pa.Table.from_batches([batch]) for batch in iter_batches(paths, format=format)]
    table = concat(tables) if tables else pa.table({})
    if columns is not None:
        for name in columns:
            if name not in table.column_names:
                raise DataError(f"column {name!r} is not in the data; it has {_list(table)}", field=name)
        table = table.select(list(columns))
    return table


def iter_batches(
    paths: Sequence[Path], *, format: str = "", max_rows: int = 65_536
) -> Iterator[pa.RecordBatch]:
    """The rows of `paths` in batches of at most `max_rows`, holding a few MB at a time.

    Raises:
        DataError: a file cannot be read as its format; the message names it.
    """
    for path in paths:
        kind = format or format_of(path)
        try:
            for batch in _READERS[kind](path):
                for start in range(0, batch.num_rows, max_rows):
                    yield batch.slice(start, max_rows)
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeDecodeError) as error:
            raise DataError(f"{path.name} cannot be read as {kind}: {error}") from error


def _csv(path: Path) -> Iterator[pa.RecordBatch]:
    names = _csv_header(path)
    if not names:
        return
    with pyarrow.csv.open_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],
        ),
    ) as reader:
        yield from reader


def _csv_header(path: Path) -> list[str]:
    with _open(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file), [])
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        name = sorted(repeated)[0]
        raise DataError(f"{path.name}: the column name {name!r} stands twice in the header", field=name)
    return names


def _jsonl(path: Path) -> Iterator[pa.RecordBatch]:
    """Line by line: Arrow's reader fixes the types by its first block, and a later line may differ."""
    rows: list[dict[str, object]] = []
    with _open(path) as file:
        for position, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = _json(line)
            except ValueError as error:
                raise DataError(f"{path.name}, line {position}: not JSON ({error})") from None
            if not isinstance(row, dict):
                raise DataError(f"{path.name}, line {position}: not a JSON object")
            rows.append(row)
            if len(rows) == 65_536:
                yield rows_to_batch(rows)
                rows = []
    if rows:
        yield rows_to_batch(rows)


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _json(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except ValueError:
        try:
            return json.loads(line)  # it also takes NaN, which Python's own json writes
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


def rows_to_batch(rows: Sequence[dict[str, object]]) -> pa.RecordBatch:
    """JSON objects as a batch: the union of their keys; a column of mixed types becomes text."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    arrays = []
    for name in names:
        cells = [row.get(name) for row in rows]
        try:
            # Arrow would make 1.0 of a True among floats.
            mixed = len({type(cell) is bool for cell in cells if cell is not None}) > 1
            mixed = mixed or any(_is_deep(cell) for cell in cells)
            array = pa.array([_as_text(cell) for cell in cells], pa.string()) if mixed else pa.array(cells)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            array = pa.array([_as_text(cell) for cell in cells], pa.string())
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _is_deep(cell: object) -> bool:
    """Nested so deeply that Arrow's type for it would be large: it grows with the square of the depth."""
    level = [cell] if isinstance(cell, (list, dict)) else []
    for _ in range(_DEEP):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, (list, dict))
        ]
    return bool(level)


def _as_text(cell: object) -> str | None:
    if not isinstance(cell, (list, dict)):
        return values.category(cell)
    try:
        return json.dumps(cell)
    except RecursionError:
        return _TOO_DEEP


def _parquet(path: Path) -> Iterator[pa.RecordBatch]:
    with pyarrow.parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=65_536)


_READERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    filled = [table for table in tables if table.num_rows] or list(tables[:1])
    types: dict[str, pa.DataType] = {}
    for table in filled:
        for column in table.schema:
            known = types.setdefault(column.name, column.type)
            if known != column.type:
                if pa.types.is_null(known):
                    types[column.name] = column.type
                elif not pa.types.is_null(column.type):
                    types[column.name] = pa.string()
    schema = pa.schema(list(types.items()))
    return pa.concat_tables([_cast(table, schema) for table in filled])


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for column in schema:
        if column.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, column.type))
            continue
        array = table[column.name]
        if pa.types.is_dictionary(array.type) and array.type != column.type:
            array = array.cast(array.type.value_type)
        columns.append(array.cast(column.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _list(table: pa.Table) -> str:
    names = table.column_names
    return ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
