"""What EXTERNAL_QUERY asks a PostgreSQL database over a connection: one statement that reads, and its rows in Arrow.

Types as https://cloud.google.com/bigquery/docs/cloud-sql-federated-queries#data_type_mappings has them: what is not
there is refused, as BigQuery does; the query then has a cast.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from portico.errors import Cancelled, InvalidArgument, NotFound, PorticoError
from portico.services.bigquery import permissions
from portico.services.call import Call
from portico.services.iam import targets
from portico.services.registry.connections import KIND, ConnectionPrivate
from portico.store import resources
from portico.warehouse.types import BIG_PLACE

if TYPE_CHECKING:
    import psycopg

VARIABLE: Final = (
    "PORTICO_CLOUD_SQL"  # PROJECT:REGION:INSTANCE=HOST:PORT, or =FOLDER of a Unix socket; commas between
)
_CONNECT: Final = 10  # seconds until a database must have answered
_PIECE: Final = 20_000  # rows that are in memory at once
# By PostgreSQL's number of a type, which is for ever.
_TYPES = {
    16: "BOOLEAN", 17: "BYTES", 20: "INTEGER", 21: "INTEGER", 23: "INTEGER", 19: "STRING", 25: "STRING",
    1042: "STRING", 1043: "STRING", 114: "STRING", 3802: "STRING", 700: "FLOAT", 701: "FLOAT", 1082: "DATE",
    1083: "TIME", 1114: "TIMESTAMP", 1184: "TIMESTAMP", 1700: "NUMERIC",
}  # fmt: skip
_DECIMAL = 1700
_DECIMALS = {"numeric": "NUMERIC", "bignumeric": "BIGNUMERIC", "float64": "FLOAT", "string": "STRING"}
_OF_DECIMALS: dict[str, Callable[[Decimal], Any]] = {
    "NUMERIC": lambda value: value.quantize(Decimal("1e-9"), ROUND_HALF_UP, Context(60)),
    "BIGNUMERIC": lambda value: _big(value),
    "FLOAT": float,
    "STRING": lambda value: format(value, "f"),
}


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    kind: str
    made: Callable[[Any], Any] | None = None  # what BigQuery has for a value of psycopg's


class Reading:
    """What one job reads of other databases, which another thread may stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: psycopg.Connection | None = None
        self._stopped = False

    @contextlib.contextmanager
    def over(self, opened: psycopg.Connection) -> Iterator[None]:
        """While a connection is read from.

        Raises:
            Cancelled: the job was stopped.
        """
        with self._lock:
            self._opened = opened
        try:
            self._go_on()
            yield
        finally:
            with self._lock:
                self._opened = None
            self._go_on()

    def _go_on(self) -> None:
        if self._stopped:
            raise Cancelled("The query was cancelled.", reason="stopped")

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._opened is not None:
                self._opened.cancel()


_readings: dict[str, Reading] = {}


@contextlib.contextmanager
def reading(job: str) -> Iterator[Reading]:
    """What the job of this name reads, while it works."""
    _readings[job] = made = Reading()
    try:
        yield made
    finally:
        _readings.pop(job, None)


def stop(job: str) -> None:
    """Ends what the job of this name asks other databases at the moment."""
    if (found := _readings.get(job)) is not None:
        found.stop()


def external_query(
    call: Call,
    read: Reading,
    project: str,
    connection: str,
    query: str,
    options: str,
    folder: Path,
    empty: bool,
) -> str:
    """Runs a query in a database; answers the path of a file of Arrow's in `folder`, without rows where it is to be
    `empty`.

    Raises:
        NotFound: there is no such connection. InvalidArgument: it can't be used, or the query is refused.
        Cancelled: the job was stopped.
    """
    import psycopg

    name, told, private = _connection(call, project, connection)
    decimals = _decimals(options)
    try:
        with psycopg.connect(
            **_place(told["instanceId"]), dbname=told["database"], user=private.username, password=private.password,
            connect_timeout=_CONNECT, application_name="portico",
            options="-c default_transaction_read_only=on -c timezone=UTC -c datestyle=ISO",
        ) as opened:  # fmt: skip
            opened.set_read_only(True)
            with read.over(opened):
                return _read(opened, query, decimals, folder, empty)
    except psycopg.OperationalError as error:
        raise _refused(f"Failed to connect to PostgreSQL database {name}: {_said(error)}") from None
    except psycopg.Error as error:
        raise _refused(f"Error while executing external query on {name}: {_said(error)}") from None


def _big(value: Decimal) -> Any:
    from portico.warehouse import bignumeric

    return bignumeric.read(format(value, "f"))


