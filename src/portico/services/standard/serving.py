"""Endpoints as every service needs them: the collection, and how a change reaches the fronts.

What else can be done with endpoints is in `aiplatform.endpoints` and `aiplatform.deployments`.
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from portico.services.call import Call
from portico.services.standard.collection import Collection
from portico.services.standard.names import ENDPOINT_ID
from portico.store import resources, served
from portico.store.resources import Private, Resource
from portico.store.served import ServedModel

ENDPOINTS = Collection(
    "projects.locations.endpoints",
    "Endpoint",
    output_only=frozenset({"deployedModels", "modelDeploymentMonitoringJob", "dedicatedEndpointDns"}),
    immutable=frozenset({"network", "encryptionSpec"}),
    ids=ENDPOINT_ID,
    filters={"endpoint": lambda shown: str(shown["name"]).rpartition("/")[2]},
)


class EndpointPrivate(Private):
    """`served` has what the fronts serve by deployed model; `sampling` the share of requests that each who watches the
    endpoint ("monitoring", "steward") wants logged; `holdout` the share that its steward holds out."""

    served: dict[str, ServedModel] = {}
    sampling: dict[str, float] = {}
    holdout: float = 0.0


def sample(call: Call, connection: Connection, endpoint: Resource, who: str, rate: float) -> int:
    """Lets the fronts log what `who` watches, at 0 nothing more for it. Writes the endpoint; returns as `publish`."""
    sampling = EndpointPrivate.of(endpoint).sampling
    sampling.pop(who, None)
    if rate:
        sampling[who] = rate
    resources.update(connection, endpoint, call.rooms.clock.now())
    return publish(connection, endpoint)


def publish(connection: Connection, endpoint: Resource) -> int:
    """Hands the endpoint to the fronts; returns the version to wait for."""
    logging = endpoint.body.get("predictRequestResponseLoggingConfig") or {}
    rate = float(logging.get("samplingRate", 0.0)) if logging.get("enabled") else 0.0
    private = EndpointPrivate.of(endpoint)
    rate = max(rate, *private.sampling.values(), 0.0)
    if any(d.get("enableAccessLogging") for d in endpoint.body.get("deployedModels") or []):
        rate = 1.0  # the access log is the prediction log, as Cloud Logging shows it
    models = [private.served[d["id"]] for d in endpoint.body.get("deployedModels") or []]
    split = {k: int(v) for k, v in (endpoint.body.get("trafficSplit") or {}).items() if v}
    return served.put(connection, served.ServedEndpoint(endpoint.name, models, split, rate, private.holdout))


def await_served(call: Call, version: int) -> None:
    """Returns when every front serves what was published."""
    from portico.prediction.front.sync import await_fronts

    await_fronts(call.rooms.home, version, timeout=30.0)
