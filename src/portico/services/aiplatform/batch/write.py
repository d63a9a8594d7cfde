"""A batch job's output: Google's layout in Cloud Storage, visible all at once.

Below the output directory: `prediction.results-00000-of-0000N` (JSON lines; `explanation.results-…` in a job that
explains), or the same with `.csv` or `.parquet`, and `prediction.errors_stats-00000-of-00001`, whose JSON lines hold
the rows that were not predicted and a google.rpc.Status `error` each. The latter is always there beside JSON lines,
else only if there are such rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy.engine import Connection

from portico.errors import NUMBERS
from portico.ids import Ids
from portico.services.aiplatform.batch import tables
from portico.services.aiplatform.batch.answers import Answers
from portico.services.aiplatform.batch.instances import Lines, Table
from portico.store.gcs import parse_uri
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import generations as objects
from portico.store.objects.files import FileWriter
from portico.store.objects.generations import StoredFile

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_SHARD = 1 << 30  # bytes after which the next file begins
_ROW_GROUP = 16 << 20  # bytes of columns that make a Parquet row group
_TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
_ENDINGS = {"jsonl": "", "csv": ".csv", "parquet": ".parquet", "bigquery": ".parquet"}


@dataclass(slots=True)
class Piece:
    """The output of one chunk, ready to be written: bytes of JSON lines, or columns."""

    good: int
    failed: int
    errors: bytes
    first_error: str
    data: bytes | pa.RecordBatch | None


def render(instances: Lines | Table, answers: Answers, format: str) -> Piece:
    """What goes to the files for one chunk."""
    bad = answers.bad
    rows = answers.good(len(instances))
    data: Any = None
    if len(rows):
        data = (
            _json_lines(instances, answers, rows)
            if format == "jsonl"
            else _columns(instances, answers, rows, format)
        )
    first = next(iter(bad.values()), "")
    return Piece(len(rows), len(bad), _errors(instances, bad), first, data)


def _json_lines(instances: Lines | Table, answers: Answers, rows: np.ndarray) -> bytes:
    texts = answers.texts()
    if answers.explanations:
        pairs = zip(texts, answers.explanations, strict=True)
        texts = [text + b',"explanation":' + explanation for text, explanation in pairs]
    if isinstance(instances, Table):
        return _joined(instances.heads(), texts, rows)
    heads = instances.heads()
    if len(rows) < len(heads):
        chosen = rows.tolist()
        heads, texts = [heads[row] for row in chosen], [texts[row] for row in chosen]
    return b"".join([b'{%b,"prediction":%b}\n' % pair for pair in zip(heads, texts, strict=True)])


def _joined(heads: pa.StringArray, texts: list[bytes], rows: np.ndarray) -> bytes:
    import pyarrow as pa
    import pyarrow.compute as pc

    predictions = pa.array(texts, pa.binary()).cast(pa.string())
    lines = pc.binary_join_element_wise("{", heads, ',"prediction":', predictions, "}\n", "")
    if len(rows) < len(lines):
        lines = lines.take(pa.array(rows))
    if isinstance(lines, pa.ChunkedArray):
        lines = lines.combine_chunks()
    offsets = memoryview(lines.buffers()[1]).cast("i")
    start, end = offsets[lines.offset], offsets[lines.offset + len(lines)]
    return bytes(memoryview(lines.buffers()[2])[start:end])


def _columns(instances: Lines | Table, answers: Answers, rows: np.ndarray, format: str) -> pa.RecordBatch:
    """The input's columns and then the prediction's, which win where the names are the same."""
    import pyarrow as pa

    batch = instances.columns(rows)
    if format == "bigquery":
        return tables.columns(batch, answers, rows)
    made = answers.output.columns(rows, nested=format == "parquet")
    if answers.explanations:
        texts = pa.array(answers.explanations, pa.binary()).cast(pa.string())
        made["explanation"] = texts.take(pa.array(rows))
    every = {name: batch[name] for name in batch.schema.names if name not in made} | made
    if format == "csv":
        every = {name: _flat(column) for name, column in every.items()}
    return pa.record_batch(every)


def _flat(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        cells = [None if c is None else orjson.dumps(c, default=str).decode() for c in column.to_pylist()]
        return pa.array(cells, pa.string())
    return column


def _errors(instances: Lines | Table, bad: dict[int, str]) -> bytes:
    if not bad:
        return b""
    shown, code = instances.shown(), NUMBERS["INVALID_ARGUMENT"]
    return b"".join(
        b'{"instance":%b,"error":%b}\n' % (shown[row], orjson.dumps({"code": code, "message": message}))
        for row, message in sorted(bad.items())
    )


@dataclass(slots=True)
class Outputs:
    """Takes pieces in order. A context: what is not published when it ends is gone."""

    home: Path
    ids: Ids
    format: str
    explained: bool = False
    _stack: ExitStack = field(default_factory=ExitStack)
    _shards: list[FileWriter] = field(default_factory=list)
    _errors: FileWriter | None = None
    _schema: pa.Schema | None = None
    _parquet: Any = None
    _waiting: list[pa.RecordBatch] = field(default_factory=list)  # for the next row group

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *told: Any) -> None:
        self._stack.__exit__(*told)

    def write(self, piece: Piece) -> None:
        if piece.errors:
            if self._errors is None:
                self._errors = self._file()
            self._errors.write(piece.errors)
        if piece.data is None:
            return
        if isinstance(piece.data, bytes):
            if not self._shards or self._shards[-1].size > _SHARD:
                self._shards.append(self._file())
            self._shards[-1].write(piece.data)
        else:
            self._write_columns(piece.data)

    def _write_columns(self, batch: pa.RecordBatch) -> None:
        fitted = None
        if self._schema is not None and self._shards[-1].size <= _SHARD:
            fitted = _fit(batch, self._schema, same_types=self.format != "csv")
        if fitted is None:
            fitted = batch
            self._begin(batch.schema)
        if self._parquet is None:
            self._shards[-1].write(_csv_block(fitted))
            return
        self._waiting.append(fitted)
        if sum(batch.nbytes for batch in self._waiting) > _ROW_GROUP:
            self._end_row_group()

    def _begin(self, schema: pa.Schema) -> None:
        """A new file: the first, the last one is full, or the columns are others than before."""
        import pyarrow as pa
        import pyarrow.parquet

        self._end_parquet()
        self._schema = schema
        self._shards.append(self._file())
        if self.format in ("parquet", "bigquery"):
            sink = pa.PythonFile(_Sink(self._shards[-1]), mode="w")
            # A dictionary of floating-point numbers takes long to make and saves nothing.
            kept = [column.name for column in schema if not pa.types.is_floating(column.type)]
            self._parquet = pyarrow.parquet.ParquetWriter(sink, schema, use_dictionary=kept)
        else:
            header = io.StringIO()
            csv.writer(header, lineterminator="\n").writerow(schema.names)
            self._shards[-1].write(header.getvalue().encode())

    def _end_row_group(self) -> None:
        import pyarrow as pa

        if self._waiting:
            table = pa.Table.from_batches(self._waiting)
            self._parquet.write_table(table, row_group_size=table.num_rows)
            self._waiting.clear()

    def _end_parquet(self) -> None:
        if self._parquet is not None:
            self._end_row_group()
            self._parquet.close()
            self._parquet = None

    def finish(self) -> list[tuple[str, StoredFile]]:
        """Brings all files to the disk; their names below the output directory. Nothing may be written then."""
        self._end_parquet()
        if self.format == "jsonl":
            if not self._shards:
                self._shards.append(self._file())
            if self._errors is None:
                self._errors = self._file()
        count, ending = len(self._shards), _ENDINGS[self.format]
        kind = "explanation" if self.explained else "prediction"
        named = [
            (f"{kind}.results-{position:05d}-of-{count:05d}{ending}", shard.finish())
            for position, shard in enumerate(self._shards)
        ]
        if self._errors is not None:
            named.append(("prediction.errors_stats-00000-of-00001", self._errors.finish()))
        return named

    def keep(self) -> None:
        """After the commit of `publish`: the files belong to objects."""
        for file in (*self._shards, *([self._errors] if self._errors else [])):
            file.keep()

    def _file(self) -> FileWriter:
        return self._stack.enter_context(FileWriter(self.home, self.ids))


def publish(
    connection: Connection, directory: str, format: str, files: Iterable[tuple[str, StoredFile]], now: float
) -> tuple[list[list[Any]], list[str]]:
    """Makes `files` objects below `directory` (gs://), all in the caller's transaction.

    Returns the objects' [name, generation], for `withdraw`, and the ids of the files to remove after the commit.

    Raises:
        NotFound: the bucket is gone.
    """
    bucket_name, prefix = parse_uri(directory)
    bucket = objects_buckets.get(connection, bucket_name)
    made, garbage = [], []
    for name, stored in files:
        kind = _TYPES["jsonl" if "errors" in name else format]
        fields = {"contentType": kind, "storageClass": bucket.fields.get("storageClass", "STANDARD")}
        row, dropped = objects.put(connection, bucket, f"{prefix}/{name}", stored, fields, now)
        made.append([row.name, row.generation])
        garbage += dropped
    return made, garbage


def withdraw(connection: Connection, directory: str, published: Iterable[list[Any]], now: float) -> list[str]:
    """Removes what a former attempt published; the ids of the files to remove after the commit."""
    bucket_name, _ = parse_uri(directory)
    garbage: list[str] = []
    for name, generation in published:
        row = objects.find(connection, bucket_name, name)
        if row is not None and row.generation == generation:
            bucket = objects_buckets.get(connection, bucket_name)
            garbage += objects.delete(connection, bucket, row, now)
    return garbage


def _fit(batch: pa.RecordBatch, schema: pa.Schema, same_types: bool) -> pa.RecordBatch | None:
    """`batch` with the columns of `schema`; None when it has others, or (`same_types`) of other types."""
    import pyarrow as pa

    if batch.schema.equals(schema):
        return batch
    if not set(batch.schema.names) <= set(schema.names):
        return None
    columns, names = [], set(batch.schema.names)
    for wanted in schema:
        if wanted.name not in names:
            columns.append(pa.nulls(batch.num_rows, wanted.type))
            continue
        column = batch[wanted.name]
        if same_types and column.type != wanted.type:
            try:
                column = column.cast(wanted.type)
            except pa.ArrowException:
                return None
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=schema.names)


def _csv_block(batch: pa.RecordBatch) -> bytes:
    import pyarrow as pa
    import pyarrow.csv

    for style in ("none", "needed"):  # Arrow's "needed" quotes every text, so it is the second choice
        sink = pa.BufferOutputStream()
        try:
            pyarrow.csv.write_csv(
                batch, sink, pyarrow.csv.WriteOptions(include_header=False, quoting_style=style)
            )
            return bytes(sink.getvalue())
        except pa.ArrowInvalid:
            if style == "needed":
                raise
    raise AssertionError("unreachable")


class _Sink(io.RawIOBase):
    """A file object that Arrow writes Parquet to."""

    def __init__(self, file: FileWriter) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(bytes(data))
        return len(data)

    def tell(self) -> int:
        return self._file.size
