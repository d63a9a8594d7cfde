"""CREATE and DROP of tables, views and datasets."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
from sqlglot import exp

from portico.errors import InvalidArgument, NotFound, Unimplemented
from portico.warehouse import (
    access,
    assignments,
    catalog,
    commands,
    constraints,
    external,
    guard,
    locations,
    options,
    partitions,
    storage,
    timetravel,
)
from portico.warehouse.asked import Done
from portico.warehouse.catalog import Entry
from portico.warehouse.defaults import Defaults
from portico.warehouse.models.syntax import written
from portico.warehouse.types import Field, field_of_expression


class Definition(Defaults):
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
            columns = schema.find_all(exp.ColumnDef) if isinstance(schema, exp.Schema) else ()
            fields = [self._column(one) for one in columns if one.parent is schema] or before.fields
            return Done(name, fields, target=before, operation="SKIP")
        if special == "EXTERNAL":
            return self._create_external(entry, schema, replace=replace, before=before)
        entry.body = self._options(special.replace("_", " ") if special == "MATERIALIZED_VIEW" else kind)
        source = self._source()
        select = ""
        if kind == "VIEW":
            self._viewed(entry, query, special)
        elif query is not None:
            if not isinstance(schema, exp.Schema):
                _check_named(query)
            select = self._query_sql(query)
            entry.body["schema"] = {"fields": self._described(select)}
        elif source is not None:
            select = self._like(entry, source)
        if isinstance(schema, exp.Schema) and kind == "TABLE":
            self._declared(entry, schema)
            if query is not None and schema.find(exp.ColumnDef):
                select = self._fitted(query, select, entry.fields)
        partitions.check(entry)
        if not entry.fields:
            raise InvalidArgument("CREATE TABLE needs columns or a query", reason="invalidQuery")
        done = Done(name, entry.fields, target=entry, operation="REPLACE" if before else "CREATE")
        if kind == "TABLE":
            done.scanned = self.measured()
        if not self._asked.dry:
            partitioned = source is not None and bool(storage.ingested_by(source))
            catalog.create_table(self._cursor, entry, replace=replace, select=select, partitioned=partitioned)
        return done

    def _create_external(
        self, entry: Entry, schema: exp.Expr, *, replace: bool, before: Entry | None
    ) -> Done:
        properties = self._tree.args.get("properties")
        given = self._values(options.of_properties(properties.expressions if properties is not None else []))
        told, said = options.external(given)
        if isinstance(schema, exp.Schema):
            columns = [one for one in schema.expressions if isinstance(one, exp.ColumnDef)]
            told["schema"] = {"fields": [self._column(one) for one in columns]}
        fields = external.schema(told, self._asked.outside)
        entry.body = {
            **options.body("TABLE", said), "type": "EXTERNAL", "externalDataConfiguration": told,
            "schema": {"fields": fields},
        }  # fmt: skip
        if not self._asked.dry:
            catalog.create_table(self._cursor, entry, replace=replace)
        return Done(
            "CREATE_EXTERNAL_TABLE", fields, target=entry, operation="REPLACE" if before else "CREATE"
        )

    def _viewed(self, entry: Entry, query: exp.Expr, special: str) -> None:
        entry.body["type"] = special or "VIEW"
        text = written(query.sql("bigquery"))
        if special:  # computed when it is read: never stale
            entry.body["materializedView"] = {**(entry.body.get("materializedView") or {}), "query": text}
        else:
            entry.body["view"] = {"query": text, "useLegacySql": False}
        fields = self._described(self._query_sql(query))
        columns = self._tree.this.expressions if isinstance(self._tree.this, exp.Schema) else []
        if columns:
            if len(columns) != len(fields):
                raise InvalidArgument(
                    f"The view has {len(columns)} columns, its query {len(fields)}", reason="invalidQuery"
                )
            for column, field in zip(columns, fields, strict=True):
                field["name"] = column.name
                for constraint in column.args.get("constraints") or ():
                    field |= _described_by(constraint.args["kind"])
            entry.body["_columns"] = {"query": text, "names": [one.name for one in columns]}
        entry.body["schema"] = {"fields": fields}

    def _like(self, entry: Entry, source: Entry) -> str:
        """What a table takes over of the one that LIKE, CLONE or COPY names; a query of the rows."""
        entry.body = {**{key: source.body[key] for key in _KEPT if key in source.body}, **entry.body}
        clone = self._tree.args.get("clone")
        if clone is None:
            return ""
        access.require_all(source, self._asked.caller, "a clone")
        fields, select = self._cloned(source)
        entry.body["schema"] = {"fields": fields}
        base = {"projectId": source.project, "datasetId": source.dataset, "tableId": source.table}
        at = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
        if self._special() == "SNAPSHOT":
            entry.body |= {
                "type": "SNAPSHOT",
                "snapshotDefinition": {"baseTableReference": base, "snapshotTime": at},
            }
        elif not clone.args.get("copy"):
            entry.body["cloneDefinition"] = {"baseTableReference": base, "cloneTime": at}
        return select

    def _fitted(self, query: exp.Expr, select: str, fields: list[Field]) -> str:
        """A query's rows as the declared columns take them, by place."""
        if len(self._described(select)) != len(fields):
            raise InvalidArgument(
                "The number of columns in the column definition list does not match the number of columns produced by "
                "the query",
                reason="invalidQuery",
            )
        shown = query.expressions if isinstance(query, exp.Select) else []
        written = [len(shown) == len(fields) and assignments.is_written(shown[i]) for i in range(len(fields))]
        found = assignments.select_fitted(exp.Var(this=select), written, fields, self._kinds)
        return found.sql("duckdb")

    def _declared(self, entry: Entry, schema: exp.Schema) -> None:
        """The columns and keys that CREATE TABLE spells out."""
        columns = [one for one in schema.expressions if isinstance(one, exp.ColumnDef)]
        if columns:
            entry.body["schema"] = {"fields": [self._column(one) for one in columns]}
        for key in commands.keys(schema):
            other = self._named(key.path) if key.path else None
            constraints.add(self._cursor, entry, key, other)

    def _special(self) -> str:
        """Which kind of table it makes that is none to write to: SNAPSHOT, MATERIALIZED_VIEW."""
        properties = self._tree.args.get("properties")
        if properties is not None and properties.find(exp.MaterializedProperty):
            return "MATERIALIZED_VIEW"
        return str(self._tree.meta.get("kind") or "")

    def _cloned(self, source: Entry) -> tuple[list[Field], str]:
        """The columns and a query of what CLONE and COPY take, now or as of a time."""
        extra = f", {storage.PARTITION}" if storage.ingested_by(source) else ""
        if (when := self._tree.meta.get("moment")) is None:
            return source.fields, f"SELECT {storage.names(source.fields)}{extra} FROM {source.place}"
        found, moment = timetravel.find(self._cursor, source, self._moment(when))
        return storage.at(found, moment, extra)

    def _source(self) -> Entry | None:
        """The table that CLONE, COPY or LIKE names."""
        named = self._tree.find(exp.Clone, exp.LikeProperty)
        if named is None:
            return None
        found = catalog.require(self._cursor, *catalog.key_of(self.entry(named.this)))
        if found.body.get("type", "TABLE") not in ("TABLE", "SNAPSHOT"):
            raise InvalidArgument(f"{found.shown} is no table", reason="invalidQuery")
        self._read.append(found)
        return found

    def _column(self, column: exp.ColumnDef) -> Field:
        found = field_of_expression(column.name, column.args["kind"])
        default = None
        for constraint in column.args.get("constraints") or ():
            kind = constraint.args["kind"]
            if isinstance(kind, exp.NotNullColumnConstraint):
                found["mode"] = "REQUIRED"
            elif isinstance(kind, exp.DefaultColumnConstraint):
                default = kind.this
            elif isinstance(kind, exp.CollateColumnConstraint):
                found["collation"] = kind.this.name
            elif isinstance(kind, exp.Properties):
                found |= _described_by(kind)
            elif not isinstance(kind, exp.PrimaryKeyColumnConstraint | exp.Reference):
                raise Unimplemented(
                    f"The column constraint {constraint.sql('bigquery')} is not built in Portico yet."
                )
        if default is not None:
            self._set_default_of(found, default)
        return found

    def _options(self, kind: str) -> dict[str, Any]:
        """What PARTITION BY, CLUSTER BY and OPTIONS say."""
        body: dict[str, Any] = {}
        properties = self._tree.args.get("properties")
        for one in properties.expressions if properties is not None else ():
            if isinstance(one, exp.PartitionedByProperty):
                body |= _partitioning(one.this)
            elif isinstance(one, exp.CollateProperty):
                body["defaultCollation"] = one.this.name
            elif isinstance(one, exp.ClusterProperty):
                body["clustering"] = {"fields": [column.name for column in one.expressions]}
            elif isinstance(one, exp.TemporaryProperty):
                raise InvalidArgument(
                    "Use of CREATE TEMPORARY TABLE requires a script or session", reason="invalidQuery"
                )
            elif type(one) is not exp.Property and not isinstance(one, _MARKS):
                raise Unimplemented(f"{one.sql('bigquery')} of a {kind.lower()} is not built in Portico yet.")
        given = options.of_properties(properties.expressions) if properties is not None else {}
        given |= self._tree.meta.get("options") or {}
        return merged(body, options.body(kind, self._values(given)))

    def _values(self, given: dict[str, exp.Expr]) -> dict[str, Any]:
        """What the expressions of OPTIONS say.

        Raises:
            InvalidArgument: one is no constant.
        """
        return {name: self._constant(name, value) for name, value in given.items()}

    def _constant(self, name: str, value: exp.Expr) -> Any:
        if isinstance(value, exp.Column | exp.Var) and not value.args.get("table"):
            return value.name  # format = CSV: a bare word is its text
        if value.find(exp.Query):
            raise InvalidArgument(f"The option {name} needs a constant", reason="invalidQuery")
        try:
            row = catalog.first(self._cursor, f"SELECT {self._translator().expression(value).sql('duckdb')}")
        except duckdb.Error:
            raise InvalidArgument(f"The option {name} needs a constant", reason="invalidQuery") from None
        return row[0] if row else None

    def _create_schema(self) -> Done:
        entry = self._dataset(self._tree.this)
        guard.need(entry.project, "", "", "bigquery.datasets.create")
        before = catalog.find(self._cursor, entry.project, entry.dataset)
        if before is not None and self._tree.args.get("exists"):
            return Done("CREATE_SCHEMA", target=before, operation="SKIP")
        properties = self._tree.args.get("properties")
        if properties is not None:
            entry.body = options.body("SCHEMA", self._values(options.of_properties(properties.expressions)))
        entry.body["location"] = self._location(entry, entry.body.get("location"))
        if not self._asked.dry:
            catalog.create_dataset(self._cursor, entry)
        return Done("CREATE_SCHEMA", target=entry, operation="CREATE")

    def _location(self, entry: Entry, said: Any) -> str:
        """Of a new data set: where its job runs, where nothing else is `said`.

        Raises:
            InvalidArgument: there is no such location, or the job runs elsewhere.
        """
        location = locations.canonical(str(said or self._asked.location))
        if (told := locations.told()) and location != told:
            raise InvalidArgument(
                f"Cannot create dataset {entry.shown} in location {location}: the job runs in location {told}",
                reason="invalidQuery",
            )
        return location

    def _dataset(self, table: exp.Table) -> Entry:
        parts = [piece for one in table.parts for piece in one.name.split(".")]
        return Entry(parts[0] if len(parts) > 1 else self._asked.of_datasets, parts[-1], "")

    def drop(self) -> Done:
        kind = str(self._tree.args["kind"]).upper()
        [dropped] = self._tree.args.get("tables") or [self._tree.this]
        if kind == "SCHEMA":
            entry = self._dataset(dropped)
            guard.need(entry.project, entry.dataset, "", "bigquery.datasets.delete")
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


