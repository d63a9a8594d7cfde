"""Data in Cloud Storage and in BigQuery: finding, pinning and reading what `gs://` and `bq://` names say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound
from portico.jobs.worker import Context
from portico.services.call import Rooms
from portico.services.standard import bq
from portico.store.gcs import Gcs, place_of
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects

if TYPE_CHECKING:
    from portico.ml.data_files import DataFile
    from portico.ml.tables import Read

_FORMATS = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True, slots=True)
class Source:
    """One pinned generation: it can be read as long as its pin is held."""

    uri: str
    generation: int
    size: int
    file: str

    def path(self, home: Path) -> Path:
        return objects_files.path_of(home, self.file)

    def data(self, home: Path) -> DataFile:
        """For the reader of tables: messages name the object."""
        from portico.ml.data_files import DataFile

        return DataFile(self.path(home), self.uri)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def gcs_of(rooms: Rooms | Context) -> Gcs:
    return Gcs(rooms.home, rooms.database, rooms.clock, rooms.ids)


def find(gcs: Gcs, uris: Sequence[str], field: str) -> list[objects.ObjectRow]:
    """The live objects that `uris` (which may hold wildcards) name, in order.

    Raises:
        InvalidArgument: a name is malformed or nothing is there.
    """
    if not uris:
        raise InvalidArgument("At least one gs:// name is needed.", field=field)
    found: list[objects.ObjectRow] = []
    for uri in uris:
        try:
            found.extend(gcs.match(uri))
        except (NotFound, InvalidArgument) as error:
            raise InvalidArgument(error.message, field=field) from None
    return found


def pin(gcs: Gcs, uris: Sequence[str], holder: str, field: str) -> list[Source]:
    """Pins the live objects that `uris` name for `holder`, so that they stay readable as they are now; of a table
    (`bq://`) the rows that it has now, or had when `holder` pinned it before.

    Raises:
        InvalidArgument: as `find`; there is no such table.
    """
    if uris and all(uri.startswith(bq.SCHEME) for uri in uris):
        return [source_of(bq.pin(gcs, uri, holder, field)) for uri in uris]
    rows = find(gcs, uris, field)
    gcs.pin(rows, holder)
    return [source_of(row) for row in rows]


def source_of(row: objects.ObjectRow) -> Source:
    return Source(row.uri, row.generation, row.size, row.file)


def repin(connection: Connection, sources: Sequence[Source], holder: str) -> None:
    """Lets `holder` hold `sources` too, which somebody still holds."""
    for source in sources:
        bucket, name = place_of(source.uri)
        row = objects.get(connection, bucket, name, source.generation, pinned=True)
        objects.pin(connection, row, holder)


def from_json(pins: Sequence[dict[str, Any]]) -> list[Source]:
    return [Source(**pin) for pin in pins]


def format_of(names: Sequence[str], declared: str, field: str) -> str:
    """csv, jsonl or parquet: `declared` (as Google writes formats: "csv", "jsonl", …) or from the names' endings.

    Raises:
        InvalidArgument: it can't be told, or the files differ.
    """
    if names and all(name.startswith(bq.SCHEME) for name in names):
        return "parquet"
    if declared:
        known = declared.lower().replace("json-lines", "jsonl")
        if known not in ("csv", "jsonl", "parquet"):
            raise InvalidArgument(
                f"The format {declared!r} is not supported; use csv, jsonl or parquet.", field=field
            )
        return known
    formats = {_FORMATS.get(Path(name.removesuffix(".gz")).suffix.lower(), "") for name in names}
    if len(formats) != 1 or "" in formats:
        raise InvalidArgument(
            f"The format of {', '.join(list(names)[:3])} can't be told from the ending; "
            "name all files alike, .csv, .jsonl or .parquet.",
            field=field,
        )
    return formats.pop()


def read_table(home: Path, pinned: Sequence[Source], declared: str, field: str) -> Read:
    """All rows of `pinned` as one table.

    Raises:
        InvalidArgument: as `format_of`. DataError: they can't be read; the message names the object.
    """
    from portico.ml.tables import read

    form = format_of([source.uri for source in pinned], declared, field)
    return read([source.data(home) for source in pinned], format=form)
