"""Files into tables and tables into files: CSV, newline-delimited JSON, Parquet, Avro, ORC; Arrow between.

Files are read by PyArrow in blocks; cells are checked against the table's schema, and what can't be read is told with
its row, up to `max_bad_records` of them.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse import (
    arrow_schemas,
    avro,
    bignumeric,
    csv_cells,
    csv_columns,
    decimal_targets,
    load_options,
)
from portico.warehouse.assignments import bounded
from portico.warehouse.types import Field, canonical, duckdb_type, quoted, range_element

_BATCH_ROWS, _BATCH_BYTES = 1 << 20, 64 << 20  # of a Parquet file that are in memory together
_PIECE = 122_880  # rows of a row group of DuckDB's
_SAMPLE = 500  # rows by which types are detected, as BigQuery does


class Bad(Exception):
    """Too many rows can't be read."""


def schema_file(files: Sequence[Mapping[str, str]], form: str) -> Path:
    """The file whose columns are those of all, unless a reference file is named: of those that know their own the last
    by name (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-avro#detect-schema)."""
    return Path(
        files[0]["path"]
        if form in ("CSV", "NEWLINE_DELIMITED_JSON")
        else max(files, key=lambda one: one["uri"])["path"]
    )


def table_fields(path: Path, form: str, options: Mapping[str, Any]) -> list[Field]:
    """The schema that a file shows: a Parquet or ORC file's own, else detected from its first rows."""
    if form == "PARQUET":
        return arrow_schemas.fields(pq.read_schema(path), decimal_targets.wanted(form, options))
    if form == "ORC":
        return arrow_schemas.fields(pyarrow.orc.ORCFile(path).schema, decimal_targets.wanted(form, options))
    if form == "AVRO":
        return avro.fields(path, options)
    with opened(path, options) as stream:
        if form == "NEWLINE_DELIMITED_JSON":
            rows = [json.loads(line) for line in itertools.islice(stream, _SAMPLE) if line.strip()]
            names = list(dict.fromkeys(name for row in rows for name in row))
            return [_detected_json(name, [row.get(name) for row in rows]) for name in names]
        skip = options.get("skipLeadingRows")  # 0: there is no header; a header is the last of those skipped
        before = max(int(skip or 0) - 1, 0)
        first = itertools.islice(csv_cells.read(stream, options), before, before + _SAMPLE + 1)
        cells = [[cell or "" for cell in row] for row in first]
    if not cells:
        raise InvalidArgument("The file has no rows to detect a schema from; give a schema", reason="invalid")
    header = _has_header(cells) if skip is None else int(skip) > 0
    names = cells[0] if header else [f"{kind}_field_{i}" for i, kind in enumerate(_kinds(cells))]
    body = cells[1:] if header else cells
    null = csv_cells.nulls(options)
    return [
        {
            "name": csv_columns.clean(name, place),
            "type": detected([row[place] for row in body if place < len(row)], null),
            "mode": "NULLABLE",
        }
        for place, name in enumerate(names)
    ]


def _kinds(cells: list[list[str]]) -> list[str]:
    return [detected([row[i] for row in cells if i < len(row)]).lower() for i in range(len(cells[0]))]


def _has_header(cells: list[list[str]]) -> bool:
    """The first row is a header where it is all words and some column below is not."""
    first = [detected([cell]) for cell in cells[0]]
    below = [detected([row[i] for row in cells[1:] if i < len(row)]) for i in range(len(cells[0]))]
    return (
        all(kind == "STRING" for kind in first) and any(kind != "STRING" for kind in below) and len(cells) > 1
    )


