"""ML functions in FROM: each is computed before the query that it stands in, and is a table to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.ml.bqml import answers, free
from portico.ml.bqml.options import Option
from portico.ml.bqml.remote import Ask, Remote
from portico.warehouse import bignumeric, guard
from portico.warehouse.catalog import Cursor
from portico.warehouse.models import kept, logical, names
from portico.warehouse.models.syntax import PREFIXES, path_of

_numbers = itertools.count()
_KEEP = Option("bool")
_ARRAYS = {"ML.ROC_CURVE": "thresholds"}  # an array in place of a STRUCT is this


@dataclass(slots=True)
class Calls:
    """Resolves the ML functions of one statement.

    Args:
        foreign: what an ML function of a stranger's model, in a folder, answers.
        remote: what an endpoint answers to instances.
        run: a query of GoogleSQL to its rows, in the statement's setting; in a dry run to its columns, but with True.
        place: the parts of a name to project, dataset and name.
    """

    cursor: Cursor
    models: kept.Models
    foreign: Callable[[Path, str, list[pa.Table], dict[str, Any]], pa.Table]
    remote: Ask
    run: Callable[[exp.Expr, bool], pa.Table]
    place: Callable[[list[str]], tuple[str, str, str]]

    def resolve(self, tree: exp.Expr, computed: dict[str, pa.Table]) -> None:
        """Puts the name of a registered table for every ML function in `tree`; `computed` has them."""
        for node in _calls(tree):
            name = f"_ml_{next(_numbers)}"
            computed[name] = found = self._answer(node)
            self.cursor.register(name, found)
            node.set("this", exp.to_identifier(name, quoted=True))
            if node.args.get("alias") is None:
                node.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))

    def _answer(self, node: exp.Table) -> pa.Table:
        called = node.this
        name = called.name.upper().replace("__", ".", 1)
        names.check(name)
        if name not in names.OF_TABLES:
            raise names.unknown(name, "Table-valued function")
        models: list[kept.Entry] = []
        tables: list[pa.Table] = []
        settings: dict[str, Any] = {}
        for place, one in enumerate(called.expressions):
            if isinstance(one, exp.Literal) and one.is_string and place == 0:
                with guard.reading():
                    models.append(kept.require(self.cursor, *self.place(path_of(one.name))))
            elif isinstance(one, exp.Subquery | exp.Query):
                _check_own(one, node, name)
                tables.append(kept.distinct(self.run(_with(one, node), False), f"the input of {name}"))
            elif isinstance(one, exp.Kwarg | exp.PropertyEQ):
                settings[one.this.name.lower()] = self._value(one.expression)
            else:
                value = self._value(one)
                if isinstance(value, dict):
                    settings |= {key.lower(): each for key, each in value.items()}
                elif name in _ARRAYS:
                    settings[_ARRAYS[name]] = value
                else:
                    raise InvalidArgument(
                        f"{name}: give settings as STRUCT(value AS name)", reason="invalidQuery"
                    )
        if not models:
            with kept.said():
                return free.answer(name, [bignumeric.plain(one) for one in tables], settings)
        loaded = self.models.load(models[0])
        if name == "ML.TRANSFORM":
            return self._transformed(loaded, tables, settings)
        if name == "ML.FEATURE_INFO" and loaded.transform is not None and not (tables or settings):
            return answers.feature_info(loaded.transform.info)
        declared = loaded.model.functions().get(name)
        if name == "ML.PREDICT" and declared and "keep_original_columns" not in declared[0].settings:
            with kept.said():  # but of PCA they always are
                _KEEP.read("keep_original_columns", settings.pop("keep_original_columns", None))
        known = [bignumeric.plain(loaded.transformed(self.cursor, one)) for one in tables]
        with kept.said():
            if loaded.model.IMPORTS:
                folder = self.models.path(models[0].folder)
                found = self.foreign(folder, name, known, settings)
            else:
                found = loaded.model.call(name, known, settings)
                if isinstance(loaded.model, Remote) and known[0].num_rows:
                    found = loaded.model.predicted(known[0], self.remote)
        same = all(one is other for one, other in zip(known, tables, strict=True))
        return logical.kept(found if same else _as_given(found, known, tables), tables)

    def _transformed(self, loaded: kept.Loaded, tables: list[pa.Table], settings: dict[str, Any]) -> pa.Table:
        if settings:
            raise InvalidArgument(
                f"ML.TRANSFORM has no argument {next(iter(settings))}", reason="invalidQuery"
            )
        if loaded.transform is None:
            raise InvalidArgument(
                "ML.TRANSFORM needs a model that was made with TRANSFORM", reason="invalidQuery"
            )
        if len(tables) != 1:
            raise InvalidArgument("ML.TRANSFORM needs a table or a query", reason="invalidQuery")
        made = loaded.transformed(self.cursor, tables[0])
        return answers.beside(dict(zip(made.column_names, made.columns, strict=True)), tables[0])

    def _value(self, expression: exp.Expr) -> Any:
        query = exp.Select(expressions=[exp.alias_(expression.copy(), "value", quoted=True)])
        return kept.value(self.run(query, True), "An argument of an ML function")


def _as_given(found: pa.Table, known: list[pa.Table], given: list[pa.Table]) -> pa.Table:
    """An answer that repeats the rows that it was asked of, with their columns as they were before TRANSFORM."""
    if len(given) != 1 or found.num_rows != given[0].num_rows:
        return found
    repeated = {name.lower() for name in known[0].column_names} & {
        name.lower() for name in found.column_names
    }
    if not repeated:
        return found
    columns = {name: found.column(name) for name in found.column_names if name.lower() not in repeated}
    taken = {name.lower() for name in columns}
    columns |= {name: given[0].column(name) for name in given[0].column_names if name.lower() not in taken}
    return pa.table(columns)


def _calls(tree: exp.Expr) -> list[exp.Table]:
    """The ML functions of a tree that are tables, inner ones and those of WITH before those that may read them."""
    found: list[exp.Table] = []

    def visit(node: exp.Expr) -> None:
        first = node.args.get("with_") or node.args.get("with")
        children = [first] if first is not None else []
        children += [one for one in node.iter_expressions() if one is not first]
        for one in children:
            visit(one)
        if isinstance(node, exp.Table) and _is_call(node.this):
            found.append(node)

    visit(tree)
    return found


def _is_call(called: exp.Expr) -> bool:
    return isinstance(called, exp.Anonymous) and called.name.upper().startswith(PREFIXES)


def _check_own(argument: exp.Expr, node: exp.Table, name: str) -> None:
    """
    Raises:
        InvalidArgument: an argument reads a column of the query that the function stands in, which is not known before.
    """
    own = _sources(argument)
    around: set[str] = set()
    above = node.parent
    while above is not None:
        if isinstance(above, exp.Select):
            around |= _sources(above)
        above = above.parent
    for column in argument.find_all(exp.Column):
        if column.table and column.table.lower() in around - own:
            raise InvalidArgument(
                f"Unrecognized name: {column.table}; the input of {name} can't read columns of the query around it",
                reason="invalidQuery",
            )


def _sources(tree: exp.Expr) -> set[str]:
    """The names of what is read in a tree, in lower case."""
    found = {one.alias_or_name.lower() for one in tree.find_all(exp.Table, exp.Subquery, exp.CTE, exp.Unnest)}
    return found - {""}


def _with(query: exp.Expr, node: exp.Expr) -> exp.Expr:
    """A copy of an argument with the queries of WITH that it may read around it."""
    inner = query.copy()
    while isinstance(inner, exp.Subquery) and not inner.args.get("alias"):
        inner = inner.this
    wanted = {one.name.lower() for one in inner.find_all(exp.Table) if not one.args.get("db")}
    known: list[exp.CTE] = []
    passed: set[int] = set()
    above = node.parent
    while above is not None:
        holder = above.args.get("with_") or above.args.get("with")
        if holder is not None:  # of those that it stands in itself, the ones before
            before = itertools.takewhile(lambda one: id(one) not in passed, holder.expressions)
            known = [*before, *known]
        passed.add(id(above))
        above = above.parent
    used: list[exp.CTE] = []
    for one in known[::-1]:
        if one.alias.lower() in wanted:
            used.insert(0, one.copy())
            wanted |= {each.name.lower() for each in one.find_all(exp.Table) if not each.args.get("db")}
    if not used:
        return inner
    own = inner.args.get("with_")
    inner.set("with_", exp.With(expressions=[*used, *(own.expressions if own is not None else [])]))
    return inner
