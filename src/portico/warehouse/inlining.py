"""Functions that a statement calls, put into it before it is translated: SQL by its body, JavaScript as a call of
`javascript`. Both are done with the resource's JSON alone, however it came to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import tokens
from portico.warehouse.aggregates import AGGREGATES
from portico.warehouse.functions import check_built
from portico.warehouse.macros import call
from portico.warehouse.models.syntax import PREFIXES
from portico.warehouse.names import Columns, Scopes, substitute
from portico.warehouse.ranges import TABLE_FUNCTIONS
from portico.warehouse.routine_syntax import AGGREGATE
from portico.warehouse.routines import Routine
from portico.warehouse.standard_types import data_type
from portico.warehouse.types import duckdb_type, field_of_expression

_NODES = 50_000  # of a statement's tree, once its functions are put into it
_DEPTH = 32  # functions that call functions
Find = Callable[[list[str]], Routine | None]
"""The routine that a call names by these parts."""


class Inliner:
    """Puts the functions that a tree calls into it. `columns` are those of a table, `find` a call's routine."""

    def __init__(self, find: Find, columns: Columns) -> None:
        self._find = find
        self._columns = columns

    def inline(self, tree: exp.Expr, within: tuple[str, ...] = ()) -> exp.Expr:
        """
        Raises:
            InvalidArgument: a function is called that there isn't, or not as it must be, or that calls itself.
        """
        holder = exp.Paren(this=tree)
        for called in list(tree.find_all(exp.Anonymous))[::-1]:
            if self._one(called, within):
                _check_size(_size(holder))
        made: exp.Expr = holder.this
        return made.pop()

    def _one(self, called: exp.Anonymous, within: tuple[str, ...]) -> bool:
        """Puts the function of a call in its place; whether it was one."""
        name = str(called.this)
        if name.islower():
            return False
        if isinstance(called.parent, exp.Table) and name.startswith(PREFIXES):
            return False
        if isinstance(called.parent, exp.Table):
            return self._table(called.parent, called, within)
        place: exp.Expr = called
        path = [name]
        if isinstance(called.parent, exp.Dot) and called.arg_key == "expression":
            place = called.parent
            path = [*_path(place.this), name]
        safe = path[0].upper() == "SAFE" and len(path) > 1
        path = path[1:] if safe else path
        found = self._find(path)
        if found is None:
            if len(path) > 1:
                check_built(".".join(path).upper())
                raise InvalidArgument(f"Function not found: {_shown(path)}", reason="invalidQuery")
            return False
        if found.kind == AGGREGATE:
            _check_aggregate(found, called, place)
        elif found.kind != "SCALAR_FUNCTION":
            raise InvalidArgument(f"{found.shown} is no function of values", reason="invalidQuery")
        made = self._value(found, called, within)
        place.replace(exp.SafeFunc(this=made) if safe else made)
        return True

    def _value(self, found: Routine, called: exp.Anonymous, within: tuple[str, ...]) -> exp.Expr:
        given = _given(found, list(called.expressions))
        result = found.body.get("returnType")
        if found.body.get("language") == "JAVASCRIPT":
            return _javascript(found, given)
        body = tokens.expression(found.body["definitionBody"])
        values: dict[str, exp.Expr] = {name: exp.Paren(this=value) for name, value in given.items()}
        made = self._filled(found, body, values, within)
        return typed(made, data_type(result)) if result else exp.Paren(this=made)

    def _table(self, table: exp.Table, called: exp.Anonymous, within: tuple[str, ...]) -> bool:
        path = [piece for one in table.parts[:-1] for piece in one.name.split(".")] + [str(called.this)]
        if len(path) == 1 and path[0] in TABLE_FUNCTIONS:
            return False
        found = self._find(path)
        if found is None or found.kind != "TABLE_VALUED_FUNCTION":
            check_built(".".join(path).upper())
            raise InvalidArgument(f"Table-valued function not found: {_shown(path)}", reason="invalidQuery")
        body = tokens.query(found.body["definitionBody"])
        given = _given(found, list(called.expressions))
        tables = {
            one["name"].lower(): _columns_of(given.pop(one["name"].lower()), one, found)
            for one in found.arguments
            if str(one.get("argumentKind")).endswith("_TABLE")
        }
        made = exp.Subquery(this=_with_tables(self._filled(found, body, given, within), tables))
        made.set("alias", table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(found.name)))
        for kept in ("joins", "sample", "pivots"):
            if table.args.get(kept):
                made.set(kept, table.args[kept])
        table.replace(made)
        return True

    def _filled(
        self, found: Routine, body: exp.Expr, values: dict[str, exp.Expr], within: tuple[str, ...]
    ) -> exp.Expr:
        """A body with an argument's value for its name."""
        if found.shown in within or len(within) >= _DEPTH:
            raise InvalidArgument(f"Recursive function call: {found.shown}", reason="invalidQuery")
        body = self.inline(body, (*within, found.shown))
        sizes = {name: _size(value) for name, value in values.items()}
        named = (column.parts[0].name.lower() for column in body.find_all(exp.Column))
        _check_size(sum(sizes.get(name, 0) for name in named))
        is_table = found.kind == "TABLE_VALUED_FUNCTION"
        caught = set() if is_table else self._caught(body, values)
        if not caught:
            return substitute(body, values, self._columns)
        # An argument names what the body's own queries have a name for, too: it is computed outside of them.
        columns = [
            exp.alias_(values[name].copy(), f"_argument_{name}", quoted=True) for name in sorted(caught)
        ]
        values = {
            name: exp.column(f"_argument_{name}", quoted=True) if name in caught else value
            for name, value in values.items()
        }
        made = substitute(body, values, self._columns)
        outer = exp.Subquery(
            this=exp.Select(expressions=columns), alias=exp.TableAlias(this=exp.to_identifier("_arguments"))
        )
        return exp.Subquery(this=exp.Select(expressions=[made], from_=exp.From(this=outer)))

    def _caught(self, body: exp.Expr, values: dict[str, exp.Expr]) -> set[str]:
        """The arguments whose names for columns mean something else within the body."""
        if body.find(exp.Query) is None:
            return set()
        names = {
            name: {column.parts[0].name.lower() for column in value.find_all(exp.Column)}
            for name, value in values.items()
        }
        scopes = Scopes(self._columns)
        return {
            first
            for column in body.find_all(exp.Column)
            if (first := column.parts[0].name.lower()) in names
            and any(scopes.has(column, other) for other in names[first])
        }


