"""What a statement reads: the names in it, the tables behind them, and its queries as DuckDB's."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument, NotFound, PorticoError, Unimplemented
from portico.warehouse import (
    access,
    blocks,
    cached_results,
    catalog,
    external,
    partitions,
    plans,
    prediction_logs,
    routines,
    scans,
    storage,
    timetravel,
)
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.dialect import parse
from portico.warehouse.functions import is_function
from portico.warehouse.information_schema import view
from portico.warehouse.models import logical, preprocessing
from portico.warehouse.models.calls import Calls
from portico.warehouse.models.kept import Models
from portico.warehouse.models.trainer import Asking, Trainer
from portico.warehouse.names import substitute, system_variables
from portico.warehouse.public.tables import PROJECT, hint
from portico.warehouse.routines import Inliner, Routine
from portico.warehouse.translate import Translator
from portico.warehouse.types import Field, field_of, quoted

if TYPE_CHECKING:
    from portico.warehouse.query_sessions import QuerySessions

_DEPTH = 16  # views of views


class Holder(Protocol):
    """The warehouse, as far as a statement needs it."""

    folder: Path
    models: Models
    trainer: Trainer
    sessions: QuerySessions
    entries: catalog.Entries


@dataclass(slots=True)
class Asked:
    """In which setting a statement runs."""

    project: str
    dataset: str = ""  # the default one, as PROJECT.DATASET or DATASET
    parameters: dict[str, exp.Expr] = field(default_factory=dict)
    positional: list[exp.Expr] = field(default_factory=list)
    dry: bool = False
    kept: bool = False  # whether the result goes into a table
    variables: dict[str, exp.Expr] = field(default_factory=dict)  # of its script, by lower-case name
    system: dict[str, exp.Expr] = field(default_factory=dict)  # @@variables
    functions: dict[str, Routine] = field(default_factory=dict)  # temporary ones, by lower-case name
    temporary: str = ""  # the hidden dataset of its script's temporary tables
    warehouse: Holder | None = None
    entries: catalog.Entries | None = None  # where it reads outside of a transaction
    asking: Asking = field(default_factory=Asking)
    exports: str = ""  # the folder for what EXPORT MODEL writes
    files: dict[str, str] = field(default_factory=dict)  # of objects that it imports, by their gs:// names
    caller: str = ""  # the e-mail address of who asks
    outside: Callable[..., Any] | None = None  # asks for what is not in the warehouse: files, jobs
    folder: str = ""  # for files that are on their way out
    tables: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # a job's own external tables, by lower-case name
    measured: bool = False  # whether the bytes that are read and the plan are to be told
    most_billed: int | None = None  # bytes


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
    registers: dict[str, Any] = field(default_factory=dict)  # a model that goes to Vertex AI's registry
    children: int = 0  # how many statements a SCRIPT ran
    warnings: list[str] = field(default_factory=list)  # of a training
    steady: bool = False  # whether the rows stay what they are until a table that is read changes
    scanned: list[int] = field(default_factory=list)  # bytes of each table that is read
    plan: dict[str, Any] = field(default_factory=dict)


class Query:
    """What is read by a statement in the caller's transaction."""

    def __init__(self, cursor: Cursor, asked: Asked, tree: exp.Expr) -> None:
        self._cursor = cursor
        self._asked = asked
        self._tree = tree
        self._read: list[Entry] = []
        self._scans: scans.Scans = {}
        self._steady = True
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
        if len(parts) == 1 and parts[0] in self._computed:
            return {one.lower() for one in self._computed[parts[0]].column_names}
        try:
            if self._schema_view(parts) is not None:
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
                self._steady = False
                return self._asked.functions[path[0].lower()]
            if is_function(path[0]):
                return None
            path = [*(self._asked.dataset.split(".") if self._asked.dataset else []), *path]
        if len(path) == 1:
            return None
        project = ".".join(path[:-2]) or self._asked.project
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

    def _reach(self, what: str, **arguments: Any) -> Any:
        if self._asked.outside is None:
            raise Unimplemented("Endpoints can't be reached from here.")
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
        sql = self.translated(self._tree)
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
        entry = require(self._cursor, named.project, named.dataset, named.table)
        self._read.append(entry)
        self._steady &= cached_results.is_steady(entry)
        if entry.is_view:
            return self._view(entry, depth)
        if node is not None and entry.storage and not isinstance(node.parent, exp.Insert):
            scans.note(self._scans, entry, node)
        if _is_target(node):
            _check_filter(entry, node)
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
            lambda parts, node=None: inner._table(parts, node, depth + 1), prepare=inner._prepared
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
        _check_filter(entry, node)
        return f"SELECT {shown}{_pseudo(entry, node)} FROM {entry.place} WHERE {self.visible(entry)}"

    def visible(self, entry: Entry) -> str:
        """DuckDB's condition for the rows of a table that the caller may see and that have not expired."""
        return " AND ".join(one for one in (partitions.live(entry), self._granted(entry)) if one) or "TRUE"

    def _granted(self, entry: Entry) -> str:
        """DuckDB's condition for the rows that the caller may see; "" where it may see all."""
        if not access.policies(entry):
            return ""
        conditions = [
            f"coalesce(({self._translator().expression(blocks.expression(one)).sql('duckdb')}), FALSE)"
            for one in access.granted(entry, self._asked.caller)
        ]
        return f"({' OR '.join(conditions) or 'FALSE'})"

    def check_policy(self, entry: Entry, predicate: str) -> None:
        """
        Raises:
            InvalidArgument: it is no condition on the rows of the table.
        """
        condition = self._translator().expression(blocks.expression(predicate)).sql("duckdb")
        [told] = self._described(f"SELECT ({condition}) FROM {entry.place}")
        if told["type"] != "BOOLEAN":
            raise InvalidArgument(
                f"The filter of a row access policy must be of type BOOL, not {told['type']}",
                reason="invalidQuery",
            )

    def _schema_view(self, parts: list[str]) -> exp.Expr | None:
        return view(self._cursor, self._asked.project, parts, self._asked.outside)

    def _external(self, entry: Entry) -> exp.Expr:
        """An external table: its files as they are now."""
        table = external.read(self._cursor.cursor(), entry, self._asked.outside)
        name = f"_external_{entry.dataset}_{entry.table}"
        self._cursor.register(name, table)
        return exp.Table(this=exp.to_identifier(name, quoted=True))

    def _as_of(self, named: Entry, version: exp.Expr) -> exp.Expr:
        """A table as it was: FOR SYSTEM_TIME AS OF."""
        entry, moment = timetravel.find(self._cursor, named, self._moment(version.expression))
        self._read.append(entry)
        self._steady = False
        _, sql = storage.at(entry, moment)
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
            what_to_do = hint(named.dataset, prefix) if named.project == PROJECT else ""
            raise NotFound(f"Not found: {named.shown} matches no table{what_to_do}", reason="notFound")
        self._read += found
        self._steady = False
        newest = max(found, key=lambda one: int(one.body["creationTime"]))
        suffixed = "_TABLE_SUFFIX" in _mentioned(node)
        if suffixed:
            _exclude(node, ["_TABLE_SUFFIX"])
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
        return Translator(self._table, self._asked.parameters, prepare=self._prepared)

    # --- queries ---

    def _query_sql(self, tree: exp.Expr) -> str:
        return self._translator().query(tree).sql("duckdb", identify=False)

    def translated(self, tree: exp.Expr) -> str:
        """A query as DuckDB's SQL."""
        if self._asked.positional or tree.find(exp.Placeholder):
            bind(tree, self._asked.positional)
        return self._query_sql(tree)

    def _described(self, sql: str) -> list[Field]:
        return _fields(self._cursor.sql(sql).description)

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
        rows = ran.to_arrow_table().rename_columns([one["name"] for one in fields])
        plan = plans.seen(self._cursor, began) if began else {}
        return Done("SELECT", fields, rows, steady=self._steady, scanned=scanned, plan=plan)

    def _named_fields(self, ran: duckdb.DuckDBPyRelation) -> list[Field]:
        return _fields(ran.description, numbered=not self._asked.kept)


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


