"""STRUCTs that are compared: field by field, in their order and whatever they are named, so that a NULL
in one makes the comparison NULL unless another field decides. DuckDB compares fields by name, and NULL as a value.

https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#limited_comparisons_for_struct
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import compound_types as compound

_EQUALITIES: dict[type[exp.Expr], type[exp.Binary]] = {
    exp.EQ: exp.EQ, exp.NEQ: exp.EQ, exp.NullSafeEQ: exp.NullSafeEQ, exp.NullSafeNEQ: exp.NullSafeEQ,
}  # fmt: skip
_SIGNS: dict[type[exp.Expr], str] = {
    exp.EQ: "=", exp.NEQ: "!=", exp.NullSafeEQ: "IS NOT DISTINCT FROM", exp.NullSafeNEQ: "IS DISTINCT FROM",
}  # fmt: skip
_MOST = 200  # rows of an IN that are compared one by one; a longer list is left to DuckDB


def spread(tree: exp.Expr) -> None:
    """Puts comparisons of the fields for those of the structs."""
    found: list[exp.Expr] = list(tree.find_all(*_EQUALITIES, exp.In))
    for one in found:
        if (made := _compared(one)) is not None:
            one.replace(exp.paren(made, copy=False))


def _compared(one: exp.Expr) -> exp.Expr | None:
    if isinstance(one, exp.In):
        rows = one.expressions
        if not rows or one.args.get("query") or len(rows) > _MOST:
            return None
        each = [_equal(one.this, other) for other in rows]
        return None if None in each else exp.or_(*each, copy=False)
    equal = _equal(one.this, one.expression, _EQUALITIES[type(one)])
    if equal is None:
        return None
    return exp.Not(this=exp.paren(equal, copy=False)) if _negates(one) else equal


def _equal(left: exp.Expr, right: exp.Expr, by: type[exp.Binary] = exp.EQ) -> exp.Expr | None:
    """None where they are no structs of as many fields that are written out."""
    fields, others = _fields(left), _fields(right)
    if not fields or others is None or len(fields) != len(others):
        return None
    each = []
    for one, other in zip(fields, others, strict=True):
        plain = by(this=exp.paren(one.copy(), copy=False), expression=exp.paren(other.copy(), copy=False))
        each.append(_equal(one, other, by) or plain)
    return exp.paren(exp.and_(*each, copy=False), copy=False)


def by_fields(one: exp.Expr, types: Sequence[str | None]) -> exp.Expr | None:
    """What is to stand for the comparison of columns that are STRUCTs of these types; None where it is none.

    Raises:
        InvalidArgument: they have not as many fields.
    """
    if (by := _EQUALITIES.get(type(one))) is not None:
        left, *rest = [_of_type(node, kind) for node, kind in zip(_sides(one), types, strict=True)]
        if left is None or not rest or rest[0] is None:
            return None
        if len(left) != len(rest[0]):
            sign = _SIGNS[type(one)]
            raise InvalidArgument(
                f"No matching signature for operator {sign} for argument types: {types[0]}, {types[1]}",
                reason="invalidQuery",
            )
        each = [by(this=a, expression=b) for a, b in zip(left, rest[0], strict=True)]
        if by is exp.NullSafeEQ:  # a STRUCT whose fields are NULL is none that is NULL
            each.append(exp.EQ(this=_absent(one.this), expression=_absent(one.expression)))
        equal = exp.paren(exp.and_(*each, copy=False), copy=False)
        return exp.paren(exp.Not(this=equal), copy=False) if _negates(one) else equal
    listed = one.expressions if isinstance(one, exp.In) else []
    if not 0 < len(listed) <= _MOST or _fields(one.this) is not None or _of_type(one.this, types[0]) is None:
        return None
    equals = [exp.EQ(this=one.this.copy(), expression=other.copy()) for other in listed]
    return exp.paren(exp.or_(*equals, copy=False), copy=False)


def _negates(one: exp.Expr) -> bool:
    return isinstance(one, exp.NEQ | exp.NullSafeNEQ)


def _absent(one: exp.Expr) -> exp.Expr:
    return exp.paren(exp.Is(this=one.copy(), expression=exp.Null()), copy=False)


def _sides(one: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    return one.this, one.args["expression"]


def _of_type(node: exp.Expr, kind: str | None) -> list[exp.Expr] | None:
    """The fields of a STRUCT that is written out, or of a column; None where they are not known."""
    if (written := _fields(node)) is not None:
        return [exp.paren(one.copy(), copy=False) for one in written]
    names = [name for name, _ in compound.fields(kind) or []]
    if not isinstance(node.unnest(), exp.Column | exp.Dot) or not all(names) or len({*names}) != len(names):
        return None
    return [
        exp.Dot(this=exp.paren(node.unnest()), expression=exp.to_identifier(name, quoted=True))
        for name in names
    ] or None


def _fields(node: exp.Expr) -> list[exp.Expr] | None:
    inner = node.unnest()
    if isinstance(inner, exp.Tuple) or (
        isinstance(inner, exp.Anonymous) and str(inner.this).upper() == "STRUCT"
    ):
        return [one.unalias() for one in inner.expressions]
    return None
