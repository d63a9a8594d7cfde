"""What is deployed on an endpoint, as whoever takes it off needs it."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.engine import Connection

from portico.prediction.replicas.places import socket_paths
from portico.services.call import Rooms
from portico.services.registry import model_store
from portico.services.standard.serving import EndpointPrivate, publish
from portico.store import replicas, resources
from portico.store.resources import Resource


def remove_deployed(connection: Connection, endpoint: Resource, deployed_id: str, now: float) -> int:
    """Takes a deployed model off its endpoint, its version's list and the replicas."""
    held = endpoint.body.get("deployedModels") or []
    gone = next((d for d in held if d["id"] == deployed_id), None)
    endpoint.body["deployedModels"] = [d for d in held if d["id"] != deployed_id]
    EndpointPrivate.of(endpoint).served.pop(deployed_id, None)
    endpoint.body.get("trafficSplit", {}).pop(deployed_id, None)
    resources.update(connection, endpoint, now)
    if gone is not None:
        version = resources.get(connection, f"{gone['model']}@{gone['modelVersionId']}")
        if version is not None:
            model_store.set_deployed(connection, version, endpoint.name, deployed_id, False)
    replicas.remove(connection, deployed_id)
    return publish(connection, endpoint)


def scale(rooms: Rooms, connection: Connection, endpoint: Resource, deployed_id: str, count: int) -> int:
    """Gives a deployed model `count` replicas, where it has replicas (at 0 as many as now), and writes its endpoint;
    returns the version to wait for."""
    held = EndpointPrivate.of(endpoint).served
    model = held[deployed_id]
    if model.format == "replica" and count:
        stored = replicas.get(connection, deployed_id).spec
        if count != stored.count:
            replicas.put(connection, replace(stored, count=count), rooms.ids.token())
            held[deployed_id] = replace(model, replicas=socket_paths(rooms.home, deployed_id, count))
    resources.update(connection, endpoint, rooms.clock.now())
    return publish(connection, endpoint)
