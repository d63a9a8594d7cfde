"""Where an endpoint's predictions are sent: the names of dedicated and private endpoints.

Every endpoint answers at the server's own address. A private endpoint (with a `network`) has plain http addresses
besides, which are this server's. A client calls a dedicated one at https://dedicatedEndpointDns and trusts only
certificates of the web, which no machine of one's own has; `portico exec` leads that name here. So without it, a
dedicated endpoint is refused where it would be made, not where it would be called.
"""

from __future__ import annotations

import re
from typing import Any

from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented
from portico.services.call import Call
from portico.services.standard.here import base_url
from portico.store.resources import Resource

LED_HERE = "x-portico-exec"  # sent by the clients that `portico exec` has prepared
_NETWORK = re.compile(r"projects/[^/]+/global/networks/[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


def check(call: Call, name: str, body: dict[str, Any]) -> None:
    """Checks what the Endpoint `body` says of its addresses, and gives a dedicated one its name.

    Raises:
        InvalidArgument: the network is malformed. Unimplemented: the caller could not reach it.
    """
    if body.get("enablePrivateServiceConnect") or body.get("privateServiceConnectConfig"):
        raise Unimplemented("Private Service Connect is not built in Portico; an endpoint with a network is.")
    if (network := body.get("network")) and not _NETWORK.fullmatch(network):
        raise InvalidArgument(
            f"network {network!r} is not allowed: projects/PROJECT/global/networks/NETWORK.", field="network"
        )
    if not body.get("dedicatedEndpointEnabled"):
        body.pop("dedicatedEndpointDns", None)
    elif network:
        raise InvalidArgument("An endpoint is private or dedicated, not both.", field="network")
    elif not body.get("dedicatedEndpointDns"):
        if LED_HERE not in call.headers:
            raise Unimplemented(
                "Dedicated endpoints are not built but for programs under `portico exec`: clients call them by https "
                "under a certificate of the web. Run the program by `portico exec`, which leads these calls here, or "
                "leave dedicatedEndpointEnabled out: the endpoint's predictions are its own here in any case."
            )
        _, project, _, location, _, endpoint_id = name.split("/")
        # .localhost never leaves the machine (RFC 6761), whatever resolves it.
        body["dedicatedEndpointDns"] = f"{endpoint_id}.{location}-{project}.prediction.localhost"


def of_deployed(endpoint: Resource) -> dict[str, Any]:
    """The addresses of a model that is deployed on `endpoint`, as paths: where the server is, may change.

    Raises:
        FailedPrecondition: the endpoint is private and has a model.
    """
    if not endpoint.body.get("network"):
        return {}
    if endpoint.body.get("deployedModels"):
        raise FailedPrecondition("A private endpoint has one deployed model at most; undeploy that first.")
    path = f"/v1/{endpoint.name}"
    return {
        "privateEndpoints": {
            "predictHttpUri": f"{path}:predict",
            "explainHttpUri": f"{path}:explain",
            "healthHttpUri": "/-/healthz",
        }
    }


def located(call: Call, shown: dict[str, Any]) -> dict[str, Any]:
    """`shown` with whole addresses, at the name by which the caller has reached this server."""
    base = base_url(call.headers)
    for deployed in shown.get("deployedModels") or ():
        if paths := deployed.get("privateEndpoints"):
            deployed["privateEndpoints"] = {key: base + path for key, path in paths.items()}
    return shown