def _columns_of(argument: exp.Expr, declared: dict[str, Any], found: Routine) -> exp.Expr:
    """The table that a table function is given, with no columns but those that it declares.

    Raises:
        InvalidArgument: it is no table.
    """
    query = argument.this if isinstance(argument, exp.Cast) else argument
    if not isinstance(query, exp.Subquery):
        raise InvalidArgument(
            f"Argument {declared['name']} of {found.shown} is a table: give it TABLE and a name, or a query in "
            "brackets",
            reason="invalidQuery",
        )
    if "tableType" not in declared:
        return query
    names = [exp.column(one["name"], quoted=True) for one in declared["tableType"]["columns"]]
    source = query.copy()
    source.set("alias", exp.TableAlias(this=exp.to_identifier("_given")))
    return exp.Subquery(this=exp.Select(expressions=names, from_=exp.From(this=source)))


def _with_tables(body: exp.Expr, tables: dict[str, exp.Expr]) -> exp.Expr:
    """A body with the tables that its function is given in place of their names."""
    for table in list(body.find_all(exp.Table)) if tables else ():
        name = table.name.lower()
        if len(table.parts) > 1 or name not in tables or isinstance(table.this, exp.Func):
            continue
        if any(_names_with(above, name) for above in _above(table)):
            continue
        made = tables[name].copy()
        made.set(
            "alias",
            table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)),
        )
        for kept in ("joins", "sample", "pivots"):
            if table.args.get(kept):
                made.set(kept, table.args[kept])
        table.replace(made)
    return body


def _above(node: exp.Expr) -> Iterator[exp.Expr]:
    above = node.parent
    while above is not None:
        yield above
        above = above.parent


def _names_with(query: exp.Expr, name: str) -> bool:
    """Whether a query's WITH gives this name to something of its own."""
    held = query.args.get("with_")
    return held is not None and any(one.alias.lower() == name for one in held.expressions)


def _check_aggregate(found: Routine, called: exp.Anonymous, place: exp.Expr) -> None:
    """
    Raises:
        InvalidArgument: it is called as only built-in aggregate functions may be.
    """
    if isinstance(place.parent, exp.Window):
        raise InvalidArgument(
            f"Aggregate function {found.shown} can't have an OVER clause", reason="invalidQuery"
        )
    if any(
        isinstance(one, exp.Distinct | exp.Order | exp.Limit | exp.IgnoreNulls) for one in called.expressions
    ):
        raise InvalidArgument(
            f"Aggregate function {found.shown} takes no DISTINCT, ORDER BY, LIMIT or IGNORE NULLS",
            reason="invalidQuery",
        )


def check_arguments(routine: Routine) -> None:
    """
    Raises:
        InvalidArgument: an aggregate function's body has an argument of rows outside of all aggregates.
    """
    body = tokens.expression(routine.body["definitionBody"])
    rows = {one["name"].lower() for one in routine.arguments if one.get("isAggregate", True)}
    for column in body.find_all(exp.Column):
        if column.parts[0].name.lower() in rows and not _is_aggregated(column):
            raise InvalidArgument(
                f"Aggregate function argument {column.parts[0].name} must be within an aggregate function, or be "
                "declared NOT AGGREGATE",
                reason="invalidQuery",
            )


def _is_aggregated(node: exp.Expr) -> bool:
    above = node.parent
    while above is not None:
        if isinstance(above, exp.GroupConcat) or (
            isinstance(above, exp.Anonymous) and above.name.lower() in AGGREGATES
        ):
            return True
        above = above.parent
    return False


