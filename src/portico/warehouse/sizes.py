"""Bytes of rows by BigQuery's rule: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types."""

from __future__ import annotations

from portico.warehouse.types import Field, canonical, quoted

_FIXED = {
    "INTEGER": 8, "FLOAT": 8, "NUMERIC": 16, "BIGNUMERIC": 32, "BOOLEAN": 1, "DATE": 8, "DATETIME": 8, "TIME": 8,
    "TIMESTAMP": 8, "INTERVAL": 16, "RANGE": 16, "GEOGRAPHY": 16,
}  # fmt: skip


def total(fields: list[Field]) -> str:
    """DuckDB's aggregate for the bytes of rows of this schema."""
    sizes = [_column(one) for one in fields]
    return f"CAST(coalesce({' + '.join(sizes)}, 0) AS BIGINT)" if sizes else "0"


def _column(one: Field) -> str:
    name, kind = quoted(one["name"]), canonical(one["type"])
    if str(one.get("mode", "")).upper() != "REPEATED" and kind in _FIXED:
        return f"{_FIXED[kind]} * count({name})"
    return f"coalesce(sum({_cell(one, name)}), 0)"


def _cell(one: Field, value: str, depth: int = 0) -> str:
    """DuckDB's expression for the bytes of one cell."""
    kind = canonical(one["type"])
    if str(one.get("mode", "")).upper() == "REPEATED":
        each = f"e{depth}"
        inner = _cell({**one, "mode": "NULLABLE"}, each, depth + 1)
        return f"coalesce(list_sum(list_transform({value}, lambda {each}: {inner})), 0)"
    if kind == "RECORD":
        members = [_cell(each, f"{value}.{quoted(each['name'])}", depth) for each in one.get("fields") or ()]
        return f"({' + '.join(members) or '0'})"
    if kind in _FIXED:
        return f"CASE WHEN {value} IS NULL THEN 0 ELSE {_FIXED[kind]} END"
    length = f"octet_length({value})" if kind == "BYTES" else f"strlen(CAST({value} AS VARCHAR))"
    return f"CASE WHEN {value} IS NULL THEN 0 ELSE 2 + {length} END"
