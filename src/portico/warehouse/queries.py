"""What a statement reads: the names in it, the tables behind them, and its queries as DuckDB's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument, NotFound, PermissionDenied, PorticoError, Unimplemented
from portico.warehouse import (
    access,
    cached_results,
    catalog,
    external,
    external_queries,
    guard,
    histories,
    intervals,
    partitions,
    plans,
    prediction_logs,
    routines,
    scans,
    storage,
    sums,
    timetravel,
    tokens,
)
from portico.warehouse.asked import Asked, Done, bind
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.column_names import of_result
from portico.warehouse.dialect import parse
from portico.warehouse.functions import is_function
from portico.warehouse.information_schema import view
from portico.warehouse.inlining import Inliner
from portico.warehouse.models import logical, preprocessing
from portico.warehouse.models.calls import Calls
from portico.warehouse.names import substitute, system_variables
from portico.warehouse.pseudo_columns import check_filter, exclude, mentioned, pseudo
from portico.warehouse.public.tables import PROJECTS, hint
from portico.warehouse.routines import Routine
from portico.warehouse.translate import Translator
from portico.warehouse.types import Field, quoted

_DEPTH = 16  # views of views
_DATASET = re.compile(r"[\w-]{1,1024}", re.ASCII)


class Query:
    """What is read by a statement in the caller's transaction."""

    def __init__(self, cursor: Cursor, asked: Asked, tree: exp.Expr) -> None:
        self._cursor = cursor
        self._asked = asked
        self._tree = tree
        self._read: list[Entry] = []
        self._scans: scans.Scans = {}
        self._steady = True
        self._translated: exp.Expr | None = None  # of DuckDB's, the query that was translated last
        self._computed: dict[
            str, pa.Table
        ] = {}  # what ML functions answered, by the name it is registered as

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
            parts = [self._asked.of_datasets, *parts]
        if len(parts) > 3:
            parts = [".".join(parts[:-2]), *parts[-2:]]
        if not _DATASET.fullmatch(parts[1]):
            raise InvalidArgument(
                f'Invalid dataset ID "{parts[1]}". Dataset IDs must be alphanumeric (plus underscores and dashes) and '
                "must be at most 1024 characters long.",
                reason="invalid",
            )
        return Entry(parts[0], parts[1], parts[2])

    def _unseen(self, named: Entry, missing: NotFound) -> PorticoError:
        """Of a project that has nothing here nothing is told, not even that."""
        if named.project in (self._asked.of_datasets, *PROJECTS) or catalog.listed(
            self._cursor, named.project
        ):
            return missing
        return PermissionDenied(
            f"Access Denied: Table {named.shown}: User does not have permission to query table {named.shown}, or "
            "perhaps it does not exist.",
            reason="accessDenied",
        )

    def _temporary(self, parts: list[str]) -> Entry | None:
        """The temporary table of its script that is named so."""
        if not self._asked.temporary or (len(parts) != 1 and parts[0].upper() != "_SESSION"):
            return None
        return catalog.find(self._cursor, self._asked.project, self._asked.temporary, parts[-1])

    def _columns(self, parts: list[str]) -> set[str]:
        """The columns of a table, in lower case; none where there is no such table."""
        if len(parts) == 1 and parts[0] in self._computed:
            return {one.lower() for one in self._computed[parts[0]].column_names}
        try:
            if self._schema_view(parts) is not None:
                found = self._described(f"SELECT * FROM {self._table(parts).sql('duckdb')} AS t")
            else:
                entry = self._named(parts)
                with guard.reading():
                    known = catalog.find(self._cursor, entry.project, entry.dataset, entry.table)
                found = known.fields if known is not None else []
        except PorticoError:
            return set()
        return {one["name"].lower() for one in found}

    def _fields_of(self, parts: list[str]) -> list[Field] | None:
        """The columns of a table or view; None where they are not known beforehand."""
        require = self._asked.entries.require if self._asked.entries else catalog.require
        try:
            named = self._named(parts)
            if named.table.endswith("*") or parts[0] in self._computed:
                return None
            with guard.reading():
                found = require(self._cursor, *catalog.key_of(named))
        except PorticoError:
            return None
        return found.fields or None

    def _routine(self, path: list[str]) -> Routine | None:
        """The routine that a call names; None for a function of GoogleSQL's own."""
        if len(path) == 1:
            if path[0].lower() in self._asked.functions:
                self._steady = False
                return self._asked.functions[path[0].lower()]
            if is_function(path[0]):
                return None
            path = [*(self._asked.dataset.split(".") if self._asked.dataset else []), *path]
        if len(path) == 1:
            return None
        project = ".".join(path[:-2]) or self._asked.of_datasets
        with guard.reading():
            found = routines.find(self._cursor, project, path[-2], path[-1])
        self._steady &= found is None
        return found

    def _prepared(self, tree: exp.Expr) -> exp.Expr:
        """The tree with the values of variables and the bodies of functions in it."""
        self._steady &= not cached_results.is_random(tree)
        tree = system_variables(substitute(tree, self._asked.variables, self._columns), self._asked.system)
        for one in list(tree.find_all(exp.Anonymous, exp.SessionUser)):
            if isinstance(one, exp.SessionUser) or (one.name == "SESSION_USER" and not one.expressions):
                caller = exp.Literal.string(self._asked.caller)
                tree = caller if one is tree else one.replace(caller) and tree
        histories.resolve(tree)
        external_queries.resolve(tree, self._cursor, self._computed, self._elsewhere)
        tree = Inliner(self._routine, self._columns).inline(tree)
        warehouse = self._asked.warehouse
        if warehouse is not None:
            calls = Calls(
                self._cursor, warehouse.models, self._foreign, self._remote, self._argument, self.place
            )
            calls.resolve(tree, self._computed)
            self._steady &= not self._computed
        return preprocessing.expand(tree)

    def _foreign(self, folder: Path, name: str, tables: list[pa.Table], settings: dict[str, Any]) -> pa.Table:
        """What a stranger's model answers, in a process that may die, or be interrupted."""
        assert self._asked.warehouse is not None
        return self._asked.asking.ask(self._asked.warehouse.trainer, folder, name, tables, settings)

    def _remote(self, endpoint: str, instances: list[dict[str, Any]]) -> list[tuple[Any, str]]:
        """What an endpoint answers to instances."""
        self._asked.asking.go_on()
        found = self._reach("predict", endpoint=endpoint, instances=instances)
        return [(value, error) for value, error in found]

    def endpoint(self, text: str) -> str:
        """The resource name of the endpoint that ENDPOINT = '…' says.

        Raises:
            NotFound: there is none. Unimplemented: it is none of this platform.
        """
        return str(self._reach("endpoint", text=text))

    def _elsewhere(self, connection: str, query: str, options: str) -> str:
        """The file with what another database answers; its columns alone in a dry run."""
        self._asked.asking.go_on()
        asked = {"project": self._asked.project, "connection": connection, "query": query, "options": options}
        return str(self._reach("external_query", empty=self._asked.dry, **asked))

    def _reach(self, what: str, **arguments: Any) -> Any:
        if self._asked.outside is None:
            raise Unimplemented("Endpoints and other databases can't be reached from here.")
        return self._asked.outside(what, **arguments)

    def _argument(self, query: exp.Expr, whole: bool) -> pa.Table:
        """The rows of a query that an ML function is given; in a dry run its columns, but for `whole`."""
        inner = Query(self._cursor, self._asked, query)
        inner._computed |= self._computed  # of ML functions inside it
        found = inner.rows(empty=self._asked.dry and not whole)
        self._took(inner)
        return found

    def _took(self, inner: Query) -> None:
        """What is read by a query within this one is read by this one."""
        self._read += inner._read
        for key, (entry, names) in inner._scans.items():
            before = self._scans.get(key)
            self._scans[key] = (entry, names | (before[1] if before else set()))
        self._steady &= inner._steady

    def rows(self, *, empty: bool = False) -> pa.Table:
        """A query's rows, or no more than its columns."""
        return self._fetched(self.translated(self._tree), empty)

    def counted(self, *, empty: bool) -> Done:
        """`rows`, with what is read for them.

        Raises:
            InvalidArgument: more would be billed than may be.
        """
        sql = self.translated(self._tree)
        scanned = self.measured()
        return Done("SELECT", rows=self._fetched(sql, empty), scanned=scanned, read=self._read)

    def _fetched(self, sql: str, empty: bool) -> pa.Table:
        return logical.table_of(self._cursor.sql(f"SELECT * FROM ({sql}) LIMIT 0" if empty else sql))

    def over(self, name: str, table: pa.Table, tree: exp.Expr) -> exp.Expr:
        """DuckDB's form of a query, or of an expression, over a table that is to be registered as `name`."""
        self._computed[name] = table
        if isinstance(tree, exp.Query):
            return self._translator().query(tree)
        source = exp.From(this=exp.Table(this=exp.to_identifier(name, quoted=True)))
        whole = exp.Select(expressions=[exp.alias_(tree.copy(), "value", quoted=True)], from_=source)
        made: exp.Expr = self._translator().query(whole).expressions[0].this
        return made

    def place(self, path: list[str]) -> tuple[str, str, str]:
        """Project, dataset and name of a model that is named so."""
        entry = self._named(path)
        return entry.project, entry.dataset, entry.table

    def _table(self, parts: list[str], node: exp.Table | None = None, depth: int = 0) -> exp.Expr:
        """What stands for a table; `node` is where it is named, None where it is only asked whether it can be."""
        with guard.reading(not _is_target(node)):
            return self._found(parts, node, depth)

    def _found(self, parts: list[str], node: exp.Table | None, depth: int) -> exp.Expr:
        if len(parts) == 1 and parts[0] in self._computed:
            return exp.Table(this=exp.to_identifier(parts[0], quoted=True))
        if (special := self._schema_view(parts)) is not None:
            self._steady = False
            return special
        if len(parts) == 1 and parts[0].lower() in self._asked.tables:
            self._steady = False
            return self._external(
                Entry(self._asked.project, "", parts[0], self._asked.tables[parts[0].lower()])
            )
        named = self._named(parts)
        if named.table.endswith("*"):
            return self._wildcard(named, node)
        version = node.args.get("version") if node is not None else None
        if version is not None:
            return self._as_of(named, version)
        require = self._asked.entries.require if self._asked.entries else catalog.require
        try:
            entry = require(self._cursor, named.project, named.dataset, named.table)
        except NotFound as missing:
            raise self._unseen(named, missing) from None
        self._read.append(entry)
        self._steady &= cached_results.is_steady(entry)
        if entry.is_view:
            return self._view(entry, depth)
        if node is not None and entry.storage and not isinstance(node.parent, exp.Insert):
            scans.note(self._scans, entry, node)
        if _is_target(node):
            check_filter(entry, node)
            return _place(entry)
        if prediction_logs.STREAMS in entry.body:
            assert self._asked.warehouse is not None
            return _rows(prediction_logs.select(self._cursor, entry, self._asked.warehouse.folder.parent))
        if entry.body.get("type") == "EXTERNAL":
            return self._external(entry)
        return _rows(self._rows_of(entry, node))

    def _view(self, entry: Entry, depth: int) -> exp.Expr:
        if depth > _DEPTH:
            raise InvalidArgument("Views are nested too deeply", reason="invalidQuery")
        [query] = parse(entry.query)
        asked = Asked(
            entry.project,
            f"{entry.project}.{entry.dataset}",
            warehouse=self._asked.warehouse,
            entries=self._asked.entries,
            caller=self._asked.caller,
            outside=self._asked.outside,
        )
        inner = Query(self._cursor, asked, query)
        found = Translator(
            lambda parts, node=None: inner._table(parts, node, depth + 1),
            prepare=inner._prepared,
            fields=inner._fields_of,
        ).query(query)
        self._took(inner)
        named = entry.body.get("_columns")
        if named is None or named["query"] != entry.query:
            return exp.Subquery(this=found)
        columns = [exp.to_identifier(one, quoted=True) for one in named["names"]]
        alias = exp.TableAlias(this=exp.to_identifier("$view", quoted=True), columns=columns)
        source = exp.From(this=exp.Subquery(this=found, alias=alias))
        return exp.Subquery(this=exp.Select(expressions=[exp.Star()], from_=source))

    def _rows_of(self, entry: Entry, node: exp.Table | None) -> str:
        """A query of the rows that a table has now."""
        shown = storage.names(entry.fields) or "NULL AS _none"
        check_filter(entry, node)
        return f"SELECT {shown}{pseudo(entry, node)} FROM {entry.place} WHERE {self.visible(entry)}"

    def visible(self, entry: Entry) -> str:
        """DuckDB's condition for the rows of a table that the caller may see and that have not expired."""
        return " AND ".join(one for one in (partitions.live(entry), self._granted(entry)) if one) or "TRUE"

    def _granted(self, entry: Entry) -> str:
        """DuckDB's condition for the rows that the caller may see; "" where it may see all."""
        if not access.policies(entry):
            return ""
        conditions = [
            f"coalesce(({self._translator().expression(tokens.expression(one)).sql('duckdb')}), FALSE)"
            for one in access.granted(entry, self._asked.caller)
        ]
        return f"({' OR '.join(conditions) or 'FALSE'})"

    def check_policy(self, entry: Entry, predicate: str) -> None:
        """
        Raises:
            InvalidArgument: it is no condition on the rows of the table.
        """
        condition = self._translator().expression(tokens.expression(predicate)).sql("duckdb")
        [told] = self._described(f"SELECT ({condition}) FROM {entry.place}")
        if told["type"] != "BOOLEAN":
            raise InvalidArgument(
                f"The filter of a row access policy must be of type BOOL, not {told['type']}",
                reason="invalidQuery",
            )

    def _schema_view(self, parts: list[str]) -> exp.Expr | None:
        asked = self._asked
        sessions = asked.warehouse.sessions.open if asked.warehouse is not None else tuple
        return view(self._cursor, asked.project, parts, asked.outside, asked.caller, sessions)

    def _external(self, entry: Entry) -> exp.Expr:
        """An external table: its files as they are now."""
        table = external.read(self._cursor.cursor(), entry, self._asked.outside)
        name = f"_external_{entry.dataset}_{entry.table}"
        self._cursor.register(name, table)
        return exp.Table(this=exp.to_identifier(name, quoted=True))

    def _as_of(self, named: Entry, version: exp.Expr) -> exp.Expr:
        """A table as it was, FOR SYSTEM_TIME AS OF, or what was changed in it."""
        self._steady = False
        if isinstance(version, exp.Tuple):
            entry, sql = histories.query(self._cursor, named, version, self._moment)
        else:
            entry, moment = timetravel.find(self._cursor, named, self._moment(version.expression))
            _, sql = storage.at(entry, moment)
        self._read.append(entry)
        if condition := self._granted(entry):
            sql = f"SELECT * FROM ({sql}) WHERE {condition}"
        return _rows(sql)

    def _moment(self, when: exp.Expr) -> int:
        """Microseconds since the epoch.

        Raises:
            InvalidArgument: it is no constant TIMESTAMP.
        """
        if when.find(exp.Column, exp.Query):
            raise InvalidArgument(
                "FOR SYSTEM_TIME AS OF expression must be a constant TIMESTAMP", reason="invalidQuery"
            )
        sql = self._translator().expression(when).sql("duckdb")
        ran = catalog.first(self._cursor, f"SELECT epoch_us(CAST({sql} AS TIMESTAMPTZ))")
        if ran is None or ran[0] is None:
            raise InvalidArgument(
                "FOR SYSTEM_TIME AS OF needs a TIMESTAMP that is not NULL", reason="invalidQuery"
            )
        return int(ran[0])

    def _wildcard(self, named: Entry, node: exp.Table | None) -> exp.Expr:
        """All tables that begin so, with what follows as `_TABLE_SUFFIX`; the columns are those of the last made."""
        prefix = named.table[:-1]
        listed = catalog.listed(self._cursor, named.project, named.dataset)
        found = [one for one in listed if one.table.startswith(prefix) and one.body.get("type") == "TABLE"]
        if not found:
            what_to_do = hint(named.project, named.dataset, prefix)
            raise NotFound(f"Not found: {named.shown} matches no table{what_to_do}", reason="notFound")
        self._read += found
        self._steady = False
        newest = max(found, key=lambda one: int(one.body["creationTime"]))
        suffixed = "_TABLE_SUFFIX" in mentioned(node)
        if suffixed:
            exclude(node, ["_TABLE_SUFFIX"])
        selects = []
        for one in found:
            if node is not None:
                scans.note(self._scans, one, node)
            have = {field["name"].lower() for field in one.fields}
            cells = ", ".join(
                quoted(field["name"]) if field["name"].lower() in have else f"NULL AS {quoted(field['name'])}"
                for field in newest.fields
            )
            suffix = exp.Literal.string(one.table.removeprefix(prefix)).sql("duckdb")
            cells += f", {suffix} AS _TABLE_SUFFIX" if suffixed else ""
            selects.append(f"SELECT {cells} FROM ({self._rows_of(one, node)})")
        return _rows(" UNION ALL ".join(selects))

    def _translator(self) -> Translator:
        return Translator(self._table, self._asked.parameters, prepare=self._prepared, fields=self._fields_of)

    # --- queries ---

    def _query_sql(self, tree: exp.Expr) -> str:
        self._translated = self._translator().query(tree)
        return self._translated.sql("duckdb", identify=False)

    def translated(self, tree: exp.Expr) -> str:
        """A query as DuckDB's SQL."""
        if self._asked.positional or tree.find(exp.Placeholder):
            bind(tree, self._asked.positional)
        return self._query_sql(tree)

    def _described(self, sql: str) -> list[Field]:
        return of_result(self._cursor.sql(sql).description)

    def measured(self) -> list[int]:
        """The bytes of each table that are read, where they are asked for.

        Raises:
            InvalidArgument: more would be billed than may be.
        """
        if not self._asked.measured and self._asked.most_billed is None:
            return []
        found = scans.read(self._cursor, self._scans)
        if self._asked.most_billed is not None:
            scans.check(found, self._asked.most_billed)
        return found

    def select(self) -> Done:
        sql = self._query_sql(self._tree)
        scanned = self.measured()
        if self._asked.dry:
            return Done("SELECT", self._named_fields(self._cursor.sql(sql)), scanned=scanned)
        began = plans.watch(self._cursor) if self._asked.measured else 0.0
        ran = self._cursor.sql(sql)
        fields = self._named_fields(ran)
        if (told := intervals.told(sql, fields)) != sql:
            ran = self._cursor.sql(told)
        rows = ran.to_arrow_table().rename_columns([one["name"] for one in fields])
        sums.check(self._tree, rows, lambda tree: self._fetched(self._query_sql(tree), empty=False))
        plan = plans.seen(self._cursor, began) if began else {}
        return Done("SELECT", fields, rows, steady=self._steady, scanned=scanned, plan=plan)

    def _named_fields(self, ran: duckdb.DuckDBPyRelation) -> list[Field]:
        return of_result(ran.description, numbered=not self._asked.kept)


def _place(entry: Entry) -> exp.Table:
    return exp.maybe_parse(entry.place, into=exp.Table, dialect="duckdb")


def _rows(sql: str) -> exp.Expr:
    """A query of DuckDB's where a table stands; nothing within is translated."""
    return exp.Table(this=exp.Var(this=f"({sql})"))


def _is_target(node: exp.Table | None) -> bool:
    """Whether a statement changes the table that is named here."""
    if node is None or node.arg_key != "this":
        return False
    parent = node.parent if not isinstance(node.parent, exp.Schema) else node.parent.parent
    return isinstance(parent, exp.Insert | exp.Update | exp.Delete | exp.Merge)
