"""A script's variables, and what expressions that see them come to.

A variable is one of DuckDB's own, of the script's connection, so that its value keeps its exact type; in statements
its name becomes `getvariable(…)`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import blocks, catalog, tokens
from portico.warehouse.asked import Asked
from portico.warehouse.catalog import Cursor
from portico.warehouse.coercion import coerced
from portico.warehouse.information_schema import sql_type
from portico.warehouse.macros import call
from portico.warehouse.statements import Statement
from portico.warehouse.types import Field, duckdb_type, field_of, field_of_expression

_TRANSLATIONS = 10_000


@dataclasses.dataclass(slots=True)
class Variable:
    slot: str
    field: Field


class Variables:
    """Those of one script, in whose setting `asked` its statements run."""

    def __init__(self, cursor: Cursor, asked: Asked) -> None:
        self._cursor = cursor
        self._asked = dataclasses.replace(asked, functions=dict(asked.functions), variables={})
        self._frames: list[dict[str, Variable]] = [{}]
        self._calls: list[str] = []  # of procedures, one within the other
        self._names = ""  # what the variables that are seen are, as far as a translation depends on it
        self._translations: dict[tuple[int, str], tuple[exp.Expr, str, str]] = {}
        self._types: dict[str, str] = {}  # of what was computed before, by its SQL

    @contextlib.contextmanager
    def _frame(self) -> Iterator[None]:
        """Variables that are declared within are gone after it."""
        self._frames.append({})
        try:
            yield
        finally:
            self._frames.pop()
            self._seen()

    def _seen(self) -> None:
        """Which names the statements see as variables."""
        seen = {name: one for frame in self._frames for name, one in frame.items()}
        self._asked.variables = {name: value_of(one.slot) for name, one in seen.items()}
        self._names = " ".join(f"{name}={one.slot}:{one.field}" for name, one in seen.items())

    def _declare(self, node: blocks.Declare) -> None:
        for name in node.names:
            if self._find(name) is not None:
                raise InvalidArgument(
                    f"Variable '{name}' redeclaration: it has been declared in an enclosing block before",
                    reason="invalidQuery",
                )
            if node.kind is None:
                assert node.default is not None
                told = self._evaluated(node.default)
                variable = self._declared(name, field_of(name, told))
                self._do(f"SET VARIABLE {variable.slot} = getvariable('_value')")
            else:
                field = field_of_expression(name, node.kind)
                self._assign(self._declared(name, field), node.default or exp.Null())

    def _declared(self, name: str, field: Field) -> Variable:
        slot = f"v{len(self._calls)}_{len(self._frames)}_{len(self._frames[-1])}"
        made = self._frames[-1][name.lower()] = Variable(slot, field)
        self._do(f"SET VARIABLE {made.slot} = CAST(NULL AS {duckdb_type(field)})")
        self._seen()
        return made

    def _find(self, name: str) -> Variable | None:
        return next((frame[name.lower()] for frame in self._frames[::-1] if name.lower() in frame), None)

    def _variable(self, name: str) -> Variable:
        found = self._find(name)
        if found is None:
            raise InvalidArgument(f"Undeclared variable: {name}", reason="invalidQuery")
        return found

    def _set_variables(self, node: blocks.Set) -> None:
        if not node.is_tuple:
            return self._assign(self._variable(node.names[0]), node.value)
        values = node.value.expressions if isinstance(node.value, exp.Tuple) else []
        if values and len(values) == len(node.names):
            # All are computed before one is changed.
            slots = [self._kept_value(one, f"s{number}") for number, one in enumerate(values)]
            for name, slot in zip(node.names, slots, strict=True):
                self._assign(self._variable(name), value_of(slot))
            return None
        told = field_of("", self._evaluated(node.value))
        return self._spread(node.names, told)

    def _spread(self, names: list[str], told: Field) -> None:
        """Gives the fields of the struct that was computed to as many variables."""
        fields = told.get("fields") or []
        if told["type"] != "RECORD" or len(fields) != len(names):
            raise InvalidArgument(
                f"Number of variables does not match: {len(names)} variables, {max(1, len(fields))} values",
                reason="invalidQuery",
            )
        self._do("SET VARIABLE _struct = getvariable('_value')")
        for number, name in enumerate(names, 1):
            place = call("struct_extract_at", value_of("_struct"), exp.Var(this=str(number)))
            self._assign(self._variable(name), place)

    def _kept_value(self, value: exp.Expr, slot: str) -> str:
        slot = f"{slot}_{len(self._calls)}"
        self._evaluated(value)
        self._do(f"SET VARIABLE {slot} = getvariable('_value')")
        return slot

    def _assign(self, variable: Variable, value: exp.Expr) -> None:
        """
        Raises:
            InvalidArgument: the value is of a type that the variable's does not take.
        """
        sql = self._sql(value, variable.field if _takes_any(value, variable.field) else None)
        if self._types.get(sql) == duckdb_type(variable.field):
            self._do(f"SET VARIABLE {variable.slot} = ({sql})")
            return
        told = self._computed(sql)
        made = coerced("getvariable('_value')", told, variable.field)
        self._do(f"SET VARIABLE {variable.slot} = (SELECT {made})")

    def _evaluated(self, value: exp.Expr) -> str:
        """Computes an expression into DuckDB's variable `_value`; returns its type."""
        return self._computed(self._sql(value))

    def _computed(self, sql: str) -> str:
        self._do(f"SET VARIABLE _value = ({sql})")
        told = self._told("SELECT getvariable('_value')")
        self._types[sql] = told
        return told

    def _sql(self, value: exp.Expr, field: Field | None = None) -> str:
        """A query of DuckDB's for an expression, as it stands or, where a `field` is given, cast to its type."""
        key = (id(value), self._names)
        if key in self._translations and self._translations[key][1] == str(field):
            return self._translations[key][2]
        shown = value.copy()
        if isinstance(shown, exp.Tuple):
            shown = exp.Anonymous(this="STRUCT", expressions=shown.expressions)
        if field is not None:
            shown = exp.Cast(this=shown, to=tokens.data_type(sql_type(field)))
        query = exp.Select(expressions=[exp.alias_(shown, "value", quoted=True)])
        sql = self._statement(query).translated(query)
        if value.find(exp.Parameter, exp.Placeholder) is None:
            if len(self._translations) > _TRANSLATIONS:
                self._forget_translations()
            self._translations[key] = (value, str(field), sql)
        return sql

    def _forget_translations(self) -> None:
        """What a name or a function is may have changed."""
        self._translations.clear()
        self._types.clear()

    def _do(self, sql: str) -> list[tuple[Any, ...]]:
        return catalog.do(self._cursor, sql)

    def _told(self, sql: str) -> str:
        """Runs a query of one column; returns the type of that, as DuckDB calls it."""
        return self._answered(sql)[0]

    def _answered(self, sql: str) -> tuple[str, Any]:
        """Runs a query of one column; returns its type and the first row's value, None where there is none."""
        ran = self._cursor.execute(sql)
        told = str((ran.description or [])[0][1])
        rows = ran.fetchall()
        return told, rows[0][0] if rows else None

    def _value(self, value: exp.Expr) -> Any:
        return self._answered(self._sql(value))[1]

    def _true(self, condition: exp.Expr) -> bool:
        sql = self._sql(condition)
        told, value = self._answered(sql)
        if told != "BOOLEAN" and value is not None:
            raise InvalidArgument(
                f"The condition must be of type BOOL, not {field_of('', told)['type']}", reason="invalidQuery"
            )
        return bool(value)

    def _statement(self, tree: exp.Expr) -> Statement:
        return Statement(self._cursor, self._asked, tree)


def value_of(slot: str) -> exp.Expr:
    return call("getvariable", exp.Literal.string(slot))


def _takes_any(value: exp.Expr, field: Field) -> bool:
    """Whether a literal is one of the type that it is given to, whatever it would be for itself."""
    value = value.unnest()
    inner = value.this if isinstance(value, exp.Neg) else value
    if isinstance(inner, exp.Literal):
        return not inner.is_string or field["type"] in ("STRING", "DATE", "TIME", "DATETIME", "TIMESTAMP")
    return isinstance(inner, exp.Null | exp.Parameter)
