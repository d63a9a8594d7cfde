"""One statement of GoogleSQL: what it does to the warehouse, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from portico.errors import AlreadyExists, InvalidArgument, NotFound, PorticoError, Unimplemented
from portico.warehouse import catalog, routines
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.dialect import parse
from portico.warehouse.functions import is_function
from portico.warehouse.information_schema import view
from portico.warehouse.names import substitute, system_variables
from portico.warehouse.routines import Inliner, Routine
from portico.warehouse.translate import Translator
from portico.warehouse.types import Field, field_of, field_of_expression, quoted

_DEPTH = 16  # views of views


@dataclass(slots=True)
class Asked:
    """In which setting a statement runs."""

    project: str
    dataset: str = ""  # the default one, as PROJECT.DATASET or DATASET
    parameters: dict[str, exp.Expr] = field(default_factory=dict)
    positional: list[exp.Expr] = field(default_factory=list)
    dry: bool = False
    variables: dict[str, exp.Expr] = field(default_factory=dict)  # of its script, by lower-case name
    system: dict[str, exp.Expr] = field(default_factory=dict)  # @@variables
    functions: dict[str, Routine] = field(default_factory=dict)  # temporary ones, by lower-case name
    temporary: str = ""  # the hidden dataset of its script's temporary tables


@dataclass(slots=True)
class Done:
    """What a statement gave. `kind` is BigQuery's statementType, `target` what a DDL statement made or changed."""

    kind: str
    fields: list[Field] = field(default_factory=list)
    rows: pa.Table | None = None
    affected: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    target: Entry | None = None
    operation: str = ""
    read: list[Entry] = field(default_factory=list)
    routine: Routine | None = None
    text: str = ""  # of a statement of a script
    children: int = 0  # how many statements a SCRIPT ran


