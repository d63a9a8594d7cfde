"""ALTER of tables, views and datasets, and UNDROP."""

from __future__ import annotations

from collections.abc import Callable

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse import catalog, commands, constraints, guard, options, storage, timetravel
from portico.warehouse.asked import Done
from portico.warehouse.catalog import Entry
from portico.warehouse.coercion import assignable
from portico.warehouse.commands import Action
from portico.warehouse.tables import Definition, merged
from portico.warehouse.tokens import Tokens
from portico.warehouse.types import Field, field_of_expression, quoted

_KINDS = {
    "TABLE": ("TABLE", "SNAPSHOT", "EXTERNAL"),
    "VIEW": ("VIEW",),
    "MATERIALIZED VIEW": ("MATERIALIZED_VIEW",),
}


class Alteration(Definition):
    """A statement that changes what is there."""

    def alter(self, tokens: Tokens) -> Done:
        asked = commands.alter(tokens)
        name = f"ALTER_{asked.kind.replace(' ', '_')}"
        if asked.kind == "SCHEMA":
            place = Entry(".".join(asked.path[:-1]) or self._asked.of_datasets, asked.path[-1], "")
            guard.need(place.project, place.dataset, "", "bigquery.datasets.update")
        elif asked.kind in _KINDS:
            place = self._named(asked.path)
        else:
            raise Unimplemented(f"ALTER {asked.kind} is not built in Portico yet.")
        found = catalog.find(self._cursor, *catalog.key_of(place))
        if found is None and asked.exists:
            return Done(name, target=place, operation="SKIP")
        found = found or catalog.require(self._cursor, *catalog.key_of(place))
        what = found.body.get("type", "TABLE")
        if asked.kind != "SCHEMA" and what not in _KINDS[asked.kind]:
            raise InvalidArgument(
                f"ALTER {asked.kind} is not for {found.shown}: it is a {what}", reason="invalidQuery"
            )
        if not self._asked.dry:
            for action in asked.actions:
                found = self._altered(asked.kind, found, action)
            catalog.write(self._cursor, found)
        return Done(name, target=found, operation="ALTER")

    def _altered(self, kind: str, found: Entry, action: Action) -> Entry:
        if action.kind == "SET OPTIONS":
            found.body = merged(found.body, options.body(kind, self._values(action.options)))
            return found
        if action.kind == "RENAME TO" and kind == "TABLE":
            return catalog.rename_table(self._cursor, found, action.to)
        change = _ACTIONS.get(action.kind)
        if change is None or (kind != "TABLE" and action.kind != "COLUMN OPTIONS"):
            raise Unimplemented(f"ALTER {kind} … {action.kind} is not built in Portico yet.")
        change(self, found, action)
        return found

    def _field(self, found: Entry, action: Action) -> Field | None:
        """The column that is changed; None where there is none and that is right."""
        for one in found.fields:
            if one["name"].lower() == action.column.lower():
                return one
        if action.exists:
            return None
        raise InvalidArgument(f"Column not found: {action.column}", reason="invalidQuery")

    def _add_column(self, found: Entry, action: Action) -> None:
        assert action.definition is not None
        made = self._column(action.definition)
        if any(one["name"].lower() == made["name"].lower() for one in found.fields):
            if action.exists:
                return
            raise InvalidArgument(f"Column already exists: {made['name']}", reason="invalidQuery")
        catalog.add_fields(self._cursor, found, [*found.fields, made])

    def _drop_column(self, found: Entry, action: Action) -> None:
        gone = self._field(found, action)
        if gone is None:
            return
        told = found.body.get("timePartitioning") or found.body.get("rangePartitioning") or {}
        clustered = (found.body.get("clustering") or {}).get("fields") or ()
        if gone["name"] in (told.get("field"), *clustered):
            raise InvalidArgument(
                f"Column {gone['name']} of {found.shown} can't be dropped: the table is partitioned or clustered by it",
                reason="invalidQuery",
            )
        left = [one for one in found.fields if one is not gone]
        storage.drop_column(self._cursor, found, gone)
        found.body["schema"] = {"fields": left}

    def _rename_column(self, found: Entry, action: Action) -> None:
        one = self._field(found, action)
        if one is None:
            return
        storage.rename_column(self._cursor, found, one["name"], action.to)
        for key in ("timePartitioning", "rangePartitioning"):
            if (found.body.get(key) or {}).get("field") == one["name"]:
                found.body[key] = {**found.body[key], "field": action.to}
        if clustering := (found.body.get("clustering") or {}).get("fields"):
            found.body["clustering"] = {
                "fields": [action.to if name == one["name"] else name for name in clustering]
            }
        one["name"] = action.to
        catalog.check_fields(found.fields)

    def _column_options(self, found: Entry, action: Action) -> None:
        if (one := self._field(found, action)) is not None:
            changed = merged(one, options.body("COLUMN", self._values(action.options)))
            one.clear()
            one.update(changed)

    def _data_type(self, found: Entry, action: Action) -> None:
        one = self._field(found, action)
        assert action.definition is not None
        if one is None:
            return
        wanted = field_of_expression(one["name"], action.definition.args["kind"])
        if not assignable(one, wanted):
            raise InvalidArgument(
                f"ALTER TABLE ALTER COLUMN SET DATA TYPE requires that the existing column type ({one['type']}) is "
                f"assignable to the new type ({wanted['type']})",
                reason="invalidQuery",
            )
        value = ""
        if "BIGNUMERIC" in (one["type"], wanted["type"]) and one["type"] != wanted["type"]:
            name = quoted(one["name"])
            value = f"gs_py_big_read(CAST({name} AS VARCHAR))"
            value = f"gs_py_big_float({name})" if one["type"] == "BIGNUMERIC" else value
        storage.retype_column(self._cursor, found, wanted, value)
        sized = {"maxLength", "precision", "scale", "fields"}
        kept = {key: value for key, value in one.items() if key not in sized}
        one.clear()
        one.update({**kept, **wanted, "mode": kept.get("mode", "NULLABLE")})

    def _set_default(self, found: Entry, action: Action) -> None:
        one = self._field(found, action)
        assert action.value is not None
        if one is None:
            return
        for key in ("defaultValueExpression", "_default"):
            one.pop(key, None)
        self._set_default_of(one, action.value)
        storage.set_default(self._cursor, found, one)

    def _drop_default(self, found: Entry, action: Action) -> None:
        if (one := self._field(found, action)) is not None and one.pop("_default", None):
            del one["defaultValueExpression"]
            storage.set_default(self._cursor, found, one)

    def _drop_not_null(self, found: Entry, action: Action) -> None:
        if (one := self._field(found, action)) is not None:
            one["mode"] = "NULLABLE"
            storage.alter(self._cursor, found, f"ALTER COLUMN {quoted(one['name'])} DROP NOT NULL")

    def _add_key(self, found: Entry, action: Action) -> None:
        other = self._named(action.path) if action.path else None
        constraints.add(self._cursor, found, action, other)

    def _drop_key(self, found: Entry, action: Action) -> None:
        constraints.drop(found, action)

    def undrop(self, tokens: Tokens) -> Done:
        tokens.expect("UNDROP")
        kind = tokens.name().upper()
        exists_ok = tokens.take("IF", "NOT", "EXISTS")
        path = tokens.path()
        if kind == "SCHEMA":
            named = Entry(".".join(path[:-1]) or self._asked.of_datasets, path[-1], "")
            guard.need(named.project, "", "", "bigquery.datasets.create")
            bring = timetravel.undrop_dataset
        elif kind == "TABLE":
            named, bring = self._named(path), timetravel.undrop
        else:
            raise Unimplemented(f"UNDROP {kind} is not built in Portico yet.")
        there = catalog.find(self._cursor, *catalog.key_of(named))
        if there is not None and exists_ok:
            return Done(f"UNDROP_{kind}", target=there, operation="SKIP")
        if self._asked.dry:
            return Done(f"UNDROP_{kind}", target=named, operation="UNDROP")
        return Done(f"UNDROP_{kind}", target=bring(self._cursor, named), operation="UNDROP")


_ACTIONS: dict[str, Callable[[Alteration, Entry, Action], None]] = {
    "ADD COLUMN": Alteration._add_column, "DROP COLUMN": Alteration._drop_column,
    "RENAME COLUMN": Alteration._rename_column, "COLUMN OPTIONS": Alteration._column_options,
    "DATA TYPE": Alteration._data_type, "SET DEFAULT": Alteration._set_default,
    "DROP DEFAULT": Alteration._drop_default, "DROP NOT NULL": Alteration._drop_not_null,
    "ADD PRIMARY KEY": Alteration._add_key, "ADD FOREIGN KEY": Alteration._add_key,
    "DROP PRIMARY KEY": Alteration._drop_key, "DROP CONSTRAINT": Alteration._drop_key,
}  # fmt: skip
