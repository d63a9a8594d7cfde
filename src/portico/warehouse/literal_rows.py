"""Many rows of VALUES that are literals: they become a table of texts, and one cast a column is all that is translated.
Cell by cell three thousand rows would take seconds.
"""

from __future__ import annotations

import re

import pyarrow as pa
from sqlglot import exp

from portico.warehouse.assignments import bounded
from portico.warehouse.types import Field, quoted

_FEW = 50  # rows that are not worth it
# The macro that reads a column's text, and which literals GoogleSQL coerces to its type.
_TAKES: dict[str, tuple[str, frozenset[str]]] = {
    "INTEGER": ("int64", frozenset(["INTEGER"])),
    "FLOAT": ("float64", frozenset(["INTEGER", "FLOAT"])),
    "NUMERIC": ("numeric", frozenset(["INTEGER", "FLOAT", "NUMERIC"])),
    "BIGNUMERIC": ("bignumeric", frozenset(["INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC"])),
    "BOOLEAN": ("bool", frozenset(["BOOLEAN"])),
    "STRING": ("", frozenset(["STRING"])),
    "DATE": ("date", frozenset(["STRING", "DATE"])),
    "TIME": ("time", frozenset(["STRING", "TIME"])),
    "DATETIME": ("datetime", frozenset(["STRING", "DATE", "DATETIME"])),
    "TIMESTAMP": ("timestamp", frozenset(["STRING", "TIMESTAMP"])),
}
_TYPED = {
    "DATE": "DATE", "TIME": "TIME", "DATETIME": "DATETIME", "TIMESTAMP": "DATETIME", "TIMESTAMPTZ": "TIMESTAMP",
    "DECIMAL": "NUMERIC", "BIGDECIMAL": "BIGNUMERIC",
}  # fmt: skip


def read(values: exp.Expr, fields: list[Field | None]) -> pa.Table | None:
    """The rows as texts, a column a field; None where they are few, or one is no such literal as its column takes."""
    rows = values.expressions if isinstance(values, exp.Values) else []
    if len(rows) < _FEW or any(one is None or one.get("mode") == "REPEATED" for one in fields):
        return None
    columns = []
    for place, field in enumerate(fields):
        kinds = _TAKES.get(str(field["type"])) if field is not None else None
        if kinds is None:
            return None
        cells: list[str | None] = []
        for row in rows:
            if len(row.expressions) != len(fields) or (found := _literal(row.expressions[place])) is None:
                return None
            kind, text = found
            if kind and kind not in kinds[1]:
                return None
            cells.append(text)
        columns.append(pa.array(cells, pa.string()))
    return pa.Table.from_arrays(columns, [f"c{place}" for place in range(len(fields))])


def select(name: str, fields: list[Field | None]) -> exp.Expr:
    """DuckDB's query of a table that `read` gave and that is registered as `name`, in the fields' types."""
    shown = []
    for place, field in enumerate(fields):
        assert field is not None
        macro, _ = _TAKES[str(field["type"])]
        shown.append(bounded(f"gs_cast_{macro}(c{place})" if macro else f"c{place}", field))
    return exp.Var(this=f"SELECT {', '.join(shown)} FROM {quoted(name)}")


def _literal(cell: exp.Expr) -> tuple[str, str | None] | None:
    """A literal's type ("" of NULL) and text; None of what is none."""
    if isinstance(cell, exp.Null):
        return "", None
    if isinstance(cell, exp.Boolean):
        return "BOOLEAN", "true" if cell.this else "false"
    if isinstance(cell, exp.Literal):
        if cell.is_string:
            return "STRING", cell.name
        if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]+", cell.name):
            return "INTEGER", cell.name
        return ("FLOAT", cell.name) if re.fullmatch(r"[\d.]+(?:[eE][+-]?\d+)?", cell.name) else None
    if isinstance(cell, exp.Neg):
        inner = cell.this
        found = _literal(inner) if isinstance(inner, exp.Literal) and not inner.is_string else None
        return (found[0], f"-{found[1]}") if found else None
    if type(cell) is exp.Cast and isinstance(cell.this, exp.Literal) and cell.this.is_string:
        kind = cell.args["to"]
        if kind.expressions or cell.args.get("format") or not isinstance(kind.this, exp.DType):
            return None
        name = _TYPED.get(kind.this.value)
        return (name, cell.this.name) if name else None
    return None
