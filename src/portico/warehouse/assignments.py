"""Values that INSERT, UPDATE and MERGE give to columns: whole columns, of their types, no longer than they may be.

https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax and, for sizes,
https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#parameterized_data_types.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import storage, tokens
from portico.warehouse.catalog import Entry
from portico.warehouse.coercion import coerced
from portico.warehouse.information_schema import sql_type
from portico.warehouse.types import Field, canonical, duckdb_type, field_of, quoted

Described = Callable[[str], list[str]]
"""The types, as DuckDB calls them, of the columns of a query of its own."""
_PSEUDO = ("_PARTITIONTIME", "_PARTITIONDATE")
_WRITTEN = (
    exp.Literal, exp.Null, exp.Boolean, exp.Neg, exp.Tuple, exp.Array, exp.Alias, exp.Identifier, exp.Parameter,
    exp.Placeholder, exp.Var, exp.Paren, exp.DataType,
)  # fmt: skip


def whole(update: exp.Expr, entry: Entry, name: str) -> None:
    """Makes what SET assigns, to columns with or without the table's `name` and to fields of structs, one a column.

    Raises:
        InvalidArgument: there is no such column or field, or one is assigned twice.
    """
    told: dict[str, Any] = {}
    kept = []
    for one in update.expressions:
        parts = [each.name for each in one.this.parts]
        if len(parts) > 1 and parts[0].lower() == name.lower():
            parts = parts[1:]
        if parts[0].upper() in _PSEUDO and storage.ingested_by(entry):
            kept.append(one)
            continue
        _note(told, parts, one.expression)
    for key, value in told.items():
        field = next((one for one in entry.fields if one["name"].lower() == key), None)
        if field is None:
            raise _invalid(f"Unrecognized name: {key}")
        names = [exp.to_identifier(each, quoted=True) for each in (field["name"], name)]
        column = exp.Column(this=names[0], table=names[1])
        made = _default(field) if _is_default(value) else _rebuilt(field, column, value)
        kept.append(exp.EQ(this=exp.column(field["name"], quoted=True), expression=made))
    update.set("expressions", kept)


def _note(told: dict[str, Any], parts: list[str], value: exp.Expr) -> None:
    for part in parts[:-1]:
        told = told.setdefault(part.lower(), {})
        if isinstance(told, exp.Expr):
            raise _invalid(f"Update item {'.'.join(parts)} overlaps with another")
    if parts[-1].lower() in told:
        raise _invalid(f"Update item {'.'.join(parts)} assigned more than once")
    told[parts[-1].lower()] = value


def _rebuilt(field: Field, now: exp.Expr, told: Any) -> exp.Expr:
    """The value of a field of which some fields are assigned; the others stay as they are `now`."""
    if isinstance(told, exp.Expr):
        return exp.Null() if _is_default(told) else told
    inner = field.get("fields") or []
    names = {one["name"].lower() for one in inner} if str(field.get("mode")).upper() != "REPEATED" else set()
    for name in told:
        if not names:
            raise _invalid(f"Cannot access field {name} on a value with type {sql_type(field)}")
        if name not in names:
            raise _invalid(f"Field name {name} does not exist in {sql_type(field)}")
    parts = []
    for one in inner:
        path: exp.Expr = exp.Dot(this=now.copy(), expression=exp.to_identifier(one["name"], quoted=True))
        value = _rebuilt(one, path, told[one["name"].lower()]) if one["name"].lower() in told else path
        parts.append(exp.alias_(value, one["name"], quoted=True))
    return exp.Anonymous(this="STRUCT", expressions=parts)


def columns_of(given: list[str], entry: Entry) -> list[Field | None]:
    """The fields that an INSERT names; None for a pseudo-column.

    Raises:
        InvalidArgument: one is not there, or named twice.
    """
    have = {one["name"].lower(): one for one in entry.fields}
    for place, name in enumerate(given):
        if name.lower() in [one.lower() for one in given[:place]]:
            raise _invalid(f"INSERT has columns with duplicate name: {name}")
        if name.lower() not in have and not (name.upper() in _PSEUDO and storage.ingested_by(entry)):
            raise _invalid(
                f"Column {name} is not present in table {entry.project}.{entry.dataset}.{entry.table}"
            )
    return [have.get(name.lower()) for name in given]


def filled(row: exp.Tuple, fields: list[Field | None]) -> None:
    """Puts what DEFAULT stands for into a row of VALUES.

    Raises:
        InvalidArgument: it has too few values, or too many.
    """
    counted(len(row.expressions), fields)
    for one, field in zip(list(row.expressions), fields, strict=True):
        if field is not None and _is_default(one):
            one.replace(_default(field))


def counted(has: int, fields: list[Field | None]) -> None:
    """
    Raises:
        InvalidArgument: a row has another number of values than there are columns.
    """
    if has != len(fields):
        raise _invalid(f"Inserted row has wrong column count; Has {has}, expected {len(fields)}")


def is_written(value: exp.Expr) -> bool:
    """Whether a value is all literals and parameters: GoogleSQL coerces those further than what is computed. Within an
    array or a struct some may have a type of their own."""
    return all(
        isinstance(one, _WRITTEN)
        or (isinstance(one, exp.Anonymous) and one.name == "STRUCT")
        or (isinstance(one, exp.Cast | exp.ByteString) and one is not value)
        for one in value.walk()
    )


def fitted(
    values: list[tuple[exp.Expr, Field, bool]], source: str, described: Described, said: str
) -> list[exp.Expr]:
    """Values of DuckDB's over the FROM clause `source`, each with the column it goes to and whether it is written out,
    as values that the columns take. `said` is how one that has another type is spoken of.

    Raises:
        InvalidArgument: GoogleSQL does not coerce it.
    """
    kinds = [_known(value, field) for value, field, _ in values]
    asked = [value.sql("duckdb") for (value, _, _), kind in zip(values, kinds, strict=True) if kind is None]
    answers = iter(described(f"SELECT {', '.join(asked)}{source}") if asked else [])
    made = []
    for place, ((value, field, written), kind) in enumerate(zip(values, kinds, strict=True), 1):
        told = kind if kind is not None else next(answers)
        made.append(_fit(value, field, told, written, said.replace("{place}", str(place))))
    return made


def _fit(value: exp.Expr, field: Field, told: str, written: bool, said: str) -> exp.Expr:
    sql = value.sql("duckdb")
    if field["type"] in ("NUMERIC", "BIGNUMERIC") and (number := _number(value)):
        told, sql = duckdb_type(field), f"gs_cast_{field['type'].lower()}('{number}')"
    try:
        fit = coerced(sql, told, field, written=written)
    except InvalidArgument:
        have = sql_type(field_of("", told))
        bare = sql_type(
            {key: one for key, one in field.items() if key not in ("maxLength", "precision", "scale")}
        )
        name = field["name"]
        raise _invalid(
            said.replace("{type}", have).replace("{name}", name) + f", which has type {bare}"
        ) from None
    fit = bounded(fit, field)
    return value if fit == value.sql("duckdb") else exp.Var(this=fit)


def _number(value: exp.Expr) -> str:
    """The text of a number that is written out, which FLOAT64 might not hold; "" of all else."""
    if isinstance(value, exp.Cast) and value.to.is_type("double"):
        value = value.this
        return value.name if isinstance(value, exp.Literal) else ""
    return value.name if isinstance(value, exp.Literal) and not value.is_string else ""


def bounded(sql: str, field: Field, path: str = "", depth: int = 0) -> str:
    """A value that is refused where it, or what is in it, is too large for a parameterized type; NUMERIC is rounded to
    its scale. `path` is what the field is in, `depth` how deeply."""
    if not _is_sized(field):
        return sql
    each = f"e{depth}"
    if str(field.get("mode")).upper() == "REPEATED":
        inner = bounded(each, {**field, "mode": "NULLABLE"}, path, depth + 1)
        return f"list_transform({sql}, lambda {each}: {inner})"
    path = f"{path}{field['name']}"
    if field["type"] in ("RECORD", "STRUCT"):
        parts = [
            f"{quoted(one['name'])} := {bounded(f'struct_extract_at({each}, {place})', one, f'{path}.', depth + 1)}"
            for place, one in enumerate(field["fields"], 1)
        ]
        made = f"CASE WHEN {each} IS NULL THEN NULL ELSE struct_pack({', '.join(parts)}) END"
        return f"list_transform([{sql}], lambda {each}: {made})[1]"
    shown = f"Field {path}: {sql_type(field)} has "
    if longest := field.get("maxLength"):
        length = f"{'length' if field['type'] == 'STRING' else 'octet_length'}({sql})"
        said = f"'{shown}maximum length {longest} but got a value with length ' || {length}"
        return f"CASE WHEN {length} > {longest} THEN gs_py_error({said}) ELSE {sql} END"
    precision, scale = field["precision"], int(field.get("scale") or 0)
    if field["type"] == "BIGNUMERIC":
        return f"gs_sized_bignumeric({sql}, {precision}, {scale})"
    most = "9" * (int(precision) - scale) + ("." + "9" * scale if scale else "")
    said = f"{shown}precision {precision} and scale {scale} but got a value that is not in range of "
    said += f"[-{most}, {most}]"
    rounded = f"CAST(round({sql}, {scale}) AS {duckdb_type({**field, 'mode': 'NULLABLE'})})"
    return f"CASE WHEN abs({rounded}) > {most or 0} THEN gs_py_error('{said}') ELSE {rounded} END"


def bounded_rows(select: str, fields: list[Field]) -> str:
    """What `select` yields, in the order of the fields, where each may only be so large."""
    if not any(map(_is_sized, fields)):
        return select
    names = [quoted(f"${place}") for place in range(1, len(fields) + 1)]
    cells = ", ".join(map(bounded, names, fields))
    return f'SELECT {cells} FROM ({select}) AS "$rows"({", ".join(names)})'


def _is_sized(field: Field) -> bool:
    """Whether a field, or one in it, may only be so large."""
    if canonical(field["type"]) == "RECORD":
        return any(map(_is_sized, field.get("fields") or ()))
    kinds = {"maxLength": ("STRING", "BYTES"), "precision": ("NUMERIC", "BIGNUMERIC")}
    return any(field.get(key) and canonical(field["type"]) in kinds[key] for key in kinds)


def _known(value: exp.Expr, field: Field) -> str | None:
    """DuckDB's name for the type of a single literal, and of what is cast to the column's; None where unknown."""
    if isinstance(value, exp.Cast) and value.to.sql("duckdb") == duckdb_type(field):
        return duckdb_type(field)
    if isinstance(value, exp.Neg):
        value = value.this
    if isinstance(value, exp.Literal):
        return "VARCHAR" if value.is_string else "BIGINT" if re.fullmatch(r"\d+", value.name) else "DOUBLE"
    return "NULL" if isinstance(value, exp.Null) else "BOOLEAN" if isinstance(value, exp.Boolean) else None


def once(target: exp.Expr, source: exp.Expr, condition: str) -> str:
    """DuckDB's query that has a row where one of the target's rows goes with more than one of the source's."""
    select = exp.Select(expressions=[exp.Literal.number(1)], from_=exp.From(this=target.copy()))
    select.append("joins", exp.Join(this=source.copy(), kind="CROSS"))
    rowid = exp.column("rowid", table=exp.to_identifier(target.alias_or_name, quoted=True)).sql("duckdb")
    return f"{select.sql('duckdb')} WHERE {condition} GROUP BY {rowid} HAVING count(*) > 1 LIMIT 1"