class Statement:
    """One statement, in the caller's transaction."""

    def __init__(self, cursor: Cursor, asked: Asked, tree: exp.Expr) -> None:
        self._cursor = cursor
        self._asked = asked
        self._tree = tree
        self._read: list[Entry] = []

    def run(self) -> Done:
        """
        Raises:
            PorticoError: on what BigQuery refuses, in its words where known.
        """
        tree = self._tree = _plain(self._tree)
        if self._asked.positional or tree.find(exp.Placeholder):
            _bind(tree, self._asked.positional)
        for kinds, method in _METHODS:
            if isinstance(tree, kinds):
                done = method(self)
                done.read = self._read
                return done
        words = tree.sql("bigquery").split(None, 2)[:2]
        raise Unimplemented(f"The statement {' '.join(words).upper()} is not built in Portico yet.")

    # --- names ---

    def entry(self, table: exp.Table) -> Entry:
        """The name that a statement gives a table; whether there is one is not asked."""
        return self._named([piece for one in table.parts for piece in one.name.split(".")])

    def _named(self, parts: list[str]) -> Entry:
        default = self._asked.dataset.split(".") if self._asked.dataset else []
        if temporary := self._temporary(parts):
            return temporary
        if len(parts) == 1 and not default:
            raise InvalidArgument(
                f'Table "{parts[0]}" must be qualified with a dataset (e.g. dataset.table).', reason="invalid"
            )
        if len(parts) == 1:
            parts = [*default, *parts]
        if len(parts) == 2:
            parts = [self._asked.project, *parts]
        if len(parts) > 3:
            parts = [".".join(parts[:-2]), *parts[-2:]]
        return Entry(parts[0], parts[1], parts[2])

    def _temporary(self, parts: list[str]) -> Entry | None:
        """The temporary table of its script that is named so."""
        if not self._asked.temporary or (len(parts) != 1 and parts[0].upper() != "_SESSION"):
            return None
        return catalog.find(self._cursor, self._asked.project, self._asked.temporary, parts[-1])

    def _columns(self, parts: list[str]) -> set[str]:
        """The columns of a table, in lower case; none where there is no such table."""
        try:
            if view(self._cursor, self._asked.project, self._asked.dataset, parts) is not None:
                found = self._described(f"SELECT * FROM {self._table(parts).sql('duckdb')} AS t")
            else:
                entry = self._named(parts)
                known = catalog.find(self._cursor, entry.project, entry.dataset, entry.table)
                found = known.fields if known is not None else []
        except PorticoError:
            return set()
        return {one["name"].lower() for one in found}

    def _routine(self, path: list[str]) -> Routine | None:
        """The routine that a call names; None for a function of GoogleSQL's own."""
        if len(path) == 1:
            if path[0].lower() in self._asked.functions:
                return self._asked.functions[path[0].lower()]
            if is_function(path[0]):
                return None
            path = [*(self._asked.dataset.split(".") if self._asked.dataset else []), *path]
        if len(path) == 1:
            return None
        project = ".".join(path[:-2]) or self._asked.project
        return routines.find(self._cursor, project, path[-2], path[-1])

    def _prepared(self, tree: exp.Expr) -> exp.Expr:
        """The tree with the values of variables and the bodies of functions in it."""
        tree = system_variables(substitute(tree, self._asked.variables, self._columns), self._asked.system)
        return Inliner(self._routine, self._columns).inline(tree)

    def _table(self, parts: list[str], depth: int = 0) -> exp.Expr:
        if (special := view(self._cursor, self._asked.project, self._asked.dataset, parts)) is not None:
            return special
        named = self._named(parts)
        if named.table.endswith("*"):
            return self._wildcard(named)
        entry = catalog.require(self._cursor, named.project, named.dataset, named.table)
        self._read.append(entry)
        if entry.is_view:
            if depth > _DEPTH:
                raise InvalidArgument("Views are nested too deeply", reason="invalidQuery")
            [query] = parse(entry.query)
            inner = Statement(self._cursor, Asked(entry.project, f"{entry.project}.{entry.dataset}"), query)
            found = Translator(lambda names: inner._table(names, depth + 1), prepare=inner._prepared).query(
                query
            )
            return exp.Subquery(this=found)
        return _place(entry)

    def _wildcard(self, named: Entry) -> exp.Expr:
        """All tables that begin so, with what follows as `_TABLE_SUFFIX`; the columns are those of the last made."""
        prefix = named.table[:-1]
        listed = catalog.listed(self._cursor, named.project, named.dataset)
        found = [
            one for one in listed if one.table.startswith(prefix) and one.body.get("type", "TABLE") == "TABLE"
        ]
        if not found:
            raise NotFound(f"Not found: {named.shown} matches no table", reason="notFound")
        self._read += found
        newest = max(found, key=lambda one: int(one.body["creationTime"]))
        selects = []
        for one in found:
            have = {field["name"].lower() for field in one.fields}
            cells = ", ".join(
                quoted(field["name"]) if field["name"].lower() in have else f"NULL AS {quoted(field['name'])}"
                for field in newest.fields
            )
            suffix = exp.Literal.string(one.table.removeprefix(prefix)).sql("duckdb")
            selects.append(f"SELECT {cells}, {suffix} AS _TABLE_SUFFIX FROM {one.place}")
        together: exp.Expr = exp.maybe_parse(" UNION ALL ".join(selects), dialect="duckdb")
        return exp.Subquery(this=together)

    def _translator(self) -> Translator:
        return Translator(self._table, self._asked.parameters, prepare=self._prepared)

    # --- queries ---

    def _query_sql(self, tree: exp.Expr) -> str:
        return self._translator().query(tree).sql("duckdb", identify=False)

    def translated(self, tree: exp.Expr) -> str:
        """A query as DuckDB's SQL."""
        if self._asked.positional or tree.find(exp.Placeholder):
            _bind(tree, self._asked.positional)
        return self._query_sql(tree)

    def _described(self, sql: str) -> list[Field]:
        return _fields(self._cursor.sql(sql).description)

    def select(self) -> Done:
        sql = self._query_sql(self._tree)
        if self._asked.dry:
            return Done("SELECT", self._described(sql))
        ran = self._cursor.sql(sql)
        fields = _fields(ran.description)
        return Done("SELECT", fields, ran.to_arrow_table())

    # --- definitions ---

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
        found = catalog.require(self._cursor, *_key(self.entry(named.this)))
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

    # --- changes of rows ---

    def change(self) -> Done:
        tree = self._tree
        kind = tree.key.upper()
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        entry = catalog.require(self._cursor, *_key(self.entry(target)))
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
        entry = catalog.require(self._cursor, *_key(self.entry(table)))
        row = None if self._asked.dry else catalog.first(self._cursor, f"DELETE FROM {entry.place}")
        affected = int(row[0]) if row else 0
        return Done("TRUNCATE_TABLE", affected=affected, counts={"deletedRowCount": affected}, target=entry)


_NAMES = {"SNAPSHOT": "CREATE_SNAPSHOT_TABLE", "MATERIALIZED_VIEW": "CREATE_MATERIALIZED_VIEW"}


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


def _key(entry: Entry) -> tuple[str, str, str]:
    return entry.project, entry.dataset, entry.table


def _place(entry: Entry) -> exp.Table:
    return exp.Table(
        this=exp.to_identifier(entry.table, quoted=True),
        db=exp.to_identifier(f"{entry.project}:{entry.dataset}", quoted=True),
        catalog=exp.to_identifier(catalog.FILE),
    )


def _fields(description: Any) -> list[Field]:
    found = [field_of(str(one[0]), str(one[1])) for one in description]
    names = [one["name"].lower() for one in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument(
                f"Duplicate column names in the result are not supported when a destination table is present. Found "
                f"duplicate(s): {name}",
                reason="invalidQuery",
            )
    return found


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


def _bind(tree: exp.Expr, values: list[exp.Expr]) -> None:
    places = [one for one in tree.dfs() if isinstance(one, exp.Placeholder)]
    if len(places) > len(values):
        raise InvalidArgument(
            f"Not enough positional parameters: the query has {len(places)}, {len(values)} are given",
            reason="invalidQuery",
        )
    for place, value in zip(places, values, strict=False):
        place.replace(value.copy())


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
