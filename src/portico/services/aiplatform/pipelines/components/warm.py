"""Processes that wait for lightweight components: one an environment, behind the walls, with kfp imported, from which
each task is forked.

A job of its own keeps them (`custom.persistent_run`): the first task that finds none queues it, and it ends when nobody
has used it for a while.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any

from portico.jobs.engines import machine
from portico.jobs.worker import Context
from portico.sandbox import isolation, use
from portico.services.aiplatform.custom.kept import Forked, reserve
from portico.services.aiplatform.custom.persistent_run import Keeper
from portico.services.call import rooms_of
from portico.services.standard.names import location_of
from portico.store import jobs
from portico.store.sockets import run_folder

_KIND = "pipelineJobs.processes"
_IDLE = 300.0  # seconds
_PATIENCE, _LOOK = 30.0, 0.005  # seconds that are waited for one; between two looks
_BUSY = 2.0  # seconds that are waited where all are in use
_AGAIN = 0.5  # seconds between two looks whether the job that keeps them is there
_END = 10.0  # seconds that what a task left behind has to end


def run(context: Context) -> dict[str, Any]:
    """Job: keeps them while they are used."""
    context.progress(0, f"keeps processes for pipelines' tasks until none was used for {_IDLE:.0f} s")
    count = max(2, 2 * (os.cpu_count() or 1))
    Keeper(context, _path(context.home), lambda: count, _IDLE).run()
    return {}


class Warm(Forked):
    """A process to fork from. It is `lost` where it, or what keeps it, has died: of the task's own end nothing is
    known then."""

    def _watch(self) -> None:
        """What a task opens is not recorded: its pipeline says what its inputs are."""

    def _hear(self, one: socket.socket) -> None:
        Forked._hear(self, one)
        if one is self.connection and self._told:
            self.lost = True

    def clear(self) -> None:
        """Returns when nothing of the task that has ended runs any more."""
        if use.of_below(self.pid)[1] == 1:
            return
        try:
            ending = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        self.send_signal(signal.SIGTERM)
        select.select([ending], [], [], _END)
        os.close(ending)


def take(context: Context, recipe: dict[str, Any]) -> Warm | None:
    """A process as the `recipe` says (see `Kept.prepare`); None where there can be none, or none comes."""
    if not _can_fork(context):
        return None
    path, began, asked, busy = _path(context.home), time.monotonic(), 0.0, 0.0
    while (now := time.monotonic()) - began < _PATIENCE:
        context.check()
        if reaching := reserve(path):
            found = Warm(reaching)
            try:
                found.prepare(recipe)
            except (OSError, ValueError):  # it is about to end, or can't start one
                found.close()
                return None
            return found
        if _listens(path):
            busy = busy or now
            if now - busy > _BUSY:
                return None
        elif now - asked > _AGAIN:
            asked = now
            _start(context)
        time.sleep(_LOOK)
    return None


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _path(home: Path) -> Path:
    return run_folder(home) / "components"


def _can_fork(context: Context) -> bool:
    """bubblewrap's walls hold one view of Cloud Storage for ever; a cluster's machines have no processes that wait."""
    return not machine.elsewhere(context.home) and isolation.isolation().name != "bubblewrap"


def _start(context: Context) -> None:
    queue = rooms_of(context).queue
    with context.database.write() as connection:
        if not jobs.active(connection, _KIND):
            queue.add(connection, _KIND, location_of(context.job.resource), {}, priority=1)
    queue.wake()
