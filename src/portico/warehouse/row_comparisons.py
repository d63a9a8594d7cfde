"""STRUCTs that are written out and compared: field by field, in their order and whatever they are named, so that a NULL
in one makes the comparison NULL unless another field decides. DuckDB compares fields by name, and NULL as a value.

https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#limited_comparisons_for_struct
"""

from __future__ import annotations

from sqlglot import exp

_MOST = 200  # rows of an IN that are compared one by one; a longer list is left to DuckDB


def spread(tree: exp.Expr) -> None:
    """Puts comparisons of the fields for those of the structs."""
    found: list[exp.Expr] = list(tree.find_all(exp.EQ, exp.NEQ, exp.In))
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
    equal = _equal(one.this, one.expression)
    if equal is None:
        return None
    return equal if isinstance(one, exp.EQ) else exp.Not(this=exp.paren(equal, copy=False))


def _equal(left: exp.Expr, right: exp.Expr) -> exp.Expr | None:
    """None where they are no structs of as many fields that are written out."""
    fields, others = _fields(left), _fields(right)
    if not fields or others is None or len(fields) != len(others):
        return None
    each = []
    for one, other in zip(fields, others, strict=True):
        plain = exp.EQ(this=exp.paren(one.copy(), copy=False), expression=exp.paren(other.copy(), copy=False))
        each.append(_equal(one, other) or plain)
    return exp.paren(exp.and_(*each, copy=False), copy=False)


def _fields(node: exp.Expr) -> list[exp.Expr] | None:
    inner = node.unnest()
    if isinstance(inner, exp.Tuple) or (
        isinstance(inner, exp.Anonymous) and str(inner.this).upper() == "STRUCT"
    ):
        return [one.unalias() for one in inner.expressions]
    return None