def _refused(message: str) -> PorticoError:
    return InvalidArgument(f"Invalid table-valued function EXTERNAL_QUERY\n{message}", reason="invalidQuery")


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _connection(call: Call, project: str, text: str) -> tuple[str, dict[str, Any], ConnectionPrivate]:
    found = re.fullmatch(
        r"projects/([^/]+)/locations/([^/]+)/connections/([^/]+)|(?:(.+)\.)?([^.]+)\.([^.]+)", text.strip()
    )
    if found is None:
        raise _refused(
            f"Invalid connection {text!r}: it is projects/PROJECT/locations/LOCATION/connections/CONNECTION, "
            "PROJECT.LOCATION.CONNECTION or LOCATION.CONNECTION"
        )
    owner = found[1] or found[4] or project
    location, last = found[2] or found[5], found[3] or found[6]
    resource = f"projects/{owner}/locations/{location}/connections/{last}"
    permissions.require(call, [("bigquery.connections.use", targets.full("bigqueryconnection", resource))])
    with call.rooms.database.read() as reading:
        for place in (location, location.lower()):
            kept = resources.get(reading, f"projects/{owner}/locations/{place}/connections/{last}")
            if kept is not None and kept.kind == KIND:
                return f"{owner}.{place}.{last}", kept.body["cloudSql"], ConnectionPrivate.of(kept)
    raise NotFound(f"Not found: Connection {owner}.{location}.{last}", reason="notFound")


def _place(instance: str) -> dict[str, Any]:
    """Where an instance of Cloud SQL is, in a connection's words.

    Raises:
        InvalidArgument: nobody has said so.
    """
    for one in os.environ.get(VARIABLE, "").split(","):
        name, _, place = one.strip().partition("=")
        if name == instance and place.startswith("/"):
            return {"host": place}
        if name == instance and place:
            host, _, port = place.rpartition(":") if re.search(r":\d+$", place) else (place, "", "5432")
            return {"host": host, "port": int(port)}
    raise _refused(
        f"Where the Cloud SQL instance {instance} is, is not known here: start Portico with "
        f"{VARIABLE}={instance}=HOST:PORT"
    )


def _decimals(options: str) -> str:
    try:
        given = orjson.loads(options or "{}")
        asked = {"default_type_for_decimal_columns": "numeric", **given}
        [(_, kind)] = asked.items()
        return _DECIMALS[kind]
    except (ValueError, TypeError, KeyError):
        raise _refused(
            'Options are a JSON object with "default_type_for_decimal_columns": "float64", "numeric", "bignumeric" or '
            '"string"'
        ) from None


def _read(opened: psycopg.Connection, query: str, decimals: str, folder: Path, empty: bool) -> str:
    """What a statement yields. It is declared as a cursor: nothing but one statement that yields rows can be one."""
    import pyarrow as pa
    from psycopg.types.string import TextLoader

    with opened.cursor(name="portico") as cursor:
        for kind in ("json", "jsonb"):
            cursor.adapters.register_loader(kind, TextLoader)
        cursor.execute(query.rstrip().rstrip(";").encode())
        columns = _columns(cursor.description or [], decimals)
        schema = pa.schema([(one.name, _arrow(one.kind)) for one in columns])
        path = folder / f"{len(list(folder.iterdir()))}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            while not empty and (rows := cursor.fetchmany(_PIECE)):
                writer.write_table(_table(rows, columns, schema))
    return str(path)


def _columns(description: list[psycopg.Column], decimals: str) -> list[_Column]:
    found = []
    for place, one in enumerate(description, 1):
        kind = _TYPES.get(one.type_code)
        if kind is None:
            raise _refused(
                f"Found unsupported PostgreSQL type in BigQuery: column {place}, {one.name!r}, is of type "
                f"{one.type_display}; cast it to a supported one, such as text"
            )
        if not re.fullmatch(r"\w{1,300}", one.name):
            raise _refused(f"Column {place} of the external query is called {one.name!r}; name it with AS")
        if one.type_code == _DECIMAL:
            found.append(_Column(one.name, decimals, _OF_DECIMALS[decimals]))
        else:
            found.append(_Column(one.name, kind))
    if len({one.name.lower() for one in found}) < len(found):
        raise _refused("Two columns of the external query have one name")
    return found


def _table(rows: list[Any], columns: list[_Column], schema: Any) -> Any:
    import pyarrow as pa

    arrays = []
    for cells, one, field in zip(zip(*rows, strict=True), columns, schema, strict=True):
        try:
            shown = (
                cells if one.made is None else [None if cell is None else one.made(cell) for cell in cells]
            )
            arrays.append(pa.array(shown, field.type))
        except (ValueError, ArithmeticError, pa.ArrowException) as error:
            raise _refused(f"A value of column {one.name} can't be had in BigQuery: {_said(error)}") from None
    return pa.Table.from_arrays(arrays, schema=schema)


def _arrow(kind: str) -> Any:
    import pyarrow as pa

    return {
        "BOOLEAN": pa.bool_(), "BYTES": pa.binary(), "INTEGER": pa.int64(), "STRING": pa.string(),
        "FLOAT": pa.float64(), "DATE": pa.date32(), "TIME": pa.time64("us"), "TIMESTAMP": pa.timestamp("us", "UTC"),
        "NUMERIC": pa.decimal128(38, 9), "BIGNUMERIC": pa.struct([(BIG_PLACE, pa.binary())]),
    }[kind]  # fmt: skip
