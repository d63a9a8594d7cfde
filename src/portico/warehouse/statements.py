"""One statement of GoogleSQL: what it does to the warehouse, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Callable

import duckdb
from sqlglot import exp

from portico.errors import InvalidArgument, PorticoError, Unimplemented
from portico.warehouse import catalog
from portico.warehouse.alterations import Alteration
from portico.warehouse.dialect import parse
from portico.warehouse.queries import Done, bind
from portico.warehouse.tables import key_of


class Statement(Alteration):
    """One statement, in the caller's transaction."""

    def run(self) -> Done:
        """
        Raises:
            PorticoError: on what BigQuery refuses, in its words where known.
        """
        tree = self._tree = _plain(self._tree)
        if self._asked.positional or tree.find(exp.Placeholder):
            bind(tree, self._asked.positional)
        for kinds, method in _METHODS:
            if isinstance(tree, kinds):
                done = method(self)
                done.read = self._read
                return done
        words = tree.sql("bigquery").split(None, 2)[:2]
        raise Unimplemented(f"The statement {' '.join(words).upper()} is not built in Portico yet.")

    # --- changes of rows ---

    def change(self) -> Done:
        tree = self._tree
        kind = tree.key.upper()
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        entry = catalog.require(self._cursor, *key_of(self.entry(target)))
        if (what := entry.body.get("type", "TABLE")) != "TABLE":
            raise InvalidArgument(
                f"{kind} is not allowed on {entry.shown}: it is a {what}", reason="invalidQuery"
            )
        if isinstance(tree, exp.Update | exp.Delete) and tree.args.get("where") is None:
            raise InvalidArgument(f"{kind} must have a WHERE clause", reason="invalidQuery")
        translated = self._translator().query(tree, outermost=False)
        for one in translated.find_all(exp.EQ) if isinstance(tree, exp.Update) else ():
            if one.parent is translated and isinstance(one.this, exp.Column):
                one.this.set("table", None)
        sql = translated.sql("duckdb")
        if self._asked.dry:
            catalog.do(self._cursor, f"EXPLAIN {sql}")
            return Done(kind, target=entry)
        row = catalog.first(self._cursor, sql)
        affected = int(row[0]) if row else 0
        name = {"INSERT": "insertedRowCount", "UPDATE": "updatedRowCount", "DELETE": "deletedRowCount"}.get(
            kind
        )
        return Done(kind, affected=affected, counts={name: affected} if name else {}, target=entry)

    def truncate(self) -> Done:
        [table] = self._tree.expressions
        entry = catalog.require(self._cursor, *key_of(self.entry(table)))
        row = None if self._asked.dry else catalog.first(self._cursor, f"DELETE FROM {entry.place}")
        affected = int(row[0]) if row else 0
        return Done("TRUNCATE_TABLE", affected=affected, counts={"deletedRowCount": affected}, target=entry)


def _plain(tree: exp.Expr) -> exp.Expr:
    """CREATE and DROP SNAPSHOT TABLE as of a table, marked: sqlglot knows no snapshots."""
    if not isinstance(tree, exp.Command):
        return tree
    text = f"{tree.this} {tree.expression}"
    if not re.match(r"(?i)(create|drop)\s+snapshot\s+table\b", text):
        return tree
    [found] = parse(re.sub(r"(?i)\bsnapshot\s+", "", text, count=1))
    found.meta["snapshot"] = True
    return found


_METHODS: tuple[tuple[tuple[type[exp.Expr], ...], Callable[[Statement], Done]], ...] = (
    ((exp.Select, exp.SetOperation, exp.Subquery), Statement.select),
    ((exp.Create,), Statement.create),
    ((exp.Drop,), Statement.drop),
    ((exp.Alter,), Statement.alter),
    ((exp.Insert, exp.Update, exp.Delete, exp.Merge), Statement.change),
    ((exp.TruncateTable,), Statement.truncate),
)


def refused(error: duckdb.Error) -> PorticoError:
    """A DuckDB error as BigQuery tells it."""
    text = str(error).split("\n\nLINE ")[0]
    text = text.split("UDF: ValueError: ")[-1] if "UDF: ValueError" in text else text.split(" Error: ", 1)[-1]
    first = text.split("\n")[0].replace("GS_", "").replace("gs_", "")
    if "does not support the supplied arguments" in first:
        name = first.split("(")[0].removeprefix("Macro ").upper()
        first = f"No matching signature for function or operator {name} for these argument types"
    return InvalidArgument(first, reason="invalidQuery")
