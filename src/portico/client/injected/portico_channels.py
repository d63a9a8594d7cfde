"""gRPC channels to Google's APIs, opened to this server."""

from __future__ import annotations

import functools
import os
from typing import Any

from portico_addresses import NETLOC, URL, is_google, is_vertex

# Where this server speaks gRPC, and the APIs whose clients are to speak it.
_GRPC = os.environ.get("PORTICO_GRPC", "")
_EMULATOR = "PUBSUB_EMULATOR_HOST"
_MESSAGES = "pubsub.googleapis.com"
BY_GRPC = ("bigquerystorage.googleapis.com", _MESSAGES)


def finds_its_way(default: str) -> bool:
    """Whether the client of this API was told by a variable of its own where it is, elsewhere than here."""
    return default == _MESSAGES and os.environ.get(_EMULATOR, _GRPC) != _GRPC


def patch_pubsub(module: Any) -> None:
    """The variable that names this server to other languages' clients would have Python's show no credentials, and
    speak nothing but gRPC: they come here as the other clients do."""
    if getattr(module, "os", None) is os:
        module.os = _WithoutEmulator()


class _WithoutEmulator:
    """The module `os`, in whose environment no emulator is named that is this server."""

    @property
    def environ(self) -> dict[str, str]:
        return {name: told for name, told in os.environ.items() if (name, told) != (_EMULATOR, _GRPC)}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def by_grpc(cls: Any, options: Any) -> None:
    """gRPC takes no scheme. Its channel is opened where this server speaks it (`patch_channels`)."""
    if options.api_endpoint.startswith(URL):
        default = getattr(cls, "DEFAULT_ENDPOINT", "")
        options.api_endpoint = default if default in BY_GRPC else NETLOC


def patch_channels(module: Any) -> None:
    """gRPC channels (`google.api_core.grpc_helpers`, and its asynchronous twin)."""
    create = module.create_channel

    @functools.wraps(create)
    def moved(target: str, *args: Any, **kwargs: Any) -> Any:
        host = target.rpartition(":")[0] or target
        if _GRPC and (host in BY_GRPC or _is_unknown(target, host)):
            return _channel(module, host, *args, **kwargs)
        return create(NETLOC if is_google(host) or is_vertex(host) else target, *args, **kwargs)

    module.create_channel = moved


def _is_unknown(target: str, host: str) -> bool:
    """Whether it is an API that is spoken by gRPC alone, and not here: that is what its calls are answered."""
    return (target == NETLOC or is_google(host)) and not is_vertex(host)


def _channel(module: Any, host: str, credentials: Any = None, *args: Any, **kwargs: Any) -> Any:
    """A channel to this server, not encrypted; who opens an asynchronous one is known by its connection, a job by its
    token."""
    import grpc

    options = [*(kwargs.get("options") or ()), ("grpc.enable_http_proxy", 0)]
    if module.__name__.endswith("_async"):
        from grpc import aio

        interceptors = [*(kwargs.get("interceptors") or ()), *_own_bearers()]
        return aio.insecure_channel(_GRPC, options, interceptors=interceptors)
    if credentials is None:
        import google.auth

        default: Any = google.auth.default
        credentials, _ = default(scopes=kwargs.get("scopes") or kwargs.get("default_scopes"))
    return grpc.intercept_channel(grpc.insecure_channel(_GRPC, options), _bearer(credentials, host))


_KINDS = {
    "UnaryUnary": "unary_unary", "UnaryStream": "unary_stream", "StreamUnary": "stream_unary",
    "StreamStream": "stream_stream",
}  # fmt: skip


def _own_bearers() -> list[Any]:
    """Show a job's token with every call of an asynchronous channel: one for each kind of call."""
    token = os.environ.get("PORTICO_JOB_TOKEN")
    if not token:
        return []
    from grpc import aio

    async def intercept(self: Any, continuation: Any, details: Any, given: Any) -> Any:
        metadata = aio.Metadata(*(details.metadata or ()), ("authorization", f"Bearer {token}"))
        return await continuation(details._replace(metadata=metadata), given)

    bases: list[Any] = [getattr(aio, f"{kind}ClientInterceptor") for kind in _KINDS]
    names = [f"intercept_{name}" for name in _KINDS.values()]
    return [type("Bearer", (base,), {name: intercept})() for base, name in zip(bases, names, strict=True)]


def _bearer(credentials: Any, host: str) -> Any:
    """Shows `credentials` with every call, which gRPC itself only does where it is encrypted."""
    import grpc
    from google.auth.transport.requests import Request

    request = Request()

    def intercept(self: Any, continuation: Any, details: Any, given: Any) -> Any:
        headers: dict[str, str] = {}
        credentials.before_request(request, "POST", f"https://{host}/", headers)
        shown = [(name.lower(), value) for name, value in headers.items()]
        return continuation(_Details(details, [*(details.metadata or ()), *shown]), given)

    bases = tuple(getattr(grpc, f"{kind}ClientInterceptor") for kind in _KINDS)
    return type("Bearer", bases, {f"intercept_{name}": intercept for name in _KINDS.values()})()


class _Details:
    """A call's details with other metadata."""

    def __init__(self, details: Any, metadata: Any) -> None:
        self._details = details
        self.metadata = metadata

    def __getattr__(self, name: str) -> Any:
        return getattr(self._details, name)
