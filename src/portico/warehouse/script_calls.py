"""CALL and EXECUTE IMMEDIATE: what is handed over to a procedure or a text, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import duckdb
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import block_reader, blocks, definitions, routines, standard_types
from portico.warehouse.blocks import QUERIES, SINGLE, Block, Node
from portico.warehouse.coercion import coerced
from portico.warehouse.script_variables import Variable, Variables, value_of
from portico.warehouse.types import duckdb_type, field_of, field_of_expression

_CALLS = 30  # procedures within procedures
Given = list[tuple[dict[str, Any], str, Variable | None]]
"""Of each argument of a procedure what is declared, the slot of its value, and the caller's variable for it."""


class Calls(Variables):
    _bodies: dict[str, Block]  # of procedures, by their texts

    # --- EXECUTE IMMEDIATE ---

    def _immediate(self, sql: exp.Expr) -> Node:
        """The statement that a text is."""
        text = self._value(sql)
        if not isinstance(text, str):
            raise InvalidArgument("EXECUTE IMMEDIATE needs a STRING that is not NULL", reason="invalidQuery")
        block = block_reader.read(text)
        if len(block) != 1 or not isinstance(block[0], (*SINGLE, blocks.CreateRoutine, blocks.Call)):
            raise InvalidArgument(
                "EXECUTE IMMEDIATE takes one SQL statement that is none of a script's own",
                reason="invalidQuery",
            )
        return block[0]

    @contextlib.contextmanager
    def _using(self, using: list[tuple[str, exp.Expr]]) -> Iterator[None]:
        """What is run within has these values for its parameters."""
        named: dict[str, exp.Expr] = {}
        positional: list[exp.Expr] = []
        for name, value in using:
            made = value_of(self._kept_value(value, f"u{len(named)}_{len(positional)}"))
            if isinstance(value, exp.Column) and not name:
                named[value.name] = made
            if name:
                named[name] = made
            else:
                positional.append(made)
        before = self._asked.parameters, self._asked.positional
        self._asked.parameters, self._asked.positional = named, positional
        try:
            yield
        finally:
            self._asked.parameters, self._asked.positional = before

    def _into(self, names: list[str], asked: Node) -> None:
        """Gives the one row of a query to variables."""
        if not isinstance(asked, blocks.Run) or asked.tree.key not in QUERIES:
            raise InvalidArgument("EXECUTE IMMEDIATE … INTO needs a query", reason="invalidQuery")
        tree = asked.tree.copy()
        sql = self._statement(tree).translated(tree)
        try:
            self._do(f"SET VARIABLE _value = (SELECT r FROM ({sql}) AS r)")
        except duckdb.InvalidInputException as error:
            if "More than one row" not in str(error):
                raise
            raise InvalidArgument(
                "The query result of EXECUTE IMMEDIATE … INTO has more than one row", reason="invalidQuery"
            ) from None
        told = self._told("SELECT getvariable('_value')")
        self._spread(names, field_of("", told))

    # --- CALL ---

    def _procedure(self, node: blocks.Call) -> tuple[routines.Routine, Given]:
        """The procedure that is called, and what it is given."""
        found = definitions.procedure(self._cursor, self._asked, node.path)
        if found is None:
            raise InvalidArgument(f"Procedure not found: {'.'.join(node.path)}", reason="invalidQuery")
        wanted = found.arguments
        if len(wanted) != len(node.arguments):
            raise InvalidArgument(
                f"Procedure {found.shown} takes {len(wanted)} arguments, {len(node.arguments)} given",
                reason="invalidQuery",
            )
        if len(self._calls) >= _CALLS:
            raise InvalidArgument(
                f"Procedures call each other more than {_CALLS} deep", reason="invalidQuery"
            )
        given: Given = []
        for one, value in zip(wanted, node.arguments, strict=True):
            outer = None
            if one.get("mode") in ("OUT", "INOUT"):
                outer = self._find(value.name) if isinstance(value, exp.Column) and not value.table else None
                if outer is None:
                    raise InvalidArgument(
                        f"The argument {one['name']} of {found.shown} is {one['mode']}: give it a variable",
                        reason="invalidQuery",
                    )
            slot = self._kept_value(value, f"a{len(given)}") if one.get("mode") != "OUT" else ""
            given.append((one, slot, outer))
        return found, given

    @contextlib.contextmanager
    def _within(self, found: routines.Routine, given: Given) -> Iterator[Block]:
        """The body of a procedure. What runs within sees its arguments and none of the caller's variables."""
        frames, self._frames = self._frames, [{}]
        self._seen()
        self._calls.append(found.shown)
        try:
            inner = []
            for one, slot, outer in given:
                if one.get("dataType"):
                    field = field_of_expression(one["name"], standard_types.data_type(one["dataType"]))
                else:
                    field = field_of(one["name"], self._told(f"SELECT getvariable('{slot}')"))
                variable = self._declared(one["name"], field)
                if slot:
                    self._assign(variable, value_of(slot))
                inner.append((variable, outer))
            yield self._body(found)
            for variable, outer in inner:
                if outer is not None:
                    sql = coerced(f"getvariable('{variable.slot}')", duckdb_type(variable.field), outer.field)
                    self._do(f"SET VARIABLE {outer.slot} = (SELECT {sql})")
        finally:
            self._calls.pop()
            self._frames = frames
            self._seen()

    def _body(self, found: routines.Routine) -> Block:
        text = str(found.body["definitionBody"])
        if text not in self._bodies:
            self._bodies[text] = block_reader.read(text)
        return self._bodies[text]
