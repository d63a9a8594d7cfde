"""Runs scripts: their branches, loops, handlers and statements; `block_reader` reads them.

Temporary tables live in a hidden dataset that goes with the script.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import duckdb
from sqlglot import exp

from portico.errors import InvalidArgument, PorticoError
from portico.warehouse import blocks, catalog, definitions, system_variables
from portico.warehouse.asked import Asked, Done
from portico.warehouse.blocks import QUERIES, SINGLE, Block, Node
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.refusals import refused
from portico.warehouse.script_calls import Calls
from portico.warehouse.script_models import MODEL_STATEMENTS, ModelStatements
from portico.warehouse.types import field_of

STEPS = 1_000_000  # statements and turns of loops that a script may take
SECONDS = 6 * 3600.0
_CHILDREN = 1_000  # statements whose results are kept
_BYTES = 256 << 20  # of these results, in all
_PLACE = re.compile(r" at \[\d+:\d+\]$")
_HIDDEN = re.compile(r"_script[0-9a-f]{32}")
_TRANSACTIONS = ("BEGIN_TRANSACTION", "COMMIT_TRANSACTION", "ROLLBACK_TRANSACTION")


class _Leave(Exception):
    """BREAK, CONTINUE and RETURN, on their way out."""

    def __init__(self, kind: str, label: str = "") -> None:
        self.kind, self.label = kind, label.lower()


class _Raised(InvalidArgument):
    """What a script itself raises."""


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
        return not (functions and isinstance(last, blocks.Run) and last.tree.key in QUERIES)
    return not isinstance(last, SINGLE)


def clean(cursor: Cursor) -> None:
    """Drops what scripts left that ran when the process died."""
    for project, dataset in catalog.do(
        cursor,
        f"SELECT project, dataset FROM {catalog.FILE}.portico.entries "
        "WHERE name = '' AND starts_with(dataset, '_script')",
    ):
        if _HIDDEN.fullmatch(dataset):
            catalog.drop_dataset(cursor, Entry(project, dataset, ""), contents=True)


class Script(ModelStatements, Calls):
    """One run of a script, in the caller's thread, on a connection of its own."""

    def __init__(
        self,
        cursor: Cursor,
        writing: threading.RLock,
        asked: Asked,
        steps: int = STEPS,
        seconds: float = SECONDS,
        session: str = "",
    ) -> None:
        super().__init__(cursor, writing, asked, session)
        self._bodies = {}
        self._loops = 0
        self._most, self._seconds = steps, seconds
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
        self._training = None
        self._kept = 0
        self._children = self._asked.children
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
        if self._whole and isinstance(node, _JOBS):
            self._listed(Done(_kind(node), error=error), node)
        said = error.message
        if (
            self._whole
            and not isinstance(error, _Raised | _Stopped)
            and not said.startswith("Syntax error: ")
        ):
            said = said if _PLACE.search(said) else f"{said} at [{node.place}]"
            error = type(error)(f"Query error: {said.removeprefix('Query error: ')}", reason=error.reason)
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

    def _set(self, node: blocks.Set) -> None:
        if node.names[0].startswith("@@") and not node.is_tuple:
            system_variables.change(self._asked, node.names[0][2:].lower(), self._value(node.value))
            self._system()
        else:
            self._set_variables(node)

    def _system(self) -> None:
        self._asked.system = system_variables.of_script(
            self._asked,
            self._session,
            self._errors[-1] if self._errors else None,
            self._last.affected if self._last else None,
            self._count,
        )

    # --- statements ---

    def _run(self, node: blocks.Run) -> None:
        self._plain(node.tree.copy(), node)

    def _plain(self, tree: exp.Expr, node: Node) -> None:
        if isinstance(tree, exp.Create):
            self._temporarily(tree)
        if tree.key in QUERIES or self._asked.dry:
            done = self._statement(tree).run()
        else:
            with self._change():
                done = self._statement(tree).run()
        self._did(done, node)

    def _did(self, done: Done, node: Node) -> None:
        if done.kind not in ("ASSERT", *_TRANSACTIONS):
            self._last = done
        self._listed(done, node)
        self._system()

    def _listed(self, done: Done, node: Node) -> None:
        """Tells of a statement, as of the job that it is, what it did or with which error it failed."""
        self._count += 1
        done.text = node.text
        if self._transaction == "open" or done.kind in _TRANSACTIONS:
            done.transaction = self._transaction_id
        kept = done
        self._kept += done.rows.nbytes if done.rows is not None else 0
        if self._kept > _BYTES:
            kept = dataclasses.replace(done, rows=None)
        if len(self._children) < _CHILDREN:
            self._children.append(kept)

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
                catalog.create_dataset(
                    self._cursor, dataclasses.replace(place, body={"location": self._asked.location})
                )
        table.set("catalog", exp.to_identifier(place.project, quoted=True))
        table.set("db", exp.to_identifier(place.dataset, quoted=True))

    def _create(self, node: blocks.CreateRoutine) -> None:
        with self._change():
            self._did(definitions.create(self._cursor, self._asked, node), node)

    def _drop(self, node: blocks.DropRoutine) -> None:
        with self._change():
            self._did(definitions.drop(self._cursor, self._asked, node), node)

    def _of_model(self, node: Node) -> None:
        self._did(MODEL_STATEMENTS[type(node)](self, node), node)

    def _transaction_statement(self, node: blocks.Transaction) -> None:
        self._transact(node)
        self._did(Done(f"{node.kind}_TRANSACTION"), node)

    def _execute(self, node: blocks.Execute) -> None:
        asked = self._immediate(node.sql)
        with self._using(node.using):
            if node.into:
                self._into(node.into, asked)
                self._did(Done("SELECT"), node)
            else:
                _NODES[type(asked)](self, asked)

    def _call(self, node: blocks.Call) -> None:
        if [one.upper() for one in node.path] == ["BQ", "ABORT_SESSION"]:
            return self._abort([self._value(one) for one in node.arguments])
        if [one.upper() for one in node.path] == ["BQ", "REFRESH_MATERIALIZED_VIEW"]:
            return self._refresh([self._value(one) for one in node.arguments])
        with self._within(*self._procedure(node)) as body:
            return self._guarded(lambda: self._block(body))

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

    def _refresh(self, named: list[Any]) -> None:
        """CALL BQ.REFRESH_MATERIALIZED_VIEW(name): nothing to do, since it is computed when it is read."""
        parts = str(named[0]).split(".") if len(named) == 1 else []
        if not 2 <= len(parts) <= 3:
            raise InvalidArgument(
                "BQ.REFRESH_MATERIALIZED_VIEW takes the name of one materialized view, 'project.dataset.view'",
                reason="invalidQuery",
            )
        found = catalog.require(self._cursor, *self._statement(exp.Null()).place(parts))
        if found.body.get("type") != "MATERIALIZED_VIEW":
            raise InvalidArgument(f"{found.shown} is not a materialized view", reason="invalidQuery")


