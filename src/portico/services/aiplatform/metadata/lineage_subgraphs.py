"""Events between executions and artifacts, and the graphs that they make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import InvalidArgument
from portico.services.aiplatform.metadata.contexts import CONTEXTS, check_store
from portico.services.aiplatform.metadata.nodes import ARTIFACTS, EXECUTIONS
from portico.services.call import Call, implements
from portico.services.standard.filters import Predicate, compile_filter
from portico.store import lineage, resources
from portico.store.lineage import Relation

_RELATIONS: dict[str, Relation] = {"INPUT": "input", "OUTPUT": "output"}


@implements("aiplatform", EXECUTIONS.method("addExecutionEvents"))
def add_events(call: Call) -> dict[str, Any]:
    name = str(call.params["execution"])
    with call.rooms.database.write() as connection:
        EXECUTIONS.require(connection, name)
        for position, event in enumerate(call.body.get("events") or []):
            field = f"events[{position}]"
            if event.get("type") not in _RELATIONS:
                raise InvalidArgument(f"{field}.type must be INPUT or OUTPUT.", field=f"{field}.type")
            check_store(name, event.get("artifact", ""), f"{field}.artifact")
            artifact = ARTIFACTS.require(connection, event["artifact"])
            now, labels = call.rooms.clock.now(), event.get("labels")
            lineage.add(connection, name, _RELATIONS[event["type"]], [artifact.name], now, labels)
    return {}


@implements("aiplatform", EXECUTIONS.method("queryExecutionInputsAndOutputs"))
def inputs_and_outputs(call: Call) -> dict[str, Any]:
    name = str(call.params["execution"])
    with call.rooms.database.read() as connection:
        EXECUTIONS.require(connection, name)
        return _subgraph(connection, {name, *lineage.beside(connection, [name])})


@implements("aiplatform", ARTIFACTS.method("queryArtifactLineageSubgraph"))
def artifact_lineage(call: Call) -> dict[str, Any]:
    """What events connect with an artifact, in both directions: all of it, or what is at most maxHops events away."""
    name, hops, asked = (
        str(call.params["artifact"]),
        call.params.get("maxHops"),
        call.params.get("filter", ""),
    )
    if hops is not None and hops < 0:
        raise InvalidArgument(f"maxHops is {hops}; it must not be negative.", field="maxHops")
    keep = compile_filter(asked, ARTIFACTS.fields(call), virtual=ARTIFACTS.filters) if asked else None
    with call.rooms.database.read() as connection:
        ARTIFACTS.require(connection, name)
        if hops is None and keep is None:
            return _subgraph(connection, {name, *lineage.connected(connection, name)})
        return _subgraph(connection, _near(connection, name, hops, keep))


@implements("aiplatform", CONTEXTS.method("queryContextLineageSubgraph"))
def context_lineage(call: Call) -> dict[str, Any]:
    name = str(call.params["context"])
    with call.rooms.database.read() as connection:
        CONTEXTS.require(connection, name)
        return _subgraph(connection, connection.execute(lineage.other(name, "member")).scalars())


def _near(connection: Connection, start: str, hops: int | None, keep: Predicate | None) -> set[str]:
    """What is within `hops` events of an artifact, and reached over artifacts that pass."""
    found = newest = {start}
    while newest and (hops is None or hops > 0):
        hops = None if hops is None else hops - 1
        newest = lineage.beside(connection, newest) - found
        if keep is not None:
            newest = {
                node.name
                for node in resources.named(connection, newest)
                if node.kind != ARTIFACTS.kind or keep(ARTIFACTS.render(node))
            }
        found = found | newest
    return found


def _subgraph(connection: Connection, names: Iterable[str]) -> dict[str, Any]:
    """The nodes with the events between them."""
    nodes = {node.name: node for node in resources.named(connection, names)}
    artifacts = {name for name, node in nodes.items() if node.kind == ARTIFACTS.kind}
    executions = nodes.keys() - artifacts
    ordered = sorted(nodes.values(), key=lambda node: (node.create_time, node.name))
    found = {
        "artifacts": [ARTIFACTS.render(node) for node in ordered if node.name in artifacts],
        "executions": [EXECUTIONS.render(node) for node in ordered if node.name in executions],
        "events": [
            {
                "artifact": event.artifact,
                "execution": event.execution,
                "eventTime": rfc3339(event.time),
                "type": event.relation.upper(),
                **({"labels": event.labels} if event.labels else {}),
            }
            for event in lineage.events(connection, executions)
            if event.artifact in artifacts
        ],
    }
    return {key: value for key, value in found.items() if value}
