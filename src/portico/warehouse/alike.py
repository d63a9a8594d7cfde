"""Values that meet, made those that DuckDB can put together: beside a BIGNUMERIC, in one text, as BYTES."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from portico.warehouse.signatures import ANY, LITERAL, NUMBERS

BIG = "BIGNUMERIC"
_FAMILIES = {
    **dict.fromkeys(NUMBERS, "number"), "DATE": "day", "DATETIME": "day", "STRING": "STRING", "BYTES": "BYTES",
    "BOOL": "BOOL", "TIME": "TIME", "TIMESTAMP": "TIMESTAMP", "INTERVAL": "INTERVAL", "JSON": "JSON",
    "GEOGRAPHY": "GEOGRAPHY",
}  # fmt: skip
READ = frozenset(["DATE", "DATETIME", "TIME", "TIMESTAMP"])  # what a literal of STRING becomes


def alike(nodes: Sequence[exp.Expr], types: Sequence[str | None]) -> list[str | None]:
    """Puts a CAST around numbers beside a BIGNUMERIC, which DuckDB can't compare with others; where a FLOAT64 is among
    them, around the BIGNUMERIC. A number with a point that is written out beside a NUMERIC is one, where no FLOAT64 is.

    Returns:
        The types then.
    """
    exact = BIG if BIG in types else "NUMERIC"
    if exact not in types or (exact != BIG and None in types):
        return list(types)
    pairs = list(zip(nodes, types, strict=True))
    floats = any(one == "FLOAT64" and not is_number(node) for node, one in pairs)
    made: list[str | None] = []
    for node, one in pairs:
        if floats:
            wanted = "FLOAT64" if one == BIG else one
        elif exact == BIG:
            wanted = one if one == ANY else BIG
        else:
            wanted = exact if one == "FLOAT64" else one
        made.append(wanted)
        if wanted != one and wanted is not None:
            node.replace(as_type(node, wanted))
    return made


def written_out(query: exp.Expr, place: int) -> bool:
    """Whether a column of a set operation's side is nothing but numbers that are written out."""
    if isinstance(query, exp.Subquery | exp.Paren):
        return written_out(query.this, place)
    if isinstance(query, exp.SetOperation):
        return written_out(query.this, place) and written_out(query.expression, place)
    if not isinstance(query, exp.Select) or any(one.is_star for one in query.expressions):
        return False
    one = query.expressions[place].unalias()
    return is_number(one) or (isinstance(one, exp.Literal) and not one.is_string)


def _family(kind: str) -> str:
    return _FAMILIES.get(kind, "")


def unlike(types: Sequence[str | None]) -> bool:
    """Whether they have no type in common. NULL is of any, a literal of STRING also a date or a time."""
    known = [one for one in types if one is not None and one != ANY]
    typed = [one for one in known if one != LITERAL]
    families = {_family(one) for one in typed}
    if "" in families:
        return False
    if LITERAL in known:
        return bool(typed) and not all(one == "STRING" or one in READ for one in typed)
    return len(families) > 1


def cast_column(query: exp.Expr, place: int, kind: str | exp.DataType) -> None:
    """Makes a column of a set operation's side of this type, where the side lists its columns."""
    if isinstance(query, exp.Subquery | exp.Paren):
        cast_column(query.this, place, kind)
    elif isinstance(query, exp.SetOperation):
        cast_column(query.this, place, kind)
        cast_column(query.expression, place, kind)
    elif isinstance(query, exp.Select) and not any(one.is_star for one in query.expressions):
        if query.args.get("kind") == "STRUCT" and isinstance(kind, exp.DataType):
            for number, each in enumerate(kind.expressions):
                cast_column(query, number, each.args["kind"] if isinstance(each, exp.ColumnDef) else each)
            return
        one = query.expressions[place]
        one.replace(exp.alias_(as_type(one.unalias(), kind), one.alias_or_name or f"f{place}_", quoted=True))


def as_type(node: exp.Expr, kind: str | exp.DataType) -> exp.Expr:
    """A number that is written out keeps all its digits."""
    value = exp.Literal.string(node.sql("bigquery")) if is_number(node) else node.copy()
    return exp.Cast(this=value, to=exp.DataType.build(kind, dialect="bigquery"))


def is_number(node: exp.Expr) -> bool:
    """Whether it is a number that is written out with a point, which may be of another type than FLOAT64."""
    inner = node.this if isinstance(node, exp.Neg) else node
    return isinstance(inner, exp.Literal) and not inner.is_string and not inner.name.isdigit()


def as_texts(nodes: Sequence[exp.Expr], types: Sequence[str | None]) -> list[str | None]:
    """Makes what is put together STRINGs, but for BYTES; the types then."""
    made: list[str | None] = []
    for node, kind in zip(nodes, types, strict=True):
        plain = kind in (None, ANY, LITERAL, "STRING", "BYTES") or kind.endswith(">")
        made.append(kind if plain else "STRING")
        if not plain:
            node.replace(exp.Cast(this=node.copy(), to=exp.DataType.build("STRING", dialect="bigquery")))
    return made


def as_latin(one: exp.Expr) -> None:
    """STRING_AGG of BYTES is that of texts of a character a byte."""
    for argument in (one.this, one.args.get("separator")):
        value = argument
        while isinstance(value, exp.Distinct | exp.Order | exp.Limit):
            value = value.expressions[0] if isinstance(value, exp.Distinct) else value.this
        if value is not None:
            value.replace(exp.Anonymous(this="gs_py_latin", expressions=[value.copy()]))
    whole = one.parent if isinstance(one.parent, exp.Window) else one
    whole.replace(exp.Anonymous(this="gs_py_from_latin", expressions=[whole.copy()]))
