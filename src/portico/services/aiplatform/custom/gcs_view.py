"""`/gcs/BUCKET/OBJECT` in a job, as Vertex AI shows it: what is in the buckets now, and what the job writes there.

The view is made of links to the objects' own files, which are never changed, and a folder for changes. When the job has
ended, its changes become new generations, and what it removed is deleted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from portico.errors import FailedPrecondition, NotFound, PorticoError
from portico.jobs.worker import Context
from portico.sandbox.isolation import View
from portico.services.aiplatform.custom import contract
from portico.services.aiplatform.custom.acting import Acting
from portico.services.aiplatform.custom.record import Past
from portico.services.aiplatform.custom.written import Written
from portico.services.standard.sources import gcs_of
from portico.store.gcs import Gcs, parse_uri
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects.generations import ObjectRow

_MOST = 20_000  # objects that are linked
_SAID = 20  # files that are not kept, of which the log tells


def make(context: Context) -> View:
    """A view of nothing yet."""
    folder = context.folder / "gcs"
    shutil.rmtree(folder, ignore_errors=True)
    chief = contract.folder(context.folder, 0, 0)
    view = View("gcs", folder / "lower", folder / "view", beside=contract.metrics_seen(chief))
    view.lower.mkdir(parents=True)
    return view


def fill(
    context: Context, view: View, acting: Acting, past: Past | None, named: Sequence[str] | None = None
) -> dict[str, ObjectRow]:
    """Puts all buckets that the job may read into a view that is empty, as they are now, or were; or only the objects
    whose URIs begin as one of `named`, and the buckets of these. What can't be a file there is said in the job's log.
    Each file's object by the file's name below the view."""
    lower, gcs = view.lower, gcs_of(context)
    seen: dict[str, ObjectRow] = {}
    left_out = linked = 0
    with context.database.read() as connection:
        buckets = set(objects_buckets.names(connection))
    if named is not None:
        buckets &= {parse_uri(uri)[0] for uri in named}
    every = {*buckets, *(past.buckets if past else ())}
    for bucket in sorted(one for one in every if acting.may("get", one)):
        (lower / bucket).mkdir()
        rows = _rows(gcs, bucket, named) if bucket in buckets else []
        for row in past.of(bucket, rows) if past else rows:
            if row.sealed or linked >= _MOST or not _link(gcs.path(row), lower / bucket, row.name):
                left_out += 1
            else:
                linked += 1
                seen[f"{bucket}/{row.name}"] = row
    if left_out:
        context.say(
            f"/gcs lacks {left_out:,} objects: their names are no paths, they are encrypted by customer-supplied "
            f"keys, or they are beyond {_MOST:,}."
        )
    return seen


def _rows(gcs: Gcs, bucket: str, named: Sequence[str] | None) -> list[ObjectRow]:
    if named is None:
        return gcs.under(f"gs://{bucket}")
    found = {row.name: row for uri in named if parse_uri(uri)[0] == bucket for row in gcs.beginning(uri)}
    return [found[name] for name in sorted(found)]


def _link(file: Path, bucket: Path, name: str) -> bool:
    steps = name.removesuffix("/").split("/")
    if any(step in ("", ".", "..") or "\0" in step or len(step.encode()) > 255 for step in steps):
        return False
    target = bucket.joinpath(*steps)
    try:
        if name.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target)
    except OSError:  # an object where others have a folder; one that is gone meanwhile
        return False
    return True


@dataclass(frozen=True, slots=True)
class Collected:
    """The objects that a job wrote, by the names at which it did; and of what it wrote that can't be objects, why."""

    written: dict[str, ObjectRow]
    lost: list[str]

    def check(self) -> None:
        """
        Raises:
            FailedPrecondition: something is lost. On Vertex AI the job's own write fails.
        """
        if self.lost:
            more = f" (and {len(self.lost) - 1:,} more)" if len(self.lost) > 1 else ""
            raise FailedPrecondition(f"What was written could not be kept{more}. {self.lost[0]}")


def collect(
    context: Context,
    view: View,
    acting: Acting,
    place: Callable[[str], str] = lambda uri: uri,
    written_before: Written | None = None,
) -> Collected:
    """Makes the job's changes objects, and removes the view. `place` says where what was written at a gs:// name goes;
    where that is elsewhere, nothing is removed. `written_before`: what was made objects while it ran."""
    gcs = gcs_of(context)
    written: dict[str, ObjectRow] = {}
    lost: list[str] = []
    removed = 0
    for path in _walk(view.changes):
        bucket, _, name = path.relative_to(view.changes).as_posix().partition("/")
        mode, uri = path.lstat().st_mode, f"gs://{bucket}/{name}"
        try:
            if stat.S_ISDIR(mode) or stat.S_ISCHR(mode):  # one that was removed and made anew
                if place(uri) != uri:
                    continue
                if acting.may("delete", bucket):
                    removed += _delete(context, gcs, uri)
                else:
                    lost.append(f"{uri} is there still: {acting.account} may not delete it")
            elif stat.S_ISREG(mode) and name:
                if not acting.may("create", parse_uri(place(uri))[0]):
                    lost.append(f"/gcs/{bucket}/{name}: {acting.account} may not write there")
                    continue
                before = written_before and written_before.row_of(path)
                written[uri] = before or gcs.write(place(uri), path)
            elif name:
                context.say(f"/gcs/{bucket}/{name} is not kept: it is no file")
            else:
                lost.append(f"/gcs/{bucket}: it is in no bucket; write to /gcs/BUCKET/…")
        except PorticoError as error:
            lost.append(f"/gcs/{bucket}/{name}: {error.message}")
    for words in lost[:_SAID]:
        context.say(f"not kept: {words}")
    if written or removed:
        context.say(f"/gcs: {len(written):,} objects written, {removed:,} deleted")
    for gone in (view.lower, view.changes) if view.part else (view.folder.parent,):
        shutil.rmtree(gone, ignore_errors=True)
    return Collected(written, lost)


def _walk(folder: Path) -> Iterator[Path]:
    """What is below `folder`, each before what is below it; of folders those that hide what the bucket has there."""
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            if _hides(path):
                yield path
            yield from _walk(path)
        else:
            yield path


def _hides(folder: Path) -> bool:
    """Whether overlayfs shows nothing of what the layer below has here (its "opaque")."""
    for space in ("trusted", "user"):
        with contextlib.suppress(OSError):
            if os.getxattr(folder, f"{space}.overlay.opaque") == b"y":
                return True
    return False


def _delete(context: Context, gcs: Gcs, uri: str) -> int:
    """Deletes the object, or all below the folder, that was removed; how many that were."""
    found = gcs.under(uri)
    with contextlib.suppress(NotFound):
        found.append(gcs.find(uri))
    for row in found:
        with context.database.write() as connection:
            bucket = objects_buckets.get(connection, row.bucket)
            garbage = objects.delete(connection, bucket, row, context.clock.now())
        objects_files.remove(context.home, garbage)
    return len(found)
