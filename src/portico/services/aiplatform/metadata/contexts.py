"""Contexts: what groups artifacts and executions (an experiment, one of its runs, a pipeline), and one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.services.aiplatform.metadata import metadata_stores
from portico.services.aiplatform.metadata.nodes import ARTIFACTS, EXECUTIONS, Nodes, register_nodes
from portico.services.call import Call, implements
from portico.services.registry.metadata import CONTEXT_KIND, note_deleted
from portico.services.standard.collection import After
from portico.services.standard.fields import Resource as Shown
from portico.services.standard.filters import Function
from portico.store import lineage, resources
from portico.store.resources import Resource

_PARENTS = 10  # that a context has at most


@dataclass(frozen=True)
class Contexts(Nodes):
    def functions(self, connection: Connection) -> dict[str, Function]:
        return {}  # a context is in no context

    def virtual(self, connection: Connection) -> dict[str, Callable[[Shown], Any]]:
        def children(shown: Shown) -> list[str]:
            return list(connection.execute(lineage.other(shown["name"], "child")).scalars())

        return {"childContexts": children}

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        children = list(connection.execute(lineage.other(resource.name, "child")).scalars())
        super().deleting(call, connection, resource)
        note_deleted(connection, resource)
        for child in children:
            _show_parents(connection, child)
        return None


CONTEXTS = Contexts(
    "projects.locations.metadataStores.contexts",
    "Context",
    ids=metadata_stores.ID,
    schemas="CONTEXT_TYPE",
    output_only=frozenset({"parentContexts"}),
)
register_nodes(CONTEXTS)
assert CONTEXTS.kind == CONTEXT_KIND


@implements("aiplatform", CONTEXTS.method("addContextArtifactsAndExecutions"))
def add_artifacts_and_executions(call: Call) -> dict[str, Any]:
    name = str(call.params["context"])
    with call.rooms.database.write() as connection:
        CONTEXTS.require(connection, name)
        members: list[str] = []
        for collection, field in ((ARTIFACTS, "artifacts"), (EXECUTIONS, "executions")):
            for member in call.body.get(field) or []:
                check_store(name, member, field)
                members.append(collection.require(connection, member).name)
        lineage.add(connection, name, "member", members, call.rooms.clock.now())
    return {}


@implements("aiplatform", CONTEXTS.method("addContextChildren"))
def add_children(call: Call) -> dict[str, Any]:
    name, children = str(call.params["context"]), list(call.body.get("childContexts") or [])
    with call.rooms.database.write() as connection:
        CONTEXTS.require(connection, name)
        above = {name, *_above(connection, name)}
        for child in children:
            check_store(name, child, "childContexts")
            CONTEXTS.require(connection, child)
            if child in above:
                raise InvalidArgument(
                    f"{child} would be above itself: it is {name} or above it.", field="childContexts"
                )
        lineage.add(connection, name, "child", children, call.rooms.clock.now())
        for child in children:
            _show_parents(connection, child)
    return {}


@implements("aiplatform", CONTEXTS.method("removeContextChildren"))
def remove_children(call: Call) -> dict[str, Any]:
    name, children = str(call.params["context"]), list(call.body.get("childContexts") or [])
    with call.rooms.database.write() as connection:
        CONTEXTS.require(connection, name)
        lineage.remove(connection, name, "child", children)
        for child in children:
            _show_parents(connection, child)
    return {}


def _above(connection: Connection, name: str) -> set[str]:
    """All contexts above one."""
    found: set[str] = set()
    left = [name]
    while left:
        for parent in connection.execute(lineage.back(left.pop(), "child")).scalars():
            if parent not in found:
                found.add(parent)
                left.append(parent)
    return found


def _show_parents(connection: Connection, name: str) -> None:
    """Lets a context show its parents. Its etag stays: what a client has read it may still update.

    Raises:
        InvalidArgument: it has too many.
    """
    context = resources.get(connection, name)
    if context is None:
        return
    parents = list(connection.execute(lineage.back(name, "child")).scalars())
    if len(parents) > _PARENTS:
        raise InvalidArgument(
            f"{name} would have {len(parents)} parents; a context has at most {_PARENTS}.",
            field="childContexts",
        )
    context.body["parentContexts"] = sorted(parents)
    resources.note(connection, context)


def check_store(name: str, other: str, field: str) -> None:
    """
    Raises:
        InvalidArgument: `other` is not in the same metadata store.
    """
    store = "/".join(name.split("/")[:6])
    if not other.startswith(f"{store}/"):
        raise InvalidArgument(f"{other!r} is not a full name of something in {store}.", field=field)
