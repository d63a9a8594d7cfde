"""Runs scripts: their variables, branches, loops, handlers and transactions; `blocks` reads them.

A variable is one of DuckDB's own, of the script's connection, so that its value keeps its exact type; in statements
its name becomes `getvariable(…)`. Temporary tables live in a hidden dataset that goes with the script.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from portico.errors import InvalidArgument, NotFound, PorticoError, Unimplemented
from portico.warehouse import blocks, catalog, definitions, routines
from portico.warehouse.blocks import Block, Node
from portico.warehouse.catalog import Cursor, Entry, key_of
from portico.warehouse.coercion import coerced
from portico.warehouse.functions import call
from portico.warehouse.information_schema import sql_type
from portico.warehouse.models import create, exports, kept
from portico.warehouse.models.trainer import Training
from portico.warehouse.queries import Asked, Done
from portico.warehouse.refusals import refused
from portico.warehouse.statements import Statement
from portico.warehouse.types import Field, duckdb_type, field_of, field_of_expression

STEPS = 1_000_000  # statements and turns of loops that a script may take
SECONDS = 6 * 3600.0
_CALLS = 30  # procedures within procedures
_CHILDREN = 1_000  # statements whose results are kept
_BYTES = 256 << 20  # of these results, in all
_TRANSLATIONS = 10_000
_PLACE = re.compile(r" at \[\d+:\d+\]$")
_HIDDEN = re.compile(r"_script[0-9a-f]{32}")
_SINGLE = (
    blocks.Run,
    blocks.DropRoutine,
    blocks.Assert,
    blocks.CreateModel,
    blocks.ChangeModel,
    blocks.ExportModel,
)
_QUERIES = ("select", "union", "except", "intersect", "subquery")


class _Leave(Exception):
    """BREAK, CONTINUE and RETURN, on their way out."""

    def __init__(self, kind: str, label: str = "") -> None:
        self.kind, self.label = kind, label.lower()


class _Raised(InvalidArgument):
    """What a script itself raises."""


@dataclasses.dataclass(slots=True)
class Variable:
    slot: str
    field: Field


def is_script(block: Block) -> bool:
    """Whether a text is a script to BigQuery, and not one statement."""
    if not block:
        return False
    *before, last = block
    if isinstance(last, blocks.CreateRoutine) and not before:
        return definitions.is_procedure(last)
    if before:
        functions = all(
            isinstance(one, blocks.CreateRoutine) and definitions.is_temporary(one) for one in before
        )
        return not (functions and isinstance(last, blocks.Run) and last.tree.key in _QUERIES)
    return not isinstance(last, _SINGLE)


def clean(cursor: Cursor) -> None:
    """Drops what scripts left that ran when the process died."""
    for project, dataset in catalog.do(
        cursor,
        f"SELECT project, dataset FROM {catalog.FILE}.portico.entries "
        "WHERE name = '' AND starts_with(dataset, '_script')",
    ):
        if _HIDDEN.fullmatch(dataset):
            catalog.drop_dataset(cursor, Entry(project, dataset, ""), contents=True)


class Script:
    """One run of a script, in the caller's thread, on a connection of its own."""

    def __init__(
        self,
        cursor: Cursor,
        writing: threading.RLock,
        asked: Asked,
        steps: int = STEPS,
        seconds: float = SECONDS,
    ) -> None:
        self._cursor = cursor
        self._writing = writing
        self._asked = dataclasses.replace(asked, functions=dict(asked.functions), variables={})
        self._frames: list[dict[str, Variable]] = [{}]
        self._session = ""
        self._loops = 0
        self._names = (
            ""  # what the variables that are seen are, as far as a statement's translation depends on it
        )
        self._translations: dict[tuple[int, str], tuple[exp.Expr, str, str]] = {}
        self._types: dict[str, str] = {}  # of what was computed before, by its SQL
        self._bodies: dict[str, Block] = {}  # of procedures
        self._most, self._seconds = steps, seconds
        self._calls: list[str] = []
        self._transaction = ""  # "", "open", or "aborted" by an error
        self._afresh()

    def _afresh(self) -> None:
        """Nothing has been done of a text."""
        self._failed: tuple[PorticoError, Node] | None = None
        self._steps = 0
        self._deadline = time.monotonic() + self._seconds
        self._errors: list[
            tuple[PorticoError, Node]
        ] = []  # that handlers are at work on, and what raised them
        self._cancelled = False
        self._training: Training | None = None
        self._kept = 0
        self._children: list[Done] = []
        self._last: Done | None = None
        self._count = 0
        self._whole = True
        self._system()

    def interrupt(self) -> None:
        self._cancelled = True
        if self._training is not None:
            self._training.interrupt()
        with contextlib.suppress(duckdb.Error):  # it may have ended meanwhile
            self._asked.asking.interrupt()
            self._cursor.interrupt()

    def run(self, block: Block) -> list[Done]:
        """What its statements did, in order, and last what the script as a whole did: the result of its last SELECT,
        DML or DDL. Of very many statements the first are told.

        Raises:
            PorticoError: a statement was refused and nothing handled it; what was done before is kept.
        """
        self._whole = whole = is_script(block)
        self._asked.measured &= not whole
        if self._asked.dry and whole:
            return [Done("SCRIPT")]
        try:
            self._guarded(lambda: self._block(block))
        finally:
            if not self._session:
                self._end()
        if not whole:
            return self._children[-1:]
        last = self._last or Done("SCRIPT")
        return [*self._children, dataclasses.replace(last, kind="SCRIPT", children=self._count)]

    def _guarded(self, body: Callable[[], None]) -> None:
        try:
            body()
        except _Leave as leave:
            if leave.kind != "RETURN":
                said = (
                    f"No enclosing block or loop has the label {leave.label}" if leave.label
                    else f"{leave.kind} is only allowed inside of a loop body"
                )  # fmt: skip
                raise InvalidArgument(said, reason="invalidQuery") from None

    def _end(self) -> None:
        if self._transaction:
            self._finish("ROLLBACK")
        if self._asked.temporary:
            entry = Entry(self._asked.project, self._asked.temporary, "")
            with contextlib.suppress(duckdb.Error), self._change():
                if catalog.find(self._cursor, entry.project, entry.dataset):
                    catalog.drop_dataset(self._cursor, entry, contents=True)

    def _placed(self, error: PorticoError, node: Node) -> PorticoError:
        """A script's error says where it came to be."""
        if self._failed is not None and self._failed[0] is error:
            return error
        self._noticed()
        if self._whole and not isinstance(error, _Raised | _Stopped) and not _PLACE.search(error.message):
            error = type(error)(f"Query error: {error.message} at [{node.place}]", reason=error.reason)
        self._failed = (error, node)
        return error

    # --- blocks ---

    def _block(self, block: Block) -> None:
        for node in block:
            self._step()
            try:
                _NODES[type(node)](self, node)
            except duckdb.InterruptException:
                raise
            except duckdb.Error as error:
                raise self._placed(refused(error), node) from None
            except PorticoError as error:
                raise self._placed(error, node) from None

    def _step(self) -> None:
        self._steps += 1
        if self._cancelled:
            raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")
        if self._steps > self._most:
            raise _Stopped(f"The script took more than {self._most:,} statements", reason="resourcesExceeded")
        if time.monotonic() > self._deadline:
            raise _Stopped("The script took too long", reason="timeout")

    @contextlib.contextmanager
    def _frame(self) -> Iterator[None]:
        """Variables that are declared within are gone after it."""
        self._frames.append({})
        try:
            yield
        finally:
            self._frames.pop()
            self._seen()

    def _seen(self) -> None:
        """Which names the statements see as variables."""
        seen = {name: one for frame in self._frames for name, one in frame.items()}
        self._asked.variables = {name: _value_of(one.slot) for name, one in seen.items()}
        self._names = " ".join(f"{name}={one.slot}:{one.field}" for name, one in seen.items())

    def _begin(self, node: blocks.Begin) -> None:
        try:
            with self._frame():
                self._block(node.block)
        except _Leave as leave:
            if not (leave.kind == "BREAK" and leave.label and leave.label == node.label.lower()):
                raise
        except _Stopped:
            raise
        except PorticoError:
            if node.handler is None:
                raise
            assert self._failed is not None
            self._errors.append(self._failed)
            self._system()
            try:
                with self._frame():
                    self._block(node.handler)
            finally:
                self._errors.pop()
                self._system()

    def _if(self, node: blocks.If) -> None:
        for condition, block in node.branches:
            if self._true(condition):
                return self._block(block)
        return self._block(node.otherwise)

    def _loop(self, node: blocks.Loop) -> None:
        while True:
            self._step()
            if node.first is not None and not self._true(node.first):
                return
            if not self._turn(node.block, node.label):
                return
            if node.last is not None and self._true(node.last):
                return

    def _for(self, node: blocks.For) -> None:
        sql = self._statement(node.query).translated(node.query)
        self._loops += 1
        rows = f"temp.main._rows{self._loops}"
        self._do(f"CREATE TEMP TABLE _rows{self._loops} AS {sql}")
        with contextlib.ExitStack() as stack:
            stack.callback(self._forget, rows)
            stack.enter_context(self._frame())
            told = self._told(f"SELECT r FROM {rows} AS r LIMIT 0")
            variable = self._declared(node.name, field_of(node.name, told))
            [(count,)] = self._do(f"SELECT count(*) FROM {rows}")
            for number in range(count):
                self._step()
                self._do(f"SET VARIABLE {variable.slot} = (SELECT r FROM {rows} AS r WHERE rowid = {number})")
                if not self._turn(node.block, node.label):
                    return

    def _forget(self, rows: str) -> None:
        with contextlib.suppress(duckdb.Error):
            self._do(f"DROP TABLE IF EXISTS {rows}")

    def _turn(self, block: Block, label: str) -> bool:
        """Runs a loop's body once; whether the loop goes on."""
        try:
            with self._frame():
                self._block(block)
        except _Leave as leave:
            if leave.kind == "RETURN" or leave.label not in ("", label.lower()):
                raise
            return leave.kind == "CONTINUE"
        return True

    def _jump(self, node: blocks.Jump) -> None:
        raise _Leave("CONTINUE" if node.again else "BREAK", node.label)

    def _return(self, _: blocks.Return) -> None:
        raise _Leave("RETURN")

    def _raise(self, node: blocks.Raise) -> None:
        if node.message is not None:
            raise _Raised(str(self._value(node.message)), reason="invalidQuery")
        if not self._errors:
            raise InvalidArgument(
                "Cannot re-raise an existing exception outside of an exception handler", reason="invalidQuery"
            )
        raise self._errors[-1][0]

    def _assert(self, node: blocks.Assert) -> None:
        if not self._true(node.condition):
            raise _Raised(
                f"Assertion failed: {node.description}" if node.description else "Assertion failed",
                reason="invalidQuery",
            )
        self._did(Done("ASSERT"), node)

    # --- variables ---

    def _declare(self, node: blocks.Declare) -> None:
        for name in node.names:
            if self._find(name) is not None:
                raise InvalidArgument(
                    f"Variable '{name}' redeclaration: it has been declared in an enclosing block before",
                    reason="invalidQuery",
                )
            if node.kind is None:
                assert node.default is not None
                told = self._evaluated(node.default)
                variable = self._declared(name, field_of(name, told))
                self._do(f"SET VARIABLE {variable.slot} = getvariable('_value')")
            else:
                field = field_of_expression(name, node.kind)
                self._assign(self._declared(name, field), node.default or exp.Null())

    def _declared(self, name: str, field: Field) -> Variable:
        slot = f"v{len(self._calls)}_{len(self._frames)}_{len(self._frames[-1])}"
        made = self._frames[-1][name.lower()] = Variable(slot, field)
        self._do(f"SET VARIABLE {made.slot} = CAST(NULL AS {duckdb_type(field)})")
        self._seen()
        return made

    def _find(self, name: str) -> Variable | None:
        return next((frame[name.lower()] for frame in self._frames[::-1] if name.lower() in frame), None)

    def _variable(self, name: str) -> Variable:
        found = self._find(name)
        if found is None:
            raise InvalidArgument(f"Undeclared variable: {name}", reason="invalidQuery")
        return found

    def _set(self, node: blocks.Set) -> None:
        if not node.is_tuple:
            [name] = node.names
            if name.startswith("@@"):
                return self._set_system(name[2:].lower(), node.value)
            return self._assign(self._variable(name), node.value)
        values = node.value.expressions if isinstance(node.value, exp.Tuple) else []
        if values and len(values) == len(node.names):
            # All are computed before one is changed.
            slots = [self._kept_value(one, f"s{number}") for number, one in enumerate(values)]
            for name, slot in zip(node.names, slots, strict=True):
                self._assign(self._variable(name), _value_of(slot))
            return None
        told = field_of("", self._evaluated(node.value))
        return self._spread(node.names, told)

    def _spread(self, names: list[str], told: Field) -> None:
        """Gives the fields of the struct that was computed to as many variables."""
        fields = told.get("fields") or []
        if told["type"] != "RECORD" or len(fields) != len(names):
            raise InvalidArgument(
                f"Number of variables does not match: {len(names)} variables, {max(1, len(fields))} values",
                reason="invalidQuery",
            )
        self._do("SET VARIABLE _struct = getvariable('_value')")
        for number, name in enumerate(names, 1):
            place = call("struct_extract_at", _value_of("_struct"), exp.Var(this=str(number)))
            self._assign(self._variable(name), place)

    def _kept_value(self, value: exp.Expr, slot: str) -> str:
        slot = f"{slot}_{len(self._calls)}"
        self._evaluated(value)
        self._do(f"SET VARIABLE {slot} = getvariable('_value')")
        return slot

    def _assign(self, variable: Variable, value: exp.Expr) -> None:
        """
        Raises:
            InvalidArgument: the value is of a type that the variable's does not take.
        """
        sql = self._sql(value, variable.field if _takes_any(value, variable.field) else None)
        if self._types.get(sql) == duckdb_type(variable.field):
            self._do(f"SET VARIABLE {variable.slot} = ({sql})")
            return
        told = self._computed(sql)
        made = coerced("getvariable('_value')", told, variable.field)
        self._do(f"SET VARIABLE {variable.slot} = (SELECT {made})")

    def _evaluated(self, value: exp.Expr) -> str:
        """Computes an expression into DuckDB's variable `_value`; returns its type."""
        return self._computed(self._sql(value))

    def _computed(self, sql: str) -> str:
        self._do(f"SET VARIABLE _value = ({sql})")
        told = self._told("SELECT getvariable('_value')")
        self._types[sql] = told
        return told

    def _sql(self, value: exp.Expr, field: Field | None = None) -> str:
        """A query of DuckDB's for an expression, as it stands or, where a `field` is given, cast to its type."""
        key = (id(value), self._names)
        if key in self._translations and self._translations[key][1] == str(field):
            return self._translations[key][2]
        shown = value.copy()
        if isinstance(shown, exp.Tuple):
            shown = exp.Anonymous(this="STRUCT", expressions=shown.expressions)
        if field is not None:
            shown = exp.Cast(this=shown, to=blocks.data_type(sql_type(field)))
        query = exp.Select(expressions=[exp.alias_(shown, "value", quoted=True)])
        sql = self._statement(query).translated(query)
        if value.find(exp.Parameter, exp.Placeholder) is None:
            if len(self._translations) > _TRANSLATIONS:
                self._forget_translations()
            self._translations[key] = (value, str(field), sql)
        return sql

    def _forget_translations(self) -> None:
        """What a name or a function is may have changed."""
        self._translations.clear()
        self._types.clear()

    def _do(self, sql: str) -> list[tuple[Any, ...]]:
        return catalog.do(self._cursor, sql)

    def _told(self, sql: str) -> str:
        """Runs a query of one column; returns the type of that, as DuckDB calls it."""
        return self._answered(sql)[0]

    def _answered(self, sql: str) -> tuple[str, Any]:
        """Runs a query of one column; returns its type and the first row's value, None where there is none."""
        ran = self._cursor.execute(sql)
        told = str((ran.description or [])[0][1])
        rows = ran.fetchall()
        return told, rows[0][0] if rows else None

    def _value(self, value: exp.Expr) -> Any:
        return self._answered(self._sql(value))[1]

    def _true(self, condition: exp.Expr) -> bool:
        sql = self._sql(condition)
        told, value = self._answered(sql)
        if told != "BOOLEAN" and value is not None:
            raise InvalidArgument(
                f"The condition must be of type BOOL, not {field_of('', told)['type']}", reason="invalidQuery"
            )
        return bool(value)

    # --- the system's variables ---

    def _system(self) -> None:
        said: dict[str, str | None] = dict.fromkeys(("message", "statement_text", "formatted_stack_trace"))
        if self._errors:
            error, node = self._errors[-1]
            said = dict(zip(said, (error.message, node.text, f"At [{node.place}]"), strict=True))
        self._asked.system = {
            **system_of(self._asked),
            "session_id": _text(self._session or None),
            **{f"error.{name}": _text(value) for name, value in said.items()},
            "row_count": _integer(self._last.affected if self._last else None),
            "script.num_child_jobs": _integer(self._count),
        }  # fmt: skip

    def _set_system(self, name: str, value: exp.Expr) -> None:
        given = self._value(value)
        if name == "dataset_id":
            project = self._asked.dataset.split(".")[0] if "." in self._asked.dataset else self._asked.project
            self._asked.dataset = f"{project}.{given}"
        elif name == "dataset_project_id":
            self._asked.dataset = f"{given}.{self._asked.dataset.split('.')[-1]}"
        elif name == "time_zone" and str(given).upper() != "UTC":
            raise Unimplemented("SET @@time_zone takes only UTC in Portico; give functions a zone instead.")
        elif name not in ("time_zone", "query_label"):
            raise InvalidArgument(f"Cannot set the system variable @@{name}", reason="invalidQuery")
        self._system()

    # --- statements ---

    def _statement(self, tree: exp.Expr) -> Statement:
        return Statement(self._cursor, self._asked, tree)

    def _run(self, node: blocks.Run) -> None:
        self._plain(node.tree.copy(), node)

    def _plain(self, tree: exp.Expr, node: Node) -> None:
        if isinstance(tree, exp.Create):
            self._temporarily(tree)
        if tree.key in _QUERIES or self._asked.dry:
            done = self._statement(tree).run()
        else:
            with self._change():
                done = self._statement(tree).run()
        self._did(done, node)

    def _did(self, done: Done, node: Node) -> None:
        self._count += 1
        done.text = node.text
        if done.kind != "ASSERT":
            self._last = done
        kept = done
        self._kept += done.rows.nbytes if done.rows is not None else 0
        if self._kept > _BYTES:
            kept = dataclasses.replace(done, rows=None)
        if len(self._children) < _CHILDREN:
            self._children.append(kept)
        self._system()

    def _temporarily(self, tree: exp.Create) -> None:
        """Makes CREATE TEMP TABLE one of a table in the script's hidden dataset."""
        properties = tree.args.get("properties")
        found = properties and next(
            (one for one in properties.expressions if isinstance(one, exp.TemporaryProperty)), None
        )
        if not found or str(tree.args["kind"]).upper() != "TABLE":
            return
        found.pop()
        schema = tree.this
        table = schema.this if isinstance(schema, exp.Schema) else schema
        if len(table.parts) > 1 and table.parts[0].name.upper() != "_SESSION":
            raise InvalidArgument(
                "CREATE TEMPORARY TABLE cannot have dataset qualifier", reason="invalidQuery"
            )
        if not self._asked.temporary:
            self._asked.temporary = f"_script{uuid.uuid4().hex}"
        place = Entry(self._asked.project, self._asked.temporary, "")
        if not self._asked.dry and catalog.find(self._cursor, place.project, place.dataset) is None:
            with self._change():
                catalog.create_dataset(self._cursor, place)
        table.set("catalog", exp.to_identifier(place.project, quoted=True))
        table.set("db", exp.to_identifier(place.dataset, quoted=True))

    def _create(self, node: blocks.CreateRoutine) -> None:
        with self._change():
            self._did(definitions.create(self._cursor, self._asked, node), node)

    def _drop(self, node: blocks.DropRoutine) -> None:
        with self._change():
            self._did(definitions.drop(self._cursor, self._asked, node), node)

    # --- models ---

    def _create_model(self, node: blocks.CreateModel) -> None:
        self._outside_of_transactions("CREATE MODEL")
        place = self._statement(exp.Null()).place(node.creation.path)
        made, operation = self._creator().create(node.creation, place, dry=self._asked.dry)
        self._did(_of_model("CREATE", made, operation), node)

    def _change_model(self, node: blocks.ChangeModel) -> None:
        self._outside_of_transactions(f"{node.kind} MODEL")
        place, warehouse = self._statement(exp.Null()).place(node.path), self._asked.warehouse
        settings = {name: self._value(blocks.expression(text)) for name, text in node.options}
        folder = ""
        with self._change():
            if node.kind == "DROP":
                operation, folder = create.drop(self._cursor, place, node.exists_ok)
            else:
                operation = create.alter(self._cursor, place, node.exists_ok, settings)
        if folder and warehouse is not None:
            warehouse.models.forget(folder)
        self._did(_of_model(node.kind, kept.Entry(*place), operation), node)

    def _outside_of_transactions(self, what: str) -> None:
        if self._transaction:
            raise InvalidArgument(f"{what} is not supported inside a transaction", reason="invalidQuery")

    def _export_model(self, node: blocks.ExportModel) -> None:
        warehouse = self._asked.warehouse
        assert warehouse is not None
        uri = exports.target({name: self._value(blocks.expression(text)) for name, text in node.options})
        entry = kept.require(self._cursor, *self._statement(exp.Null()).place(node.path))
        if not self._asked.dry and self._asked.exports:
            exports.lay(warehouse.models, entry, uri, Path(self._asked.exports))
        self._did(Done("EXPORT_MODEL"), node)

    def _creator(self) -> create.Creator:
        warehouse = self._asked.warehouse
        assert warehouse is not None
        return create.Creator(
            self._cursor,
            warehouse.models,
            warehouse.trainer,
            lambda text, dry: self._statement(blocks.query(text)).rows(empty=dry),
            self._option,
            self._changing,
            self._statement(exp.Null()).over,
            self._object,
            self._statement(exp.Null()).endpoint,
            self._trains,
        )

    def _option(self, text: str) -> Any:
        chosen = exp.alias_(blocks.expression(text), "value", quoted=True)
        return kept.value(self._statement(exp.Select(expressions=[chosen])).rows(), "An option")

    def _object(self, uri: str) -> Path:
        """The file of an object that the statement names."""
        found = self._asked.files.get(uri)
        if found is None:
            raise InvalidArgument(
                "MODEL_PATH must stand in the statement as a text: MODEL_PATH = 'gs://…'",
                reason="invalidQuery",
            )
        if not found:
            raise NotFound(f"Not found: MODEL_PATH {uri}", reason="notFound")
        return Path(found)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Cursor]:
        with self._change():
            yield self._cursor

    def _trains(self, training: Training | None) -> None:
        self._training = training

    def _execute(self, node: blocks.Execute) -> None:
        text = self._value(node.sql)
        if not isinstance(text, str):
            raise InvalidArgument("EXECUTE IMMEDIATE needs a STRING that is not NULL", reason="invalidQuery")
        block = blocks.read(text)
        if len(block) != 1 or not isinstance(block[0], (*_SINGLE, blocks.CreateRoutine, blocks.Call)):
            raise InvalidArgument(
                "EXECUTE IMMEDIATE takes one SQL statement that is none of a script's own",
                reason="invalidQuery",
            )
        named: dict[str, exp.Expr] = {}
        positional: list[exp.Expr] = []
        for name, value in node.using:
            made = _value_of(self._kept_value(value, f"u{len(named)}_{len(positional)}"))
            if isinstance(value, exp.Column) and not name:
                named[value.name] = made
            if name:
                named[name] = made
            else:
                positional.append(made)
        before = self._asked.parameters, self._asked.positional
        self._asked.parameters, self._asked.positional = named, positional
        try:
            if node.into:
                self._into(node, block[0])
            else:
                _NODES[type(block[0])](self, block[0])
        finally:
            self._asked.parameters, self._asked.positional = before

    def _into(self, node: blocks.Execute, asked: Node) -> None:
        if not isinstance(asked, blocks.Run) or asked.tree.key not in _QUERIES:
            raise InvalidArgument("EXECUTE IMMEDIATE … INTO needs a query", reason="invalidQuery")
        tree = asked.tree.copy()
        sql = self._statement(tree).translated(tree)
        try:
            self._do(f"SET VARIABLE _value = (SELECT r FROM ({sql}) AS r)")
        except duckdb.InvalidInputException as error:
            if "More than one row" not in str(error):
                raise
            raise InvalidArgument(
                "The query result of EXECUTE IMMEDIATE … INTO has more than one row", reason="invalidQuery"
            ) from None
        told = self._told("SELECT getvariable('_value')")
        self._spread(node.into, field_of("", told))
        self._did(Done("SELECT"), node)

    def _call(self, node: blocks.Call) -> None:
        if [one.upper() for one in node.path] == ["BQ", "ABORT_SESSION"]:
            return self._abort([self._value(one) for one in node.arguments])
        found = definitions.procedure(self._cursor, self._asked, node.path)
        if found is None:
            raise InvalidArgument(f"Procedure not found: {'.'.join(node.path)}", reason="invalidQuery")
        wanted = found.arguments
        if len(wanted) != len(node.arguments):
            raise InvalidArgument(
                f"Procedure {found.shown} takes {len(wanted)} arguments, {len(node.arguments)} given",
                reason="invalidQuery",
            )
        if len(self._calls) >= _CALLS:
            raise InvalidArgument(
                f"Procedures call each other more than {_CALLS} deep", reason="invalidQuery"
            )
        given: list[tuple[dict[str, Any], str, Variable | None]] = []
        for one, value in zip(wanted, node.arguments, strict=True):
            outer = None
            if one.get("mode") in ("OUT", "INOUT"):
                outer = self._find(value.name) if isinstance(value, exp.Column) and not value.table else None
                if outer is None:
                    raise InvalidArgument(
                        f"The argument {one['name']} of {found.shown} is {one['mode']}: give it a variable",
                        reason="invalidQuery",
                    )
            slot = self._kept_value(value, f"a{len(given)}") if one.get("mode") != "OUT" else ""
            given.append((one, slot, outer))
        return self._within(found, given)

    def _abort(self, named: list[Any]) -> None:
        """CALL BQ.ABORT_SESSION([id]); that of the text itself where none is named."""
        identity = str(named[0]) if named else self._session
        if not identity or len(named) > 1:
            raise InvalidArgument(
                "BQ.ABORT_SESSION needs the id of a session where it is not called in one",
                reason="invalidQuery",
            )
        assert self._asked.warehouse is not None
        if identity == self._session:
            raise _Aborted
        self._asked.warehouse.sessions.abort(identity, self._asked.caller)

    def _within(
        self, found: routines.Routine, given: list[tuple[dict[str, Any], str, Variable | None]]
    ) -> None:
        """Runs a procedure's body, which sees its arguments and none of the caller's variables."""
        frames, self._frames = self._frames, [{}]
        self._seen()
        self._calls.append(found.shown)
        try:
            inner = []
            for one, slot, outer in given:
                if one.get("dataType"):
                    field = field_of_expression(one["name"], routines.data_type(one["dataType"]))
                else:
                    field = field_of(one["name"], self._told(f"SELECT getvariable('{slot}')"))
                variable = self._declared(one["name"], field)
                if slot:
                    self._assign(variable, _value_of(slot))
                inner.append((variable, outer))
            self._guarded(lambda: self._block(self._body(found)))
            for variable, outer in inner:
                if outer is not None:
                    sql = coerced(f"getvariable('{variable.slot}')", duckdb_type(variable.field), outer.field)
                    self._do(f"SET VARIABLE {outer.slot} = (SELECT {sql})")
        finally:
            self._calls.pop()
            self._frames = frames
            self._seen()

    def _body(self, found: routines.Routine) -> Block:
        text = str(found.body["definitionBody"])
        if text not in self._bodies:
            self._bodies[text] = blocks.read(text)
        return self._bodies[text]

    # --- transactions ---

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """What is done within is kept as a whole, now or with the script's transaction."""
        if self._transaction == "aborted":
            raise InvalidArgument(
                "The transaction was ended by an error; ROLLBACK TRANSACTION before another statement",
                reason="invalidQuery",
            )
        self._forget_translations()
        if self._asked.dry:
            yield
            return
        if self._transaction:
            with self._writing:  # which a script's transaction holds already, and a session's does not
                yield
            return
        with self._writing:
            self._do("BEGIN TRANSACTION")
            try:
                yield
                self._do("COMMIT")
                self._changed()
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    self._do("ROLLBACK")
                raise

    def _transact(self, node: blocks.Transaction) -> None:
        if node.kind == "BEGIN":
            if self._transaction:
                raise InvalidArgument("Transaction is already in progress", reason="invalidQuery")
            if not self._session:
                self._writing.acquire()
            self._do("BEGIN TRANSACTION")
            self._transaction = "open"
        elif not self._transaction:
            raise InvalidArgument("There is no active transaction", reason="invalidQuery")
        elif node.kind == "COMMIT" and self._transaction == "aborted":
            self._transaction = ""
            raise InvalidArgument(
                "The transaction was ended by an error and is rolled back", reason="invalidQuery"
            )
        else:
            self._finish(node.kind)
        self._count += 1

    def _finish(self, kind: str) -> None:
        opened, self._transaction = self._transaction == "open", ""
        if opened:
            try:
                self._do(kind)
                self._changed()
            finally:
                if not self._session:
                    self._writing.release()

    def _changed(self) -> None:
        if self._asked.warehouse is not None:
            self._asked.warehouse.entries.forget()

    def _noticed(self) -> None:
        """After an error: DuckDB goes on with no transaction in which something failed."""
        if self._transaction != "open":
            return
        try:
            self._do("SELECT 1")
        except duckdb.Error:
            self._finish("ROLLBACK")
            self._transaction = "aborted"


