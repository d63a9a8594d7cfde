"""Models that the warehouse keeps: a row beside the tables, and a folder of files that never change."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from portico.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from portico.ml.bqml import kinds
from portico.ml.bqml.model import Model
from portico.ml.bqml.options import NotBuilt
from portico.ml.errors import DataError
from portico.warehouse import catalog, guard
from portico.warehouse.catalog import Cursor
from portico.warehouse.models import transforms
from portico.warehouse.models.transforms import Transform
from portico.warehouse.public.declared import check_writable

_TABLE = f"{catalog.FILE}.portico.models"
_VALUE = 1 << 20  # bytes of an option or an argument
_LOADED = 32  # models in memory at once


@dataclass(slots=True)
class Entry:
    """A model. `folder` is the name of its files' folder, `body` what the API shows of it; `warnings` are those of the
    training that made it just now."""

    project: str
    dataset: str
    name: str
    folder: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    registers: dict[str, Any] = field(
        default_factory=dict
    )  # as what it is registered in Vertex AI when it is made
    warnings: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return f"{self.project}:{self.dataset}.{self.name}"

    @property
    def place(self) -> tuple[str, str, str]:
        return self.project, self.dataset, self.name


@dataclass(frozen=True, slots=True)
class Loaded:
    model: Model
    transform: Transform | None

    def transformed(self, cursor: Cursor, table: pa.Table) -> pa.Table:
        """A table as the model knows it; labels, and a time series' data, may be missing."""
        if self.transform is None:
            return table
        return self.transform.apply(cursor, table, {one.lower() for one in self.transform.labels})


