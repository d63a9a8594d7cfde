"""ALTER of tables."""

from __future__ import annotations

from sqlglot import exp

from portico.errors import AlreadyExists, InvalidArgument, Unimplemented
from portico.warehouse import catalog
from portico.warehouse.catalog import Entry
from portico.warehouse.queries import Done
from portico.warehouse.tables import Definition
from portico.warehouse.types import quoted


class Alteration(Definition):
    """A statement that changes what is there."""

    def alter(self) -> Done:
        if str(self._tree.args["kind"]).upper() != "TABLE":
            raise Unimplemented(f"ALTER {self._tree.args['kind']} is not built in Portico yet.")
        entry = self.entry(self._tree.this)
        found = catalog.find(self._cursor, entry.project, entry.dataset, entry.table)
        if found is None:
            if self._tree.args.get("exists"):
                return Done("ALTER_TABLE", target=entry, operation="SKIP")
            found = catalog.require(self._cursor, entry.project, entry.dataset, entry.table)
        if not self._asked.dry:
            for action in self._tree.args["actions"]:
                self._alter_one(found, action)
        return Done("ALTER_TABLE", target=found, operation="ALTER")

    def _alter_one(self, found: Entry, action: exp.Expr) -> None:
        fields = found.fields
        if isinstance(action, exp.ColumnDef):
            if any(one["name"].lower() == action.name.lower() for one in fields):
                if action.args.get("exists"):
                    return
                raise InvalidArgument(f"Column already exists: {action.name}", reason="invalidQuery")
            catalog.add_fields(self._cursor, found, [*fields, self._column(action)])
        elif isinstance(action, exp.Drop) and str(action.args["kind"]).upper() == "COLUMN":
            column = (action.args.get("tables") or action.expressions or [action.this])[0].name
            left = [one for one in fields if one["name"].lower() != column.lower()]
            if len(left) == len(fields):
                if action.args.get("exists"):
                    return
                raise InvalidArgument(f"Column not found: {column}", reason="invalidQuery")
            catalog.do(self._cursor, f"ALTER TABLE {found.place} DROP COLUMN {quoted(column)}")
            found.body["schema"] = {"fields": left}
            catalog.write(self._cursor, found)
        elif isinstance(action, exp.RenameColumn):
            old, new = action.this.name, action.args["to"].name
            catalog.do(
                self._cursor, f"ALTER TABLE {found.place} RENAME COLUMN {quoted(old)} TO {quoted(new)}"
            )
            for one in fields:
                if one["name"].lower() == old.lower():
                    one["name"] = new
            found.body["schema"] = {"fields": fields}
            catalog.write(self._cursor, found)
        elif isinstance(action, exp.AlterRename):
            renamed = Entry(found.project, found.dataset, action.this.name, found.body)
            if catalog.find(self._cursor, renamed.project, renamed.dataset, renamed.table) is not None:
                raise AlreadyExists(f"Already Exists: Table {renamed.shown}", reason="duplicate")
            catalog.do(self._cursor, f"CREATE TABLE {renamed.place} AS FROM {found.place}")
            catalog.drop_table(self._cursor, found)
            catalog.write(self._cursor, renamed)
        else:
            raise Unimplemented(f"ALTER TABLE … {action.sql('bigquery')} is not built in Portico yet.")