_KEPT = (
    "schema", "timePartitioning", "rangePartitioning", "clustering", "description", "labels", "requirePartitionFilter",
    "friendlyName",
)  # fmt: skip
_NO_COLUMNS = ("_PARTITIONDATE", "_PARTITIONTIME")  # in PARTITION BY
_MARKS = (exp.LikeProperty, exp.MaterializedProperty, exp.ExternalProperty, exp.FileFormatProperty)
_NAMES = {"SNAPSHOT": "CREATE_SNAPSHOT_TABLE", "MATERIALIZED_VIEW": "CREATE_MATERIALIZED_VIEW"}


def _described_by(properties: exp.Expr) -> dict[str, str]:
    said = {
        one.name.lower(): one.args["value"].name
        for one in properties.expressions
        if isinstance(one, exp.Property)
    }
    return {"description": said["description"]} if "description" in said else {}


def _partitioning(written: exp.Expr) -> dict[str, Any]:
    columns = [one.name for one in written.dfs() if isinstance(one, exp.Identifier)]
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
    column = (
        columns[0] if columns and columns[0].upper() not in _NO_COLUMNS else ""
    )  # behind it stands the unit
    return {"timePartitioning": {"type": kind, **({"field": column} if column else {})}}


def merged(body: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`body` with what `change` says; None removes."""
    made = dict(body)
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(made.get(key), dict) and key != "labels":
            made[key] = merged(made[key], value)
        elif value is None:
            made.pop(key, None)
        else:
            made[key] = value
    return made


def _check_named(query: exp.Expr) -> None:
    """
    Raises:
        InvalidArgument: a column of what is to be a table has no name.
    """
    while isinstance(query, exp.SetOperation | exp.Subquery | exp.Paren):
        query = query.this
    if query.args.get("kind"):
        raise InvalidArgument(
            f"SELECT AS {query.args['kind']} is not supported as the query of CREATE TABLE: put SELECT * FROM ( … ) "
            "around it",
            reason="invalidQuery",
        )
    for place, one in enumerate(query.expressions if isinstance(query, exp.Select) else (), 1):
        kinds = exp.Literal | exp.Binary | exp.Null | exp.Boolean | exp.Anonymous | exp.Cast
        if isinstance(one.unnest(), kinds) and not isinstance(one.unnest(), exp.Dot):
            raise InvalidArgument(
                f"CREATE TABLE columns must be named, but column {place} has no name", reason="invalidQuery"
            )