class SessionScript(Script):
    """A script that goes on with each text that it is given."""

    def __init__(self, cursor: Cursor, writing: threading.RLock, asked: Asked, identity: str) -> None:
        super().__init__(cursor, writing, asked, session=identity)
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
            dataset_project=asked.dataset_project or before.dataset_project,
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


def _kind(node: Node) -> str:
    """Of a statement that failed; "" where it is not plain."""
    if not isinstance(node, blocks.Run):
        return ""
    key = node.tree.key
    return (
        "SELECT" if key in QUERIES else key.upper() if key in ("insert", "update", "delete", "merge") else ""
    )


# Statements that are jobs of their own.
_JOBS = (
    blocks.Run, blocks.CreateRoutine, blocks.DropRoutine, blocks.Execute, blocks.Transaction, blocks.Assert,
    *MODEL_STATEMENTS,
)  # fmt: skip


class _Aborted(Exception):
    """A session's own end."""


class _Stopped(InvalidArgument):
    """A script that went beyond its bounds; no handler takes that."""


_NODES: dict[type[Node], Callable[[Script, Any], None]] = {
    blocks.Run: Script._run, blocks.CreateRoutine: Script._create, blocks.DropRoutine: Script._drop,
    blocks.Declare: Script._declare, blocks.Set: Script._set, blocks.If: Script._if, blocks.Loop: Script._loop,
    blocks.For: Script._for, blocks.Jump: Script._jump, blocks.Begin: Script._begin, blocks.Raise: Script._raise,
    blocks.Return: Script._return, blocks.Execute: Script._execute, blocks.Call: Script._call,
    blocks.Transaction: Script._transaction_statement, blocks.Assert: Script._assert,
    **dict.fromkeys(MODEL_STATEMENTS, Script._of_model),
}  # fmt: skip
