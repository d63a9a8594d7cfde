"""A TensorBoard's experiments, and their runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.services.aiplatform.tensorboard import tensorboards
from portico.services.call import Call, implements
from portico.services.standard.apis import declared
from portico.services.standard.collection import Collection, register
from portico.services.standard.names import IdRule
from portico.store import resources
from portico.store.resources import Resource

TENSORBOARD_ID = IdRule(
    r"[a-zA-Z0-9][a-zA-Z0-9-]{0,127}",
    "at most 128 of letters, digits and '-', beginning with a letter or a digit",
)
MOST_AT_ONCE = 1000  # that a batch creates


class Named(Collection):
    """What has an id that the caller must choose."""

    def new_name(self, call: Call, parent: str, chosen: str | None) -> str:
        if not chosen:
            key = self.id_parameter
            raise InvalidArgument(f"{key} is missing: {self.ids.words}.", field=key)
        return super().new_name(call, parent, chosen)


class Runs(Named):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        check_display_name(self, connection, resource, before)


def check_display_name(
    collection: Collection, connection: Connection, resource: Resource, before: dict[str, Any] | None
) -> None:
    """
    Raises:
        InvalidArgument: another resource beside this one has its display name. Google's uploader reads the words.
    """
    name = str(resource.body.get("displayName", ""))
    if before is None and resources.get(connection, resource.name) is not None:
        return  # that is said of the id
    if before is not None and before.get("displayName") == name:
        return
    wanted = {"displayName": name}
    for other in resources.listed(connection, collection.kind, resource.parent, wanted=wanted):
        if other.body.get("displayName") == name and other.name != resource.name:
            raise InvalidArgument(
                f"A {collection.message} with the display name {name!r} already exists: {other.name}.",
                field="displayName",
            )


EXPERIMENTS = Named(
    "projects.locations.tensorboards.experiments",
    "TensorboardExperiment",
    cascade=True,
    ids=TENSORBOARD_ID,
    immutable=frozenset({"source"}),
)
register(EXPERIMENTS, "create", "get", "list", "patch", "delete")

RUNS = Runs(
    "projects.locations.tensorboards.experiments.runs", "TensorboardRun", cascade=True, ids=TENSORBOARD_ID
)
register(RUNS, "create", "get", "list", "patch", "delete")
assert RUNS.kind == tensorboards.RUNS_KIND


@implements("aiplatform", RUNS.method("batchCreate"))
def batch_create(call: Call) -> dict[str, Any]:
    made = created(call, RUNS, "tensorboardRun", str(call.params["parent"]))
    return {"tensorboardRuns": made} if made else {}


def created(call: Call, collection: Collection, key: str, parent: str = "") -> list[dict[str, Any]]:
    """What the `requests` of a batch create, all of it or nothing: below `parent`, or each below its own.

    Raises:
        InvalidArgument: naming the request.
    """
    requests = call.body.get("requests") or []
    if len(requests) > MOST_AT_ONCE:
        raise InvalidArgument(
            f"requests has {len(requests):,}; at most {MOST_AT_ONCE:,} are created at once.", field="requests"
        )
    experiment = str(call.params["parent"])
    made = []
    with call.rooms.database.write() as connection:
        EXPERIMENTS.require(connection, experiment)
        for number, request in enumerate(requests):
            above = str(request.get("parent") or parent)
            if above != parent if parent else not above.startswith(f"{experiment}/runs/"):
                raise InvalidArgument(
                    f"requests[{number}].parent is {above!r}, which is not {experiment}"
                    + ("." if parent else " followed by /runs/RUN."),
                    field=f"requests[{number}].parent",
                )
            body = request.get(key) or {}
            declared()[call.api].check_required(collection.method("create"), body)
            name = collection.new_name(call, above, request.get(collection.id_parameter))
            resource, _ = collection.add(call, connection, name, above, body)
            made.append(collection.render(resource))
        collection.complete(connection, made)
    return made
