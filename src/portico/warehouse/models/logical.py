"""Types that Arrow's own do not tell: JSON and GEOGRAPHY. They stand at the fields, where DuckDB reads them again."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_JSON = {"ARROW:extension:name": "arrow.json", "ARROW:extension:metadata": ""}


def table_of(relation: Any) -> pa.Table:
    """The rows of one of DuckDB's relations; GEOGRAPHY it marks itself."""
    kinds, names = relation.types, relation.columns
    table = relation.to_arrow_table()
    if not any("JSON" in str(kind) for kind in kinds):
        return table
    schema = pa.schema(
        [_marked(name, field, kind) for name, field, kind in zip(names, table.schema, kinds, strict=True)]
    )
    columns = [column.cast(field.type) for column, field in zip(table.columns, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _marked(name: str, field: pa.Field, kind: Any) -> pa.Field:
    if str(kind) == "JSON":
        return pa.field(name, field.type, metadata=_JSON)
    if "JSON" not in str(kind):
        return field.with_name(name)
    inner = kind.children
    if kind.id == "list":
        return pa.field(
            name, pa.list_(_marked(field.type.value_field.name, field.type.value_field, inner[0][1]))
        )
    if kind.id == "struct":
        parts = [_marked(key, field.type.field(place), one) for place, (key, one) in enumerate(inner)]
        return pa.field(name, pa.struct(parts))
    return field.with_name(name)


def kept(found: pa.Table, given: list[pa.Table]) -> pa.Table:
    """An answer whose columns that it took over from the tables `given` have their types again."""
    known = {field.name.lower(): field for table in given for field in table.schema}
    fields = []
    for field in found.schema:
        before = known.get(field.name.lower())
        same = before is not None and before.type == field.type
        fields.append(before.with_name(field.name) if before is not None and same else field)
    schema = pa.schema(fields)
    if schema.equals(found.schema, check_metadata=True):
        return found
    columns = [column.cast(field.type) for column, field in zip(found.columns, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)