class SessionScript(Script):
    """A script that goes on with each text that it is given."""

    def __init__(self, cursor: Cursor, writing: threading.RLock, asked: Asked, identity: str) -> None:
        super().__init__(cursor, writing, asked)
        self._session = identity
        self.aborted = False  # by BQ.ABORT_SESSION

    def next(self, block: Block, asked: Asked) -> list[Done]:
        """Runs a text with what was declared, made and begun by those before it; tells what `run` does.

        Raises:
            PorticoError: a statement was refused; what was done before stays.
        """
        before = self._asked
        self._asked = dataclasses.replace(
            asked,
            dataset=asked.dataset or before.dataset,
            functions=before.functions,
            variables=before.variables,
            temporary=before.temporary,
        )
        self._forget_translations()
        self._afresh()
        try:
            return self.run(block)
        except _Aborted:
            self.aborted = True
            return [*self._children, Done("SCRIPT" if self._whole else "CALL", children=self._count)]

    def close(self) -> None:
        """Undoes what was not committed, and drops temporary tables."""
        self._end()


class _Aborted(Exception):
    """A session's own end."""


class _Stopped(InvalidArgument):
    """A script that went beyond its bounds; no handler takes that."""


def _of_model(kind: str, entry: kept.Entry, operation: str) -> Done:
    target = Entry(entry.project, entry.dataset, entry.name)
    done = Done(f"{kind}_MODEL", target=target, operation=operation, warnings=entry.warnings)
    if entry.registers:
        done.registers = {**entry.registers, "folder": entry.folder, "place": list(key_of(target))}
    return done


