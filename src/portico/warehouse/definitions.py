"""CREATE and DROP of routines, as statements."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument, NotFound, Unimplemented
from portico.warehouse import block_reader, catalog, routine_syntax, routines, tokens
from portico.warehouse.asked import Asked, Done
from portico.warehouse.blocks import CreateRoutine, DropRoutine
from portico.warehouse.catalog import Cursor
from portico.warehouse.inlining import check_arguments
from portico.warehouse.routine_syntax import AGGREGATE, KINDS, Creation
from portico.warehouse.routines import Routine
from portico.warehouse.standard_types import data_type
from portico.warehouse.statements import Statement


def is_procedure(node: CreateRoutine) -> bool:
    return str(_read(node).body["routineType"]) == "PROCEDURE"


def is_temporary(node: CreateRoutine) -> bool:
    return _read(node).temporary


def _read(node: CreateRoutine) -> Creation:
    node.tokens.at = 0
    return routine_syntax.read(node.tokens)


def create(cursor: Cursor, asked: Asked, node: CreateRoutine) -> Done:
    """Makes a routine, or knows one for the time of the script where it is temporary.

    Raises:
        InvalidArgument: its body is wrong. AlreadyExists: there is one of this name.
        NotFound: there is no such dataset.
    """
    made = _read(node)
    _import(asked, made.body)
    kind = next(name for name, said in KINDS.items() if said == made.body["routineType"])
    name = f"CREATE_{kind.removeprefix('AGGREGATE ').replace(' ', '_')}"
    if made.temporary:
        if len(made.path) > 1:
            raise InvalidArgument(
                f"CREATE TEMP {kind} cannot have a dataset qualifier", reason="invalidQuery"
            )
        routine = Routine(asked.project, "", made.path[0], made.body)
        if routine.name.lower() in asked.functions and not made.replace:
            raise InvalidArgument(f"Duplicate temporary function {routine.name}", reason="invalidQuery")
        _check(cursor, asked, routine)
        asked.functions[routine.name.lower()] = routine
        return Done(name, routine=routine, operation="CREATE")
    project, dataset, last = _place(asked, made.path)
    routine = Routine(project, dataset, last, made.body)
    before = routines.find(cursor, project, dataset, last)
    if before is not None and made.exists_ok:
        return Done(name, routine=before, operation="SKIP")
    catalog.require(cursor, project, dataset)
    _check(cursor, asked, routine)
    if not asked.dry:
        routines.write(cursor, routine, replace=made.replace)
    return Done(name, routine=routine, operation="REPLACE" if before else "CREATE")


def _import(asked: Asked, body: dict[str, Any]) -> None:
    """Keeps the code of libraries with the function that imports them, as it is at this moment."""
    uris = body.get("importedLibraries") or []
    if not uris:
        return
    if body.get("language") != "JAVASCRIPT":
        raise InvalidArgument("The option library is for functions in JavaScript", reason="invalidQuery")
    if asked.outside is None:
        raise Unimplemented("Files can't be read here.")
    body["_libraries"] = [
        Path(one["path"]).read_text() for uri in uris for one in asked.outside("files", uris=[uri])
    ]


def drop(cursor: Cursor, asked: Asked, node: DropRoutine) -> Done:
    """
    Raises:
        NotFound: there is no such routine, and no IF EXISTS.
    """
    kind = f"DROP_{node.kind.replace(' ', '_')}"
    if len(node.path) == 1 and node.path[0].lower() in asked.functions:
        return Done(kind, routine=asked.functions.pop(node.path[0].lower()), operation="DROP")
    project, dataset, name = _place(asked, node.path)
    found = routines.find(cursor, project, dataset, name)
    if found is None:
        missing = Routine(project, dataset, name, {"routineType": KINDS[node.kind]})
        if node.exists_ok:
            return Done(kind, routine=missing, operation="SKIP")
        raise NotFound(f"Not found: Routine {missing.shown}", reason="notFound")
    if found.kind != KINDS[node.kind] and (node.kind, found.kind) != ("FUNCTION", AGGREGATE):
        raise InvalidArgument(
            f"Cannot drop {found.shown} with DROP {node.kind}: it is a {found.kind.replace('_', ' ').lower()}",
            reason="invalidQuery",
        )
    if not asked.dry:
        routines.drop(cursor, found)
    return Done(kind, routine=found, operation="DROP")


def procedure(cursor: Cursor, asked: Asked, path: list[str]) -> Routine | None:
    found = routines.find(cursor, *_place(asked, path))
    return found if found is not None and found.kind == "PROCEDURE" else None


def _place(asked: Asked, path: list[str]) -> tuple[str, str, str]:
    """
    Raises:
        InvalidArgument: no dataset is named, and there is no default one.
    """
    if len(path) == 1:
        if not asked.dataset:
            raise InvalidArgument(
                f'Routine name "{path[0]}" missing dataset while no default dataset is set in the request.',
                reason="invalid",
            )
        path = [*asked.dataset.split("."), *path]
    return ".".join(path[:-2]) or asked.of_datasets, path[-2], path[-1]


def _check(cursor: Cursor, asked: Asked, routine: Routine) -> None:
    """Whether the body means something with arguments of the declared types."""
    if routine.kind == "PROCEDURE":
        block_reader.read(routine.body["definitionBody"])
        return
    if routine.body["language"] == "JAVASCRIPT":  # it is read when it runs
        return
    known = {**asked.functions, routine.name.lower(): routine} if not routine.dataset else asked.functions
    if routine.kind == AGGREGATE:
        check_arguments(routine)
    inner = dataclasses.replace(asked, dry=True, functions=known, variables={}, parameters={}, positional=[])
    if any(not (one.get("dataType") or one.get("tableType")) for one in routine.arguments):
        read = tokens.query if routine.kind == "TABLE_VALUED_FUNCTION" else tokens.expression
        read(routine.body["definitionBody"])
        return
    _Checked(cursor, inner, routine).run()


def _absent(argument: dict[str, Any]) -> exp.Expr:
    """NULL, or a table with nothing else."""
    if "tableType" not in argument:
        return exp.Null()
    columns: list[exp.Expr] = [
        exp.alias_(exp.Cast(this=exp.Null(), to=data_type(one["type"])), one["name"], quoted=True)
        for one in argument["tableType"]["columns"]
    ]
    return exp.Subquery(this=exp.Select(expressions=columns))


class _Checked(Statement):
    """A query that calls a routine before it is kept, with NULL for every argument."""

    def __init__(self, cursor: Cursor, asked: Asked, routine: Routine) -> None:
        self._new = routine
        nulls = [_absent(one) for one in routine.arguments]
        called = exp.Anonymous(this="_NEW", expressions=nulls)
        if routine.kind == "TABLE_VALUED_FUNCTION":
            query = exp.Select(expressions=[exp.Star()], from_=exp.From(this=exp.Table(this=called)))
        else:
            query = exp.Select(expressions=[called])
        super().__init__(cursor, asked, query)

    def _routine(self, path: list[str]) -> Routine | None:
        return self._new if path == ["_NEW"] else super()._routine(path)
