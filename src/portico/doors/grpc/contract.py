"""The methods of gRPC's services: those of documents, and the others as a document would have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from portico.doors.contract.documents import Contract, Method
from portico.errors import InvalidArgument
from portico.services.standard.apis import Api, Rpc


def path_of(api: Api, name: str) -> str:
    """gRPC's: PACKAGE.SERVICE/METHOD."""
    assert api.grpc is not None
    service, _, method = name.rpartition(".")
    return f"{service if '.' in service else f'{api.grpc.package}.{service}'}/{method}"


def methods(api: Api) -> list[Method]:
    """What is known by gRPC alone: "GET" for those that only read."""
    assert api.grpc is not None
    return [own_method(api, name, rpc) for name, rpc in api.grpc.rpcs.items() if not rpc.method]


def own_method(api: Api, name: str, rpc: Rpc) -> Method:
    [version] = api.versions
    path = path_of(api, name)
    reads = name.partition(".")[2].startswith(("Get", "Read", "Split"))
    http = "GET" if reads else "POST"
    return Method(api.name, version, name, http, path, path, (), "", rpc.request, rpc.response)


def documented(
    contract: Contract, api: Api, rpc: Rpc, message: Mapping[str, Any]
) -> tuple[Method, dict[str, Any], dict[str, Any]]:
    """The method of a request, its parameters and its body: as JSON over HTTP has them.

    Raises:
        InvalidArgument: what it names is not of the form that the document says.
    """
    [version] = api.versions
    id = rpc.method
    if "{" in id:
        resource = str(message.get("resource", ""))
        parts = resource.split("/")
        id = id.format(collection=parts[2] if len(parts) == 4 else "")
        if not contract.has(api.name, version, id):
            raise InvalidArgument(f"resource is {resource!r}, which has no policy.", field="resource")
    method = contract.method(api.name, version, id)
    body = dict(message)
    named = re.findall(r"\{\+?(\w+)\}", method.path)
    params = {name: body.pop(name) for name in named if name in body}
    for name in named:
        if name not in params:  # an update names what it changes in that itself
            inner = next((one for one in body.values() if isinstance(one, Mapping) and name in one), {})
            params[name] = inner.get(name, "")
    path = re.sub(r"\{\+?(\w+)\}", lambda found: str(params[found[1]]), method.path)
    if not re.fullmatch(method.path_pattern, path):
        told = ", ".join(f"{name} is {params[name]!r}" for name in named)
        raise InvalidArgument(f"{told}, which is not of the form {method.flat_path}.", field=named[0])
    for one in method.parameters:
        if one.name in body:
            params.setdefault(one.name, body.pop(one.name))
    return method, params, body if method.request else {}
