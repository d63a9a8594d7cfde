"""`portico backup` and `portico restore`: a home's database and the files that it names, whole, at one moment.

Files are immutable, so most are copied while the server writes on. The moment is the last round: writers wait for it
while the few files that are new since the round before are copied beside the database.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import google_crc32c
import orjson

from portico.clock import Clock, rfc3339
from portico.errors import DataLoss, FailedPrecondition, InvalidArgument
from portico.host import contents
from portico.host.address import running
from portico.host.contents import Part
from portico.store import backend
from portico.store import home as home_store
from portico.store.database import Database
from portico.store.objects.hashes import encode_crc32c
from portico.warehouse import client as warehouse

Tell = Callable[[float, str], None]
_MANIFEST = "backup.json"
_DATABASE = "portico.db"
_ROUNDS = 8  # copies beside the writers, before they have to wait
_FEW = 32  # files that they may wait for
_PIECE = 1 << 20  # bytes
# What belongs to processes, to requests that are under way, or to this very home.
_NOT_KEPT = (
    "replica_processes",
    "storage_uploads",
    "storage_upload_parts",
    "segments_left",
    "home",
    "home_runs",
)

Sums = dict[str, dict[str, Any]]
"""By path below the home: `size` in bytes, `crc32c` in base64."""


def backup(home: Path, target: Path, clock: Clock, tell: Tell) -> dict[str, Any]:
    """Copies `home` to the new folder `target`; says how many files and bytes it has. While the server runs, too.

    Raises:
        InvalidArgument: there is something at `target`. FailedPrecondition: there is no home, or it is refused.
        DataLoss: a file that the database names is missing or damaged; `portico check` names all.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidArgument(f"{target} is there already and not empty; name a new folder.")
    if target.resolve().is_relative_to(home.resolve()):
        raise InvalidArgument(f"{target} lies in the home itself; name a folder outside.")
    if running(home) is None:
        home_store.check(home)
        if backend.of(home).look().absent:
            raise FailedPrecondition(f"There is nothing on {home}: Portico has not run there yet.")
    made = target.with_name(target.name + ".part")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True, mode=0o700)
    copied: dict[str, Sums] = {}  # by part
    database = Database(home)
    try:
        for round_ in range(_ROUNDS):
            with database.read() as connection:
                new = [part for part in contents.parts(home, connection) if part.path not in copied]
            if round_ and len(new) <= _FEW:
                break
            _copy(home, made, new, copied, lambda part, at: tell(0.9 * at, part), gone_is_fine=True)
        tell(0.95, "the database")
        with database.paused():
            _snapshot(home, made)
            with database.read() as connection:
                named = list(contents.parts(home, connection))
            new = [part for part in named if part.path not in copied]
            _copy(home, made, new, copied, lambda part, at: None, gone_is_fine=False)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    finally:
        database.close()
    kept = {part.path for part in named}
    for path in copied.keys() - kept:  # deleted or merged since
        _remove(made / path)
    sums = {path: one for part in kept for path, one in copied[part].items()}
    sums[_DATABASE] = _sums(made / _DATABASE)
    for name in warehouse.snapshot(home, made / warehouse.FOLDER):
        sums[f"{warehouse.FOLDER}/{name}"] = _sums(made / warehouse.FOLDER / name)
    for name in contents.KEYS:
        if (home / name).exists():
            sums[name] = _copy_file(home / name, made / name)
    manifest = {"home": str(home), "time": rfc3339(clock.now()), "files": sums}
    descriptor = os.open(made / _MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    if target.exists():
        target.rmdir()
    made.rename(target)
    _sync(target.parent)
    return _told(manifest)


def restore(source: Path, home: Path, tell: Tell, url: str | None = None) -> dict[str, Any]:
    """Makes `home`, which must be empty or not there, from a backup; says how many files and bytes it has. Its rows go
    into the empty PostgreSQL database of `url`, where one is given, whatever they were in before.

    Raises:
        InvalidArgument: `source` is no backup. FailedPrecondition: `home`, or the database, is not empty.
        DataLoss: a file of the backup is missing or damaged.
    """
    try:
        manifest = orjson.loads((source / _MANIFEST).read_bytes())
        sums = dict(manifest["files"])
        before = Path(manifest["home"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidArgument(f"{source} is no whole backup: {_MANIFEST} is missing or damaged.") from None
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise FailedPrecondition(f"{home} is not empty; restore into a new home, with --home NEW.")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with backend.chosen(home, url):
        if not backend.of(home).look().absent:
            raise FailedPrecondition("The database that was named holds a home already; name an empty one.")
        _restore_into(source, home, before, sums, tell)
    home_store.accept(home)
    home_store.end(home)
    return _told(manifest) | {"home": str(home)}


def _restore_into(source: Path, home: Path, before: Path, sums: Sums, tell: Tell) -> None:
    for number, (path, wanted) in enumerate(sums.items()):
        tell(number / len(sums), path)
        # A home with files and no database is refused: what was broken off is not taken for a home.
        target = home / (f"{path}.part" if path == _DATABASE else path)
        if not target.resolve().is_relative_to(home.resolve()):
            raise InvalidArgument(f"{source} is no backup: it names {path!r}.")
        try:
            copied = _copy_file(source / path, target)
        except FileNotFoundError:
            raise DataLoss(f"{source / path} is missing: the backup is damaged.") from None
        if copied != wanted:
            raise DataLoss(f"{source / path} has other bytes than were written: the backup is damaged.")
    _move_places(home / f"{_DATABASE}.part", before, home)
    backend.of(home).take(home / f"{_DATABASE}.part")
    _sync(home)


def _copy(
    home: Path,
    made: Path,
    new: list[Part],
    copied: dict[str, Sums],
    tell: Callable[[str, float], None],
    *,
    gone_is_fine: bool,
) -> None:
    for number, part in enumerate(new):
        tell(part.what, number / len(new))
        try:
            copied[part.path] = _copy_part(home, made, part)
        except FileNotFoundError:
            _remove(made / part.path)
            if not gone_is_fine:
                raise DataLoss(f"{part.what} is missing; portico check names all such files.") from None


def _copy_part(home: Path, made: Path, part: Part) -> Sums:
    source = home / part.path
    if not source.is_dir():
        sums = _copy_file(source, made / part.path)
        if part.crc32c is not None and sums != {"size": part.size, "crc32c": part.crc32c}:
            raise DataLoss(
                f"{part.what} has other bytes than were written; portico check names all such files."
            )
        return {part.path: sums}
    files = sorted(path for path in source.rglob("*") if path.is_file())
    (made / part.path).mkdir(parents=True, exist_ok=True)
    return {
        name: _copy_file(home / name, made / name)
        for name in (path.relative_to(home).as_posix() for path in files)
    }


def _copy_file(source: Path, target: Path) -> dict[str, Any]:
    """Its size and checksum; on the disk when this returns."""
    value = size = 0
    with source.open("rb") as reader:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb", buffering=0) as writer:
            while piece := reader.read(_PIECE):
                value, size = google_crc32c.extend(value, piece), size + len(piece)
                view = memoryview(piece)
                while view:
                    view = view[writer.write(view) :]
            os.fsync(descriptor)
    return {"size": size, "crc32c": encode_crc32c(value)}


def _sums(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "crc32c": contents.checksum(path)}


def _snapshot(home: Path, made: Path) -> None:
    """The database at this moment, in one file of SQLite's, without what does not outlive it."""
    backend.of(home).copy_to(made / _DATABASE)
    with closing(sqlite3.connect(made / _DATABASE, isolation_level=None)) as target:
        tables = {name for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in tables.intersection(_NOT_KEPT):
            target.execute(f"DELETE FROM {table}")
    os.chmod(made / _DATABASE, 0o600)


def _move_places(database: Path, before: Path, home: Path) -> None:
    """Rows that name a place in the home name it in the new one."""
    if before == home:
        return
    from portico.prediction.replicas.places import socket_paths

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            value = {key: moved(inner) for key, inner in value.items()}
            if value.get("format") == "replica" and value.get(
                "replicas"
            ):  # their sockets have the home's name
                value["replicas"] = socket_paths(home, value["id"], len(value["replicas"]))
            return value
        if isinstance(value, list):
            return [moved(inner) for inner in value]
        if isinstance(value, str) and value.startswith(f"{before}/"):
            return f"{home}/{value.removeprefix(f'{before}/')}"
        return value

    with closing(sqlite3.connect(database)) as connection:
        for table, key, column in (
            ("resources", "name", "body"),
            ("served_endpoints", "name", "body"),
            ("replica_sets", "id", "spec"),
        ):
            for name, text in connection.execute(f"SELECT {key}, {column} FROM {table}").fetchall():
                held = orjson.loads(text)
                changed = moved(held)
                if changed != held:
                    body = orjson.dumps(changed)
                    values = (body.decode() if isinstance(text, str) else body, name)
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", values)
        connection.commit()


def _told(manifest: dict[str, Any]) -> dict[str, Any]:
    files = manifest["files"].values()
    size = sum(file["size"] for file in files)
    return {"home": manifest["home"], "time": manifest["time"], "files": len(files), "bytes": size}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
