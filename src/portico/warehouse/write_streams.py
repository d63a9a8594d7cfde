"""Write streams: rows appended in Arrow, once each by their offset, and shown at once or when they are committed.

What a stream has taken is written in the transaction of its rows. Rows of a PENDING or BUFFERED stream wait in a table
of their own, with their offset as `_at`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from portico.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange
from portico.warehouse import catalog, loading, storage
from portico.warehouse.catalog import FILE, Cursor, Entry
from portico.warehouse.refusals import refused
from portico.warehouse.types import Field, quoted

if TYPE_CHECKING:
    from portico.warehouse.engine import Warehouse

_STREAMS = f"{FILE}.portico.write_streams"
_ERRORS = 50  # rows that are told of
DEFAULT = "_default"


@dataclass(slots=True)
class Stream:
    """`rows`: how many it has taken; `flushed`: how many of them the table shows; times in seconds, 0 for never."""

    id: str
    project: str
    dataset: str
    table: str
    type: str
    rows: int = 0
    flushed: int = 0
    finalized: bool = False
    created: float = 0.0
    committed: float = 0.0

    @property
    def waits(self) -> bool:
        """Whether rows are shown later than they are taken."""
        return self.type in ("PENDING", "BUFFERED")

    @property
    def place(self) -> str:
        """Where its rows wait."""
        return f"{FILE}.portico.{quoted('rows_' + self.id)}"


def prepare(cursor: Cursor) -> None:
    catalog.do(
        cursor,
        f"CREATE TABLE IF NOT EXISTS {_STREAMS} (id VARCHAR PRIMARY KEY, project VARCHAR, dataset VARCHAR, "
        '"table" VARCHAR, type VARCHAR, rows BIGINT, flushed BIGINT, finalized BOOLEAN, created DOUBLE, '
        "committed DOUBLE)",
    )


def create(warehouse: Warehouse, project: str, dataset: str, table: str, type: str) -> dict[str, Any]:
    """
    Raises:
        NotFound: there is no such table. InvalidArgument: it takes no rows.
    """
    made = Stream(uuid.uuid4().hex, project, dataset, table, type, created=time.time())
    with warehouse.transaction() as cursor:
        found = _table(cursor, made)
        if made.waits:
            empty = f"SELECT 0::BIGINT AS _at, {storage.names(found.fields)} FROM {found.place} LIMIT 0"
            catalog.do(cursor, f"CREATE TABLE {made.place} AS {empty}")
        if type == "COMMITTED":
            made.committed = made.created
        values = list(asdict(made).values())
        catalog.do(cursor, f"INSERT INTO {_STREAMS} VALUES ({', '.join('?' * len(values))})", values)
    return {**asdict(made), "fields": found.fields}


def _table(cursor: Cursor, stream: Stream) -> Entry:
    found = catalog.require(cursor, stream.project, stream.dataset, stream.table)
    if found.body.get("type", "TABLE") != "TABLE":
        raise InvalidArgument(f"{found.shown} is no table that rows can be written to.", reason="invalid")
    return found


def _stream(cursor: Cursor, project: str, dataset: str, table: str, stream: str) -> Stream:
    """
    Raises:
        NotFound: there is no such stream of the table.
    """
    if stream == DEFAULT:
        return Stream(DEFAULT, project, dataset, table, "COMMITTED")
    row = catalog.first(
        cursor,
        f'SELECT * FROM {_STREAMS} WHERE id = ? AND project = ? AND dataset = ? AND "table" = ?',
        [stream, project, dataset, table],
    )
    if row is None:
        raise NotFound(
            f"Requested entity was not found. Stream projects/{project}/datasets/{dataset}/tables/{table}/streams/"
            f"{stream} does not exist.",
            reason="STREAM_NOT_FOUND",
        )
    return Stream(*row)


def _write(cursor: Cursor, stream: Stream) -> None:
    catalog.do(
        cursor,
        f"UPDATE {_STREAMS} SET rows = ?, flushed = ?, finalized = ?, committed = ? WHERE id = ?",
        [stream.rows, stream.flushed, stream.finalized, stream.committed, stream.id],
    )


def get(warehouse: Warehouse, project: str, dataset: str, table: str, stream: str) -> dict[str, Any]:
    with warehouse.reading() as cursor:
        found = _stream(cursor, project, dataset, table, stream)
        entry = _table(cursor, found)
        if stream == DEFAULT:
            found.created = found.committed = int(entry.body["creationTime"]) / 1000
    return {**asdict(found), "fields": entry.fields}


def append(
    warehouse: Warehouse,
    project: str,
    dataset: str,
    table: str,
    stream: str,
    file: str,
    offset: int | None,
    defaults: Mapping[str, bool],
) -> dict[str, Any]:
    """Takes the rows of an Arrow file, all or none. offset: where they must come. defaults: by column in lower case (""
    for the others), whether what is missing gets the column's default value.

    Returns `offset`, where they came, or `errors` by row; and the table's `fields`.

    Raises:
        AlreadyExists: rows are there already. OutOfRange: rows before them are missing.
        FailedPrecondition: the stream is finalized. InvalidArgument: the table has no such columns.
    """
    with pa.memory_map(file) as source:
        rows = pa.ipc.open_file(source).read_all()
    where = (project, dataset, table, stream)
    try:
        with warehouse.transaction() as cursor:
            return _appended(cursor, _stream(cursor, *where), rows, offset, defaults)
    except duckdb.Error as error:
        with warehouse.reading() as cursor:
            entry = _table(cursor, _stream(cursor, *where))
        errors = _unreadable(warehouse, rows, [cell for _, cell in _cells(entry, rows, defaults)])
        if not errors:
            raise refused(error) from None
        return {"errors": errors[:_ERRORS], "fields": entry.fields}


def _appended(
    cursor: Cursor, stream: Stream, rows: pa.Table, offset: int | None, defaults: Mapping[str, bool]
) -> dict[str, Any]:
    entry = _table(cursor, stream)
    if stream.finalized:
        raise FailedPrecondition(
            "The stream is finalized, and takes no more rows.", reason="STREAM_FINALIZED"
        )
    _check_offset(stream, offset)
    _check_columns(entry, rows.column_names)
    if errors := _missing(entry.fields, rows, defaults):
        return {"errors": errors[:_ERRORS], "fields": entry.fields}
    columns = _cells(entry, rows, defaults)
    names, cells = ", ".join(quoted(name) for name, _ in columns), ", ".join(cell for _, cell in columns)
    cursor.register("_rows", rows)
    if stream.waits:
        catalog.do(
            cursor,
            f"INSERT INTO {stream.place} (_at, {names}) SELECT {stream.rows} + row_number() OVER () - 1, {cells} "
            "FROM _rows",
        )
    else:
        storage.insert(cursor, entry, entry.fields, f"SELECT {cells} FROM _rows")
        catalog.write(cursor, entry)
    at, stream.rows = stream.rows, stream.rows + rows.num_rows
    if stream.id == DEFAULT:
        return {"offset": None, "fields": entry.fields}
    _write(cursor, stream)
    return {"offset": at, "fields": entry.fields}


def _check_offset(stream: Stream, offset: int | None) -> None:
    if offset is None or offset == stream.rows:
        return
    if stream.id == DEFAULT:
        raise InvalidArgument("The default stream takes no offset.")
    said = f"expected offset {stream.rows}, received {offset}"
    if offset < stream.rows:
        raise AlreadyExists(f"The offset is within stream, {said}", reason="OFFSET_ALREADY_EXISTS")
    raise OutOfRange(f"The offset is beyond stream, {said}", reason="OFFSET_OUT_OF_RANGE")


def _check_columns(entry: Entry, names: list[str]) -> None:
    known = {one["name"].lower() for one in entry.fields}
    extra = [name for name in names if name.lower() not in known]
    if extra:
        raise InvalidArgument(
            f"Input schema has more fields than BigQuery schema, extra fields: '{','.join(extra)}'",
            reason="SCHEMA_MISMATCH_EXTRA_FIELDS",
        )


def _wants_default(one: Field, defaults: Mapping[str, bool]) -> bool:
    return bool(one.get("_default")) and defaults.get(one["name"].lower(), defaults.get("", False))


def _cells(entry: Entry, rows: pa.Table, defaults: Mapping[str, bool]) -> list[tuple[str, str]]:
    """The table's columns, and DuckDB's expression for each."""
    given = {name.lower(): name for name in rows.column_names}
    found = []
    for one in entry.fields:
        name = given.get(one["name"].lower())
        # What the stream's schema lacks has the default, unless the request says otherwise.
        wants = _wants_default(one, defaults if name else {"": True, **defaults})
        instead = str(one["_default"]) if wants else "NULL"
        if name is None:
            found.append((one["name"], instead))
            continue
        made = loading.cast_sql(one, quoted(name), rows.schema.field(name).type)
        found.append((one["name"], made if instead == "NULL" else f"coalesce({made}, {instead})"))
    return found


def _missing(fields: list[Field], rows: pa.Table, defaults: Mapping[str, bool]) -> list[dict[str, Any]]:
    """Rows that have nothing for a column that needs something."""
    given = {name.lower(): name for name in rows.column_names}
    errors = []
    for one in fields:
        name = given.get(one["name"].lower())
        if str(one.get("mode", "")).upper() != "REQUIRED" or _wants_default(
            one, defaults if name else {"": True, **defaults}
        ):
            continue
        there = pc.is_valid(rows.column(name)).to_pylist() if name else [False] * rows.num_rows
        message = f"Field {one['name']}: a value is required."
        errors += [{"index": i, "message": message} for i, is_there in enumerate(there) if not is_there]
    return sorted(errors, key=lambda error: error["index"])


def _unreadable(warehouse: Warehouse, rows: pa.Table, cells: list[str]) -> list[dict[str, Any]]:
    """What DuckDB can't make of which row: told outside the transaction, which the error has ended."""
    errors = []
    with warehouse.reading() as cursor:
        for place in range(rows.num_rows):
            cursor.register("_rows", rows.slice(place, 1))
            try:
                catalog.do(cursor, f"SELECT {', '.join(cells)} FROM _rows")
            except duckdb.Error as error:
                errors.append({"index": place, "message": refused(error).message})
    return errors


