"""Primary and foreign keys: NOT ENFORCED, kept as the API's tableConstraints and shown by INFORMATION_SCHEMA."""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument
from portico.warehouse import catalog
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.commands import Action


def add(cursor: Cursor, found: Entry, action: Action, other: Entry | None) -> None:
    """
    Raises:
        InvalidArgument: there is such a key already, or no such column. NotFound: the other table is not there.
    """
    _known(found, action.names)
    kept: dict[str, Any] = dict(found.body.get("tableConstraints") or {})
    if other is None:
        if "primaryKey" in kept:
            if action.exists:
                return
            raise InvalidArgument(f"Table {found.shown} already has a primary key", reason="invalidQuery")
        kept["primaryKey"] = {"columns": action.names}
    else:
        target = found if catalog.key_of(other) == catalog.key_of(found) else None
        target = target or catalog.require(cursor, *catalog.key_of(other))
        _known(target, action.references)
        keys = list(kept.get("foreignKeys") or ())
        name = action.column or f"fk${len(keys) + 1}"
        if any(one["name"] == name for one in keys):
            if action.exists:
                return
            raise InvalidArgument(
                f"Table {found.shown} already has a constraint {name}", reason="invalidQuery"
            )
        if len(action.names) != len(action.references):
            raise InvalidArgument(
                "A foreign key needs as many columns as it references", reason="invalidQuery"
            )
        keys.append({
            "name": name,
            "referencedTable": {"projectId": other.project, "datasetId": other.dataset, "tableId": other.table},
            "columnReferences": [
                {"referencingColumn": one, "referencedColumn": two}
                for one, two in zip(action.names, action.references, strict=True)
            ],
        })  # fmt: skip
        kept["foreignKeys"] = keys
    found.body["tableConstraints"] = kept


def drop(found: Entry, action: Action) -> None:
    """
    Raises:
        InvalidArgument: there is no such key.
    """
    kept: dict[str, Any] = dict(found.body.get("tableConstraints") or {})
    keys = list(kept.get("foreignKeys") or ())
    left = [one for one in keys if one["name"].lower() != action.column.lower()]
    if action.kind == "DROP PRIMARY KEY" and "primaryKey" in kept:
        del kept["primaryKey"]
    elif action.kind == "DROP CONSTRAINT" and len(left) < len(keys):
        kept["foreignKeys"] = left
    elif not action.exists:
        raise InvalidArgument(f"Table {found.shown} has no such constraint: {action.column or 'primary key'}",
                              reason="invalidQuery")  # fmt: skip
    found.body["tableConstraints"] = {key: value for key, value in kept.items() if value}


def _known(found: Entry, names: list[str]) -> None:
    have = {one["name"].lower() for one in found.fields}
    for name in names:
        if name.lower() not in have:
            raise InvalidArgument(f"Column {name} of a key is not in {found.shown}", reason="invalidQuery")