def detected(cells: list[str], null: Collection[str] = ()) -> str:
    import re

    shown = [cell.strip() for cell in cells if cell and cell not in null]
    if not shown:
        return "STRING"
    for kind, pattern in (
        ("BOOLEAN", r"(?i)true|false"),
        ("INTEGER", r"[+-]?\d{1,18}"),
        ("FLOAT", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
        ("DATE", r"\d{4}-\d{1,2}-\d{1,2}"),
        ("DATETIME", r"\d{4}-\d{1,2}-\d{1,2}[T ]\d{1,2}:\d{2}:\d{2}(\.\d+)?"),
        ("TIMESTAMP", r"\d{4}-\d{1,2}-\d{1,2}[T ]\d{1,2}:\d{2}:\d{2}(\.\d+)? ?(Z|UTC|[+-]\d{2}(:?\d{2})?)"),
        ("TIME", r"\d{1,2}:\d{2}:\d{2}(\.\d+)?"),
    ):
        if all(re.fullmatch(pattern, cell) for cell in shown):
            return "TIMESTAMP" if kind == "DATETIME" else kind
    return "STRING"


def _detected_json(name: str, values: list[Any]) -> Field:
    there = [value for value in values if value is not None]
    if any(isinstance(value, list) for value in there):
        return {**_detected_json(name, [each for value in there for each in value]), "mode": "REPEATED"}
    if there and all(isinstance(value, dict) for value in there):
        names = list(dict.fromkeys(key for value in there for key in value))
        return {
            "name": name, "type": "RECORD", "mode": "NULLABLE",
            "fields": [_detected_json(key, [value.get(key) for value in there]) for key in names],
        }  # fmt: skip
    if there and all(isinstance(value, bool) for value in there):
        kind = "BOOLEAN"
    elif there and all(isinstance(value, int) and not isinstance(value, bool) for value in there):
        kind = "INTEGER"
    elif there and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        kind = "FLOAT"
    else:
        kind = (
            detected([str(value) for value in there])
            if all(isinstance(value, str) for value in there)
            else "STRING"
        )
        kind = kind if kind in ("DATE", "TIMESTAMP", "TIME") else "STRING"
    return {"name": csv_columns.clean(name, 0), "type": kind, "mode": "NULLABLE"}


def opened(path: Path, options: Mapping[str, Any]) -> IO[str]:
    """A text file, unpacked where it is gzip."""
    written = load_options.encoding(options)
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    return (
        gzip.open(path, "rt", encoding=written, newline="")
        if packed
        else path.open(encoding=written, newline="")
    )


def batches(
    path: Path, form: str, fields: list[Field], options: Mapping[str, Any], bad: list[str], limit: int
) -> Iterator[pa.Table]:
    """The rows of a file as tables whose columns are texts (CSV), JSON texts or the file's own types.

    Raises:
        Bad: more rows than `limit` can't be read; `bad` names them.
    """
    if form == "PARQUET":
        yield from _parquet_batches(path, fields)
    elif form == "ORC":
        rows = pyarrow.orc.ORCFile(path).read()
        decimal_targets.check_values(rows, fields)
        yield rows
    elif form == "AVRO":
        yield from avro.batches(path, fields)
    elif form == "CSV":
        yield from _csv_batches(path, fields, options, bad, limit)
    elif form == "NEWLINE_DELIMITED_JSON":
        yield from _json_batches(path, fields, options, bad, limit)
    else:
        raise Unimplemented(
            f"Loading {form} is not built in Portico yet; it reads CSV, NEWLINE_DELIMITED_JSON, PARQUET, AVRO and ORC."
        )


def _parquet_batches(path: Path, fields: list[Field]) -> Iterator[pa.Table]:
    """Large ones, since each is an insert; in pieces that DuckDB reads side by side."""
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
        wide = max(1, sum(groups) // max(1, file.metadata.num_rows))
        for batch in file.iter_batches(min(_BATCH_ROWS, max(_PIECE, _BATCH_BYTES // wide))):
            pieces = [batch.slice(at, _PIECE) for at in range(0, batch.num_rows, _PIECE)]
            rows = _without_durations(pa.Table.from_batches(pieces or [batch]))
            decimal_targets.check_values(rows, fields)
            yield bignumeric.narrowed(rows)


def _without_durations(rows: pa.Table) -> pa.Table:
    """Arrow's durations are INT64 in Parquet, and so for BigQuery."""
    for place, one in enumerate(rows.schema):
        if pa.types.is_duration(one.type):
            rows = rows.set_column(place, one.name, rows.column(place).cast(pa.int64()))
    return rows


def _noted(bad: list[str], limit: int, message: str) -> None:
    bad.append(message)
    if len(bad) > limit:
        raise Bad


def _csv_batches(
    path: Path, fields: list[Field], options: Mapping[str, Any], bad: list[str], limit: int
) -> Iterator[pa.Table]:
    null, jagged = csv_cells.nulls(options), bool(options.get("allowJaggedRows"))
    extra_ok = bool(options.get("ignoreUnknownValues"))
    lacking = None if "" in null else min(null)  # a NULL in either case

    def whole() -> Iterator[csv_cells.Cells]:
        with opened(path, options) as stream:
            yield from csv_cells.read(stream, options)

    skip, places, width = csv_columns.layout(whole, fields, options)
    width = width or len(fields)
    # An empty line is a row of the only column, else none.
    rows = (row or [None] if width == 1 else row for row in whole())
    numbered = ((number, row) for number, row in enumerate(rows, 1) if number > skip and row)
    while chunk := list(itertools.islice(numbered, 20_000)):
        kept: list[csv_cells.Cells] = []
        for number, row in chunk:
            if len(row) < width and not jagged:
                said = f"it has {len(row)} cells where the table has {width} columns."
                _noted(bad, limit, f"row {number}: {said}")
            elif len(row) > width and not extra_ok:
                said = f"Too many values in row. Found {len(row)}, expected {width}."
                _noted(bad, limit, f"row {number}: {said}")
            else:
                kept.append([*row[:width], *([lacking] * (width - len(row)))])
        read = list(zip(*kept, strict=True)) if kept else [() for _ in range(width)]
        absent = (lacking,) * len(kept)
        columns = read if places is None else [absent if at is None else read[at] for at in places]
        yield pa.table({
            one["name"]: pa.array(csv_cells.values(column, canonical(one["type"]), null), pa.string())
            for one, column in zip(fields, columns, strict=True)
        })  # fmt: skip


def _json_batches(
    path: Path, fields: list[Field], options: Mapping[str, Any], bad: list[str], limit: int
) -> Iterator[pa.Table]:
    with opened(path, options) as stream:
        numbered = ((number, line) for number, line in enumerate(stream, 1) if line.strip())
        known = lowered_names(fields)
        while chunk := list(itertools.islice(numbered, 20_000)):
            rows = []
            for number, line in chunk:
                try:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("it is no object")
                    check_names(row, known, fields, ignore=bool(options.get("ignoreUnknownValues")))
                except ValueError as error:
                    _noted(bad, limit, f"row {number}: {error}")
                    continue
                rows.append(row)
            yield as_texts(rows, fields, told=False)


def lowered_names(fields: list[Field]) -> set[str]:
    return {one["name"].lower() for one in fields}


def check_names(row: Mapping[str, Any], known: set[str], fields: list[Field], *, ignore: bool) -> None:
    """Looks at the names in a row of JSON, and makes those in its records the schema's own.

    Raises:
        ValueError: the row has a field that is not among the `known` ones, in lower case, or not in its record.
    """
    unknown = [name for name in row if name.lower() not in known]
    if unknown and not ignore:
        raise ValueError(f"no such field: {unknown[0]}.")
    _check_records(row, fields, "", ignore)


def _check_records(row: Mapping[str, Any], fields: list[Field], path: str, ignore: bool) -> None:
    for one in fields:
        if canonical(one["type"]) != "RECORD":
            continue
        value = row.get(one["name"])
        inner = {each["name"].lower(): each["name"] for each in one.get("fields") or ()}
        for record in value if isinstance(value, list) else [value]:
            if not isinstance(record, dict):
                continue
            within = f"{path}{one['name']}."
            for name in list(record):
                if (exact := inner.get(name.lower())) is None:
                    if not ignore:
                        raise ValueError(f"no such field: {within}{name}.")
                elif exact != name:
                    record[exact] = record.pop(name)
            _check_records(record, one["fields"], within, ignore)


def as_texts(rows: Sequence[Mapping[str, Any]], fields: list[Field], *, told: bool = True) -> pa.Table:
    """Rows of JSON as columns of texts, nested values as JSON; numbers stay such where their column has no others.
    `told`: a text in a JSON column is that of a document, as inserts tell it; in a file it is a string of JSON."""
    names = {one["name"].lower(): one["name"] for one in fields}
    exact = set(names.values())
    named = [
        row if row.keys() <= exact else {names.get(name.lower(), name): value for name, value in row.items()}
        for row in rows
    ]
    return pa.table(
        {one["name"]: _column([row.get(one["name"]) for row in named], one, told) for one in fields}
    )


def _column(cells: list[Any], one: Field, told: bool) -> pa.Array:
    if canonical(one["type"]) == "JSON" and not told:
        return pa.array([None if cell is None else json.dumps(cell) for cell in cells], pa.string())
    kinds = set(map(type, cells)) - {type(None)}
    plain, number = _NUMBERS.get(canonical(one["type"]), (frozenset[type](), pa.null()))
    if kinds and kinds <= plain and str(one.get("mode", "")).upper() != "REPEATED":
        try:
            return pa.array(cells, number)
        except (OverflowError, pa.ArrowInvalid):
            pass  # the cast of its text says what is wrong
    return pa.array(cells if kinds <= {str} else [_text(cell) for cell in cells], pa.string())


_NUMBERS: dict[str, tuple[frozenset[type], pa.DataType]] = {
    "INTEGER": (frozenset([int]), pa.int64()), "FLOAT": (frozenset([int, float]), pa.float64()),
}  # fmt: skip


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)


def cast_sql(one: Field, shown: str, source: pa.DataType) -> str:
    """DuckDB's expression that makes a column's cell of what was read, and refuses what is too large for its type."""
    return bounded(_cast_sql(one, shown, source), one)


def _cast_sql(one: Field, shown: str, source: pa.DataType) -> str:
    kind = canonical(one["type"])
    wanted = duckdb_type(one)
    if pa.types.is_string(source) and (str(one.get("mode", "")).upper() == "REPEATED" or kind == "RECORD"):
        return _of_json(one, f"CAST({shown} AS JSON)", 0)
    if kind == "BIGNUMERIC" and str(one.get("mode", "")).upper() == "REPEATED":
        return f"list_transform(CAST({shown} AS VARCHAR[]), lambda e: gs_cast_bignumeric(e))"
    if kind == "BIGNUMERIC":
        return f"gs_cast_bignumeric(CAST({shown} AS VARCHAR))"
    if pa.types.is_string(source) and wanted != "VARCHAR":
        if kind == "RANGE":
            return f"gs_read_range_{range_element(one).lower()}({shown})"
        macro = {"INTEGER": "int64", "FLOAT": "float64", "BOOLEAN": "bool"}.get(kind, kind.lower())
        if kind == "BYTES":
            return f"from_base64(regexp_replace({shown}, '\\s', '', 'g'))"
        if kind == "TIMESTAMP":
            return f"gs_py_timestamp_or_number({shown})"
        if kind == "JSON":
            return f"gs_parse_json({shown}, 'round')"
        return f"gs_cast_{macro}({shown})"
    return f"CAST({shown} AS {wanted})"


def _of_json(one: Field, json_value: str, depth: int) -> str:
    """DuckDB's expression that makes a field of JSON; a record may lack some of its fields."""
    kind = canonical(one["type"])
    if str(one.get("mode", "")).upper() == "REPEATED":
        each = f"j{depth}"
        made = _of_json({**one, "mode": "NULLABLE"}, each, depth + 1)
        return f"list_transform(CAST({json_value} AS JSON[]), lambda {each}: {made})"
    if kind == "JSON":
        return json_value
    if kind != "RECORD":
        return _cast_sql(one, f"json_extract_string({json_value}, '$')", pa.string())
    parts = []
    for inner in one.get("fields") or ():
        path = "'$.\"" + inner["name"].replace("'", "''") + "\"'"
        made = _of_json(inner, f"json_extract({json_value}, {path})", depth)
        parts.append(f"{quoted(inner['name'])} := {made}")
    wrong = f"gs_py_error('Field {one['name']} is a record, which needs an object of JSON')"
    return (
        f"CASE coalesce(json_type({json_value}), 'NULL') WHEN 'NULL' THEN NULL WHEN 'OBJECT' THEN "
        f"struct_pack({', '.join(parts)}) ELSE {wrong} END"
    )


def write_file(table: pa.Table, fields: list[Field], form: str, options: Mapping[str, Any]) -> bytes:
    """A table as the bytes of one file."""
    from portico.warehouse import wire

    sink = io.BytesIO()
    if form == "PARQUET":
        codec = str(options.get("compression", "NONE")).lower()
        pq.write_table(
            bignumeric.widened(table, fields), sink, compression="none" if codec == "none" else codec
        )
        return sink.getvalue()
    if form == "AVRO":
        return avro.written(table, fields, options)
    if form not in ("CSV", "NEWLINE_DELIMITED_JSON", "JSON"):
        raise Unimplemented(
            f"Extracting {form} is not built in Portico yet; it writes CSV, NEWLINE_DELIMITED_JSON, PARQUET and AVRO."
        )
    text = io.StringIO()
    plain = [
        [_exported(cell["v"], one) for cell, one in zip(row["f"], fields, strict=True)]
        for row in wire.rows(table, fields, times="FLOAT64")
    ]
    for place, one in enumerate(fields):
        if canonical(one["type"]) == "TIMESTAMP" and one.get("mode") != "REPEATED":
            for row, value in zip(plain, table.column(place).to_pylist(), strict=True):
                row[place] = (
                    None
                    if value is None
                    else value.strftime("%Y-%m-%d %H:%M:%S")
                    + (f".{value.microsecond:06d}".rstrip("0") if value.microsecond else "")
                    + " UTC"
                )
    if form == "CSV":
        if any(one.get("mode") == "REPEATED" or canonical(one["type"]) == "RECORD" for one in fields):
            raise InvalidArgument(
                "Operation cannot be performed on a nested schema. Extract it as JSON or Parquet",
                reason="invalid",
            )
        names = [[one["name"] for one in fields]] if options.get("printHeader", True) else []
        text.writelines(csv_cells.written([*names, *plain], options))
    else:
        for row in plain:
            shown = {one["name"]: cell for one, cell in zip(fields, row, strict=True) if cell is not None}
            text.write(json.dumps(shown, separators=(",", ":")) + "\n")
    data = text.getvalue().encode()
    return gzip.compress(data) if options.get("compression") == "GZIP" else data


def _exported(value: Any, one: Field) -> Any:
    if isinstance(value, list):
        inner = {**one, "mode": "NULLABLE"}
        return [_exported(each["v"], inner) for each in value]
    if isinstance(value, dict):
        members = one.get("fields") or []
        return {
            each["name"]: _exported(cell["v"], each) for each, cell in zip(members, value["f"], strict=True)
        }
    return value
