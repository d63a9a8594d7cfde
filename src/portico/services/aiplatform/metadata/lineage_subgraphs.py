"""Events between executions and artifacts, and the graphs that they make."""

from __future__ import annotations

from typing import Any

import orjson
import sqlalchemy as sa
from orjson import Fragment
from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import InvalidArgument
from portico.services.aiplatform.metadata.contexts import CONTEXTS, check_store
from portico.services.aiplatform.metadata.nodes import ARTIFACTS, EXECUTIONS, digits
from portico.services.call import Call, implements
from portico.services.standard.filters import Predicate, compile_filter
from portico.store import lineage, resources
from portico.store.lineage import Relation

_RELATIONS: dict[str, Relation] = {"INPUT": "input", "OUTPUT": "output"}
_TYPES: dict[str, str] = {relation: told for told, relation in _RELATIONS.items()}


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
        return _subgraph(connection, resources.these(connection, {name, *lineage.beside(connection, [name])}))


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
            whole = lineage.connected(name) if lineage.beside(connection, [name]) else None
            return _subgraph(connection, resources.these(connection, [name]) if whole is None else whole)
        return _subgraph(connection, resources.these(connection, _near(connection, name, hops, keep)))


@implements("aiplatform", CONTEXTS.method("queryContextLineageSubgraph"))
def context_lineage(call: Call) -> dict[str, Any]:
    name = str(call.params["context"])
    with call.rooms.database.read() as connection:
        CONTEXTS.require(connection, name)
        return _subgraph(connection, lineage.other(name, "member"))


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


def _subgraph(connection: Connection, among: sa.Select[Any]) -> dict[str, Any]:
    """The nodes with the events between them. A graph may have tens of thousands: what lies in the tables is put
    together as JSON as it is, and not read."""
    shown: dict[str, dict[str, bytes]] = {ARTIFACTS.kind: {}, EXECUTIONS.kind: {}}
    lists: dict[str, list[bytes]] = {ARTIFACTS.kind: [], EXECUTIONS.kind: []}
    for name, kind, *rest in resources.stored(connection, among):
        if kind in shown:
            shown[kind][name] = packed = orjson.dumps(name)
            lists[kind].append(_node(packed, *rest))
    artifacts, executions = shown.values()
    found = {
        "artifacts": lists[ARTIFACTS.kind],
        "executions": lists[EXECUTIONS.kind],
        "events": [
            _event(executions[execution], relation, artifacts[artifact], time, labels)
            for execution, relation, artifact, time, labels in lineage.events(connection, among)
            if artifact in artifacts and execution in executions
        ],
    }
    return {key: Fragment(b"[" + b",".join(value) + b"]") for key, value in found.items() if value}


def _node(name: bytes, body: bytes, revision: int, create_time: float, update_time: float) -> bytes:
    """As `Collection.render` shows it, in JSON."""
    created = rfc3339(create_time)
    updated = created if update_time == create_time else rfc3339(update_time)
    etag = digits(create_time, revision)
    told = f'"createTime":"{created}","updateTime":"{updated}","etag":"{etag}"}}'.encode()
    return b'{"name":%b,%b%b%b' % (name, body[1:-1], b"," if len(body) > 2 else b"", told)


def _event(execution: bytes, relation: str, artifact: bytes, time: float, labels: bytes | None) -> bytes:
    told = f'"eventTime":"{rfc3339(time)}","type":"{_TYPES[relation]}"'.encode()
    more = b',"labels":' + labels if labels else b""
    return b'{"artifact":%b,"execution":%b,%b%b}' % (artifact, execution, told, more)
