"""Endpoints as every service needs them: the collection, and how a change reaches the fronts.

What else can be done with endpoints is in `aiplatform.endpoints` and `aiplatform.deployments`.
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from portico.services.call import Call
from portico.services.standard.collection import Collection
from portico.store import served
from portico.store.resources import Resource

ENDPOINTS = Collection(
    "projects.locations.endpoints",
    "Endpoint",
    output_only=frozenset({"deployedModels", "modelDeploymentMonitoringJob", "dedicatedEndpointDns"}),
    immutable=frozenset({"network", "encryptionSpec"}),
    filters={"endpoint": lambda shown: str(shown["name"]).rpartition("/")[2]},
)


def publish(connection: Connection, endpoint: Resource) -> int:
    """Hands the endpoint to the fronts; returns the version to wait for."""
    logging = endpoint.body.get("predictRequestResponseLoggingConfig") or {}
    rate = float(logging.get("samplingRate", 0.0)) if logging.get("enabled") else 0.0
    private = endpoint.body.get("_", {})
    # What its monitoring job wants, and its steward.
    rate = max(rate, private.get("samplingRate", 0.0), private.get("stewardSamplingRate", 0.0))
    models = [served.ServedModel(**private[d["id"]]) for d in endpoint.body.get("deployedModels") or []]
    split = {k: int(v) for k, v in (endpoint.body.get("trafficSplit") or {}).items() if v}
    holdout = private.get("stewardHoldout", 0.0)
    return served.put(connection, served.ServedEndpoint(endpoint.name, models, split, rate, holdout))


def await_served(call: Call, version: int) -> None:
    """Returns when every front serves what was published."""
    from portico.prediction.sync import await_fronts

    await_fronts(call.rooms.home, version, timeout=30.0)
