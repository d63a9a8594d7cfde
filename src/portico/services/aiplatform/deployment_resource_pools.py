"""Deployment resource pools: machines that several deployed models share.

Each replica of a pool serves a copy of every model that is deployed on it
(https://cloud.google.com/vertex-ai/docs/predictions/model-co-hosting). Here a copy is a process: a model has as many as
its pool has replicas, and each may use the memory of the pool's machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented
from portico.services.aiplatform import machine_types
from portico.services.call import Call, implements
from portico.services.registry.deployed import scale
from portico.services.standard import pages
from portico.services.standard.collection import After, Collection, register
from portico.services.standard.names import LABEL_ID, location_of
from portico.services.standard.serving import ENDPOINTS, await_served
from portico.store import resources
from portico.store.resources import Resource

_METRICS = (
    "aiplatform.googleapis.com/prediction/online/",
    "prometheus.googleapis.com/",
    "pubsub.googleapis.com/",
)
_UTILIZATION = "aiplatform.googleapis.com/prediction/online/cpu/utilization"
_TARGET = 60
OWN = ("dedicatedResources", "automaticResources")


class _Pools(Collection):
    def create(self, call: Call) -> dict[str, Any]:
        call.params[self.id_parameter] = call.body[self.id_parameter]
        call.body = call.body["deploymentResourcePool"]
        return super().create(call)

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        if resource.body.get("encryptionSpec"):
            raise Unimplemented("Customer keys for pools are not built in Portico; leave encryptionSpec out.")
        dedicated = resource.body.get("dedicatedResources") or {}
        if not (dedicated.get("machineSpec") or {}).get("machineType"):
            raise InvalidArgument(
                "A pool needs the type of its machines.",
                field="deploymentResourcePool.dedicatedResources.machineSpec.machineType",
            )
        check_counts(dedicated, "deploymentResourcePool.dedicatedResources")
        if before is not None and dedicated["machineSpec"] != before["dedicatedResources"]["machineSpec"]:
            raise InvalidArgument(
                "The machines of a pool can't change; make another pool.",
                field="deploymentResourcePool.dedicatedResources.machineSpec",
            )

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> After | None:
        count = int(resource.body["dedicatedResources"].get("minReplicaCount") or 1)
        published = [
            scale(call.rooms, connection, endpoint, deployed["id"], count)
            for endpoint, deployed in [*on(connection, resource.name)]
        ]
        return (lambda: await_served(call, max(published))) if published else None

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        held = [
            f"{deployed['id']} on {endpoint.name}" for endpoint, deployed in on(connection, resource.name)
        ]
        if held:
            raise FailedPrecondition(
                f"{len(held)} deployed models are on {resource.name}, such as {held[0]}; undeploy them first."
            )
        return None


POOLS = _Pools(
    "projects.locations.deploymentResourcePools",
    "DeploymentResourcePool",
    has_etag=False,
    ids=LABEL_ID,
    immutable=frozenset({"encryptionSpec"}),
)
register(POOLS, "create", "get", "list", "patch", "delete")


def on(connection: Connection, pool: str) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """What is deployed on the pool called so, each with its endpoint."""
    for endpoint in resources.listed(connection, ENDPOINTS.kind, location_of(pool)):
        for deployed in endpoint.body.get("deployedModels") or []:
            if deployed.get("sharedResources") == pool:
                yield endpoint, deployed


def resources_of(connection: Connection, deployed: Mapping[str, Any]) -> dict[str, Any]:
    """The DedicatedResources or AutomaticResources of a deployed model: its own, or its pool's.

    Raises:
        NotFound: there is no such pool.
    """
    if pool := deployed.get("sharedResources"):
        shared: dict[str, Any] = POOLS.require(connection, pool).body["dedicatedResources"]
        return shared
    return next((deployed[kind] for kind in OWN if deployed.get(kind)), {})


def check_asked(deployed: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: a DeployedModel asks for resources of two kinds, or for no replica.
    """
    asked = [kind for kind in (*OWN, "sharedResources") if deployed.get(kind)]
    if len(asked) > 1:
        raise InvalidArgument(
            f"A deployed model has one kind of resources, not {' and '.join(asked)}.",
            field=f"deployedModel.{asked[-1]}",
        )
    for kind in OWN:
        check_counts(deployed.get(kind) or {}, f"deployedModel.{kind}")


def check_counts(asked: Mapping[str, Any], field: str) -> None:
    """
    Raises:
        InvalidArgument: the numbers of replicas contradict each other; no such machine or metric.
    """
    low = asked.get("minReplicaCount", 1)
    high = asked.get("maxReplicaCount") or low
    if low < 1 or high < low:
        raise InvalidArgument(
            f"minReplicaCount is {low} and maxReplicaCount {high}; there must be at least one replica, and "
            "no fewer at most than at least.",
            field=f"{field}.minReplicaCount",
        )
    machine_types.check(asked, field)
    for position, spec in enumerate(asked.get("autoscalingMetricSpecs") or []):
        name, target = str(spec.get("metricName") or ""), spec.get("target", _TARGET)
        where = f"{field}.autoscalingMetricSpecs[{position}]"
        if not name.startswith(_METRICS):
            raise InvalidArgument(
                f"{name!r} is no metric to scale by; one is {_UTILIZATION}.", field=f"{where}.metricName"
            )
        if target < 1 or (target > 100 and name == _UTILIZATION):
            raise InvalidArgument(f"The target is 1 to 100 percent, not {target}.", field=f"{where}.target")


@implements("aiplatform", POOLS.method("queryDeployedModels"))
def query(call: Call) -> dict[str, Any]:
    name = str(call.params["deploymentResourcePool"])
    with call.rooms.database.read() as connection:
        POOLS.require(connection, name)
        found = [*on(connection, name)]
    shown, more = pages.part(found, call.params, POOLS.kind, name)
    return {
        "deployedModels": [deployed for _, deployed in shown],
        "deployedModelRefs": [
            {"endpoint": endpoint.name, "deployedModelId": deployed["id"]} for endpoint, deployed in shown
        ],
        "totalDeployedModelCount": len(found),
        "totalEndpointCount": len({endpoint.name for endpoint, _ in found}),
        **more,
    }
