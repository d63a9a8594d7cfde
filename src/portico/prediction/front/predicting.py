"""What a prediction request means: read its body, pick a model, ask it, put the answer together."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

import orjson

from portico.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from portico.prediction.front.answers import JSON
from portico.prediction.front.router import (
    DIRECT_PREDICT,
    DIRECT_RAW_PREDICT,
    EXPLAIN,
    PREDICT,
    RAW_PREDICT,
    Deployed,
    Route,
    endpoint_name,
)

if TYPE_CHECKING:
    from portico.prediction.front.process import Front
    from portico.prediction.front.streaming import Sender
    from portico.prediction.replicas.client import ReplicaClient

MAX_BODY: Final = 10 * 2**20  # bytes of a request
MAX_INSTANCES: Final = 100_000
_SLOW: Final = (
    0.002  # seconds; what takes longer is predicted in a process of its own, so that others need not wait
)
_LARGE: Final = 128 * 1024  # bytes of a body that is parsed in a thread

_FIELDS: Final = {
    PREDICT: frozenset({"instances", "parameters", "labels"}),
    RAW_PREDICT: frozenset({"instances", "parameters", "signature_name"}),  # the last is TensorFlow Serving's
    EXPLAIN: frozenset(
        {
            "instances",
            "parameters",
            "deployedModelId",
            "explanationSpecOverride",
            "concurrentExplanationSpecOverride",
        }
    ),
}
_SNAKE: Final = {
    "deployed_model_id": "deployedModelId",
    "explanation_spec_override": "explanationSpecOverride",
    "concurrent_explanation_spec_override": "concurrentExplanationSpecOverride",
}
_METHOD_NAMES: Final = {PREDICT: "predict", RAW_PREDICT: "rawPredict", EXPLAIN: "explain"}


class Request:
    """One prediction: first `answer_now`; where that gives None, `answer_later`."""

    __slots__ = (
        "_asked_for", "_body", "_caller_id", "_content_type", "_deployed", "_front", "_instances", "_overrides",
        "_parameters", "_path", "_route", "_started", "_wrapped", "gone", "sender", "task",
    )  # fmt: skip

    def __init__(
        self, front: Front, path: bytes, body: bytes, caller_id: str = "", content_type: str = ""
    ) -> None:
        self._front = front
        self._path = path
        self._body = body
        self._caller_id = caller_id
        self._content_type = content_type
        self._route: Route | None = None
        self._instances: list[Any] | None = None
        self._deployed: Deployed | None = None
        self._overrides = False
        self._asked_for = ""  # the deployed model that an explain request names
        self._wrapped = False  # a rawPredict whose body came inside a google.api.HttpBody
        self._started = time.perf_counter()
        self.gone = False  # the client, before its answer
        self.sender: Sender | None = None  # of an answer in pieces, to a client that can read one
        self.task: asyncio.Task[None] | None = None  # that makes the answer later

    def answer_now(self) -> bytes | None:
        """The answer's bytes when a model of this process gives it within microseconds.

        Raises:
            PorticoError: what the client is to be told.
        """
        router = self._front.router
        route = self._route = router.exact(self._path) or router.find(self._path)
        if route is None or route.method != PREDICT or len(self._body) > _LARGE:
            return None
        instances = self._parse()
        deployed = self._deployed = route.target.pick()
        if deployed.local is None or len(instances) * deployed.row_seconds > _SLOW:
            return None
        predictions = _dumps(deployed.local.predict(instances, self._parameters))
        return self._finish(deployed, b'{"predictions":%b%b' % (predictions, deployed.suffix), predictions)

    async def answer_later(self) -> bytes:
        """The answer's bytes, from a replica, the model's own process, or once the front knows a new endpoint; of an
        answer in pieces, what `sender` has not sent yet. Cancelled, it leaves no work behind.

        Raises:
            PorticoError: what the client is to be told.
        """
        front = self._front
        if self._route is None:
            await front.follow()  # it may have been made a moment ago
            self._route = front.router.find(self._path)
            if self._route is None:
                raise NotFound(f"Endpoint `{endpoint_name(self._path)}` not found.")
        target = self._route.target
        if self._route.method == RAW_PREDICT:
            picked = self._deployed = target.pick()
            if picked.served.raw:
                return await self._raw(picked)
        if self._route.method == DIRECT_RAW_PREDICT:
            return await self._direct(target.pick(), "directRawPredict")
        if self._route.method == DIRECT_PREDICT:
            return await self._direct(target.pick(), "directPredict")
        if len(self._body) > _LARGE:
            await asyncio.get_running_loop().run_in_executor(front.threads, self._parse)
        instances = self._parse()
        deployed = self._deployed
        if deployed is None:
            deployed = self._deployed = target.chosen(self._asked_for) if self._asked_for else target.pick()
        deployed.check_loaded()
        if self._route.method == EXPLAIN and not deployed.served.explain:
            raise FailedPrecondition(
                f"The deployed model {deployed.served.id} has no explanation spec; deploy it with one to explain."
            )
        short = self._route.method != EXPLAIN and len(instances) * deployed.row_seconds <= _SLOW
        if deployed.local is not None and short:
            predictions = _dumps(deployed.local.predict(instances, self._parameters))
            return self._finish(deployed, b'{"predictions":%b%b' % (predictions, self._suffix(deployed)))
        slots = deployed.slots or front.slots
        slots.enter()
        try:
            if deployed.remote is not None:
                return await self._remote(deployed, deployed.remote)
            assert deployed.worker is not None
            if self._overrides:
                raise Unimplemented(
                    f"explanationSpecOverride is not built in Portico yet for models of the format "
                    f"{deployed.served.format}; leave it out."
                )
            answer = await deployed.worker.ask(self._route.method, self._body)
        finally:
            slots.leave()
        if self._route.method != EXPLAIN:
            deployed.row_seconds += (answer.seconds / len(instances) - deployed.row_seconds) / 8
        return self._finish(deployed, answer.body[:-1] + self._suffix(deployed), measured=False)

    def _suffix(self, deployed: Deployed) -> bytes:
        """What follows the model's own answer."""
        assert self._route is not None
        if self._route.method == RAW_PREDICT:
            return b"}"
        return deployed.suffix if self._route.method == PREDICT else deployed.explain_suffix

    def failed(self, code: int) -> None:
        """Counts a request that is answered with an error: at its deployed model, or else the endpoint."""
        counted = self._deployed or (self._route.target if self._route is not None else None)
        if counted is not None:
            counted.metrics.fail(499 if self.gone else code, time.perf_counter() - self._started)

    def _parse(self) -> list[Any]:
        """The request's instances, checked. Idempotent."""
        if self._instances is not None:
            return self._instances
        assert self._route is not None
        method = self._route.method
        try:
            request = orjson.loads(self._body)
        except orjson.JSONDecodeError as error:
            raise InvalidArgument(f"Invalid JSON payload received. {error}") from None
        if method == RAW_PREDICT:
            request = self._unwrapped(request)
        if request.__class__ is not dict:
            raise InvalidArgument("Invalid JSON payload received. The request must be an object.")
        if not request.keys() <= _FIELDS[method]:
            request = _canonical(request, method)
        instances = request.get("instances")
        if instances.__class__ is not list or not instances:
            raise InvalidArgument("instances must be a list that is not empty.", field="instances")
        if len(instances) > MAX_INSTANCES:
            raise InvalidArgument(
                f"{len(instances)} instances are too many; one request takes up to {MAX_INSTANCES}. "
                "For more use a batch prediction job.",
                field="instances",
            )
        self._parameters = request.get("parameters")
        if method == EXPLAIN:
            self._asked_for = str(request.get("deployedModelId") or "")
            if request.get("concurrentExplanationSpecOverride"):
                raise Unimplemented(
                    "concurrentExplanationSpecOverride is not built in Portico yet; leave it out."
                )
            self._overrides = bool(request.get("explanationSpecOverride"))
        self._instances = instances
        return instances

    def _unwrapped(self, request: Any) -> Any:
        """The generated clients send the whole RawPredictRequest, others just the model's own body."""
        if not isinstance(request, dict):
            return request
        wrapped = request.get("httpBody", request.get("http_body"))
        if not isinstance(wrapped, dict):
            return request
        self._wrapped = True
        try:
            self._body = base64.b64decode(wrapped.get("data", ""), validate=True)
            return orjson.loads(self._body)
        except (ValueError, TypeError):  # orjson's and binascii's errors are ValueErrors
            raise InvalidArgument("httpBody.data must be base64 of JSON.", field="httpBody.data") from None

    async def _remote(self, deployed: Deployed, replicas: ReplicaClient) -> bytes:
        assert self._route is not None
        status, body = await replicas.predict(_METHOD_NAMES[self._route.method], self._body)
        if status != 200:
            self.failed(status)
            return self._front.answers.render(status, body)
        if self._route.method != RAW_PREDICT:
            body = body.rstrip()[:-1] + self._suffix(deployed)
        return self._finish(deployed, body, measured=False)

    async def _raw(self, deployed: Deployed) -> bytes:
        """The answer of an image's own server, which knows what the request's content means."""
        deployed.check_loaded()
        assert deployed.remote is not None and deployed.slots is not None
        if self._body[:1] == b"{" and b"ttp" in self._body[:16]:  # the generated clients' httpBody
            with contextlib.suppress(orjson.JSONDecodeError):
                self._content_type = self._unwrapped_type(orjson.loads(self._body))
        deployed.slots.enter()
        try:
            asked = self._content_type.encode("latin-1", "replace") + b"\n" + self._body
            if self._stream and self.sender is not None:
                return await self._in_pieces(deployed, deployed.remote.stream(asked), self.sender)
            status, told = await deployed.remote.predict("raw", asked)
        finally:
            deployed.slots.leave()
        kind, _, body = told.partition(b"\n")
        self._count_raw(deployed, status)
        if self._wrapped and status < 400:
            body = self._http_body(kind, body)
            kind = JSON
        return self._front.answers.render(status, body, deployed.raw_headers, kind)

    async def _direct(self, picked: Deployed, method: str) -> bytes:
        """The answer of a framework's own server to a message of its own, or in tensors."""
        self._deployed = picked
        picked.check_loaded()
        if picked.remote is None or picked.slots is None or picked.served.raw:
            raise FailedPrecondition(
                f"{method} speaks with TensorFlow's prebuilt containers alone; the deployed model "
                f"{picked.served.id} is of another kind. Ask it by predict or rawPredict."
            )
        picked.slots.enter()
        try:
            status, told = await picked.remote.predict(method, self._body)
        finally:
            picked.slots.leave()
        self._count_raw(picked, status)
        return self._front.answers.render(status, told, picked.raw_headers)

    async def _in_pieces(
        self, deployed: Deployed, told: AsyncGenerator[tuple[int, bytes], None], sender: Sender
    ) -> bytes:
        """Sends an image's own server's answer as it comes. The generated clients want a list of HttpBody."""
        async with contextlib.aclosing(told):
            status, kind = await anext(told)
            listed = self._wrapped and status < 400
            await sender.begin(
                self._front.answers.head(status, deployed.raw_headers, JSON if listed else kind)
            )
            before = b"["
            async for _, piece in told:
                await sender.send(before + _http_body(kind, piece) if listed else piece)
                before = b","
        self._count_raw(deployed, status)
        if not listed:
            return sender.end(b"")
        return sender.end(b"[]" if before == b"[" else b"]")

    @property
    def _stream(self) -> bool:
        return self._route is not None and self._route.stream

    def _http_body(self, content_type: bytes, content: bytes) -> bytes:
        """The whole answer as the generated clients read it: a google.api.HttpBody, or for a stream a list of one."""
        body = _http_body(content_type, content)
        return b"[%b]" % body if self._stream else body

    def _count_raw(self, deployed: Deployed, status: int) -> None:
        if status >= 400:
            self.failed(status)
        else:
            deployed.metrics.count(1, time.perf_counter() - self._started)

    def _unwrapped_type(self, request: Any) -> str:
        """The type of the content that came inside a google.api.HttpBody, which is unwrapped; or what it was."""
        wrapped = request.get("httpBody", request.get("http_body")) if isinstance(request, dict) else None
        if not isinstance(wrapped, dict):
            return self._content_type
        self._wrapped = True
        try:
            self._body = base64.b64decode(wrapped.get("data", ""), validate=True)
        except (ValueError, TypeError):
            raise InvalidArgument("httpBody.data must be base64.", field="httpBody.data") from None
        return str(wrapped.get("contentType") or wrapped.get("content_type") or "application/json")

    def _finish(
        self, deployed: Deployed, body: bytes, predictions: bytes = b"", measured: bool = True
    ) -> bytes:
        """Counts, taps, and puts the head before the body, of which `predictions` are all that is worth keeping."""
        assert self._route is not None
        front = self._front
        route = self._route
        seconds = time.perf_counter() - self._started
        rows = len(self._instances or (None,))
        if self.gone:
            deployed.metrics.fail(499, seconds)
        else:
            deployed.metrics.count(rows, seconds)
        if measured and route.method == PREDICT:
            known = deployed.row_seconds
            more = seconds / rows - known
            deployed.row_seconds = known + (more if more < known else known) / 8  # a stall says nothing
        rate = route.target.sampling_rate
        logged = b""
        held = route.method == PREDICT and route.target.holdout > 0 and random.random() < route.target.holdout
        if held:
            body = b'%b,"metadata":{"holdout":true}}' % body[:-1]
        if held or (rate > 0 and (rate >= 1 or random.random() < rate)):
            put = front.put  # called as a method it would be looked for in the class first
            logged = put(
                front.domain_time or front.wall + self._started, deployed.names, self._body, predictions or body,
                seconds, route.method, held, self._caller_id,
            )  # fmt: skip
        if route.method != RAW_PREDICT:
            if logged:
                return b"%b%d\r\nx-request-id: %b\r\n\r\n%b" % (front.answers.ok, len(body), logged, body)
            return b"%b%d\r\n\r\n%b" % (front.answers.ok, len(body), body)
        if self._wrapped:
            body = self._http_body(b"application/json", body)
        headers = deployed.raw_headers
        return front.answers.render(
            200, body, b"%bx-request-id: %b\r\n" % (headers, logged) if logged else headers
        )


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _http_body(content_type: bytes, content: bytes) -> bytes:
    """A google.api.HttpBody as JSON."""
    told = {"contentType": content_type.decode("latin-1"), "data": base64.b64encode(content).decode()}
    return orjson.dumps(told)


def _canonical(request: dict[str, Any], method: int) -> dict[str, Any]:
    """`request` with Google's names in camel case; proto3 JSON takes both casings.

    Raises:
        InvalidArgument: a field that the method does not have.
    """
    renamed = {_SNAKE.get(name, name): value for name, value in request.items()}
    for name in renamed:
        if name not in _FIELDS[method]:
            raise InvalidArgument(
                f"Invalid JSON payload received. Unknown name {name!r}: Cannot find field.", field=name
            )
    return renamed
