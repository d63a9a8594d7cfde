"""Types as BigQuery's StandardSqlDataType, and as SQL writes them."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from portico.warehouse import tokens
from portico.warehouse.types import field_of_expression


def standard_type(kind: exp.DataType) -> dict[str, Any]:
    """A type as a StandardSqlDataType.

    Raises:
        InvalidArgument: Portico has no such type.
    """
    said = kind.this.value if isinstance(kind.this, exp.DType) else str(kind.this)
    if said == "ARRAY":
        return {"typeKind": "ARRAY", "arrayElementType": standard_type(kind.expressions[0])}
    if said == "STRUCT":
        fields = [
            {"name": one.name, "type": standard_type(one.args["kind"])} if isinstance(one, exp.ColumnDef)
            else {"type": standard_type(one)} for one in kind.expressions
        ]  # fmt: skip
        return {"typeKind": "STRUCT", "structType": {"fields": fields}}
    field = field_of_expression("", kind)
    name = str(field["type"])
    if name == "RANGE":
        return {"typeKind": "RANGE", "rangeElementType": {"typeKind": field["rangeElementType"]["type"]}}
    return {"typeKind": {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}.get(name, name)}


def data_type(standard: dict[str, Any]) -> exp.DataType:
    return tokens.data_type(type_text(standard))


def type_text(standard: dict[str, Any]) -> str:
    """A StandardSqlDataType as SQL writes it."""
    kind = str(standard.get("typeKind"))
    if kind == "ARRAY":
        return f"ARRAY<{type_text(standard['arrayElementType'])}>"
    if kind == "STRUCT":
        inner = ", ".join(
            f"{one.get('name') or ''} {type_text(one['type'])}".strip()
            for one in standard["structType"]["fields"]
        )
        return f"STRUCT<{inner}>"
    if kind == "RANGE":
        return f"RANGE<{type_text(standard.get('rangeElementType') or {})}>"
    return kind
