"""What is deployed on an endpoint, as whoever takes it off needs it."""

from __future__ import annotations

from sqlalchemy.engine import Connection

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