def _mentioned(node: exp.Table | None) -> set[str]:
    """The columns that a statement names, in upper case, where one of its tables stands at `node`."""
    return {one.name.upper() for one in node.root().find_all(exp.Column)} if node is not None else set()


def _check_filter(entry: Entry, node: exp.Table | None) -> None:
    """
    Raises:
        InvalidArgument: the table wants a filter by its partitions, and the query has none.
    """
    names = {one.upper() for one in partitions.filters(entry)}
    if not names or node is None:
        return
    above: exp.Expr | None = node
    while above is not None:
        conditions = [above.args.get("where"), above.args.get("on")]
        conditions += [one.args.get("on") for one in above.args.get("joins") or ()]
        for one in conditions:
            if isinstance(one, exp.Expr) and names & {each.name.upper() for each in one.find_all(exp.Column)}:
                return
        above = above.parent
    if isinstance(node.parent, exp.Insert | exp.Schema):
        return
    raise InvalidArgument(
        f"Cannot query over table '{entry.project}.{entry.dataset}.{entry.table}' without a filter over column(s) "
        f"{', '.join(repr(one) for one in partitions.filters(entry))} that can be used for partition elimination",
        reason="invalidQuery",
    )


def _pseudo(entry: Entry, node: exp.Table | None) -> str:
    """The columns that a table partitioned by ingestion time has beside its schema's, where they are asked for."""
    if not storage.ingested_by(entry):
        return ""
    wanted = {
        "_PARTITIONTIME": storage.PARTITION,
        "_PARTITIONDATE": f"CAST({storage.PARTITION} AS DATE)",
    }
    named = [name for name in wanted if name in _mentioned(node)]
    if named:
        _exclude(node, named)
    return "".join(f", {wanted[name]} AS {name}" for name in named)


