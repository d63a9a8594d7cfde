"""`bq://` names: the tables of BigQuery, as the other services find and read them and write into them.

Rows come from the warehouse as a Parquet file, of one moment, which is kept as an object generation is: pinned by who
needs it, and known by the table's name and the moment's number.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound, PorticoError
from portico.store import log_tables
from portico.store.gcs import Gcs
from portico.store.objects import generations as objects
from portico.store.objects.files import FileWriter
from portico.store.objects.generations import ObjectRow
from portico.warehouse.client import FOLDER, is_running, warehouse

SCHEME = "bq://"
Field = dict[str, Any]  # a TableFieldSchema
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Name:
    """What a `bq://` name says; `dataset` and `table` are "" where it says no more."""

    project: str
    dataset: str = ""
    table: str = ""

    @property
    def path(self) -> str:
        return ".".join(filter(None, (self.project, self.dataset, self.table)))


def stamp(now: float) -> str:
    """A moment as Vertex AI has it in the names of what it makes: YYYY_MM_DDThh_mm_ss_sssZ."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y_%m_%dT%H_%M_%S_%f")[:-3] + "Z"


def parse(uri: str, field: str, parts: tuple[int, ...] = (3,)) -> Name:
    """A name of as many `parts` as may be: the project (which may have dots: `example.com:p`), dataset, table. As in
    legacy SQL a colon may follow the project, `p:dataset.table`: domains have a dot, and projects none.

    Raises:
        InvalidArgument: it is no such name.
    """
    forms = {1: "bq://PROJECT", 2: "bq://PROJECT.DATASET", 3: "bq://PROJECT.DATASET.TABLE"}
    shown = str(uri).removeprefix(SCHEME)
    domain, colon, rest = shown.rpartition(":")
    found = rest.split(".")
    if colon and "." not in domain:
        found, domain, colon = [domain, *found], "", ""
    if not str(uri).startswith(SCHEME) or len(found) not in parts or not all(found):
        raise InvalidArgument(
            f"Invalid BigQuery URI {uri!r}: it must be {' or '.join(forms[count] for count in parts)}.",
            field=field,
        )
    return Name(domain + colon + found[0], *found[1:])


def require(home: Path, uri: str, field: str, parts: tuple[int, ...] = (3,)) -> dict[str, Any]:
    """The table, view or dataset (`parts` 2) as the warehouse knows it.

    Raises:
        InvalidArgument: it is no name of a table, or there is none.
    """
    name = parse(uri, field, parts)
    try:
        found: dict[str, Any] = warehouse(home).ask("get", **_arguments(name))
    except PorticoError as error:
        raise _of(error, field) from None
    return found


def exists(home: Path, name: Name) -> bool:
    """Whether there is such a table or view."""
    try:
        warehouse(home).ask("get", **_arguments(name))
    except NotFound:
        return False
    return True


def pin(gcs: Gcs, uri: str, holder: str, field: str) -> ObjectRow:
    """The rows of a table or view, kept for `holder`: those that it kept before of the same, else those of now.

    Raises:
        InvalidArgument: there is no such table, or it has a column that Parquet has no type for.
    """
    name = parse(uri, field)
    return _held(gcs, name, holder) or pin_query(gcs, f"SELECT * FROM `{name.path}`", name, holder, field)


def pin_asked(gcs: Gcs, text: str, project: str, holder: str, field: str) -> ObjectRow:
    """What a query yields, kept for `holder`: what it kept before of the same, else that of now.

    Raises:
        InvalidArgument: as `pin_query`.
    """
    name = Name(project, "query", sha256(text.encode()).hexdigest()[:32])
    return _held(gcs, name, holder) or pin_query(gcs, text, name, holder, field)


def _held(gcs: Gcs, name: Name, holder: str) -> ObjectRow | None:
    with gcs.database.read() as connection:
        held = objects.pinned(connection, holder)
    return next((row for row in held if (row.bucket, row.name) == (objects.TABLES, name.path)), None)


