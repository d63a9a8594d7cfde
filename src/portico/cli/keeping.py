"""`portico backup`, `restore`, `check` and `gc`: what a person runs to keep a home, and to trust it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portico.cli.progress import bar
from portico.errors import FailedPrecondition

_SHOWN = 20  # faults that are printed one by one


def backup(home: Path, target: Path) -> dict[str, Any]:
    """`files` and `bytes` of the backup, and `backup`, where it is."""
    from portico.clock import SystemClock
    from portico.host.backup import backup

    with _written(target), bar() as tell:
        return {**backup(home, target, SystemClock(), tell), "backup": str(target)}


def restore(source: Path, home: Path, url: str | None = None) -> dict[str, Any]:
    from portico.host.backup import restore

    with _written(home), bar() as tell:
        return {**restore(source, home, tell, url), "backup": str(source)}


@contextmanager
def _written(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        at = f" ({error.filename})" if error.filename else ""
        raise FailedPrecondition(f"{target} can't be written: {error.strerror or error}{at}.") from None


def check(home: Path, accept: bool) -> dict[str, Any]:
    """`faults`, one a line; `refused`, why the home would not start; how many parts were `checked`, and how many files
    are `orphans`, which no row names.

    Raises:
        FailedPrecondition: there is no home.
    """
    from portico.host.address import running
    from portico.host.wiring import import_services
    from portico.store import backend
    from portico.store import home as home_store

    if not home.is_dir() or not any(home.iterdir()):
        raise FailedPrecondition(f"There is nothing on {home}: Portico has not run there yet.")
    import_services()
    found: dict[str, Any] = {
        "home": str(home),
        "accepted": False,
        "refused": "",
        "faults": [],
        "checked": 0,
        "orphans": 0,
    }
    if accept:
        if (address := running(home)) is not None:
            raise FailedPrecondition(
                f"Portico runs on {home} at {address.url}: its database is accepted already."
            )
        home_store.accept(home)
        found["accepted"] = True
    try:
        if running(home) is None:
            home_store.check(home)
    except home_store.RefusedHome as refused:
        return found | {"refused": refused.message}
    store = backend.of(home)
    if store.look().absent:
        return found
    if fault := store.integrity():
        return found | {"faults": [f"the database is damaged: {fault}"]}
    with bar() as tell:
        _check_files(home, found, tell)
    return found


def _check_files(home: Path, found: dict[str, Any], tell: Callable[[float, str], None]) -> None:
    from portico.host import contents
    from portico.store.database import Database

    database = Database(home)
    try:
        with database.read() as connection:
            parts = list(contents.parts(home, connection))
        suspects = []
        for number, part in enumerate(parts):
            tell(number / len(parts), part.what)
            if contents.fault(home, part):
                suspects.append(part)
        with database.read() as connection:  # what was deleted or merged meanwhile is no fault
            now = set(contents.parts(home, connection)) if suspects else set()
        for part in suspects:
            if part in now and (fault := contents.fault(home, part)):
                found["faults"].append(f"{part.what} ({part.path}) {fault}")
        found["checked"] = len(parts)
        found["orphans"] = len(contents.orphans(home, database))
    finally:
        database.close()


def gc(home: Path, dry_run: bool) -> dict[str, Any]:
    """What went, or with `dry_run` would go: `gone`, each with `what`, `name`, `lastOfUse` and `bytes`, and `bytes`.

    Raises:
        FailedPrecondition: there is no home, or it is refused.
    """
    from portico.clock import SystemClock, rfc3339
    from portico.host.address import running
    from portico.host.retention import sweep
    from portico.host.wiring import import_services
    from portico.store import backend
    from portico.store import home as home_store
    from portico.store.database import Database

    import_services()
    stopped = running(home) is None
    if stopped:
        home_store.check(home)
        if backend.of(home).look().absent:
            raise FailedPrecondition(f"There is nothing on {home}: Portico has not run there yet.")
    database = Database(home)
    try:
        if stopped:
            database.create_tables()  # as `up` does, on the home of an older Portico
        left = sweep(home, database, SystemClock(), dry_run=dry_run)
    finally:
        database.close()
    gone = [
        {"what": one.what, "name": one.name, "lastOfUse": rfc3339(one.since), "bytes": one.size}
        for one in left
    ]
    return {"dryRun": dry_run, "gone": gone, "bytes": sum(one.size for one in left)}


def gc_text(found: dict[str, Any]) -> str:
    gone = found["gone"]
    lines = [f"{one['what']} {one['name']}, last of use {one['lastOfUse']}" for one in gone[:_SHOWN]]
    if len(gone) > _SHOWN:
        lines.append(f"… and {len(gone) - _SHOWN:,} more; --json names all")
    verb = "would go" if found["dryRun"] else "gone"
    return "\n".join([*lines, f"{len(gone):,} {verb}, {found['bytes'] / 2**20:,.1f} MiB"])


def is_well(found: dict[str, Any]) -> bool:
    return not (found["refused"] or found["faults"])


def check_text(found: dict[str, Any]) -> str:
    lines = ["accepted: the database is taken as it is; no file was deleted"] if found["accepted"] else []
    if found["refused"]:
        return "\n".join([*lines, found["refused"]])
    faults = found["faults"]
    lines += faults[:_SHOWN]
    if len(faults) > _SHOWN:
        lines.append(f"… and {len(faults) - _SHOWN:,} more; --json names all")
    lines.append(f"{found['checked']:,} files and models checked, {len(faults):,} faults; {found['home']}")
    if found["orphans"]:
        lines.append(
            f"{found['orphans']:,} files that no row names: left by crashes, or under way; they do no harm"
        )
    return "\n".join(lines)


def copied_text(found: dict[str, Any]) -> str:
    size = found["bytes"] / 2**20
    return f"{found['files']:,} files, {size:,.1f} MiB, as of {found['time']}: {found['backup']}"
