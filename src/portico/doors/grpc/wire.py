"""gRPC as calls: what came is read into an `Arrival`, what is answered written as messages, an error as its code."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import groupby
from pathlib import Path
from typing import Any

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = (
    "0"  # this process starts others, and none of them speaks gRPC's tongue
)
import grpc

from portico.doors.contract.documents import Method
from portico.doors.dispatch import Arrival, Dispatch
from portico.doors.grpc.contract import methods
from portico.doors.grpc.messages import fill, message_class, plain
from portico.errors import Internal, PorticoError
from portico.services.standard.apis import Api, Rpc, declared
from portico.store import disk

log = logging.getLogger(__name__)

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 32 * 2**20),  # Google takes 20 MB
    ("grpc.so_reuseport", 0),
]


class GrpcWire:
    """The services of every API that has some. `owner`: whether who calls needs no token."""

    def __init__(self, dispatch: Dispatch, owner: bool) -> None:
        self._dispatch = dispatch
        self._owner = owner

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        found = []
        for api in declared().values():
            if api.grpc is None:
                continue
            for service, each in groupby(methods(api), lambda one: one.path.partition("/")[0]):
                made = {one.path.partition("/")[2]: self._handler(api, one) for one in each}
                found.append(grpc.method_handlers_generic_handler(service, made))
        return found

    def _handler(self, api: Api, method: Method) -> grpc.RpcMethodHandler:
        assert api.grpc is not None
        rpc = api.grpc.rpcs[method.id]
        request = message_class(api.grpc.client, rpc.request)
        coded = {
            "request_deserializer": request.FromString,
            "response_serializer": _serializer(api.grpc.client, rpc),
        }
        if rpc.streams == "both":
            return grpc.stream_stream_rpc_method_handler(self._both(method), **coded)
        if rpc.streams == "answers":
            return grpc.unary_stream_rpc_method_handler(self._answers(method), **coded)
        return grpc.unary_unary_rpc_method_handler(self._one(method), **coded)

    def _one(self, method: Method) -> Callable[[Any, Any], Awaitable[Any]]:
        async def one(request: Any, context: grpc.aio.ServicerContext) -> Any:
            try:
                return await self._called(method, context, plain(request))
            except Exception as error:
                await self._abort(context, method, error)

        return one

    def _answers(self, method: Method) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def answers(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            try:
                async for each in await self._called(method, context, plain(request)):
                    yield each
            except Exception as error:
                await self._abort(context, method, error)

        return answers

    def _both(self, method: Method) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def both(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            async def read() -> AsyncIterator[dict[str, Any]]:
                async for request in requests:
                    yield plain(request)

            try:
                async for each in await self._called(method, context, {"requests": read()}):
                    yield each
            except Exception as error:
                await self._abort(context, method, error)

        return both

    async def _called(self, method: Method, context: grpc.aio.ServicerContext, body: dict[str, Any]) -> Any:
        async def given() -> dict[str, Any]:
            return body

        shown = dict(context.invocation_metadata() or ())
        return await self._dispatch(Arrival(method, {}, shown.get("authorization"), self._owner, given))

    async def _abort(self, context: grpc.aio.ServicerContext, method: Method, error: Exception) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        known = error
        if not isinstance(known, PorticoError):
            if disk.is_full(error):
                known = disk.exhausted(self._dispatch.home)
            else:
                log.exception("%s failed", method.path, exc_info=error)
                known = Internal("An internal error occurred; the server's log has the details.")
        await context.abort(grpc.StatusCode[known.code], known.message)


def _serializer(client: str, rpc: Rpc) -> Callable[[Any], bytes]:
    response = message_class(client, rpc.response)

    def serialized(answer: dict[str, Any]) -> bytes:
        return bytes(fill(response(), answer).SerializeToString())

    return serialized


def server(dispatch: Dispatch, path: Path, owner: bool) -> grpc.aio.Server:
    """A server on a socket's `path` for callers that need no token, or for all others. It is not started."""
    made = grpc.aio.server(options=_OPTIONS)
    made.add_generic_rpc_handlers(GrpcWire(dispatch, owner).handlers())
    made.add_insecure_port(f"unix:{path}")
    return made