def pin_query(gcs: Gcs, text: str, name: Name, holder: str, field: str) -> ObjectRow:
    """What a query yields now, kept for `holder` under a name.

    Raises:
        InvalidArgument: the query is refused, or yields a column that Parquet has no type for.
    """
    folder = gcs.home / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place, FileWriter(gcs.home, gcs.ids) as file:
        path = Path(place) / "rows.parquet"
        try:
            told = warehouse(gcs.home).ask("export", project=name.project, text=text, path=str(path))
        except PorticoError as error:
            raise _of(error, field) from None
        with path.open("rb") as written:
            while piece := written.read(_PIECE):
                file.write(piece)
        stored = file.finish()
        with gcs.database.write() as connection:
            fields = {"contentType": "application/vnd.apache.parquet", "rows": told["rows"]}
            row = objects.put_pinned(connection, name.path, stored, fields, holder, gcs.clock.now())
        file.keep()
    return row


def create_dataset(home: Path, name: Name) -> None:
    """
    Raises:
        AlreadyExists: there is one of this name.
    """
    warehouse(home).ask("create_dataset", project=name.project, dataset=name.dataset, body={})


def want_log(connection: Connection, name: Name, stream: str) -> None:
    """Has a table made that shows a stream of the prediction log, with its dataset where there is none: when the
    warehouse starts next, or when `make_logs` asks."""
    log_tables.want(connection, log_tables.Wanted(name.project, name.dataset, name.table, stream))


def check_log(home: Path, name: Name, stream: str) -> None:
    """Makes the table of `want_log` at once if the warehouse runs, which is not started for it.

    Raises:
        InvalidArgument: there is another table of this name.
    """
    if is_running(home):
        warehouse(home).ask("create_log", **_arguments(name), stream=stream)


def make_logs(home: Path) -> None:
    """Has the tables made that are wanted, if the warehouse runs; else it makes them when it starts."""
    if is_running(home):
        warehouse(home).ask("make_logs")


def load_parquet(home: Path, table: Name, files: Sequence[Path], known: Sequence[Field] = ()) -> None:
    """Makes the rows of Parquet files a table, in the place of one that is there. A column has the type that `known`
    says, else the files'; one that has other types in other files holds text.

    Raises:
        InvalidArgument: a column is not for BigQuery, or there is no such dataset.
    """
    from portico.warehouse.loading import table_fields

    fields = {one["name"].lower(): one for one in known}
    found: dict[str, Field] = {}
    for path in files:
        for one in table_fields(path, "PARQUET", {"decimalTargetTypes": ["NUMERIC", "BIGNUMERIC"]}):
            name = one["name"].lower()
            found[name] = fields.get(name) or _joined(found.get(name, one), one)
    _load(home, table, files, "PARQUET", list(found.values()))


def load_lines(home: Path, table: Name, file: Path, fields: Sequence[Field]) -> None:
    """As `load_parquet`, of a file of JSON lines and a schema."""
    _load(home, table, [file], "NEWLINE_DELIMITED_JSON", fields)


def _load(home: Path, table: Name, files: Sequence[Path], form: str, fields: Sequence[Field]) -> None:
    warehouse(home).ask(
        "load",
        job="",
        destination=_arguments(table),
        files=[{"path": str(path), "uri": SCHEME + table.path} for path in files],
        form=form,
        options={},
        schema=list(fields),
        create="CREATE_IF_NEEDED",
        write="WRITE_TRUNCATE",
    )


def _joined(one: Field, other: Field) -> Field:
    """A field that takes the values of both."""
    same = ("type", "mode", "fields")
    if all(one.get(key) == other.get(key) for key in same):
        return one
    if {one["type"], other["type"]} == {"INTEGER", "FLOAT"} and one.get("mode") == other.get("mode"):
        return {**one, "type": "FLOAT"}
    return {"name": one["name"], "type": "STRING", "mode": "NULLABLE"}


def _arguments(name: Name) -> dict[str, str]:
    return {"project": name.project, "dataset": name.dataset, "table": name.table}


def _of(error: PorticoError, field: str) -> PorticoError:
    """A refusal with the field that it is about."""
    if error.code in ("NOT_FOUND", "INVALID_ARGUMENT"):
        return InvalidArgument(error.message, field=field)
    return error