def finalize(warehouse: Warehouse, project: str, dataset: str, table: str, stream: str) -> int:
    """Lets a stream take no more rows; returns how many it took."""
    with warehouse.transaction() as cursor:
        found = _stream(cursor, project, dataset, table, stream)
        if stream == DEFAULT:
            raise InvalidArgument("The default stream can't be finalized.", reason="INVALID_STREAM_TYPE")
        found.finalized = True
        _write(cursor, found)
    return found.rows


def flush(warehouse: Warehouse, project: str, dataset: str, table: str, stream: str, offset: int) -> int:
    """Shows a BUFFERED stream's rows up to `offset`, and it; returns the last that is shown."""
    with warehouse.transaction() as cursor:
        found = _stream(cursor, project, dataset, table, stream)
        if found.type != "BUFFERED":
            raise InvalidArgument("Only rows of a BUFFERED stream are flushed.", reason="INVALID_STREAM_TYPE")
        if not 0 <= offset < found.rows:
            raise OutOfRange(f"The stream has {found.rows} rows; row {offset} can't be flushed.")
        if offset >= found.flushed:
            _show(cursor, found, offset + 1)
            found.flushed = offset + 1
            _write(cursor, found)
    return found.flushed - 1


def _show(cursor: Cursor, stream: Stream, until: int) -> None:
    """Puts rows that wait into their table, those before `until`."""
    entry = _table(cursor, stream)
    have = {str(row[0]) for row in catalog.do(cursor, f"DESCRIBE {stream.place}")}
    fields = [one for one in entry.fields if one["name"] in have]
    waiting = f"FROM {stream.place} WHERE _at >= {stream.flushed} AND _at < {until} ORDER BY _at"
    storage.insert(cursor, entry, fields, f"SELECT {storage.names(fields)} {waiting}")
    catalog.do(cursor, f"DELETE FROM {stream.place} WHERE _at < {until}")
    catalog.write(cursor, entry)


