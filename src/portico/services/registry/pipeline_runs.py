"""How other services start pipelines: what runs them hands itself in here (`start_by`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Protocol

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


EPISODE_FACTS: Final[Mapping[str, Any]] = MappingProxyType({
    "trainingData": "gs://…/training.csv", "targetColumn": "…", "timeColumn": "", "predictionType": "regression",
    "classes": ["…"], "rows": 1, "champion": "projects/…/models/1@1", "championModel": "projects/…/models/1",
    "endpoint": "projects/…", "steward": "projects/…", "episode": "projects/…", "reason": "…",
})  # fmt: skip
"""What a pipeline's parameters can be given of a steward's episode, with a value of its type."""


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
        *,
        parent: str | None = None,
    ) -> Resource:
        """The new pipeline job, in the caller's transaction. Wake the queue when that is committed. `parent` is the
        durable job that waits for it.

        Raises:
            AlreadyExists: the id is taken. InvalidArgument: the id, an input artifact, or what a rerun repeats.
        """


def job_of(pipeline: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """The PipelineJob that a trigger's or a steward's `pipeline` describes, with the parameters `told` beside its
    own."""
    config = {
        "gcsOutputDirectory": pipeline.get("pipelineRoot"),
        "failurePolicy": pipeline.get("failurePolicy"),
        "parameterValues": {**(pipeline.get("parameterValues") or {}), **told},
    }
    keys = ("templateUri", "pipelineSpec", "labels", "serviceAccount")
    job = {key: pipeline[key] for key in keys if key in pipeline}
    job["runtimeConfig"] = {key: value for key, value in config.items() if value}
    return job


_held: list[Pipelines] = []


def start_by(pipelines: Any) -> None:
    _held[:] = [pipelines]


def pipelines() -> Pipelines:
    """
    Raises:
        IndexError: this process has not imported what runs pipelines.
    """
    return _held[0]
