"""What a door hands to a service, and how a service says which method it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from portico.clock import Clock
from portico.ids import Ids
from portico.services.standard.waiting import Waiting
from portico.store.database import Database

if TYPE_CHECKING:
    from portico.jobs.queue import Queue
    from portico.jobs.worker import Context
    from portico.services.standard.fields import FieldTypes


OWNER: Final = "developer@portico.iam.gserviceaccount.com"
"""The account of the home's own key file."""
ANONYMOUS: Final = "allUsers"
"""In place of the e-mail address of a caller who is not known."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `email` is empty for the owner who showed no token (see `prediction.peers`)."""

    email: str = ""
    agent: str = ""
    """The account whose rights it has too: of a job whose own account nobody made."""

    @property
    def owner(self) -> bool:
        """Whether it is who runs this server: everything here is theirs."""
        return self.email in ("", OWNER)

    @property
    def anonymous(self) -> bool:
        """Whether nobody knows who it is: it has what policies give to allUsers."""
        return self.email == ANONYMOUS


class Permits(Protocol):
    """Who may do what (`services.iam.decide`)."""

    def held(self, caller: Caller, permissions: Iterable[str], resource: str) -> list[str]:
        """Which of `permissions` the caller has on what has this full name (//SERVICE.googleapis.com/…)."""

    def why(self, caller: Caller, permission: str, resource: str) -> list[Any]:
        """What was looked at to decide that (`services.iam.decide.Considered`)."""


class _All:
    """In jobs, which do the server's own work."""

    def held(self, caller: Caller, permissions: Iterable[str], resource: str) -> list[str]:
        return list(permissions)

    def why(self, caller: Caller, permission: str, resource: str) -> list[Any]:
        return []


@dataclass(slots=True)
class Rooms:
    """What the host hands to every service."""

    home: Path
    database: Database
    clock: Clock
    ids: Ids
    queue: Queue
    fields: Callable[[str, str, str], FieldTypes]
    """The field types of an API version's message: fields("aiplatform", "v1", "GoogleCloudAiplatformV1Model")."""
    permissions: Permits = field(default_factory=_All)
    _waiting: dict[Callable[..., set[str]], Waiting] = field(default_factory=dict)

    def waiting(self, met: Callable[[Rooms, set[str]], set[str]]) -> Waiting:
        """For what `met` tells, a function of a module."""
        if met not in self._waiting:
            self._waiting[met] = Waiting(self.database, lambda names: met(self, names))
        return self._waiting[met]


def rooms_of(context: Context) -> Rooms:
    """What a job's handler hands on to services. It checks no fields."""
    from portico.jobs.queue import Queue

    def fields(api: str, version: str, message: str) -> FieldTypes:
        raise RuntimeError("a job has no contract")

    queue = Queue(context.home, context.clock, context.ids)
    return Rooms(context.home, context.database, context.clock, context.ids, queue, fields)


@dataclass(slots=True)
class Call:
    """One request, routed and checked.

    `method` is the id in Google's discovery document without the API's name ("projects.locations.models.get",
    "buckets.insert"). `params` holds path and query parameters, typed as the document says; absent ones are
    absent. `body` is canonical proto3 JSON: camelCase names, enum names, output-only fields dropped.
    """

    api: str
    version: str
    method: str
    params: dict[str, Any]
    body: dict[str, Any]
    caller: Caller
    rooms: Rooms
    headers: Mapping[str, str] = field(default_factory=dict)
    response: str = ""
    """The message that the document says is answered."""
    upload: Path | None = None
    """The file that came along, which is the service's to remove."""

    @property
    def name(self) -> str:
        """The full resource name in the path, for methods that have one."""
        return str(self.params["name"])


Handler = Callable[[Call], Any]
IMPLEMENTED: dict[tuple[str, str], Handler] = {}


def implements(api: str, *methods: str) -> Callable[[Handler], Handler]:
    """Registers the decorated function as what `methods` of `api` do. It returns the response's JSON.

    A plain function runs in a thread of its own for as long as it takes; one that waits is a coroutine.
    """

    def register(handler: Handler) -> Handler:
        for method in methods:
            if (api, method) in IMPLEMENTED:
                raise RuntimeError(f"{api}.{method} is implemented twice")
            IMPLEMENTED[api, method] = handler
        return handler

    return register
