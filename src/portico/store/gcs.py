"""`gs://` for the other rooms: find, read, pin and write objects without HTTP, in any process of a home."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from portico.clock import Clock, SystemClock
from portico.errors import InvalidArgument, NotFound
from portico.ids import Ids, RandomIds
from portico.store.database import Database
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects.files import FileCopy, FileWriter
from portico.store.objects.generations import ObjectRow, StoredFile
from portico.store.objects.listing import Position, Query, list_page
from portico.store.objects.names import check_object_name

_PAGE = 1000
_PIECE = 1 << 20


class ObjectWriter:
    """Takes an object's bytes. `row` is the object, once the block that writes it has ended."""

    def __init__(self, file: FileWriter) -> None:
        self._file = file
        self.row: ObjectRow | None = None

    @property
    def size(self) -> int:
        return self._file.size

    def write(self, data: bytes) -> None:
        self._file.write(data)


def parse_uri(uri: str) -> tuple[str, str]:
    """The bucket and the object's name (which may be empty) of `gs://BUCKET/NAME`.

    Raises:
        InvalidArgument: it is not such a URI.
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket:
        raise InvalidArgument(f"Not a Cloud Storage URI: {uri!r}. One looks like gs://BUCKET/path/to/object.")
    return bucket, name


def place_of(uri: str) -> tuple[str, str]:
    """As `parse_uri`, also of what was pinned of a table (`bq://PROJECT.DATASET.TABLE`)."""
    return (objects.TABLES, uri.removeprefix("bq://")) if uri.startswith("bq://") else parse_uri(uri)


@dataclass(frozen=True, slots=True)
class Gcs:
    """The objects of one home.

    A row stands for one generation, whose bytes never change. They can go, when the object is overwritten or
    deleted; `pin` keeps them for as long as the holder needs them.
    """

    home: Path
    database: Database
    clock: Clock = field(default_factory=SystemClock)
    ids: Ids = field(default_factory=RandomIds)

    def find(self, uri: str, generation: int | None = None) -> ObjectRow:
        """The live generation, or exactly `generation`, which may be one that only a pin keeps.

        Raises:
            InvalidArgument, NotFound
        """
        bucket, name = parse_uri(uri)
        with self.database.read() as connection:
            return objects.get(connection, bucket, name, generation, pinned=generation is not None)

    def match(self, uri: str) -> list[ObjectRow]:
        """The live objects that `uri` means, by name: one, or all that its wildcards match.

        `*` and `?` stop at `/`, `**` does not; `[...]` and `{a,b}` as in Cloud Storage's own globs. An object
        whose name is exactly the text wins over the pattern.
        Raises:
            InvalidArgument: not such a URI.
            NotFound: nothing matches.
        """
        bucket, name = parse_uri(uri)
        with self.database.read() as connection:
            objects_buckets.get(connection, bucket)
            exact = objects.find(connection, bucket, name)
        if exact is not None:
            return [exact]
        rows = list(self._walk(Query(bucket, glob=name))) if re.search(r"[*?\[{]", name) else []
        if not rows:
            raise NotFound(f"No object matches {uri}.", reason="notFound")
        return rows

    def under(self, uri: str) -> list[ObjectRow]:
        """All live objects below the directory `uri`, by name; there may be none.

        Raises:
            InvalidArgument, NotFound: not such a URI; no such bucket.
        """
        bucket, name = parse_uri(uri)
        with self.database.read() as connection:
            objects_buckets.get(connection, bucket)
        prefix = name if not name or name.endswith("/") else name + "/"
        return list(self._walk(Query(bucket, prefix=prefix)))

    def beginning(self, uri: str) -> list[ObjectRow]:
        """All live objects whose URIs begin with `uri`, by name.

        Raises:
            InvalidArgument: not such a URI.
        """
        bucket, name = parse_uri(uri)
        return list(self._walk(Query(bucket, prefix=name)))

    def path(self, row: ObjectRow) -> Path:
        """The generation's file, for reading only. It is there while the generation or a pin is.

        Raises:
            InvalidArgument: it is under a key that its writer supplied.
        """
        objects.require_open(row)
        return objects_files.path_of(self.home, row.file)

    def open(self, row: ObjectRow) -> BinaryIO:
        """The generation's bytes; what happens to the object later does not matter to an open file.

        Raises:
            NotFound: it is gone. InvalidArgument: as `path`.
        """
        try:
            return self.path(row).open("rb")
        except FileNotFoundError:
            raise objects.no_such_object(row.bucket, f"{row.name}#{row.generation}") from None

    def pin(self, rows: Iterable[ObjectRow], holder: str) -> None:
        """Keeps the bytes of all `rows` for `holder` (a resource name) until `unpin`.

        Raises:
            NotFound: one of them is gone already; none is pinned then. InvalidArgument: one is under a key that its
            writer supplied.
        """
        with self.database.write() as connection:
            for row in rows:
                there = objects.get(connection, row.bucket, row.name, row.generation, pinned=True)
                objects.require_open(there)
                objects.pin(connection, there, holder)

    def unpin(self, holder: str) -> None:
        with self.database.write() as connection:
            garbage = objects.unpin(connection, holder)
        objects_files.remove(self.home, garbage)

    def download(self, uri: str, directory: Path) -> list[Path]:
        """Copies all objects below `uri` into `directory`; the paths of the files made.

        Raises:
            InvalidArgument: a name would lead out of the directory, or is not usable as a path.
            NotFound: no such bucket, or an object went meanwhile.
        """
        made: list[Path] = []
        bucket, name = parse_uri(uri)
        start = len(name if not name or name.endswith("/") else name + "/")
        for row in self.under(uri):
            relative = row.name[start:]
            if not relative or relative.endswith("/"):
                continue  # the placeholder of a folder
            steps = relative.split("/")
            if any(step in ("", ".", "..") or "\0" in step for step in steps):
                raise InvalidArgument(
                    f"gs://{bucket}/{row.name} can't become a file: its name is no plain path."
                )
            target = directory.joinpath(*steps)
            target.parent.mkdir(parents=True, exist_ok=True)
            with self.open(row) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, _PIECE)
            made.append(target)
        return made

    @contextmanager
    def writer(self, uri: str, content_type: str = "application/octet-stream") -> Iterator[ObjectWriter]:
        """Takes an object's bytes; the object is there, whole, when the block ends, and not if it raises.

        Raises:
            InvalidArgument, NotFound: not such a URI; no such bucket.
            PermissionDenied: a hold protects the object in its place.
        """
        bucket, name = parse_uri(uri)
        check_object_name(name)
        with self.database.read() as connection:
            objects_buckets.get(connection, bucket)
        with FileWriter(self.home, self.ids) as file:
            writer = ObjectWriter(file)
            yield writer
            stored = file.finish()
            with self.database.write() as connection:
                row = objects_buckets.get(connection, bucket)
                fields = {
                    "contentType": content_type,
                    "storageClass": row.fields.get("storageClass", "STANDARD"),
                }
                made, garbage = objects.put(connection, row, name, stored, fields, self.clock.now())
            file.keep()
        writer.row = made
        objects_files.remove(self.home, garbage)

    def write(
        self, uri: str, source: Path | bytes | Iterable[bytes], content_type: str = "application/octet-stream"
    ) -> ObjectRow:
        """Makes a file, bytes, or pieces of bytes an object; its row. Raises as `writer`."""
        with self.writer(uri, content_type) as out:
            if isinstance(source, Path):
                with source.open("rb") as file:
                    while piece := file.read(_PIECE):
                        out.write(piece)
            elif isinstance(source, bytes):
                out.write(source)
            else:
                for piece in source:
                    out.write(piece)
        assert out.row is not None  # the block ended without an error
        return out.row

    def copy(self, uri: str, target: str, project: str) -> list[ObjectRow]:
        """Makes all objects below the directory `uri` objects below `target` too, whose bucket is made in `project`
        where it is missing. Their bytes are not copied. Their rows.

        Raises:
            InvalidArgument, NotFound: not such a URI; no such bucket, or an object went meanwhile, or is under a key
            that its writer supplied. FailedPrecondition: the target's bucket is of another project.
        """
        bucket, prefix = parse_uri(target.rstrip("/") + "/")
        rows, made = self.under(uri), []
        for row in rows:
            objects.require_open(row)
        start = len(parse_uri(uri.rstrip("/") + "/")[1])
        with self.database.write() as connection:
            objects_buckets.ensure(connection, bucket, project, {}, self.clock.now())
        for row in rows:
            stored = StoredFile(row.file, row.size, row.crc32c, row.md5)
            try:
                copied = FileCopy(self.home, self.ids, [stored])
            except FileNotFoundError:
                raise objects.no_such_object(row.bucket, row.name) from None
            with copied:
                with self.database.write() as connection:
                    into = objects_buckets.get(connection, bucket)
                    name = prefix + row.name[start:]
                    one, garbage = objects.put(
                        connection, into, name, copied.stored, row.fields, self.clock.now()
                    )
                copied.keep()
            objects_files.remove(self.home, garbage)
            made.append(one)
        return made

    def delete_under(self, uri: str) -> None:
        """Deletes all live objects below the directory `uri`, of which there may be none.

        Raises:
            PermissionDenied: a hold protects one.
        """
        garbage: list[str] = []
        with contextlib.suppress(NotFound):
            for row in self.under(uri):
                with self.database.write() as connection:
                    bucket = objects_buckets.get(connection, row.bucket)
                    there = objects.get(connection, row.bucket, row.name, row.generation)
                    garbage += objects.delete(connection, bucket, there, self.clock.now())
        objects_files.remove(self.home, garbage)

    def _walk(self, query: Query) -> Iterator[ObjectRow]:
        position: Position | None = None
        while True:
            with self.database.read() as connection:
                page = list_page(connection, query, _PAGE, position)
            yield from page.items
            if page.next is None:
                return
            position = page.next
