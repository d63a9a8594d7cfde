"""Routines: functions, table functions and procedures, kept as BigQuery's Routine resources.

A function of SQL is put into the statement that calls it, before that is translated; one of JavaScript becomes a call
of `javascript`. Both are done with the resource's JSON alone, however it came to be.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from portico.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from portico.warehouse import blocks, catalog
from portico.warehouse.blocks import Tokens
from portico.warehouse.catalog import Cursor, do, first
from portico.warehouse.functions import call
from portico.warehouse.models.syntax import PREFIXES
from portico.warehouse.names import Columns, Scopes, substitute
from portico.warehouse.public.declared import check_writable
from portico.warehouse.ranges import TABLE_FUNCTIONS
from portico.warehouse.types import duckdb_type, field_of_expression

_KEPT = f"{catalog.FILE}.portico.routines"
_NODES = 50_000  # of a statement's tree, once its functions are put into it
_DEPTH = 32  # functions that call functions
KINDS = {
    "FUNCTION": "SCALAR_FUNCTION",
    "TABLE FUNCTION": "TABLE_VALUED_FUNCTION",
    "PROCEDURE": "PROCEDURE",
}


@dataclass(slots=True)
class Routine:
    """A routine and its resource; `dataset` is "" for one that only its script knows."""

    project: str
    dataset: str
    name: str
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return str(self.body.get("routineType"))

    @property
    def shown(self) -> str:
        return f"{self.project}:{self.dataset}.{self.name}" if self.dataset else self.name

    @property
    def arguments(self) -> list[dict[str, Any]]:
        return list(self.body.get("arguments") or ())


Find = Callable[[list[str]], Routine | None]
"""The routine that a call names by these parts."""


# --- kept in the catalog ---------------------------------------------------------------------------------


def prepare(cursor: Cursor) -> None:
    do(
        cursor,
        f"CREATE TABLE IF NOT EXISTS {_KEPT} (project VARCHAR, dataset VARCHAR, name VARCHAR, body VARCHAR, "
        "PRIMARY KEY (project, dataset, name))",
    )


def find(cursor: Cursor, project: str, dataset: str, name: str) -> Routine | None:
    row = first(
        cursor,
        f"SELECT name, body FROM {_KEPT} WHERE project = ? AND dataset = ? AND lower(name) = lower(?) "
        "ORDER BY name = ? DESC LIMIT 1",
        [project, dataset, name, name],
    )
    return None if row is None else Routine(project, dataset, row[0], json.loads(row[1]))


def require(cursor: Cursor, project: str, dataset: str, name: str) -> Routine:
    """
    Raises:
        NotFound: there is no such routine or dataset.
    """
    found = find(cursor, project, dataset, name)
    if found is None:
        catalog.require(cursor, project, dataset)
        raise NotFound(f"Not found: Routine {project}:{dataset}.{name}", reason="notFound")
    return found


def listed(cursor: Cursor, project: str, dataset: str) -> list[Routine]:
    rows = do(
        cursor,
        f"SELECT name, body FROM {_KEPT} WHERE project = ? AND dataset = ? ORDER BY name",
        [project, dataset],
    )
    return [Routine(project, dataset, name, json.loads(body)) for name, body in rows]


def write(cursor: Cursor, routine: Routine, *, replace: bool = True) -> None:
    """
    Raises:
        AlreadyExists: there is one of this name, and it is not to be replaced. NotFound: there is no such dataset.
    """
    check_writable(routine.project, f"Routine {routine.shown}")
    catalog.require(cursor, routine.project, routine.dataset)
    before = find(cursor, routine.project, routine.dataset, routine.name)
    if before is not None and not replace:
        raise AlreadyExists(f"Already Exists: Routine {routine.shown}", reason="duplicate")
    body = routine.body
    body["routineReference"] = {
        "projectId": routine.project, "datasetId": routine.dataset, "routineId": routine.name,
    }  # fmt: skip
    body["creationTime"] = before.body["creationTime"] if before else catalog.now()
    body["lastModifiedTime"] = catalog.now()
    if before is not None and "_iam" in before.body:
        body.setdefault("_iam", before.body["_iam"])
    if before is not None:
        drop(cursor, before)
    do(
        cursor,
        f"INSERT INTO {_KEPT} VALUES (?, ?, ?, ?)",
        [routine.project, routine.dataset, routine.name, json.dumps(body)],
    )


def drop(cursor: Cursor, routine: Routine) -> None:
    check_writable(routine.project, f"Routine {routine.shown}")
    do(
        cursor,
        f"DELETE FROM {_KEPT} WHERE project = ? AND dataset = ? AND name = ?",
        [routine.project, routine.dataset, routine.name],
    )


# --- read from a statement -------------------------------------------------------------------------------


@dataclass(slots=True)
class Creation:
    """What CREATE … FUNCTION or PROCEDURE says."""

    path: list[str]
    body: dict[str, Any]
    replace: bool
    exists_ok: bool
    temporary: bool


def read(tokens: Tokens) -> Creation:
    """
    Raises:
        InvalidArgument: its syntax is wrong. Unimplemented: it is of a kind or a language that Portico lacks.
    """
    tokens.expect("CREATE")
    replace = tokens.take("OR", "REPLACE")
    temporary = tokens.take("TEMP") or tokens.take("TEMPORARY")
    if tokens.sees("AGGREGATE"):
        raise Unimplemented("CREATE AGGREGATE FUNCTION is not built in Portico yet.")
    kind = "TABLE FUNCTION" if tokens.take("TABLE", "FUNCTION") else tokens.word()
    if kind != "TABLE FUNCTION":
        tokens.at += 1
    exists_ok = tokens.take("IF", "NOT", "EXISTS")
    made = Creation(
        tokens.path(), {"routineType": KINDS[kind], "language": "SQL"}, replace, exists_ok, temporary
    )
    made.body["arguments"] = _arguments(tokens, kind)
    if kind == "PROCEDURE":
        _procedure(tokens, made.body)
    else:
        _function(tokens, made.body)
    if not made.body["arguments"]:
        del made.body["arguments"]
    return made


def _arguments(tokens: Tokens, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    tokens.expect("(")
    while not tokens.take(")"):
        one: dict[str, Any] = {}
        if (
            kind == "PROCEDURE"
            and tokens.word() in ("IN", "OUT", "INOUT")
            and tokens.word(1) not in (",", ")")
        ):
            one["mode"] = tokens.word()
            tokens.at += 1
        one["name"] = tokens.name()
        if tokens.take("ANY", "TYPE"):
            one["argumentKind"] = "ANY_TYPE"
        else:
            if kind != "PROCEDURE":
                one["argumentKind"] = "FIXED_TYPE"
            one["dataType"] = standard_type(tokens.kind((",",), (")",), ("DEFAULT",), ("NOT",)))
        if tokens.word() in ("DEFAULT", "NOT"):
            raise Unimplemented(
                "Arguments of a routine with DEFAULT or NOT AGGREGATE are not built in Portico yet."
            )
        if any(other["name"].lower() == one["name"].lower() for other in found):
            raise InvalidArgument(f"Duplicate argument name {one['name']}", reason="invalidQuery")
        found.append(one)
        if not tokens.take(",") and not tokens.sees(")"):
            raise tokens.error("Expected , or )")
    return found


def _procedure(tokens: Tokens, body: dict[str, Any]) -> None:
    _options(tokens, body)
    start = tokens.at
    if not tokens.sees("BEGIN"):
        if tokens.sees("LANGUAGE") or tokens.sees("WITH"):
            raise Unimplemented("Procedures of Apache Spark are not built in Portico.")
        raise tokens.error("Expected BEGIN")
    while tokens:
        tokens.at += 1
    body["definitionBody"] = tokens.since(start)


def _function(tokens: Tokens, body: dict[str, Any]) -> None:
    ends: tuple[tuple[str, ...], ...] = (
        ("AS",),
        ("LANGUAGE",),
        ("OPTIONS",),
        ("DETERMINISTIC",),
        ("NOT",),
        ("REMOTE",),
    )
    if tokens.take("RETURNS"):
        if tokens.take("TABLE"):
            start = tokens.at
            tokens.until(*ends, angles=True)
            body["returnTableType"] = _table_type(tokens.rest(start))
        else:
            body["returnType"] = standard_type(tokens.kind(*ends))
    if tokens.take("NOT", "DETERMINISTIC"):
        body["determinismLevel"] = "NOT_DETERMINISTIC"
    elif tokens.take("DETERMINISTIC"):
        body["determinismLevel"] = "DETERMINISTIC"
    if tokens.take("LANGUAGE"):
        body["language"] = {"JS": "JAVASCRIPT"}.get(language := tokens.name().upper(), language)
        if body["language"] != "JAVASCRIPT":
            raise Unimplemented(
                f"Functions of the language {language.lower()} are not built in Portico; it has SQL and js."
            )
    if tokens.sees("REMOTE"):
        raise Unimplemented("Remote functions are not built in Portico.")
    _options(tokens, body)
    tokens.expect("AS")
    if body["language"] == "JAVASCRIPT":
        body["definitionBody"] = tokens.string()
        if "returnType" not in body:
            raise InvalidArgument("JavaScript UDFs must specify a return type", reason="invalidQuery")
    elif body["routineType"] == "TABLE_VALUED_FUNCTION":
        body["definitionBody"] = _without_brackets(tokens)
    else:
        tokens.expect("(")
        body["definitionBody"] = tokens.until((")",))
        tokens.expect(")")
    _options(tokens, body)
    if tokens:
        raise tokens.error("Expected end of statement")


def _without_brackets(tokens: Tokens) -> str:
    if tokens.take("("):
        text = tokens.until((")",))
        tokens.expect(")")
        return text
    start = tokens.at
    while tokens:
        tokens.at += 1
    return tokens.since(start)


def _table_type(tokens: Tokens) -> dict[str, Any]:
    tokens.expect("<")
    columns = []
    while not tokens.take(">"):
        name = tokens.name()
        start, depth = tokens.at, 0
        while tokens and (depth or tokens.word() not in (",", ">")):
            depth += (tokens.word() in ("<", "(")) - (tokens.word() in (">", ")"))
            tokens.at += 1
        columns.append({"name": name, "type": standard_type(blocks.data_type(tokens.since(start)))})
        if not tokens.take(",") and not tokens.sees(">"):
            raise tokens.error("Expected , or >")
    return {"columns": columns}


def _options(tokens: Tokens, body: dict[str, Any]) -> None:
    if not tokens.take("OPTIONS"):
        return
    tokens.expect("(")
    while not tokens.take(")"):
        name = tokens.name().lower()
        tokens.expect("=")
        value = tokens.expression((",",), (")",))
        if name == "description":
            body["description"] = value.name
        elif name == "strict_mode":
            body["strictMode"] = isinstance(value, exp.Boolean) and bool(value.this)
        elif name == "library":
            raise Unimplemented("The option library of JavaScript functions is not built in Portico yet.")
        else:
            raise InvalidArgument(f"Unknown option: {name}", reason="invalidQuery")
        if not tokens.take(",") and not tokens.sees(")"):
            raise tokens.error("Expected , or )")


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
    name = str(field_of_expression("", kind)["type"])
    return {"typeKind": {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}.get(name, name)}


def data_type(standard: dict[str, Any]) -> exp.DataType:
    return blocks.data_type(type_text(standard))


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
    return kind


# --- put into statements ---------------------------------------------------------------------------------


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
                raise InvalidArgument(f"Function not found: {_shown(path)}", reason="invalidQuery")
            return False
        if found.kind != "SCALAR_FUNCTION":
            raise InvalidArgument(f"{found.shown} is no function of values", reason="invalidQuery")
        made = self._value(found, called, within)
        place.replace(exp.SafeFunc(this=made) if safe else made)
        return True

    def _value(self, found: Routine, called: exp.Anonymous, within: tuple[str, ...]) -> exp.Expr:
        given = _given(found, list(called.expressions))
        result = found.body.get("returnType")
        if found.body.get("language") == "JAVASCRIPT":
            return _javascript(found, given)
        body = blocks.expression(found.body["definitionBody"])
        values: dict[str, exp.Expr] = {name: exp.Paren(this=value) for name, value in given.items()}
        made = self._filled(found, body, values, within)
        return typed(made, data_type(result)) if result else exp.Paren(this=made)

    def _table(self, table: exp.Table, called: exp.Anonymous, within: tuple[str, ...]) -> bool:
        path = [piece for one in table.parts[:-1] for piece in one.name.split(".")] + [str(called.this)]
        if len(path) == 1 and path[0] in TABLE_FUNCTIONS:
            return False
        found = self._find(path)
        if found is None or found.kind != "TABLE_VALUED_FUNCTION":
            raise InvalidArgument(f"Table-valued function not found: {_shown(path)}", reason="invalidQuery")
        body = blocks.query(found.body["definitionBody"])
        made = exp.Subquery(this=self._filled(found, body, _given(found, list(called.expressions)), within))
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
        "code": found.body["definitionBody"],
    }
    pairs = [
        exp.PropertyEQ(this=exp.to_identifier(f"a{number}"), expression=value)
        for number, value in enumerate(given.values())
    ]
    packed = call("to_json", exp.Struct(expressions=pairs)) if pairs else exp.Literal.string("{}")
    raw = call("gs_py_javascript", exp.Literal.string(json.dumps(definition)), packed)
    shape = exp.Literal.string(json.dumps([_structure(result)]))
    return call("list_extract", call("from_json", raw, shape), exp.Literal.number(1))


def _structure(standard: dict[str, Any]) -> Any:
    """A type as DuckDB's from_json is told it."""
    kind = str(standard["typeKind"])
    if kind == "ARRAY":
        return [_structure(standard["arrayElementType"])]
    if kind == "STRUCT":
        return {one["name"]: _structure(one["type"]) for one in standard["structType"]["fields"]}
    return duckdb_type(field_of_expression("", data_type(standard)))
