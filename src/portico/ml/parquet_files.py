"""Parquet in batches of bounded size, however few bytes the file takes.

A dictionary or a run of equal values can stand for a million times its bytes. So fixed-width columns are counted from
the file's own metadata before anything is read, and text columns are read as dictionaries, measured, and unpacked
in parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portico.ml.data_files import BATCH_BYTES, MAX_COLUMNS, mib, table_bytes
from portico.ml.errors import DataError

_WIDTHS: Final = {"BOOLEAN": 0.125, "INT32": 4.0, "INT64": 8.0, "INT96": 8.0, "FLOAT": 4.0, "DOUBLE": 8.0}


def open_parquet(file: IO[bytes], name: str) -> pq.ParquetFile:
    """
    Raises:
        DataError: one part of the file is larger than what may be read at once; pyarrow's: it is no Parquet file.
    """
    metadata = pq.read_metadata(file)
    if metadata.num_columns > MAX_COLUMNS:
        raise DataError(f"{name} has {metadata.num_columns:,} columns; at most {MAX_COLUMNS:,} are read")
    largest = max(
        (metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups)), default=0
    )
    if largest > table_bytes():
        raise DataError(
            f"{name} has a row group of {mib(largest)}; at most {mib(table_bytes())} (an eighth of this machine's "
            "memory) are read at once: write smaller row groups"
        )
    columns = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    texts = [c.path for c in columns if c.physical_type == "BYTE_ARRAY" and "." not in c.path]
    reader = pq.ParquetFile(file, read_dictionary=texts)
    names = reader.schema_arrow.names
    if len(set(names)) < len(names):
        name_twice = next(each for each in names if names.count(each) > 1)
        raise DataError(f"{name}: the column name {name_twice!r} stands twice", field=name_twice)
    return reader


def least_bytes(metadata: pq.FileMetaData) -> float:
    """How many bytes the cells take in memory at least: texts are counted without their characters."""
    total = 0.0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            total += column.num_values * _WIDTHS.get(column.physical_type, 4.0)
    return total


def batches(
    reader: pq.ParquetFile, name: str, max_rows: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows in batches of at most `max_rows` rows and about `BATCH_BYTES`; dictionaries of text are unpacked.

    Raises:
        DataError: a single row takes more than `table_bytes()`.
    """
    metadata = reader.metadata
    width = least_bytes(metadata) / max(metadata.num_rows, 1)
    size = int(max(1, min(max_rows, BATCH_BYTES // max(width, 1))))
    for batch in reader.iter_batches(batch_size=size, columns=None if columns is None else list(columns)):
        yield from _unpacked(batch, name)


def _unpacked(batch: pa.RecordBatch, name: str) -> Iterator[pa.RecordBatch]:
    places = [place for place, kind in enumerate(batch.schema.types) if pa.types.is_dictionary(kind)]
    size = sum(_text_bytes(batch.column(place)) for place in places)
    if size > BATCH_BYTES and batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from _unpacked(batch.slice(0, half), name)
        yield from _unpacked(batch.slice(half), name)
        return
    if size > table_bytes():
        raise DataError(f"{name}: a row takes {mib(size)}; at most {mib(table_bytes())} are read")
    arrays = list(batch.columns)
    for place in places:
        arrays[place] = arrays[place].dictionary_decode()
    yield pa.RecordBatch.from_arrays([_plain(array) for array in arrays], names=batch.schema.names)


def _text_bytes(column: pa.DictionaryArray) -> int:
    kind = column.type.value_type
    if not (pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind)):
        return 0
    return int(pc.sum(pc.take(pc.binary_length(column.dictionary), column.indices)).as_py() or 0)


def _plain(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array
