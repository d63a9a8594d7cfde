"""What a job writes to AIP_TENSORBOARD_LOG_DIR, as an experiment of the TensorBoard that its spec names.

Each folder with event files is a run, each tag a time series. Files are looked at while the job runs, and once when it
has ended; what is in them a confined process reads (`event_reader`).
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import portico
from portico.errors import InvalidArgument, NotFound, PorticoError
from portico.jobs.worker import Context
from portico.sandbox import isolation
from portico.sandbox.files import open_inside
from portico.sandbox.isolation import View
from portico.services.aiplatform.tensorboard.event_rows import EventRows
from portico.services.aiplatform.tensorboard.tensorboards import TENSORBOARDS
from portico.services.call import Rooms
from portico.services.standard.names import check_same_location
from portico.services.standard.sources import gcs_of
from portico.store.gcs import parse_uri

_EVERY = 2.0  # seconds between two looks while the job runs
_SPARE = 10  # times as long as a look took no other is begun
_LIMITS = isolation.Limits(memory=1 << 30, seconds=600)
_LINE = 128 << 20  # bytes: a record has half as many
_TOGETHER = 2000, 32 << 20  # values and bytes of them that are written together
_FILES = 200  # that are read together

log = logging.getLogger(__name__)


def check(rooms: Rooms, parent: str, spec: Mapping[str, Any], field: str) -> None:
    """Checks the TensorBoard that a CustomJobSpec at `field` of a request names, where it names one.

    Raises:
        InvalidArgument, NotFound: naming the field.
    """
    name = str(spec.get("tensorboard") or "")
    if not name:
        return
    check_same_location(parent, name, f"{field}.tensorboard")
    for needed in ("serviceAccount", "baseOutputDirectory"):
        if not spec.get(needed):
            raise InvalidArgument(
                f"{field}.{needed} is required where {field}.tensorboard is given.", field=f"{field}.{needed}"
            )
    with rooms.database.read() as connection:
        TENSORBOARDS.require(connection, name)


@dataclass(frozen=True, slots=True)
class _Source:
    """An event file: what it is called below the log's folder, where it lies, and below what it must."""

    name: str
    path: Path
    root: Path

    @property
    def run(self) -> str:
        """As Google's uploader names it by its folder."""
        folder = self.name.rpartition("/")[0].strip("/")
        return re.sub(r"[^a-zA-Z0-9-]", "-", folder).lstrip("-")[:128] or "default"

    def size(self) -> int:
        """Bytes; 0 where it was removed, or replaced by a longer one, meanwhile."""
        try:
            return self.path.lstat().st_size
        except OSError:
            return 0

    def open(self) -> int | None:
        """A descriptor; None where it is no file any more, or a link leads out of `root`."""
        return open_inside(self.path, self.root)