def _path(node: exp.Expr) -> list[str]:
    if isinstance(node, exp.Dot):
        return [*_path(node.this), *_path(node.expression)]
    if isinstance(node, exp.Column):
        return [piece for one in node.parts for piece in one.name.split(".")]
    return node.name.split(".")


def _shown(path: list[str]) -> str:
    return f"`{'.'.join(path[:-1])}`.{path[-1].lower()}" if len(path) > 1 else path[-1].lower()


def _size(tree: exp.Expr) -> int:
    return sum(1 for _ in tree.walk())


def _check_size(nodes: int) -> None:
    if nodes > _NODES:
        raise InvalidArgument(
            "The statement is too large once its functions are put into it", reason="invalidQuery"
        )


def _given(found: Routine, arguments: list[exp.Expr]) -> dict[str, exp.Expr]:
    """The arguments of a call by their names (lower case), each of its declared type."""
    wanted = found.arguments
    if len(wanted) != len(arguments):
        takes = f"{len(wanted)} argument{'s' * (len(wanted) != 1)}"
        raise InvalidArgument(
            f"Number of arguments does not match for function {found.shown}: it takes {takes}, {len(arguments)} given",
            reason="invalidQuery",
        )
    return {
        one["name"].lower(): typed(value, data_type(one["dataType"])) if one.get("dataType") else value
        for one, value in zip(wanted, arguments, strict=True)
    }


def typed(value: exp.Expr, kind: exp.DataType) -> exp.Expr:
    """An expression as one of a type; the fields of a struct that is written out take the type's names."""
    inner = value.unnest()
    if kind.is_type("array") and isinstance(inner, exp.Array) and inner.expressions:
        return exp.Array(expressions=[typed(one, kind.expressions[0]) for one in inner.expressions])
    written = isinstance(inner, exp.Tuple) or (isinstance(inner, exp.Anonymous) and inner.name == "STRUCT")
    if kind.is_type("struct") and written and len(inner.expressions) == len(kind.expressions):
        fields = [
            exp.alias_(typed(one.unalias(), field.args["kind"]), field.name, quoted=True)
            for one, field in zip(inner.expressions, kind.expressions, strict=True)
            if isinstance(field, exp.ColumnDef)
        ]
        if len(fields) == len(kind.expressions):
            return exp.Anonymous(this="STRUCT", expressions=fields)
    return exp.Cast(this=value, to=kind.copy())


def _javascript(found: Routine, given: dict[str, exp.Expr]) -> exp.Expr:
    """A call of JavaScript: arguments go in and what is returned comes out as JSON."""
    result = found.body["returnType"]
    definition = {
        "name": found.name,
        "arguments": [[one["name"], one["dataType"]] for one in found.arguments],
        "returns": result,
        "code": "\n".join([*(found.body.get("_libraries") or ()), found.body["definitionBody"]]),
    }
    if found.kind == AGGREGATE:
        definition |= {"aggregates": True, "arguments": _collected(found, given)}
    pairs = [
        exp.PropertyEQ(this=exp.to_identifier(f"a{number}"), expression=value)
        for number, value in enumerate(given.values())
    ]
    packed = call("to_json", exp.Struct(expressions=pairs)) if pairs else exp.Literal.string("{}")
    raw = call("gs_py_javascript", exp.Literal.string(json.dumps(definition)), packed)
    shape = exp.Literal.string(json.dumps([_structure(result)]))
    return call("list_extract", call("from_json", raw, shape), exp.Literal.number(1))


def _collected(found: Routine, given: dict[str, exp.Expr]) -> list[list[Any]]:
    """Puts into `given` an array of a group's rows for the arguments that are aggregated.

    Returns:
        The names and types of what is there now.
    """
    fields: list[dict[str, Any]] = []
    pairs: list[exp.Expr] = []
    kept: list[list[Any]] = []
    for one in found.arguments:
        if not one.get("isAggregate", True):
            kept.append([one["name"], one["dataType"]])
            continue
        name = f"a{len(fields)}"
        value = given.pop(one["name"].lower())
        fields.append({"name": name, "type": one["dataType"]})
        pairs.append(exp.alias_(value, name, quoted=True))
    rows = exp.Anonymous(this="ARRAY_AGG", expressions=[exp.Anonymous(this="STRUCT", expressions=pairs)])
    fixed = dict(given)
    given.clear()
    given |= {"": rows, **fixed}
    kind = {"typeKind": "STRUCT", "structType": {"fields": fields}}
    return [["$rows", {"typeKind": "ARRAY", "arrayElementType": kind}], *kept]


def _structure(standard: dict[str, Any]) -> Any:
    """A type as DuckDB's from_json is told it."""
    kind = str(standard["typeKind"])
    if kind == "ARRAY":
        return [_structure(standard["arrayElementType"])]
    if kind == "STRUCT":
        return {one["name"]: _structure(one["type"]) for one in standard["structType"]["fields"]}
    return duckdb_type(field_of_expression("", data_type(standard)))
