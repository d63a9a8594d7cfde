"""CREATE and DROP of tables, views and datasets."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument, NotFound, Unimplemented
from portico.warehouse import catalog
from portico.warehouse.catalog import Entry
from portico.warehouse.queries import Done, Query
from portico.warehouse.types import Field, field_of_expression


class Definition(Query):
    """A statement that makes or drops."""

    def create(self) -> Done:
        kind = str(self._tree.args["kind"]).upper()
        if kind == "SCHEMA":
            return self._create_schema()
        if kind not in ("TABLE", "VIEW"):
            raise Unimplemented(f"CREATE {kind} is not built in Portico yet.")
        schema = self._tree.this
        table = schema.this if isinstance(schema, exp.Schema) else schema
        entry = self.entry(table)
        replace, exists_ok = bool(self._tree.args.get("replace")), bool(self._tree.args.get("exists"))
        before = catalog.find(self._cursor, entry.project, entry.dataset, entry.table)
        query = self._tree.expression
        special = self._special()
        name = _NAMES.get(special, f"CREATE_{kind}") + (
            "_AS_SELECT" if kind == "TABLE" and query is not None else ""
        )
        if before is not None and exists_ok:
            return Done(name, target=before, operation="SKIP")
        entry.body = self._options(kind)
        select = ""
        if kind == "VIEW":
            entry.body["type"] = special or "VIEW"
            text = query.sql("bigquery")
            if special:  # computed when it is read: never stale
                entry.body["materializedView"] = {"query": text}
            else:
                entry.body["view"] = {"query": text, "useLegacySql": False}
            entry.body["schema"] = {"fields": self._described(self._query_sql(query))}
        elif query is not None:
            select = self._query_sql(query)
            entry.body["schema"] = {"fields": self._described(select)}
        elif (source := self._source()) is not None:
            kept = ("schema", "timePartitioning", "rangePartitioning", "clustering", "description", "labels")
            entry.body = {**{key: source.body[key] for key in kept if key in source.body}, **entry.body}
            if self._tree.args.get("clone") is not None:
                select = f"SELECT * FROM {source.place}"
        if special == "SNAPSHOT":
            entry.body["type"] = special
        if isinstance(schema, exp.Schema) and kind == "TABLE":
            columns = [one for one in schema.expressions if isinstance(one, exp.ColumnDef)]
            if columns:
                entry.body["schema"] = {"fields": [self._column(one) for one in columns]}
        if not entry.fields:
            raise InvalidArgument("CREATE TABLE needs columns or a query", reason="invalidQuery")
        done = Done(name, entry.fields, target=entry, operation="REPLACE" if before else "CREATE")
        if self._asked.dry:
            return done
        catalog.create_table(self._cursor, entry, replace=replace, select=select)
        return done

    def _special(self) -> str:
        """Which kind of table it makes that is none to write to: SNAPSHOT, MATERIALIZED_VIEW."""
        properties = self._tree.args.get("properties")
        if properties is not None and properties.find(exp.MaterializedProperty):
            return "MATERIALIZED_VIEW"
        return "SNAPSHOT" if self._tree.meta.get("snapshot") else ""

    def _source(self) -> Entry | None:
        """The table that CLONE, COPY or LIKE names."""
        named = self._tree.find(exp.Clone, exp.LikeProperty)
        if named is None:
            return None
        found = catalog.require(self._cursor, *key_of(self.entry(named.this)))
        if found.body.get("type", "TABLE") not in ("TABLE", "SNAPSHOT"):
            raise InvalidArgument(f"{found.shown} is no table", reason="invalidQuery")
        self._read.append(found)
        return found

    def _column(self, column: exp.ColumnDef) -> Field:
        found = field_of_expression(column.name, column.args["kind"])
        for constraint in column.args.get("constraints") or ():
            kind = constraint.kind
            if isinstance(kind, exp.NotNullColumnConstraint):
                found["mode"] = "REQUIRED"
            elif isinstance(kind, exp.DefaultColumnConstraint):
                found["defaultValueExpression"] = kind.this.sql("bigquery")
                found["_default"] = self._translator().expression(kind.this).sql("duckdb")
            elif isinstance(kind, exp.Properties):
                found |= _described_by(kind)
            elif not isinstance(kind, exp.PrimaryKeyColumnConstraint):
                raise Unimplemented(
                    f"The column constraint {constraint.sql('bigquery')} is not built in Portico yet."
                )
        return found

    def _options(self, kind: str) -> dict[str, Any]:
        """What PARTITION BY, CLUSTER BY and OPTIONS say."""
        body: dict[str, Any] = {}
        properties = self._tree.args.get("properties")
        for one in properties.expressions if properties is not None else ():
            if isinstance(one, exp.PartitionedByProperty):
                body |= _partitioning(one.this)
            elif isinstance(one, exp.ClusterProperty):
                body["clustering"] = {"fields": [column.name for column in one.expressions]}
            elif isinstance(one, exp.Property) and one.name.lower() in ("description", "friendly_name"):
                body["description" if one.name.lower() == "description" else "friendlyName"] = one.args[
                    "value"
                ].name
            elif isinstance(one, exp.Property) and one.name.lower() == "labels":
                body["labels"] = {
                    pair.expressions[0].name: pair.expressions[1].name
                    for pair in one.args["value"].expressions
                }
            elif isinstance(one, exp.TemporaryProperty):
                raise InvalidArgument(
                    "Use of CREATE TEMPORARY TABLE requires a script or session", reason="invalidQuery"
                )
            elif not isinstance(one, exp.LikeProperty | exp.MaterializedProperty):
                raise Unimplemented(
                    f"The option {one.sql('bigquery')} of a table is not built in Portico yet."
                )
        return body

    def _create_schema(self) -> Done:
        entry = self._dataset(self._tree.this)
        before = catalog.find(self._cursor, entry.project, entry.dataset)
        if before is not None and self._tree.args.get("exists"):
            return Done("CREATE_SCHEMA", target=before, operation="SKIP")
        if not self._asked.dry:
            catalog.create_dataset(self._cursor, entry)
        return Done("CREATE_SCHEMA", target=entry, operation="CREATE")

    def _dataset(self, table: exp.Table) -> Entry:
        parts = [piece for one in table.parts for piece in one.name.split(".")]
        return Entry(parts[0] if len(parts) > 1 else self._asked.project, parts[-1], "")

    def drop(self) -> Done:
        kind = str(self._tree.args["kind"]).upper()
        [dropped] = self._tree.args.get("tables") or [self._tree.this]
        if kind == "SCHEMA":
            entry = self._dataset(dropped)
            found = catalog.find(self._cursor, entry.project, entry.dataset)
        elif kind in ("TABLE", "VIEW"):
            entry = self.entry(dropped)
            found = catalog.find(self._cursor, entry.project, entry.dataset, entry.table)
        else:
            raise Unimplemented(f"DROP {kind} is not built in Portico yet.")
        if found is None:
            if self._tree.args.get("exists"):
                return Done(f"DROP_{kind}", target=entry, operation="SKIP")
            catalog.require(self._cursor, entry.project, entry.dataset, entry.table)
            raise NotFound(f"Not found: {kind.title()} {entry.shown}", reason="notFound")
        asked = "MATERIALIZED_VIEW" if self._tree.args.get("materialized") else self._special() or kind
        if kind != "SCHEMA" and (what := found.body.get("type", "TABLE")) != asked:
            raise InvalidArgument(
                f"Cannot drop {entry.shown} as a {asked}: it is a {what}", reason="invalidQuery"
            )
        if not self._asked.dry:
            if kind == "SCHEMA":
                catalog.drop_dataset(self._cursor, found, contents=bool(self._tree.args.get("cascade")))
            else:
                catalog.drop_table(self._cursor, found)
        name = _NAMES.get(asked, f"CREATE_{kind}").replace("CREATE", "DROP")
        return Done(name, target=found, operation="DROP")


_NAMES = {"SNAPSHOT": "CREATE_SNAPSHOT_TABLE", "MATERIALIZED_VIEW": "CREATE_MATERIALIZED_VIEW"}


def key_of(entry: Entry) -> tuple[str, str, str]:
    return entry.project, entry.dataset, entry.table


def _described_by(properties: exp.Expr) -> dict[str, str]:
    said = {
        one.name.lower(): one.args["value"].name
        for one in properties.expressions
        if isinstance(one, exp.Property)
    }
    return {"description": said["description"]} if "description" in said else {}


def _partitioning(written: exp.Expr) -> dict[str, Any]:
    columns = [one.name for one in written.find_all(exp.Identifier)]
    text = written.sql("bigquery").upper()
    if "RANGE_BUCKET" in text:
        bounds = [one.name for one in written.find_all(exp.Literal)]
        interval = bounds[2] if len(bounds) > 2 else "1"
        return {
            "rangePartitioning": {
                "field": columns[0],
                "range": {"start": bounds[0], "end": bounds[1], "interval": interval},
            }
        }
    kind = next((unit for unit in ("HOUR", "MONTH", "YEAR") if f", {unit})" in text), "DAY")
    column = next(
        (one for one in columns if one.upper() not in ("HOUR", "DAY", "MONTH", "YEAR", "_PARTITIONDATE")), ""
    )
    return {"timePartitioning": {"type": kind, **({"field": column} if column else {})}}
