"""Rows as the text of a JSON array, `[{"f": [{"v": …}, …]}, …]`, column by column: what `wire.rows` gives as objects.

Cells whose text is no more than their value's are written by Arrow; the others by `wire`'s own words.
"""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from portico.warehouse import wire
from portico.warehouse.types import Field, canonical

_ESCAPED = '[\\x00-\\x1f"\\\\]'


def encoded(table: pa.Table, fields: list[Field], *, times: str) -> bytes:
    """`times`: how TIMESTAMPs are written, a key of `wire.TIMES`."""
    if not table.num_rows:
        return b"[]"
    cells = [
        _cells(column.combine_chunks(), one, times) for one, column in zip(fields, table.columns, strict=True)
    ]
    rows = pc.binary_join_element_wise(*cells, '},{"v":', null_handling="replace", null_replacement="null")
    whole = pa.ListArray.from_arrays(pa.array([0, table.num_rows], pa.int32()), rows)
    text = pc.binary_join(whole, '}]},{"f":[{"v":')[0].as_buffer()
    return bytes(b'[{"f":[{"v":' + text.to_pybytes() + b"}]}]")


def _cells(column: pa.Array, one: Field, times: str) -> pa.Array:
    """Each cell as JSON; null where there is nothing."""
    kind = canonical(one["type"])
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if str(one.get("mode", "")).upper() != "REPEATED":
        if kind == "INTEGER" and pa.types.is_integer(column.type):
            return _quoted(pc.cast(column, pa.string()))
        if kind == "FLOAT" and pa.types.is_floating(column.type):
            return _quoted(_floats(column))
        if kind == "BOOLEAN" and pa.types.is_boolean(column.type):
            return _quoted(pc.cast(column, pa.string()))
        if kind == "TIMESTAMP" and times == "INT64" and column.type == pa.timestamp("us", "UTC"):
            return _quoted(pc.cast(pc.cast(column, pa.int64()), pa.string()))
        if kind == "DATE" and pa.types.is_date32(column.type):
            return _quoted(pc.strftime(column, "%Y-%m-%d"))
        if column.type == pa.string() and not pc.any(pc.match_substring_regex(column, _ESCAPED)).as_py():
            return _quoted(column)
    shown = wire.cell(one, times)
    return pa.array([_json(shown(value)) for value in column.to_pylist()], pa.string())


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _quoted(texts: pa.Array) -> pa.Array:
    quote = pa.scalar('"')
    return pc.binary_join_element_wise(quote, texts, quote, "")


def _floats(column: pa.Array) -> pa.Array:
    """As Python writes them: 1.0, NaN, Infinity."""
    texts = pc.cast(column, pa.string())
    whole = pc.match_substring_regex(texts, r"^-?\d+$")
    texts = pc.if_else(whole, pc.binary_join_element_wise(texts, pa.scalar(".0"), ""), texts)
    if pc.all(pc.is_finite(column)).as_py() is not False:
        return texts
    for before, after in (("nan", "NaN"), ("-nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity")):
        texts = pc.if_else(pc.equal(texts, before), after, texts)
    return texts
