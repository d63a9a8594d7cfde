"""CREATE and DROP of search and vector indexes. An index is written down with its table and speeds nothing up: SEARCH
and VECTOR_SEARCH look at every row, and the job says so."""

from __future__ import annotations

from sqlglot import exp

from portico.errors import AlreadyExists, InvalidArgument, NotFound
from portico.warehouse import catalog, options
from portico.warehouse.asked import Done
from portico.warehouse.catalog import Entry
from portico.warehouse.queries import Query
from portico.warehouse.tokens import Tokens
from portico.warehouse.types import canonical

_OPTIONS = {
    "SEARCH": {"analyzer", "analyzer_options", "data_types", "default_index_column_granularity"},
    "VECTOR": {"index_type", "distance_type", "ivf_options", "tree_ah_options"},
}
_FUNCTIONS = {"SEARCH": "SEARCH", "VECTOR": "VECTOR_SEARCH"}


class Indexes(Query):
    """A statement about an index."""

    def create_index(self, tokens: Tokens) -> Done:
        tokens.expect("CREATE")
        replace = tokens.take("OR", "REPLACE")
        kind = tokens.name().upper()
        tokens.expect("INDEX")
        exists_ok = tokens.take("IF", "NOT", "EXISTS")
        name = tokens.name()
        tokens.expect("ON")
        entry = self._indexed(tokens)
        columns = [] if tokens.take("(", "ALL", "COLUMNS", ")") else tokens.names()
        stored = tokens.names() if tokens.take("STORING") else []
        if tokens.take("PARTITION", "BY"):
            tokens.until(("OPTIONS",), ())
        given = options.read(tokens) if tokens.sees("OPTIONS", "(") else {}
        if tokens:
            raise tokens.error("Expected end of statement")
        _check(kind, entry, columns, stored, given)
        done = Done(f"CREATE_{kind}_INDEX", target=entry, operation="CREATE")
        kept = entry.body.setdefault("_indexes", {})
        if name.lower() in kept and not replace:
            if not exists_ok:
                raise AlreadyExists(f"Already Exists: Index {name} on {entry.shown}", reason="duplicate")
            done.operation = "SKIP"
        elif not self._asked.dry:
            kept[name.lower()] = {
                "kind": kind, "name": name, "columns": columns, "storing": stored, "created": catalog.now(),
                "options": {key.lower(): value.sql("bigquery") for key, value in given.items()},
            }  # fmt: skip
            catalog.write(self._cursor, entry)
        done.warnings = [
            f"The index {name} is written down, and not used: {_FUNCTIONS[kind]} looks at every row in Portico."
        ]
        return done

    def drop_index(self, tokens: Tokens) -> Done:
        tokens.expect("DROP")
        kind = tokens.name().upper()
        tokens.expect("INDEX")
        exists_ok = tokens.take("IF", "EXISTS")
        name = tokens.name()
        tokens.expect("ON")
        entry = self._indexed(tokens)
        kept = entry.body.get("_indexes") or {}
        if (kept.get(name.lower()) or {}).get("kind") != kind:
            if exists_ok:
                return Done(f"DROP_{kind}_INDEX", target=entry, operation="SKIP")
            raise NotFound(f"Not found: {kind.capitalize()} index {name} on {entry.shown}", reason="notFound")
        if not self._asked.dry:
            del kept[name.lower()]
            catalog.write(self._cursor, entry)
        return Done(f"DROP_{kind}_INDEX", target=entry, operation="DROP")

    def _indexed(self, tokens: Tokens) -> Entry:
        found = catalog.require(self._cursor, *catalog.key_of(self._named(tokens.path())))
        if not found.storage:
            raise InvalidArgument(f"An index is of a table; {found.shown} is none", reason="invalidQuery")
        return found


def _check(
    kind: str, entry: Entry, columns: list[str], stored: list[str], given: dict[str, exp.Expr]
) -> None:
    """
    Raises:
        InvalidArgument: there is no such column or option, or none that such an index may have.
    """
    have = {one["name"].lower(): one for one in entry.fields}
    for name in [*columns, *stored]:
        if name.lower() not in have:
            raise InvalidArgument(
                f"Column {name} is not present in table {entry.shown}", reason="invalidQuery"
            )
    if unknown := {one.lower() for one in given} - _OPTIONS[kind]:
        raise InvalidArgument(f"Unknown option: {sorted(unknown)[0]}", reason="invalidQuery")
    if kind == "VECTOR":
        field = have[columns[0].lower()] if len(columns) == 1 else {}
        if (
            canonical(str(field.get("type") or "STRING")) != "FLOAT"
            or str(field.get("mode")).upper() != "REPEATED"
        ):
            raise InvalidArgument("A vector index is of one column of ARRAY<FLOAT64>", reason="invalidQuery")
        if "index_type" not in {one.lower() for one in given}:
            raise InvalidArgument("CREATE VECTOR INDEX needs the option index_type", reason="invalidQuery")