class EventLogs:
    """Follows the folder `uri` of a job in a thread. `view` shows what the job has written below /gcs and no bucket has
    yet."""

    def __init__(
        self, context: Context, rows: EventRows, uri: str, view: View, say: Callable[[str], None]
    ) -> None:
        self._context, self._rows, self._say = context, rows, say
        self._uri = uri.rstrip("/") + "/"
        self._view: View | None = view
        self._gcs = gcs_of(context)
        self._known: dict[str, tuple[int, int]] = {}  # by a file's name its size and how far it was read
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Before the view goes."""
        self._ending.set()
        self._thread.join()
        self._view = None

    def finish(self) -> None:
        """When all files are in the bucket."""
        self._look()
        rows = self._rows
        self._say(f"TensorBoard: {rows.count:,} points of {rows.series:,} time series in {rows.experiment}")

    def _follow(self) -> None:
        pause = _EVERY
        while not self._ending.wait(pause):
            started = self._context.clock.monotonic()
            self._look()
            # A file is read from its beginning, for what its tags are: long ones not all the time.
            pause = max(_EVERY, _SPARE * (self._context.clock.monotonic() - started))

    def _look(self) -> None:
        """A job does not fail by its log."""
        try:
            fresh = [one for one in self._sources() if one.size() != self._known.get(one.name, (0, 0))[0]]
            for start in range(0, len(fresh), _FILES):
                self._take(fresh[start : start + _FILES])
            if self._view is None:
                self._rows.complete()
        except PorticoError as error:
            self._say(f"TensorBoard: {error.message}")
        except Exception:
            log.exception("the event files below %s can't be taken", self._uri)
            self._say("TensorBoard: the event files could not be taken; the server's log has the details")

    def _sources(self) -> list[_Source]:
        """What is in the bucket, and in its place what the job is writing."""
        bucket, prefix = parse_uri(self._uri)
        found: dict[str, _Source] = {}
        try:
            objects = self._gcs.under(self._uri)
        except NotFound:
            objects = []
        for row in objects:
            name = row.name[len(prefix) :]
            found[name] = _Source(name, self._gcs.path(row), self._context.home)
        if self._view:
            folder = self._view.changes / bucket / prefix
            for path in folder.rglob("*"):
                name = path.relative_to(folder).as_posix()
                if path.is_file():
                    found[name] = _Source(name, path, self._view.changes)
        return [one for name, one in sorted(found.items()) if "tfevents" in name.rpartition("/")[2]]

    def _take(self, sources: list[_Source]) -> None:
        opened = [(one, descriptor) for one in sources if (descriptor := one.open()) is not None]
        sizes = [os.fstat(descriptor).st_size for _, descriptor in opened]
        try:
            for several in _together(self._read(opened)) if opened else ():
                self._rows.write([(opened[line["file"]][0].run, line) for line in several if "tag" in line])
                for line in several:
                    name = opened[line["file"]][0].name
                    if "wrong" in line:
                        self._say(f"TensorBoard: {self._uri}{name}: {line['wrong']}")
                    elif "read" in line:
                        self._known[name] = sizes[line["file"]], line["read"]
        finally:
            for _, descriptor in opened:
                os.close(descriptor)

    def _read(self, opened: list[tuple[_Source, int]]) -> Iterator[bytes]:
        """What a confined process tells of the files.

        Raises:
            InvalidArgument: it died of them.
        """
        asked = [[descriptor, self._known.get(one.name, (0, 0))[1]] for one, descriptor in opened]
        scratch = self._context.folder / "tensorboard"
        command = [sys.executable, "-B", "-P", "-m", "portico.services.aiplatform.tensorboard.event_reader"]
        ours = {Path(sys.prefix), Path(sys.base_prefix).resolve(), Path(portico.__file__).parents[1]}
        with (self._context.folder / "tensorboard.log").open("wb") as told:
            child = isolation.start(
                command,
                readable=[*ours, Path(sys.base_prefix)],
                scratch=scratch,
                log=told,
                limits=_LIMITS,
                pass_fds=[descriptor for _, descriptor in opened],
            )
        assert child.stdin is not None and child.stdout is not None
        late = threading.Timer(_LIMITS.seconds, child.kill)
        late.start()
        try:
            child.stdin.write(json.dumps(asked).encode())
            child.stdin.close()
            while line := child.stdout.readline(_LINE):
                if not line.endswith(b"\n"):
                    break
                yield line
            else:
                child.wait()
        except BrokenPipeError:
            pass
        finally:
            child.kill()
            late.cancel()
            child.stdout.close()
            code = child.wait()
            shutil.rmtree(scratch, ignore_errors=True)
        if code:
            for one, _ in opened:  # not again, before it has grown
                self._known.setdefault(one.name, (one.size(), 0))
            raise InvalidArgument(f"the event files below {self._uri} can't be read")


def _together(lines: Iterator[bytes]) -> Iterator[list[dict[str, Any]]]:
    most, size = _TOGETHER
    several: list[dict[str, Any]] = []
    taken = 0
    for line in lines:
        several.append(json.loads(line))
        taken += len(line)
        if len(several) >= most or taken >= size:
            yield several
            several, taken = [], 0
    yield several


def follow(
    context: Context, spec: Mapping[str, Any], job: str, uri: str, view: View, say: Callable[[str], None]
) -> EventLogs | None:
    """Follows the log folder of a job, `uri`, where its spec names a TensorBoard that is there. `say` tells the job's
    log."""
    board = str(spec.get("tensorboard") or "")
    if not board or not uri:
        return None
    try:
        rows = EventRows(context, board, job, say)
    except NotFound as error:
        say(f"TensorBoard: {error.message}")
        return None
    return EventLogs(context, rows, uri, view, say)
