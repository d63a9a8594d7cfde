"""GoogleSQL's expressions and queries as DuckDB's.

The tree is rewritten from its leaves; what an operator or a function means for a type is `functions.sql`'s matter.
Tables are named by who calls (`Names`): nothing of DuckDB's own (tables, functions, files, settings) can be named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument, PorticoError
from portico.warehouse import iterations, nans, overflows, repeated_names, tried, unlike_types
from portico.warehouse.casts import cast_of
from portico.warehouse.column_names import as_tables, name_columns, whole_rows
from portico.warehouse.dialect import PLACE
from portico.warehouse.functions import function, name_parts
from portico.warehouse.levels import split
from portico.warehouse.literals import cast, interval_of
from portico.warehouse.macros import call
from portico.warehouse.pivots import unfold
from portico.warehouse.range_variables import name_elements
from portico.warehouse.ranges import TABLE_FUNCTIONS
from portico.warehouse.row_comparisons import spread
from portico.warehouse.set_operations import match_names
from portico.warehouse.type_checks import WIDE
from portico.warehouse.unnesting import unnested
from portico.warehouse.value_forms import collated, named

Table = Callable[..., exp.Expr]
"""What stands for a table that is named by these parts, and at a place of the tree; raises where there is none."""

_BINARY: dict[type[exp.Expr], str] = {
    exp.Add: "gs_add", exp.Sub: "gs_sub", exp.Mul: "gs_mul", exp.Div: "gs_div",
    exp.BitwiseAnd: "gs_bit_and", exp.BitwiseOr: "gs_bit_or", exp.BitwiseXor: "gs_bit_xor",
    exp.BitwiseLeftShift: "gs_shift_left", exp.BitwiseRightShift: "gs_shift_right",
}  # fmt: skip
_UNITS = {
    "YEAR": ("to_years", 1), "QUARTER": ("to_months", 3), "MONTH": ("to_months", 1), "WEEK": ("to_days", 7),
    "DAY": ("to_days", 1), "HOUR": ("to_hours", 1), "MINUTE": ("to_minutes", 1), "SECOND": ("to_seconds", 1),
    "MILLISECOND": ("to_milliseconds", 1), "MICROSECOND": ("to_microseconds", 1),
}  # fmt: skip
WITH = "$with "  # how the names that WITH gives begin, for DuckDB
_COUNTING = (
    exp.Interval, exp.Limit, exp.Offset, exp.DataTypeParam, exp.Ordered, exp.Group, exp.TableSample,
)  # fmt: skip


class Translator:
    """Rewrites one statement. `parameters` are the values of `@name`, as expressions of GoogleSQL."""

    def __init__(
        self,
        table: Table,
        parameters: Mapping[str, exp.Expr] | None = None,
        prepare: Callable[[exp.Expr], exp.Expr] = lambda tree: tree,
        fields: unlike_types.Fields = lambda parts: None,
    ) -> None:
        self._table = table
        self._prepare = prepare  # puts what names and functions of the caller's stand for into the tree
        self._fields = fields  # a table's columns
        self._parameters = {name.lower(): value for name, value in (parameters or {}).items()}

    def query(self, tree: exp.Expr, *, outermost: bool = True) -> exp.Expr:
        """A query of GoogleSQL as one of DuckDB."""
        tree = tree.copy()
        if outermost:
            name_columns(tree)
        tree = self._prepare(tree)
        name_elements(tree, self._fields)
        for called in tree.find_all(exp.Anonymous):
            name_parts(called)
        as_tables(tree)
        tree = whole_rows(tree)
        match_names(tree)
        spread(tree)
        unlike_types.settle(tree, self._fields, self._parameters)
        repeated_names.settle(tree, self._fields)
        overflows.settle(tree)
        nans.settle(tree)
        split(tree)
        unfold(tree)
        iterations.bound(tree)
        return self._rewritten(tree)

    def expression(self, tree: exp.Expr) -> exp.Expr:
        tree = exp.Paren(this=self._prepare(tree.copy()))
        name_elements(tree, self._fields)
        return self._rewritten(tree.this)

    def _rewritten(self, tree: exp.Expr) -> exp.Expr:
        self._tables(tree, {})
        holder = exp.Paren(this=tree)
        for node in list(holder.dfs(prune=None))[::-1]:  # children before parents
            if node is holder or node.parent is None:
                continue
            made = self._node(node)
            if made is not node:
                node.replace(made)
        tried.settle(holder)
        rewritten: exp.Expr = holder.this
        return rewritten

    # --- tables ---

    def _tables(self, tree: exp.Expr, known: Mapping[str, str]) -> None:
        """Replaces every table that no WITH names. What one names gets a name that nothing of DuckDB's own has: where
        DuckDB does not see it from there, the name must not mean something else."""
        for scope_with in [w for w in (tree.args.get("with_"), tree.args.get("with")) if w]:
            inner = dict(known)
            named = {cte.alias.lower(): f"{WITH}{cte.alias}" for cte in scope_with.expressions}
            for cte in scope_with.expressions:
                self._tables(cte.this, {**inner, **named} if scope_with.args.get("recursive") else inner)
                inner |= {cte.alias.lower(): named[cte.alias.lower()]}
                cte.args["alias"].set("this", exp.to_identifier(named[cte.alias.lower()], quoted=True))
            known = inner
        for key, value in list(tree.args.items()):
            if key in ("with_", "with"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if not isinstance(child, exp.Expr):
                    continue
                if isinstance(child, exp.Table) and not isinstance(child.this, exp.Func):
                    self._one_table(child, known)
                else:
                    self._tables(child, known)

    def _one_table(self, table: exp.Table, known: Mapping[str, str]) -> None:
        for join in table.args.get("joins") or ():
            self._tables(join, known)
        parts = [piece for one in table.parts for piece in one.name.split(".")]
        if len(parts) == 1 and parts[0].lower() in known:
            table.set("this", exp.to_identifier(known[parts[0].lower()], quoted=True))
            if table.args.get("alias") is None:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(parts[0], quoted=True)))
            return
        holder = self._array_of(table, parts)
        if holder is not None:
            table.replace(holder)
            return
        found = self._table(parts, table)
        alias = table.args.get("alias")
        if alias is None or not alias.name:
            found = (
                exp.alias_(found, parts[-1], table=True, quoted=True)
                if not isinstance(found, exp.Table)
                else found
            )
            found.set("alias", exp.TableAlias(this=exp.to_identifier(parts[-1], quoted=True)))
        else:
            found.set("alias", alias)
        for kept in ("joins", "sample", "pivots"):
            if table.args.get(kept):
                found.set(kept, table.args[kept])
        table.replace(found)

    def _is_table(self, parts: list[str]) -> bool:
        try:
            self._table(parts)
        except PorticoError:
            return False
        return True

    def _array_of(self, table: exp.Table, parts: list[str]) -> exp.Expr | None:
        """`FROM t, t.items` reads the array of each row, as UNNEST does; in a query within, of the row outside."""
        select = table.find_ancestor(exp.Select)
        if select is None or len(parts) not in (2, 3) or (len(parts) == 3 and self._is_table(parts)):
            return None
        if not _names(select, parts[0], before=table):
            outer = select.parent_select
            while outer is not None and not _names(outer, parts[0]):
                outer = outer.parent_select
            if outer is None:
                return None
        alias = table.alias or parts[-1]
        column = exp.column(parts[1], table=parts[0])
        for piece in parts[2:]:
            column = exp.Dot(this=column, expression=exp.to_identifier(piece))  # type: ignore[assignment]
        return unnested(column, alias, table.args.get(PLACE))

    # --- nodes ---

    def _node(self, node: exp.Expr) -> exp.Expr:
        made = _NODES.get(type(node))
        if made:
            return made(self, node)
        if macro := _BINARY.get(type(node)):
            left, right = node.this, node.args["expression"]
            if not overflows.is_marked(node):
                left, right = _as_one_type(left, right)
            native = isinstance(node, exp.Add | exp.Sub) and not node.meta.get(WIDE)
            if native and (_computed(left) or _computed(right)):
                return type(node)(this=left, expression=right)
            return call(macro, left, right)
        if isinstance(node, exp.Func) and not isinstance(node, _PLAIN):
            raise InvalidArgument(f"Function not found: {node.sql_name()}", reason="invalidQuery")
        return node

    def _literal(self, node: exp.Expr) -> exp.Expr:
        if node.args.get("is_string"):
            return node
        if isinstance(node.parent, _COUNTING):
            return node
        text = node.name.lower()
        return cast(node.copy(), "BIGINT" if text.isdigit() or text.startswith("0x") else "DOUBLE")

    def _anonymous(self, node: exp.Expr) -> exp.Expr:
        name = str(node.this)
        if name.islower() or (name in TABLE_FUNCTIONS and isinstance(node.parent, exp.Table)):
            return node
        made, around = function(name, list(node.expressions))
        return self._placed(made, around)

    def _table_node(self, node: exp.Expr) -> exp.Expr:
        made = TABLE_FUNCTIONS.get(str(node.this.this) if isinstance(node.this, exp.Anonymous) else "")
        if made is None:
            return node
        return exp.Subquery(
            this=made(node.this.expressions),
            **{key: node.args.get(key) for key in ("alias", "joins", "sample", "pivots")},
        )

    def _placed(self, made: exp.Expr, around: Callable[[exp.Expr], exp.Expr] | None) -> exp.Expr:
        return around(made) if around else made

    def _group_concat(self, node: exp.Expr) -> exp.Expr:
        arguments = [node.this, node.args["separator"]] if node.args.get("separator") else [node.this]
        made, around = function("string_agg", arguments)
        return self._placed(made, around)

    def _neg(self, node: exp.Expr) -> exp.Expr:
        if isinstance(node.this, exp.Cast) and isinstance(node.this.this, exp.Literal):
            inner = node.this.this
            text = inner.name.removeprefix("-") if inner.name.startswith("-") else f"-{inner.name}"
            return exp.Cast(this=exp.Literal.string(text), to=node.this.args["to"])
        return call("gs_neg", node.this)

    def _bracket(self, node: exp.Expr) -> exp.Expr:
        [place] = node.expressions
        offset = node.args.get("offset")
        if (fields := _fields_of(node.this)) is not None:
            return _field_at(node.this, fields, place, int(offset or 0))
        if offset is None:
            one = exp.Literal.number(1)
            first = exp.Bracket(
                this=exp.Paren(this=node.this.copy()),
                expressions=[exp.Slice(this=one, expression=one.copy())],
            )
            return call("gs_subscript", node.this, first, place)
        return call(
            "gs_at_safe" if node.args.get("safe") else "gs_at", node.this, place, exp.Literal.number(offset)
        )

    def _interval(self, node: exp.Expr) -> exp.Expr:
        unit = node.args.get("unit")
        if unit is None:
            return node
        if isinstance(unit, exp.IntervalSpan):
            return interval_of(node.this.name, unit.this.name.upper(), unit.expression.name.upper())
        made = _UNITS.get(unit.name.upper())
        if made is None:
            raise InvalidArgument(
                f"A valid date part name is required but found {unit.name}", reason="invalidQuery"
            )
        value = node.this
        if isinstance(value, exp.Literal):
            if unit.name.upper() == "SECOND" and "." in value.name:
                return call(
                    "to_microseconds", cast(exp.Literal.number(round(float(value.name) * 1e6)), "BIGINT")
                )
            value = exp.Literal.number(value.name)
        times_ = (
            exp.Mul(this=exp.Paren(this=value), expression=exp.Literal.number(made[1]))
            if made[1] > 1
            else value
        )
        return call(
            made[0],
            cast(
                exp.Paren(this=times_),
                "INTEGER" if made[0] in ("to_years", "to_months", "to_days") else "BIGINT",
            ),
        )

    def _extract(self, node: exp.Expr) -> exp.Expr:
        value, zone = node.args["expression"], None
        if isinstance(value, exp.AtTimeZone):
            value, zone = value.this, value.args["zone"]
        named = node.this.sql("bigquery").upper().replace(" ", "")
        if named in ("DATE", "TIME", "DATETIME"):
            return call(f"gs_{named.lower()}", value, *([zone] if zone is not None else []))
        if zone is not None:
            value = call("gs_datetime", value, zone)
        return call("gs_extract", value, exp.Literal.string(named))

    def _star(self, node: exp.Expr) -> exp.Expr:
        """`t.s.*` and `STRUCT(…).*`: the fields of a struct as columns."""
        if isinstance(node, exp.Column):
            if not isinstance(node.this, exp.Star) or not node.args.get("db"):
                return node
            *above, last = [one.copy() for one in node.parts[:-1]]
            if node.this.args.get("except_") or node.this.args.get("replace") or len(above) > 1:
                return node
            return call("unnest", exp.Column(this=last, table=above[0]))
        return call("unnest", named(node.this)) if isinstance(node.args["expression"], exp.Star) else node

    def _like(self, node: exp.Expr) -> exp.Expr:
        if isinstance(pattern := node.args["expression"], exp.Anonymous) and pattern.this == "unhex":
            for key in ("this", "expression"):
                node.set(key, call("gs_py_latin", node.args[key]))
        return (
            exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))
            if not isinstance(node.parent, exp.Escape)
            else node
        )

    def _in(self, node: exp.Expr) -> exp.Expr:
        unnest = node.args.get("unnest")
        if unnest is None:
            return node
        array = unnest.expressions[0] if isinstance(unnest, exp.Unnest) else unnest
        if isinstance(array, exp.Array) and all(_never_null(one) for one in array.expressions):
            return call("list_contains", array, node.this)
        return call("gs_in_list", array, node.this)

    def _unnest(self, node: exp.Expr) -> exp.Expr:
        if not isinstance(node.parent, exp.From | exp.Join | exp.Merge):
            return node
        alias = node.args.get("alias")
        name = ""
        if alias is not None:
            name = alias.name or (alias.columns[0].name if alias.columns else "")
        elif "alias" not in node.args:  # `FROM t, t.items`, as the parser reads it: named as the array
            name = node.expressions[0].name
        offset = node.args.get("offset")
        return unnested(
            node.expressions[0], name, "offset" if offset is True else offset.name if offset else None
        )

    def _parameter(self, node: exp.Expr) -> exp.Expr:
        value = self._parameters.get(node.name.lower())
        if value is None:
            raise InvalidArgument(f"Query parameter '{node.name}' not found", reason="invalidQuery")
        return self._rewritten(value.copy())

    def _placeholder(self, node: exp.Expr) -> exp.Expr:
        raise InvalidArgument("Positional parameters are bound before", reason="invalidQuery")

    def _collate(self, node: exp.Expr) -> exp.Expr:
        return collated(node.this, node.expression)

    def _safe(self, node: exp.Expr) -> exp.Expr:
        return call("TRY", node.this)

    def _parse_json(self, node: exp.Expr) -> exp.Expr:
        return call("gs_parse_json", node.this)

    def _bytes(self, node: exp.Expr) -> exp.Expr:
        data = node.name.encode("latin-1")  # a character for each byte
        return call("unhex", exp.Literal.string(data.hex()))

    def _not(self, node: exp.Expr) -> exp.Expr:
        return call("gs_bit_not", node.this)

    def _concat(self, node: exp.Expr) -> exp.Expr:
        return exp.DPipe(this=node.this, expression=node.args["expression"])

    def _join(self, node: exp.Expr) -> exp.Expr:
        """LEFT JOIN UNNEST(…) may stand without a condition."""
        if node.args.get("side") == "LEFT" and not node.args.get("on") and not node.args.get("using"):
            node.set("on", exp.true())
        return node

    def _select(self, node: exp.Expr) -> exp.Expr:
        kind = node.args.get("kind")
        if not kind:
            return node
        if kind == "STRUCT":
            name_columns(node)
            made, _ = function("struct", [*node.expressions])
            node.set("expressions", [exp.alias_(made, "f0_", quoted=True)])
        node.set("kind", None)
        return node

    def _current(self, node: exp.Expr) -> exp.Expr:
        names: dict[type[exp.Expr], str] = {
            exp.CurrentDate: "gs_current_date", exp.CurrentTime: "gs_current_time",
            exp.CurrentDatetime: "gs_current_datetime", exp.CurrentTimestamp: "gs_current_timestamp",
        }  # fmt: skip
        return call(names[type(node)], *([node.this] if node.this is not None else []))


def _fields_of(struct: exp.Expr) -> int | None:
    """How many fields a struct that is written out has; None of what is none."""
    if isinstance(struct, exp.Cast) and struct.to.is_type("struct"):
        return len(struct.to.expressions)
    if isinstance(struct, exp.Struct) or (isinstance(struct, exp.Anonymous) and str(struct.this) == "row"):
        return len(struct.expressions)
    return None


def _field_at(struct: exp.Expr, fields: int, place: exp.Expr, first: int) -> exp.Expr:
    """
    Raises:
        InvalidArgument: the place is no constant, or there is no such field.
    """
    bare = place.this if isinstance(place, exp.Cast) else place
    if not isinstance(bare, exp.Literal):
        raise InvalidArgument("A field of a STRUCT is chosen by a constant", reason="invalidQuery")
    number = int(bare.name) - first + 1
    if not 1 <= number <= fields:
        kind = "offset" if first == 0 else "ordinal"
        raise InvalidArgument(f"Field {kind} {bare.name} is out of bounds in STRUCT", reason="invalidQuery")
    return call("struct_extract_at", struct, exp.Literal.number(number))


def _names(select: exp.Expr, name: str, before: exp.Expr | None = None) -> bool:
    """Whether a query's FROM names a table so, `before` one of its own tables where that is given."""
    source = select.args.get("from_") or select.args.get("from")
    found = [source.this] if source is not None else []
    found += [join.this for join in select.args.get("joins") or ()]
    if before is not None:
        place = next((i for i, one in enumerate(found) if one is before), 0)
        found = found[:place]
    known = {one.alias_or_name.lower() for one in found}
    known |= {each.lower() for one in found if isinstance(one, exp.Unnest) for each in one.alias_column_names}
    return name.lower() in known


