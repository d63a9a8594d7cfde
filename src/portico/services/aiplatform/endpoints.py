"""Endpoints: create, get, list, patch, delete. What is deployed on them is in `deployments`."""

from __future__ import annotations

from typing import Any

from portico.errors import FailedPrecondition, InvalidArgument
from portico.services.aiplatform import endpoint_addresses, endpoint_logging
from portico.services.call import Call, implements
from portico.services.standard import operations
from portico.services.standard.collection import check_etag
from portico.services.standard.names import ENDPOINT_ID, own_id
from portico.services.standard.serving import ENDPOINTS, EndpointPrivate, await_served, publish
from portico.store import labels, resources, served


@implements("aiplatform", ENDPOINTS.method("create"))
def create(call: Call) -> dict[str, Any]:
    parent = str(call.params["parent"])
    endpoint_id = own_id(call.params.get("endpointId"), call.rooms.ids.number(), "endpointId", ENDPOINT_ID)
    if call.body.get("trafficSplit"):
        raise InvalidArgument("A new endpoint has no models to split traffic between.", field="trafficSplit")
    endpoint_logging.check(call.body)
    name = f"{parent}/endpoints/{endpoint_id}"
    body = {key: value for key, value in call.body.items() if key not in ENDPOINTS.output_only}
    endpoint_addresses.check(call, name, body)
    endpoint_logging.show(call, name, body)
    with call.rooms.database.write() as connection:
        made = ENDPOINTS.insert(call, connection, name, parent, body)
        publish(connection, made)
        return operations.done(
            call, connection, name, "CreateEndpointOperationMetadata", "Endpoint", ENDPOINTS.render(made)
        )


@implements("aiplatform", ENDPOINTS.method("get"))
def get(call: Call) -> dict[str, Any]:
    return endpoint_addresses.located(call, ENDPOINTS.get(call))


@implements("aiplatform", ENDPOINTS.method("list"))
def list_(call: Call) -> dict[str, Any]:
    listing = ENDPOINTS.list(call)
    for shown in listing.get("endpoints", ()):
        endpoint_addresses.located(call, shown)
    return listing


@implements("aiplatform", ENDPOINTS.method("update"))
def update(call: Call) -> dict[str, Any]:
    """As patch with all fields that are given; answered by an operation (UpdateEndpointLongRunning)."""
    call.body = call.body.get("endpoint") or {}
    shown = patch(call)
    with call.rooms.database.write() as connection:
        return operations.done(
            call, connection, call.name, "UpdateEndpointOperationMetadata", "Endpoint", shown
        )


@implements("aiplatform", ENDPOINTS.method("patch"))
def patch(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        before = ENDPOINTS.require(connection, call.name).body
    asked = ENDPOINTS.patched(call, before)
    endpoint_logging.check(asked)
    endpoint_logging.show(call, call.name, asked, before)
    with call.rooms.database.write() as connection:
        endpoint = ENDPOINTS.require(connection, call.name)
        check_etag(endpoint, call.body.get("etag"))
        endpoint.body = ENDPOINTS.patched(call, endpoint.body)
        endpoint_logging.keep(endpoint.body, asked)
        endpoint_addresses.check(call, endpoint.name, endpoint.body)
        check_traffic(endpoint.body.get("trafficSplit") or {}, endpoint.body)
        resources.update(connection, endpoint, call.rooms.clock.now())
        version = publish(connection, endpoint)
        shown = endpoint_addresses.located(call, ENDPOINTS.render(endpoint))
    await_served(call, version)
    return shown


@implements("aiplatform", ENDPOINTS.method("delete"))
def delete(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        endpoint = ENDPOINTS.require(connection, call.name)
        deployed = endpoint.body.get("deployedModels") or []
        if deployed:
            raise FailedPrecondition(
                f"The Endpoint {endpoint.name} has {len(deployed)} deployed models "
                f"({', '.join(d['id'] for d in deployed)}); undeploy them first."
            )
        if "steward" in EndpointPrivate.of(endpoint).sampling:
            raise FailedPrecondition(f"The Endpoint {endpoint.name} has a steward; delete that first.")
        if watched := endpoint.body.get("modelDeploymentMonitoringJob"):
            raise FailedPrecondition(
                f"The Endpoint {endpoint.name} is monitored by {watched}; delete that first."
            )
        resources.delete(connection, endpoint.name)
        labels.delete(connection, endpoint.name)
        version = served.delete(connection, endpoint.name)
        answer = operations.done(call, connection, endpoint.name, "DeleteOperationMetadata", None)
    await_served(call, version)
    return answer


def check_traffic(split: dict[str, Any], body: dict[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: the percentages don't add up to 100, or name what is not deployed.
    """
    if not split:
        return
    known = {deployed["id"] for deployed in body.get("deployedModels") or []}
    for deployed_id, percent in split.items():
        if deployed_id not in known:
            raise InvalidArgument(
                f"trafficSplit names the deployed model {deployed_id!r}, which this endpoint does not have; "
                f"it has {', '.join(sorted(known)) or 'none'}.",
                field="trafficSplit",
            )
        if not 0 <= percent <= 100:
            raise InvalidArgument(
                f"The traffic of {deployed_id!r} is {percent}; it must be 0 to 100.", field="trafficSplit"
            )
    if sum(split.values()) != 100:
        raise InvalidArgument(
            f"The percentages in trafficSplit add up to {sum(split.values())}; they must add up to 100.",
            field="trafficSplit",
        )
