"""Endpoints: create, get, list, patch, delete. What is deployed on them is in `deployments`."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument
from portico.services.aiplatform import endpoint_addresses, endpoint_logging
from portico.services.call import Call
from portico.services.standard import bq
from portico.services.standard.collection import POLICIES, After, Collection, register
from portico.services.standard.serving import ENDPOINTS, EndpointPrivate, await_served, publish
from portico.store import labels, served
from portico.store.resources import Resource


class _Endpoints(Collection):
    def new_name(self, call: Call, parent: str, chosen: str | None) -> str:
        """With a look, before the transaction, whether the name of its table of logs is free."""
        name = super().new_name(call, parent, chosen)
        endpoint_logging.check(call, name, call.body)
        return name

    def get(self, call: Call) -> dict[str, Any]:
        return endpoint_addresses.located(call, super().get(call))

    def list(self, call: Call) -> dict[str, Any]:
        listing = super().list(call)
        for shown in listing.get("endpoints", ()):
            endpoint_addresses.located(call, shown)
        return listing

    def patch(self, call: Call) -> dict[str, Any]:
        with call.rooms.database.read() as connection:
            before = self.require(connection, call.name).body
        endpoint_logging.check(call, call.name, self.patched(call, before), before)
        answer = super().patch(call)
        endpoint_addresses.located(call, answer.get("response", answer))
        return answer

    def update(self, call: Call) -> dict[str, Any]:
        """As patch with all fields that are given; answered by an operation (UpdateEndpointLongRunning)."""
        call.body = call.body.get("endpoint") or {}
        return self.patch(call)

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        if before is None:
            for key in self.output_only:
                body.pop(key, None)
            if body.get("trafficSplit"):
                raise InvalidArgument(
                    "A new endpoint has no models to split traffic between.", field="trafficSplit"
                )
        endpoint_logging.complete(resource.name, body, before)
        endpoint_addresses.check(call, resource.name, body)
        check_traffic(body.get("trafficSplit") or {}, body)

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> After | None:
        version = publish(connection, resource)
        logged = endpoint_logging.want(connection, resource.name, resource.body, before)

        def after() -> None:
            if before is not None:
                await_served(call, version)
            if logged:
                bq.make_logs(call.rooms.home)

        return after

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After:
        deployed = resource.body.get("deployedModels") or []
        if deployed:
            raise FailedPrecondition(
                f"The Endpoint {resource.name} has {len(deployed)} deployed models "
                f"({', '.join(d['id'] for d in deployed)}); undeploy them first."
            )
        if "steward" in EndpointPrivate.of(resource).sampling:
            raise FailedPrecondition(f"The Endpoint {resource.name} has a steward; delete that first.")
        if watched := resource.body.get("modelDeploymentMonitoringJob"):
            raise FailedPrecondition(
                f"The Endpoint {resource.name} is monitored by {watched}; delete that first."
            )
        labels.delete(connection, resource.name)
        version = served.delete(connection, resource.name)
        return lambda: await_served(call, version)


register(_Endpoints(**vars(ENDPOINTS)), "create", "get", "list", "patch", "update", "delete", *POLICIES)


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
