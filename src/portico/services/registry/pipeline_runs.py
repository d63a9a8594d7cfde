"""How other services start pipelines: what runs them hands itself in here (`start_by`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy.engine import Connection

from portico.services.call import Rooms
from portico.store.resources import Resource


@dataclass(frozen=True, slots=True)
class Origin:
    """What started a run by itself: a schedule or a trigger, by name.

    time: the moment at which the run was due, in domain time.
    labels: added to the job's.
    why: what else the metadata of the run say of that.
    """

    name: str
    time: float
    labels: Mapping[str, str]
    why: Mapping[str, Any] = field(default_factory=dict)


class Asked(Protocol):
    """A run that was asked for, and checked."""

    @property
    def root(self) -> str:
        """Under which gs:// name its artifacts lie."""


class Pipelines(Protocol):
    def ask(self, rooms: Rooms, connection: Connection, parent: str, given: Mapping[str, Any]) -> Asked:
        """Checks a PipelineJob, whose spec is fetched where it only names a template; for `start`.

        Raises:
            InvalidArgument, NotFound, Unimplemented: naming the field.
        """

    def start(
        self,
        rooms: Rooms,
        connection: Connection,
        asked: Asked,
        job_id: str = "",
        origin: Origin | None = None,
    ) -> Resource:
        """The new pipeline job, in the caller's transaction. Wake the queue when that is committed.

        Raises:
            AlreadyExists: the id is taken. InvalidArgument: the id, an input artifact, or what a rerun repeats.
        """


_held: list[Pipelines] = []


def start_by(pipelines: Any) -> None:
    _held[:] = [pipelines]


def pipelines() -> Pipelines:
    """
    Raises:
        IndexError: this process has not imported what runs pipelines.
    """
    return _held[0]