class Models:
    """The files of all models of a warehouse; from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._statements = itertools.count()
        self._at_work: set[int] = set()
        self._going: list[
            tuple[str, set[int]]
        ] = []  # folders, and the statements that may have found them before

    def new(self) -> tuple[str, Path]:
        """A folder for a model that is about to be: its name, and where it is."""
        name = uuid.uuid4().hex
        (self._folder / name).mkdir(mode=0o700)
        return name, self._folder / name

    def path(self, folder: str) -> Path:
        return self._folder / folder

    def load(self, entry: Entry) -> Loaded:
        with self._lock:
            found = self._loaded.pop(entry.folder, None)
            if found is None:
                path = self._folder / entry.folder
                transform = path / transforms.FILE
                made = Transform.of(json.loads(transform.read_text())) if transform.exists() else None
                found = Loaded(kinds.load(path), made)
            self._loaded[entry.folder] = found
            while len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
            return found

    def sweep(self, cursor: Cursor) -> None:
        """Removes the files of models that are no more, or never were. Only while nothing is trained."""
        kept = {str(row[0]) for row in catalog.do(cursor, f"SELECT folder FROM {_TABLE}")}
        for path in self._folder.iterdir():
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def copy(self, cursor: Cursor, target: Path) -> None:
        for (name,) in catalog.do(cursor, f"SELECT folder FROM {_TABLE}"):
            shutil.copytree(self._folder / name, target / name)

    def unload(self, folder: str) -> None:
        with self._lock:
            self._loaded.pop(folder, None)

    @contextmanager
    def statement(self) -> Iterator[None]:
        """While a statement works: the files of models that it may have found stay, also of those that go meanwhile."""
        with self._lock:
            self._at_work.add(number := next(self._statements))
        try:
            yield
        finally:
            with self._lock:
                self._at_work.discard(number)
            self._clear()

    def forget(self, folder: str) -> None:
        """Removes the files of a model that is no more, once the statements that are at work now have ended."""
        self.unload(folder)
        with self._lock:
            self._going.append((folder, set(self._at_work)))
        self._clear()

    def _clear(self) -> None:
        with self._lock:
            gone = [one for one in self._going if not one[1] & self._at_work]
            self._going = [one for one in self._going if one not in gone]
        for folder, _ in gone:
            self.unload(folder)
            shutil.rmtree(self._folder / folder, ignore_errors=True)


@contextmanager
def said() -> Iterator[None]:
    """What a model refuses, as BigQuery tells it."""
    try:
        yield
    except NotBuilt as error:
        raise Unimplemented(error.message) from None
    except DataError as error:
        raise InvalidArgument(error.message, reason="invalidQuery") from None


def distinct(table: pa.Table, where: str) -> pa.Table:
    """The table itself.

    Raises:
        InvalidArgument: two of its columns have one name, whatever its case.
    """
    seen: set[str] = set()
    for name in table.column_names:
        if name.lower() in seen:
            raise InvalidArgument(
                f"Duplicate column name {name} in {where}; give one of them another", reason="invalidQuery"
            )
        seen.add(name.lower())
    return table


def value(table: pa.Table, what: str) -> Any:
    """The one value that an option or an argument is.

    Raises:
        InvalidArgument: it is far too large to be one.
    """
    column = table.column(0)
    if column.nbytes > _VALUE:
        raise InvalidArgument(
            f"{what} is a value of {column.nbytes:,} bytes; it may have {_VALUE:,}", reason="invalidQuery"
        )
    return column[0].as_py()


def prepare(cursor: Cursor) -> None:
    catalog.do(
        cursor,
        f"CREATE TABLE IF NOT EXISTS {_TABLE} (project VARCHAR, dataset VARCHAR, name VARCHAR, folder VARCHAR, "
        "body VARCHAR, PRIMARY KEY (project, dataset, name))",
    )


def find(cursor: Cursor, project: str, dataset: str, name: str) -> Entry | None:
    guard.look(project, dataset, model=name)
    row = catalog.first(
        cursor,
        f"SELECT folder, body FROM {_TABLE} WHERE project = ? AND dataset = ? AND name = ?",
        [project, dataset, name],
    )
    found = None if row is None else Entry(project, dataset, name, row[0], json.loads(row[1]))
    return None if found is None or _expired(found) else found


def require(cursor: Cursor, project: str, dataset: str, name: str) -> Entry:
    """
    Raises:
        NotFound: there is no such model.
    """
    found = find(cursor, project, dataset, name)
    if found is None:
        catalog.require(cursor, project, dataset)
        raise NotFound(f"Not found: Model {project}:{dataset}.{name}", reason="notFound")
    return found


def listed(cursor: Cursor, project: str, dataset: str) -> list[Entry]:
    """The models of a dataset, by name."""
    rows = catalog.do(
        cursor,
        f"SELECT name, folder, body FROM {_TABLE} WHERE project = ? AND dataset = ? ORDER BY name",
        [project, dataset],
    )
    found = (Entry(project, dataset, name, folder, json.loads(body)) for name, folder, body in rows)
    return [one for one in found if not _expired(one)]


def _expired(entry: Entry) -> bool:
    expires = entry.body.get("expirationTime")
    return expires is not None and int(expires) < int(catalog.now())


def write(cursor: Cursor, entry: Entry, *, replace: bool) -> Entry | None:
    """
    Returns:
        What it replaces.

    Raises:
        AlreadyExists: there is one of this name, or a table. NotFound: there is no such dataset.
    """
    check_writable(entry.project, f"Model {entry.shown}")
    catalog.require(cursor, entry.project, entry.dataset)
    before = find(cursor, entry.project, entry.dataset, entry.name)
    if before is not None and not replace:
        raise AlreadyExists(f"Already Exists: Model {entry.shown}", reason="duplicate")
    if before is None and catalog.find(cursor, entry.project, entry.dataset, entry.name) is not None:
        raise AlreadyExists(f"Already Exists: Table {entry.shown}", reason="duplicate")
    entry.body.setdefault("creationTime", catalog.now())
    entry.body["lastModifiedTime"] = catalog.now()
    catalog.do(
        cursor,
        f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?, ?, ?, ?)",
        [entry.project, entry.dataset, entry.name, entry.folder, json.dumps(entry.body)],
    )
    return before


def drop(cursor: Cursor, entry: Entry) -> None:
    check_writable(entry.project, f"Model {entry.shown}")
    catalog.do(
        cursor,
        f"DELETE FROM {_TABLE} WHERE project = ? AND dataset = ? AND name = ?",
        [entry.project, entry.dataset, entry.name],
    )
