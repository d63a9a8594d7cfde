"""gRPC as calls: what came is read into an `Arrival`, what is answered written as messages, an error as its code."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = (
    "0"  # this process starts others, and none of them speaks gRPC's tongue
)
import grpc

from portico.doors.contract.documents import Contract, Method
from portico.doors.dispatch import Arrival, Dispatch
from portico.doors.grpc.contract import documented, own_method, path_of
from portico.doors.grpc.messages import fill, message_class, plain, texts
from portico.errors import Internal, PorticoError, Unavailable
from portico.services.standard.apis import Api, Rpc, declared
from portico.store import disk

log = logging.getLogger(__name__)

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 32 * 2**20),  # Google takes 20 MB
    ("grpc.so_reuseport", 0),
]


class GrpcWire:
    """The services of every API that has some. `owner`: whether who calls needs no token. Streams end when `ending` is
    set."""

    def __init__(self, dispatch: Dispatch, contract: Contract, owner: bool, ending: asyncio.Event) -> None:
        self._dispatch = dispatch
        self._ending = ending
        self._contract = contract
        self._owner = owner

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        found: dict[str, dict[str, grpc.RpcMethodHandler]] = defaultdict(dict)
        for api in declared().values():
            for name, rpc in (api.grpc.rpcs if api.grpc else {}).items():
                service, _, called = path_of(api, name).partition("/")
                found[service][called] = self._handler(api, name, rpc)
        known = [grpc.method_handlers_generic_handler(service, made) for service, made in found.items()]
        return [*known, _Others()]

    def _handler(self, api: Api, name: str, rpc: Rpc) -> grpc.RpcMethodHandler:
        assert api.grpc is not None
        coded = {
            "request_deserializer": message_class(api.grpc.client, rpc.request).FromString,
            "response_serializer": _serializer(api.grpc.client, rpc),
        }
        if rpc.method:
            return grpc.unary_unary_rpc_method_handler(self._documented(api, rpc), **coded)
        method = own_method(api, name, rpc)
        if rpc.streams == "both":
            return grpc.stream_stream_rpc_method_handler(self._both(method), **coded)
        if rpc.streams == "answers":
            return grpc.unary_stream_rpc_method_handler(self._answers(method), **coded)
        return grpc.unary_unary_rpc_method_handler(self._one(method), **coded)

    def _documented(self, api: Api, rpc: Rpc) -> Callable[[Any, Any], Awaitable[Any]]:
        """What a document describes, too, is called as by JSON over HTTP."""
        foreign = "." in rpc.request

        async def one(request: Any, context: grpc.aio.ServicerContext) -> Any:
            path = rpc.method
            try:
                told = texts(plain(request)) if foreign else plain(request)
                method, params, body = documented(self._contract, api, rpc, told)
                path = method.path
                api.check_required(method.id, body)
                return await self._called(method, context, body, params)
            except Exception as error:
                await self._abort(context, path, error)

        return one

    def _one(self, method: Method) -> Callable[[Any, Any], Awaitable[Any]]:
        async def one(request: Any, context: grpc.aio.ServicerContext) -> Any:
            try:
                return await self._called(method, context, plain(request))
            except Exception as error:
                await self._abort(context, method.path, error)

        return one

    def _answers(self, method: Method) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def answers(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            try:
                async for each in await self._called(method, context, plain(request)):
                    yield each
            except Exception as error:
                await self._abort(context, method.path, error)

        return answers

    def _both(self, method: Method) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def both(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            try:
                asked = {"requests": self._read(requests)}
                async for each in await self._called(method, context, asked):
                    yield each
                if self._ending.is_set():
                    raise Unavailable("The server stops: connect again.")
            except Exception as error:
                await self._abort(context, method.path, error)

        return both

    async def _read(self, requests: AsyncIterator[Any]) -> AsyncIterator[dict[str, Any]]:
        """What a client sends, until it or the server ends."""
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            while True:
                coming = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    return
                if (request := coming.result()) is None:
                    return
                yield plain(request)
        finally:
            ending.cancel()

    async def _called(
        self,
        method: Method,
        context: grpc.aio.ServicerContext,
        body: dict[str, Any],
        params: dict[str, Any] | None = None,
    ) -> Any:
        async def given() -> dict[str, Any]:
            return body

        shown = dict(context.invocation_metadata() or ())
        authorization = shown.get("authorization")
        return await self._dispatch(Arrival(method, params or {}, authorization, self._owner, given))

    async def _abort(self, context: grpc.aio.ServicerContext, path: str, error: Exception) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        known = error
        if not isinstance(known, PorticoError):
            if disk.is_full(error):
                known = disk.exhausted(self._dispatch.home)
            else:
                log.exception("%s failed", path, exc_info=error)
                known = Internal("An internal error occurred; the server's log has the details.")
        await context.abort(grpc.StatusCode[known.code], known.message, _details(known))


def _details(error: PorticoError) -> tuple[tuple[str, bytes], ...]:
    """What clients read of an error beside its code and message."""
    if not error.metadata:
        return ()
    from google.rpc import error_details_pb2, status_pb2

    status = status_pb2.Status(code=grpc.StatusCode[error.code].value[0], message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, metadata=error.metadata)
    status.details.add().Pack(info)
    return (("grpc-status-details-bin", status.SerializeToString()),)


class _Others(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers the methods that nobody else has."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        called = handler_call_details.method.strip("/").replace("/", ".")

        async def refuse(_: bytes, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{called} is not built in Portico.")

        return grpc.unary_unary_rpc_method_handler(refuse)


def _serializer(client: str, rpc: Rpc) -> Callable[[Any], bytes]:
    response = message_class(client, rpc.response)

    def serialized(answer: dict[str, Any]) -> bytes:
        return bytes(fill(response(), answer).SerializeToString())

    return serialized


def server(
    dispatch: Dispatch, contract: Contract, path: Path, owner: bool, ending: asyncio.Event
) -> grpc.aio.Server:
    """A server on a socket's `path` for callers that need no token, or for all others. It is not started."""
    made = grpc.aio.server(options=_OPTIONS)
    made.add_generic_rpc_handlers(GrpcWire(dispatch, contract, owner, ending).handlers())
    made.add_insecure_port(f"unix:{path}")
    return made
