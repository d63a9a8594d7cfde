"""A script's statements about models: CREATE, ALTER, DROP and EXPORT MODEL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument, NotFound
from portico.warehouse import blocks, guard, tokens
from portico.warehouse.asked import Done
from portico.warehouse.blocks import Node
from portico.warehouse.catalog import Cursor, Entry, key_of
from portico.warehouse.models import create, exports, kept
from portico.warehouse.models.trainer import Training
from portico.warehouse.script_transactions import Transactions


class ModelStatements(Transactions):
    _training: Training | None = None  # that a CREATE MODEL waits for
    _cancelled = False

    def _create_model(self, node: blocks.CreateModel) -> Done:
        self._outside_of_transactions("CREATE MODEL")
        place = self._statement(exp.Null()).place(node.creation.path)
        ran: list[Done] = []

        def run(text: str, dry: bool) -> pa.Table:
            ran.append(self._statement(tokens.query(text)).counted(empty=dry))
            return ran[-1].rows

        made, operation = self._creator(run).create(node.creation, place, dry=self._asked.dry)
        done = _of_model("CREATE", made, operation)
        done.scanned = [size for one in ran for size in one.scanned]
        done.read = [entry for one in ran for entry in one.read]
        return done

    def _change_model(self, node: blocks.ChangeModel) -> Done:
        self._outside_of_transactions(f"{node.kind} MODEL")
        place, warehouse = self._statement(exp.Null()).place(node.path), self._asked.warehouse
        assert warehouse is not None
        settings = {name: self._value(tokens.expression(text)) for name, text in node.options}
        folder, found = "", kept.Entry(*place)
        with self._change():
            if node.kind == "DROP":
                operation, folder = create.drop(self._cursor, place, node.exists_ok)
            else:
                found, operation = create.alter(
                    self._cursor, warehouse.models, place, node.exists_ok, settings
                )
        if folder:
            warehouse.models.forget(folder)
        return _of_model(node.kind, found, operation)

    def _outside_of_transactions(self, what: str) -> None:
        if self._transaction:
            raise InvalidArgument(f"{what} is not supported inside a transaction", reason="invalidQuery")

    def _export_model(self, node: blocks.ExportModel) -> Done:
        warehouse = self._asked.warehouse
        assert warehouse is not None
        uri, trial = exports.target(
            {name: self._value(tokens.expression(text)) for name, text in node.options}
        )
        with guard.reading():
            entry = kept.require(self._cursor, *self._statement(exp.Null()).place(node.path))
        if not self._asked.dry and self._asked.exports:
            exports.lay(warehouse.models, entry, uri, Path(self._asked.exports), trial)
        return Done("EXPORT_MODEL")

    def _creator(self, run: Callable[[str, bool], pa.Table]) -> create.Creator:
        warehouse = self._asked.warehouse
        assert warehouse is not None
        return create.Creator(
            self._cursor,
            warehouse.models,
            warehouse.trainer,
            run,
            self._option,
            self._changing,
            self._statement(exp.Null()).over,
            self._object,
            self._statement(exp.Null()).endpoint,
            self._trains,
        )

    def _option(self, text: str) -> Any:
        chosen = exp.alias_(tokens.expression(text), "value", quoted=True)
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
        if training is not None and self._cancelled:  # while it was made ready
            training.interrupt()


def _of_model(kind: str, entry: kept.Entry, operation: str) -> Done:
    target = Entry(entry.project, entry.dataset, entry.name)
    done = Done(f"{kind}_MODEL", target=target, operation=operation, warnings=entry.warnings)
    if entry.registers:
        done.registers = {**entry.registers, "folder": entry.folder, "place": list(key_of(target))}
    return done


MODEL_STATEMENTS: dict[type[Node], Callable[[ModelStatements, Any], Done]] = {
    blocks.CreateModel: ModelStatements._create_model,
    blocks.ChangeModel: ModelStatements._change_model,
    blocks.ExportModel: ModelStatements._export_model,
}