def _exclude(node: exp.Table | None, names: list[str]) -> None:
    """Keeps columns that are only there by their names out of `*`."""
    select = node.find_ancestor(exp.Select) if node is not None else None
    for one in select.expressions if select is not None else ():
        star = one.this if isinstance(one, exp.Column) else one
        if isinstance(star, exp.Star):
            have = {each.name.upper() for each in star.args.get("except_") or ()}
            new = [exp.to_identifier(name) for name in names if name not in have]
            star.set("except_", [*(star.args.get("except_") or ()), *new])


def _fields(description: Any, *, numbered: bool = False) -> list[Field]:
    """The columns of a result. Of two with one name the second gets a number; a table can't have them."""
    found = [field_of(str(one[0]), str(one[1])) for one in description]
    names = [one["name"].lower() for one in found]
    seen: collections.Counter[str] = collections.Counter()
    for one, name in zip(found, names, strict=True):
        if numbered:
            if seen[name]:
                one["name"] += f"_{seen[name]}"
            seen[name] += 1
        elif names.count(name) > 1:
            raise InvalidArgument(
                f"Duplicate column names in the result are not supported when a destination table is present. Found "
                f"duplicate(s): {name}",
                reason="invalidQuery",
            )
    return found


def bind(tree: exp.Expr, values: list[exp.Expr]) -> None:
    places = [one for one in tree.dfs() if isinstance(one, exp.Placeholder)]
    if len(places) > len(values):
        raise InvalidArgument(
            f"Not enough positional parameters: the query has {len(places)}, {len(values)} are given",
            reason="invalidQuery",
        )
    for place, value in zip(places, values, strict=False):
        place.replace(value.copy())
