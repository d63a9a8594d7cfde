"""Vertex AI's clients from before they spoke REST, and beside libraries with which they can't: their gRPC calls, made
as requests of this server's, which says which request a call is (`/-/rpcs`)."""

from __future__ import annotations

import asyncio
import functools
import re
from urllib.parse import quote

import google.auth
import grpc
from google.auth.transport import requests as authorized
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format
from grpc import aio
from portico_addresses import URL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_METHOD = re.compile(r"/google\.(?:cloud\.aiplatform\.(v\w+)|longrunning)\.\w+/(\w+)")
_PLACE = re.compile(r"\{\+?(\w+)\}")
_SECONDS = 600.0  # that a call may take where it does not say


class Channel(grpc.Channel):  # type: ignore[misc]
    """What a client's gRPC transport takes for its channel."""

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Call(method, args[1] if len(args) > 1 else kwargs.get("response_deserializer"))

    def _streams(self, method: str, *args: Any, **kwargs: Any) -> Any:
        def refused(*args: Any, **kwargs: Any) -> Any:
            raise Failed(
                "UNIMPLEMENTED", method + " is not built in Portico for clients that speak gRPC alone."
            )

        return refused

    unary_stream = stream_unary = stream_stream = _streams

    def subscribe(self, callback: Any, try_to_connect: Any = None) -> None:
        """There is no connection whose state could be told."""

    unsubscribe = subscribe

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *args: Any) -> None:
        self.close()


class AsyncChannel(aio.Channel):  # type: ignore[misc]
    """What a client's asynchronous gRPC transport takes for its channel."""

    def __init__(self) -> None:
        self._unary_unary_interceptors: list[Any] = []  # where the transport puts what logs its calls

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _AsyncCall(Channel().unary_unary(method, *args, **kwargs))

    unary_stream = stream_unary = stream_stream = Channel._streams

    async def close(self, grace: Any = None) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> AsyncChannel:
        return self

    async def __aexit__(self, *args: Any) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> Any:
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: Any) -> None:
        await asyncio.get_running_loop().create_future()  # it stays

    async def channel_ready(self) -> None:
        """There is no connection that could be waited for."""


class _AsyncCall(aio.UnaryUnaryMultiCallable):  # type: ignore[misc]
    """`call`, made in a thread."""

    def __init__(self, call: _Call) -> None:
        self._call = call

    async def __call__(self, request: Any, *, timeout: Any = None, **kwargs: Any) -> Any:
        asked = functools.partial(self._call, request, timeout)
        return await asyncio.get_running_loop().run_in_executor(None, asked)


class Failed(grpc.RpcError):  # type: ignore[misc]
    """An error of Google's, as gRPC tells it: the call that ended with it."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self._code = getattr(grpc.StatusCode, status, grpc.StatusCode.UNKNOWN)
        self._message = message

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._message

    def initial_metadata(self) -> Any:
        return ()

    trailing_metadata = initial_metadata

    def result(self, timeout: Any = None) -> Any:
        raise self

    def exception(self, timeout: Any = None) -> Any:
        return self


class _Ended:
    """A call that was answered."""

    def code(self) -> Any:
        return grpc.StatusCode.OK

    def initial_metadata(self) -> Any:
        return ()

    trailing_metadata = initial_metadata


class _Call(grpc.UnaryUnaryMultiCallable):  # type: ignore[misc]
    def __init__(self, method: str, read: Any) -> None:
        found = _METHOD.match(method)
        self._method, self._read = method, read
        self._version, self._name = (found.group(1) or "v1", found.group(2)) if found else ("", "")

    def __call__(self, request: Any, timeout: Any = None, *args: Any, **kwargs: Any) -> Any:
        rule = _rules().get(self._version, {}).get(self._name)
        if rule is None:
            raise Failed("UNIMPLEMENTED", self._method + " is not built in Portico: it is not known here.")
        message = request if hasattr(request, "DESCRIPTOR") else type(request).pb(request)
        verb, path, query, body = asked(rule, json_format.MessageToDict(message))
        answer = _session().request(
            verb, URL + "/" + path, params=query, json=body, timeout=timeout or _SECONDS
        )
        told = answer.json() if answer.content else {}
        if answer.status_code >= 400:
            error = told.get("error") or {}
            raise Failed(error.get("status", ""), error.get("message") or answer.text)
        return self._answer(told)

    def with_call(self, request: Any, timeout: Any = None, *args: Any, **kwargs: Any) -> Any:
        return self(request, timeout), _Ended()

    def future(self, request: Any, timeout: Any = None, *args: Any, **kwargs: Any) -> Any:
        raise Failed("UNIMPLEMENTED", self._method + " is not built in Portico as a future.")

    def _answer(self, told: Any) -> Any:
        """`told` as the client's message; of an operation the parts that this client knows no message for are left
        out."""
        kind = getattr(self._read, "__self__", None)
        if kind is None:
            kind = operations_pb2.Operation if "name" in told else empty_pb2.Empty
        made = kind.pb() if hasattr(kind, "pb") else kind
        try:
            message = json_format.ParseDict(told, made(), ignore_unknown_fields=True)
        except json_format.ParseError:
            told = {key: value for key, value in told.items() if key != "metadata"}
            message = json_format.ParseDict(told, made(), ignore_unknown_fields=True)
        return self._read(message.SerializeToString())


def asked(rule: Any, said: Any) -> Any:
    """The verb, path, query and body of the request that a message with the values `said` is by its rule."""
    verb, path, body = rule
    said = dict(said)

    def place(found: Any) -> str:
        name = found.group(1)
        value = said.pop(name, None) or (said.get(body) or {}).get(name) or ""
        return quote(str(value), safe="/:@-._~")

    path = _PLACE.sub(place, path)
    if body == "*":
        return verb, path, {}, said
    content = said.pop(body, {}) if body else None
    return verb, path, dict(_flat(said)), content


def _flat(values: Any, before: str = "") -> Any:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, before + name + ".")
        else:
            yield before + name, str(value).lower() if isinstance(value, bool) else value


@functools.lru_cache(None)
def _rules() -> Any:
    answer = _session().get(URL + "/-/rpcs", timeout=_SECONDS)
    answer.raise_for_status()
    return answer.json()


@functools.lru_cache(None)
def _session() -> Any:
    default: Any = google.auth.default
    credentials, _ = default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    session: Any = authorized.AuthorizedSession
    return session(credentials)
