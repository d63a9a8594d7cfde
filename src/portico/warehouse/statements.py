"""One statement of GoogleSQL: what it does to the warehouse, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable

import duckdb
from sqlglot import exp

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse import commands, missing_names
from portico.warehouse.alterations import Alteration
from portico.warehouse.asked import Done, bind
from portico.warehouse.changes import Change
from portico.warehouse.grants import Grants
from portico.warehouse.tokens import Tokens
from portico.warehouse.transfers import Transfer


class Statement(Alteration, Change, Grants, Transfer):
    """One statement, in the caller's transaction."""

    def run(self) -> Done:
        """
        Raises:
            PorticoError: on what BigQuery refuses, in its words where known.
        """
        if isinstance(self._tree, exp.Command):
            self._tree = commands.plain(self._tree)
        try:
            done = self._ran(self._tree)
        except duckdb.BinderException as error:
            raise missing_names.told(self._cursor, self._tree, self._translated, error) from None
        done.read = self._read
        return done

    def _ran(self, tree: exp.Expr) -> Done:
        if isinstance(tree, exp.Command):
            text = commands.text_of(tree)
            if command := _COMMANDS.get(tree.name):
                return command(self, Tokens(text))
        else:
            if self._asked.positional or tree.find(exp.Placeholder):
                bind(tree, self._asked.positional)
            for kinds, method in _METHODS:
                if isinstance(tree, kinds):
                    return method(self)
            first = (tree.sql("bigquery").split() or [""])[0]
            raise InvalidArgument(
                f"Syntax error: Unexpected {'identifier ' if first.isidentifier() else ''}{json.dumps(first)}",
                reason="invalidQuery",
            )
        raise Unimplemented(
            f"The statement {' '.join(text.split(None, 2)[:2]).upper()} is not built in Portico yet."
        )


_METHODS: tuple[tuple[tuple[type[exp.Expr], ...], Callable[[Statement], Done]], ...] = (
    ((exp.Select, exp.SetOperation, exp.Subquery), Statement.select),
    ((exp.Create,), Statement.create),
    ((exp.Drop,), Statement.drop),
    ((exp.Insert, exp.Update, exp.Delete, exp.Merge), Statement.change),
    ((exp.TruncateTable,), Statement.truncate),
    ((exp.Export,), Statement.export),
)
_COMMANDS: dict[str, Callable[[Statement, Tokens], Done]] = {
    "ALTER": Statement.alter, "UNDROP": Statement.undrop, "LOAD": Statement.load,
    "CREATE": Statement.create_policy, "DROP": Statement.drop_policy,
    "GRANT": Statement.grant, "REVOKE": Statement.grant,
}  # fmt: skip
