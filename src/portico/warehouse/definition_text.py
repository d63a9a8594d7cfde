"""Datasets and tables as the CREATE statements that would make them: INFORMATION_SCHEMA's `ddl`."""

from __future__ import annotations

from portico.warehouse import options
from portico.warehouse.catalog import Entry
from portico.warehouse.information_schema import sql_type
from portico.warehouse.types import Field


def dataset(one: Entry) -> str:
    said = _options(options.shown("SCHEMA", {"location": "US", **one.body}))
    return f"CREATE SCHEMA `{one.project}.{one.dataset}`{said};"


def table(one: Entry) -> str:
    name = f"`{one.project}.{one.dataset}.{one.table}`"
    kind = str(one.body.get("type", "TABLE"))
    if kind in ("VIEW", "MATERIALIZED_VIEW"):
        shown = kind.replace("_", " ")
        return f"CREATE {shown} {name}{_options(options.shown(shown, one.body))}\nAS {one.query};"
    if told := one.body.get("snapshotDefinition"):
        base = ".".join(told["baseTableReference"].values())
        return f"CREATE SNAPSHOT TABLE {name}\nCLONE `{base}`{_options(options.shown('TABLE', one.body))};"
    columns = ",\n  ".join(map(_column, one.fields))
    external = "EXTERNAL " if kind == "EXTERNAL" else ""
    said = _partition(one) + _cluster(one) + _options(options.shown("TABLE", one.body))
    return f"CREATE {external}TABLE {name}\n(\n  {columns}\n){said};"


def _column(one: Field) -> str:
    collation = f" COLLATE '{one['collation']}'" if one.get("collation") else ""
    required = " NOT NULL" if str(one.get("mode", "")).upper() == "REQUIRED" else ""
    default = f" DEFAULT {one['defaultValueExpression']}" if one.get("defaultValueExpression") else ""
    said = _options(options.shown("COLUMN", one)).replace("\n", " ").replace("(   ", "(").replace(" )", ")")
    return f"{one['name']} {sql_type(one)}{collation}{default}{required}{said}"


def _partition(one: Entry) -> str:
    if told := one.body.get("rangePartitioning"):
        bounds = ", ".join(str(told["range"][key]) for key in ("start", "end", "interval"))
        return f"\nPARTITION BY RANGE_BUCKET({told['field']}, GENERATE_ARRAY({bounds}))"
    told = one.body.get("timePartitioning")
    if not told:
        return ""
    unit, field = told.get("type") or "DAY", told.get("field")
    if not field:
        return "\nPARTITION BY DATE(_PARTITIONTIME)" if unit == "DAY" else (
            f"\nPARTITION BY TIMESTAMP_TRUNC(_PARTITIONTIME, {unit})"
        )  # fmt: skip
    kind = next(each["type"] for each in one.fields if each["name"] == field)
    if unit == "DAY":
        return f"\nPARTITION BY {field}" if kind == "DATE" else f"\nPARTITION BY DATE({field})"
    return f"\nPARTITION BY {kind}_TRUNC({field}, {unit})"


def _cluster(one: Entry) -> str:
    fields = (one.body.get("clustering") or {}).get("fields") or ()
    return f"\nCLUSTER BY {', '.join(fields)}" if fields else ""


def _options(said: list[tuple[str, str, str]]) -> str:
    if not said:
        return ""
    return "\nOPTIONS(\n  " + ",\n  ".join(f"{name}={value}" for name, _, value in said) + "\n)"