def _value_of(slot: str) -> exp.Expr:
    return call("getvariable", exp.Literal.string(slot))


def _takes_any(value: exp.Expr, field: Field) -> bool:
    """Whether a literal is one of the type that it is given to, whatever it would be for itself."""
    value = value.unnest()
    inner = value.this if isinstance(value, exp.Neg) else value
    if isinstance(inner, exp.Literal):
        return not inner.is_string or field["type"] in ("STRING", "DATE", "TIME", "DATETIME", "TIMESTAMP")
    return isinstance(inner, exp.Null | exp.Parameter)


def _text(value: str | None) -> exp.Expr:
    return exp.Null() if value is None else exp.Literal.string(value)


def _integer(value: int | None) -> exp.Expr:
    return exp.Null() if value is None else exp.Literal.number(value)


def system_of(asked: Asked) -> dict[str, exp.Expr]:
    """What @@variables stand for outside of a script's own matters."""
    *project, dataset = asked.dataset.split(".") if asked.dataset else [""]
    texts = {
        "project_id": asked.project, "dataset_project_id": project[0] if project else asked.project,
        "dataset_id": dataset or None, "time_zone": "UTC", "location": "US", "session_id": None, "query_label": None,
    }  # fmt: skip
    return {name: _text(value) for name, value in texts.items()}


_NODES: dict[type[Node], Callable[[Script, Any], None]] = {
    blocks.Run: Script._run, blocks.CreateRoutine: Script._create, blocks.DropRoutine: Script._drop,
    blocks.Declare: Script._declare, blocks.Set: Script._set, blocks.If: Script._if, blocks.Loop: Script._loop,
    blocks.For: Script._for, blocks.Jump: Script._jump, blocks.Begin: Script._begin, blocks.Raise: Script._raise,
    blocks.Return: Script._return, blocks.Execute: Script._execute, blocks.Call: Script._call,
    blocks.Transaction: Script._transact, blocks.Assert: Script._assert,
    blocks.CreateModel: Script._create_model, blocks.ChangeModel: Script._change_model,
    blocks.ExportModel: Script._export_model,
}  # fmt: skip