def select_fitted(
    select: exp.Expr, written: list[bool], fields: list[Field], described: Described
) -> exp.Expr:
    """A query of DuckDB's whose columns are what the table's take."""
    sql = select.sql("duckdb")
    names = [quoted(f"${place}") for place in range(1, len(fields) + 1)]
    source = f' FROM ({sql}) AS "$rows"({", ".join(names)})'
    cells: list[tuple[exp.Expr, Field, bool]] = [
        (exp.Var(this=name), field, one) for name, field, one in zip(names, fields, written, strict=True)
    ]
    said = "Query column {place} has type {type} which cannot be inserted into column {name}"
    made = fitted(cells, source, described, said)
    shown = [one.sql("duckdb") for one in made]
    return select if shown == names else exp.Var(this=f"SELECT {', '.join(shown)}{source}")


def _is_default(value: Any) -> bool:
    if isinstance(value, exp.Var):
        return value.name.upper() == "DEFAULT"
    if not isinstance(value, exp.Column) or len(value.parts) > 1:
        return False
    return value.name.upper() == "DEFAULT" and not value.this.quoted


def _default(field: Field) -> exp.Expr:
    told = field.get("defaultValueExpression")
    return tokens.expression(str(told)) if told else exp.Null()


def _invalid(said: str) -> InvalidArgument:
    return InvalidArgument(said, reason="invalidQuery")
