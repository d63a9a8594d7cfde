"""Which types a variable takes beside its own, and how a value of DuckDB's becomes one of them."""

from __future__ import annotations

from portico.errors import InvalidArgument
from portico.warehouse.information_schema import sql_type
from portico.warehouse.types import Field, duckdb_type, field_of, members, quoted

_WIDER = {
    "INTEGER": ("NUMERIC", "BIGNUMERIC", "FLOAT"),
    "NUMERIC": ("BIGNUMERIC", "FLOAT"),
    "BIGNUMERIC": ("FLOAT",),
    "DATE": ("DATETIME",),
}
# What is written out, a literal or a parameter, is taken by more:
# https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules#literal_coercion
_WRITTEN = {"STRING": ("DATE", "DATETIME", "TIME", "TIMESTAMP"), "FLOAT": ("NUMERIC", "BIGNUMERIC")}
_ASSIGNABLE = {
    "INTEGER": ("NUMERIC", "BIGNUMERIC", "FLOAT"), "NUMERIC": ("BIGNUMERIC", "FLOAT"), "BIGNUMERIC": ("FLOAT",),
}  # fmt: skip


def assignable(have: Field, wanted: Field) -> bool:
    """Whether a column may be given another type; sizes may only grow."""
    repeated = [str(one.get("mode")).upper() == "REPEATED" for one in (have, wanted)]
    if repeated[0] != repeated[1]:
        return False
    if have["type"] != wanted["type"]:
        return wanted["type"] in _ASSIGNABLE.get(str(have["type"]), ())
    if have["type"] == "RECORD":
        inner, into = have.get("fields") or [], wanted.get("fields") or []
        return len(inner) == len(into) and all(map(assignable, inner, into))
    return all(
        key not in wanted or (key in have and int(have[key]) <= int(wanted[key]))
        for key in ("maxLength", "precision", "scale")
    )


def coerced(sql: str, told: str, wanted: Field, *, written: bool = False) -> str:
    """DuckDB's SQL for a value of its type `told` as one of `wanted`; `written` is one of literals alone.

    Raises:
        InvalidArgument: GoogleSQL does not coerce the one to the other.
    """
    kind = duckdb_type(wanted)
    if told == kind:
        return sql
    if told in (
        '"NULL"',
        "NULL",
        "INTEGER",
        "INTEGER[]",
        '"NULL"[]',
        "NULL[]",
    ):  # a NULL or [] without a type
        return f"CAST({sql} AS {kind})"
    have = field_of("", told)
    if (have["mode"] == "REPEATED") != (str(wanted.get("mode")).upper() == "REPEATED"):
        raise _refused(have, wanted)
    if have["mode"] == "REPEATED":
        element = coerced("e", told[:-2], {**wanted, "mode": "NULLABLE"}, written=written)
        return f"list_transform({sql}, lambda e: {element})"
    if have["type"] != wanted["type"]:
        wider = _WIDER.get(str(have["type"]), ()) + (_WRITTEN.get(str(have["type"]), ()) if written else ())
        if wanted["type"] not in wider:
            raise _refused(have, wanted)
        if "BIGNUMERIC" in (have["type"], wanted["type"]):
            return f"gs_cast_{'float64' if wanted['type'] == 'FLOAT' else 'bignumeric'}({sql})"
        return f"CAST({sql} AS {kind})"
    if have["type"] != "RECORD":
        return f"CAST({sql} AS {kind})"
    inner, into = have.get("fields") or [], wanted.get("fields") or []
    if len(inner) != len(into):
        raise _refused(have, wanted)
    parts = [
        f"{quoted(two['name'])} := {coerced(f'struct_extract_at({sql}, {number})', one, two, written=written)}"
        for number, ((_, one), two) in enumerate(zip(members(told), into, strict=True), 1)
    ]
    return f"CASE WHEN {sql} IS NULL THEN NULL ELSE struct_pack({', '.join(parts)}) END"


def _refused(have: Field, wanted: Field) -> InvalidArgument:
    return InvalidArgument(
        f"Cannot coerce expression of type {sql_type(have)} to type {sql_type(wanted)}", reason="invalidQuery"
    )