def commit(
    warehouse: Warehouse, project: str, dataset: str, table: str, streams: list[str]
) -> dict[str, Any]:
    """Shows the rows of PENDING streams, of all or of none; `time`, or `errors` by stream."""
    errors = []
    now = time.time()
    with warehouse.transaction() as cursor:
        found = []
        for one in streams:
            try:
                stream = _stream(cursor, project, dataset, table, one)
                _check_commit(stream)
                found.append(stream)
            except (NotFound, FailedPrecondition, InvalidArgument) as error:
                errors.append({"stream": one, "code": error.reason, "message": error.message})
        if errors:
            return {"errors": errors}
        for stream in found:
            _show(cursor, stream, stream.rows)
            catalog.do(cursor, f"DROP TABLE {stream.place}")
            stream.committed, stream.flushed = now, stream.rows
            _write(cursor, stream)
    return {"time": now}


def _check_commit(stream: Stream) -> None:
    if stream.type != "PENDING":
        raise InvalidArgument("Only PENDING streams are committed.", reason="INVALID_STREAM_TYPE")
    if stream.committed:
        raise FailedPrecondition("The stream is committed already.", reason="STREAM_ALREADY_COMMITTED")
    if not stream.finalized:
        raise FailedPrecondition("The stream must be finalized first.", reason="INVALID_STREAM_STATE")