def _computed(side: exp.Expr) -> bool:
    """Whether a sum's side is an operator itself. DuckDB binds an overloaded macro's arguments twice, doubling with
    each operator of a chain; its own + and - give the same types but for DATE + INT64 and DATE - DATE."""
    inner = side.unnest()
    return isinstance(inner, exp.Add | exp.Sub) or (
        isinstance(inner, exp.Anonymous) and str(inner.this) in _BINARY.values()
    )


def _as_one_type(left: exp.Expr, right: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    """A literal such as 7.0 is a NUMERIC beside one, else a FLOAT64."""

    def literal(one: exp.Expr) -> str:
        is_one = isinstance(one, exp.Cast) and isinstance(one.this, exp.Literal) and one.to.is_type("double")
        return one.this.name if is_one and re.fullmatch(r"-?\d*\.\d+", one.this.name) else ""

    if (text := literal(right)) and not literal(left):
        return left, call("gs_lit", left.copy(), exp.Literal.string(text))
    if (text := literal(left)) and not literal(right):
        return call("gs_lit", right.copy(), exp.Literal.string(text)), right
    return left, right


def _never_null(one: exp.Expr) -> bool:
    return isinstance(one.this if isinstance(one, exp.Cast) else one, exp.Literal)


_PLAIN = (
    exp.Anonymous, exp.Array, exp.Struct, exp.Case, exp.If, exp.Exists, exp.Cast, exp.TryCast, exp.And, exp.Or, exp.Xor,
    exp.PropertyEQ, exp.FirstValue, exp.LastValue, exp.NthValue,
)  # fmt: skip
_NODES: dict[type[exp.Expr], Callable[[Translator, Any], exp.Expr]] = {
    exp.Literal: Translator._literal, exp.Cast: lambda _, node: cast_of(node),
    exp.TryCast: lambda _, node: cast_of(node),
    exp.Anonymous: Translator._anonymous, exp.Table: Translator._table_node, exp.Neg: Translator._neg,
    exp.GroupConcat: Translator._group_concat, exp.Bracket: Translator._bracket, exp.Interval: Translator._interval,
    exp.Extract: Translator._extract, exp.Like: Translator._like, exp.In: Translator._in,
    exp.Unnest: Translator._unnest, exp.Parameter: Translator._parameter, exp.Placeholder: Translator._placeholder,
    exp.SafeFunc: Translator._safe, exp.ParseJSON: Translator._parse_json, exp.ByteString: Translator._bytes,
    exp.Collate: Translator._collate, exp.BitwiseNot: Translator._not, exp.Select: Translator._select,
    exp.Join: Translator._join, exp.Column: Translator._star, exp.Dot: Translator._star,
    exp.CurrentDate: Translator._current, exp.CurrentTime: Translator._current,
    exp.CurrentDatetime: Translator._current, exp.CurrentTimestamp: Translator._current,
}  # fmt: skip
