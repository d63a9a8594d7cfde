"""INFORMATION_SCHEMA: what the catalog has, as tables."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse import catalog, guard
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.types import Field

_SQL_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


def sql_type(one: Field) -> str:
    """A field's type as SQL writes it."""
    kind = str(one["type"]).upper()
    shown = _SQL_NAMES.get(kind, kind)
    sizes = [str(one[key]) for key in ("maxLength", "precision", "scale") if one.get(key) is not None]
    if kind == "RECORD":
        members = ", ".join(f"{inner['name']} {sql_type(inner)}" for inner in one.get("fields") or ())
        shown = f"STRUCT<{members}>"
    elif sizes:
        shown = f"{shown}({', '.join(sizes)})"
    return f"ARRAY<{shown}>" if str(one.get("mode", "")).upper() == "REPEATED" else shown


@dataclass(slots=True)
class Scope:
    """What a view is asked about: a dataset (`entry`), or all of a project's (`entry` is None)."""

    cursor: Cursor
    project: str
    entry: Entry | None
    outside: Callable[..., Any] | None
    caller: str
    sessions: Collection[str]  # those that have not ended

    @property
    def datasets(self) -> list[Entry]:
        return [self.entry] if self.entry is not None else catalog.listed(self.cursor, self.project)

    @property
    def tables(self) -> list[Entry]:
        return [
            one
            for holder in self.datasets
            for one in catalog.listed(self.cursor, self.project, holder.dataset)
        ]


@dataclass(slots=True)
class View:
    """A view: its columns (TYPE as Arrow's, by name) and what yields its rows."""

    columns: dict[str, pa.DataType]
    rows: Callable[[Scope], Iterator[dict[str, Any]]]


def columns(texts: str, **others: pa.DataType) -> dict[str, pa.DataType]:
    """Names of columns; those not among `others` are texts."""
    return {name: others.get(name, pa.string()) for name in texts.split()}


def time_of(body: dict[str, Any], key: str) -> dt.datetime | None:
    """A time that is kept in milliseconds since the epoch."""
    return dt.datetime.fromtimestamp(int(body[key]) / 1000, dt.UTC) if body.get(key) else None


_ABSENT = (
    (r".*_BY_(?:FOLDER|ORGANIZATION)|ORGANIZATION_.*", "it knows projects, and no folder or organization"),
    (r"BI_.*", "it has no BI Engine"),
    (
        r"(?:ASSIGNMENT|CAPACITY_COMMITMENT|RESERVATION).*",
        "its queries share one process, of which nothing is reserved",
    ),
    (r"INSIGHTS|RECOMMENDATIONS", "it recommends nothing"),
    (r"(?:STREAMING|WRITE_API)_TIMELINE.*", "it does not count what was written by the minute"),
    (r"TABLE_STORAGE_USAGE_TIMELINE", "it keeps no sizes of the past"),
    (
        r"SCHEMATA_REPLICAS.*|SCHEMATA_LINKS|SHARED_DATASET_USAGE",
        "its datasets are neither copied nor shared",
    ),
    (r"PROPERTY_GRAPHS", "it has no property graphs"),
    (r"(?:EFFECTIVE_)?PROJECT_OPTIONS.*", "its projects have no options"),
    (r"SEARCH_INDEX_COLUMN_OPTIONS", "its search indexes have no options by column"),
)


def _absent(name: str, known: Collection[str]) -> Exception:
    for pattern, why in _ABSENT:
        if re.fullmatch(pattern, name):
            return Unimplemented(f"INFORMATION_SCHEMA.{name} is not built in Portico: {why}.")
    return InvalidArgument(
        f"INFORMATION_SCHEMA.{name} is not built in Portico; it has {', '.join(sorted(known))}.",
        reason="invalidQuery",
    )


def view(
    cursor: Cursor,
    project: str,
    parts: list[str],
    outside: Callable[..., Any] | None,
    caller: str,
    sessions: Callable[[], Collection[str]],
) -> exp.Expr | None:
    """What `[PROJECT.]DATASET.INFORMATION_SCHEMA.VIEW` or `[PROJECT.]DATASET.__TABLES__` stands for; None where the
    parts name no such thing.

    Raises:
        InvalidArgument: there is no such view. Unimplemented: what it tells is not in Portico.
    """
    upper = [one.upper() for one in parts]
    meta = upper[-1] == "__TABLES__" and len(parts) > 1
    if "INFORMATION_SCHEMA" not in upper and not meta:
        return None
    from portico.warehouse.information_views import META_TABLES, VIEWS

    place = len(parts) - 1 if meta else upper.index("INFORMATION_SCHEMA")
    name, before = upper[-1] if meta else ".".join(upper[place + 1 :]), parts[:place]
    if name not in VIEWS and not meta:
        raise _absent(name, VIEWS)
    if before and name.startswith("SCHEMATA") and not before[-1].lower().startswith("region-"):
        before = [*before, "region-us"]  # `PROJECT.INFORMATION_SCHEMA.SCHEMATA`
    regional = not before or before[-1].lower().startswith("region-")
    owner = ".".join(before[:-1]) or project
    guard.look(owner, "" if regional else before[-1])
    entry = None if regional else catalog.require(cursor, owner, before[-1])
    found = META_TABLES if meta else VIEWS[name]
    rows = list(found.rows(Scope(cursor, owner, entry, outside, caller, sessions())))
    shown = {key: pa.array([row.get(key) for row in rows], kind) for key, kind in found.columns.items()}
    registered = f"_schema_{name.lower()}_{owner}_{(before or [''])[-1]}"
    cursor.register(registered, pa.table(shown))
    return exp.Table(this=exp.to_identifier(registered, quoted=True))
