"""The methods of APIs that are known by gRPC alone, as those that documents describe."""

from __future__ import annotations

from portico.doors.contract.documents import Method
from portico.services.standard.apis import Api


def methods(api: Api) -> list[Method]:
    """Their paths are gRPC's: PACKAGE.SERVICE/METHOD. "GET" for those that only read."""
    assert api.grpc is not None
    [version] = api.versions
    found = []
    for name, rpc in api.grpc.rpcs.items():
        path = f"{api.grpc.package}.{name.replace('.', '/')}"
        reads = name.partition(".")[2].startswith(("Get", "Read", "Split"))
        http = "GET" if reads else "POST"
        found.append(Method(api.name, version, name, http, path, path, (), "", rpc.request, rpc.response))
    return found
