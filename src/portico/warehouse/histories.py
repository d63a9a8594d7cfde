"""APPENDS and CHANGES: the rows that were added to a table, or changed in it, from one time up to another.

https://cloud.google.com/bigquery/docs/reference/standard-sql/time-series-functions#appends and
https://cloud.google.com/bigquery/docs/change-history. A row that was updated is shown as it became, one that was
deleted as it was. Google's CHANGES leaves out the last ten minutes; this one does not have to.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import catalog, storage
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.storage import AT, DELETED, UNTIL, WAS

_NAMES = ("APPENDS", "CHANGES")
_ARGUMENTS = ("start_timestamp", "end_timestamp")


def resolve(tree: exp.Expr) -> None:
    """Puts the table that APPENDS and CHANGES are given in their place, with a tuple of the function's name and the two
    times where FOR SYSTEM_TIME AS OF would be.

    Raises:
        InvalidArgument: they are given something else.
    """
    for called in list(tree.find_all(exp.Anonymous)):
        name = str(called.this).upper()
        node = called.parent
        if name not in _NAMES or not isinstance(node, exp.Table) or len(node.parts) > 1:
            continue
        first, *others = called.expressions or [None]
        named = {one.this.name.lower(): one.expression for one in others if isinstance(one, exp.Kwarg)}
        given = [one for one in others if not isinstance(one, exp.Kwarg)]
        if len(given) > len(_ARGUMENTS) or set(named) - set(_ARGUMENTS):
            raise _refused(name, "it takes a TABLE, start_timestamp and end_timestamp")
        named |= dict(zip(_ARGUMENTS, given, strict=False))
        for key, value in _table(first, name).args.items():
            if key in ("this", "db", "catalog"):
                node.set(key, value)
        times = [named.get(one, exp.Null()) for one in _ARGUMENTS]
        node.set("version", exp.Tuple(expressions=[exp.Literal.string(name), *times]))


def _table(argument: exp.Expr | None, name: str) -> exp.Table:
    select = argument.this if isinstance(argument, exp.Subquery) else None
    source = select.args.get("from_") if isinstance(select, exp.Select) and select.is_star else None
    if (
        source is None
        or not isinstance(source.this, exp.Table)
        or set(_set(select)) - {"expressions", "from_"}
    ):
        raise _refused(name, "its first argument is TABLE and the name of a table")
    table: exp.Table = source.this
    return table


def _set(select: exp.Expr | None) -> list[str]:
    return [key for key, value in select.args.items() if value] if select is not None else []


def _refused(name: str, said: str) -> InvalidArgument:
    return InvalidArgument(f"{name}: {said}", reason="invalidQuery")


def query(
    cursor: Cursor, named: Entry, asked: exp.Expr, moment: Callable[[exp.Expr], int]
) -> tuple[Entry, str]:
    """The table, and DuckDB's query of its changes; `moment` reads a TIMESTAMP, in microseconds since the epoch.

    Raises:
        InvalidArgument: it is a view or another such, its history is not kept, or not for so long.
        NotFound: there is no such table.
    """
    name = asked.expressions[0].name
    entry = catalog.require(cursor, named.project, named.dataset, named.table)
    if not entry.storage or entry.body.get("type", "TABLE") != "TABLE":
        raise _refused(name, f"{entry.shown} is no table with rows of its own")
    if name == "CHANGES" and not entry.body.get("enableChangeHistory"):
        raise _refused(name, f"{entry.shown} needs the option enable_change_history = TRUE")
    holder = catalog.require(cursor, named.project, named.dataset)
    present, began = storage.now(cursor), int(entry.body["_began"])
    start, end = (_moment(one, moment) for one in asked.expressions[1:])
    if name == "CHANGES" and end is None:
        raise _refused(name, "it needs end_timestamp")
    last = present + 1 if end is None else min(end, present + 1)
    first = began if start is None else start
    oldest = present - storage.window(holder.body)
    if max(first, began) < oldest:
        raise _refused(
            name, f"the history of {entry.shown} is kept from {oldest // 1000} on, in milliseconds"
        )
    if end is not None and start is not None and start > end:
        raise _refused(name, "start_timestamp must not be behind end_timestamp")
    return entry, _changes(entry, max(first, began), last, appended=name == "APPENDS")


def _moment(one: exp.Expr, moment: Callable[[exp.Expr], int]) -> int | None:
    inner = one.this if isinstance(one, exp.Cast) else one
    return None if isinstance(inner, exp.Null) else moment(one)


def _changes(entry: Entry, first: int, last: int, *, appended: bool) -> str:
    shown = storage.names(entry.fields)

    def rows(place: str, kind: str, when: str, condition: str) -> str:
        return (
            f"SELECT {shown}, {kind} AS _CHANGE_TYPE, make_timestamp({when}) AT TIME ZONE 'UTC' AS _CHANGE_TIMESTAMP "
            f"FROM {place} WHERE {when} >= {first} AND {when} < {last}{condition}"
        )

    kind = "'INSERT'" if appended else f"CASE WHEN {WAS} IS NOT NULL THEN 'UPDATE' ELSE 'INSERT' END"
    written = f" AND {WAS} IS NULL" if appended else ""
    parts = [rows(entry.place, kind, AT, written)]
    if storage.has_past(entry):
        past = storage.past(entry.storage)
        parts.append(rows(past, kind, AT, written))
        if not appended:
            parts.append(rows(past, "'DELETE'", UNTIL, f" AND {DELETED}"))
    return " UNION ALL ".join(parts)
