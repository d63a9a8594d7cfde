"""The control plane's door: guard, identity, route, check, hand to the service, answer in Google's shapes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson

from portico.doors.contract import supplement
from portico.doors.contract.checks import Checker, query
from portico.doors.contract.documents import Contract
from portico.doors.dispatch import Arrival, Dispatch
from portico.doors.http import batch, habits
from portico.doors.http.answers import Send, flat, send_bytes, send_error, send_json
from portico.doors.http.incoming import Incoming
from portico.doors.http.job_uploads import JobUploads
from portico.doors.identity import Identity
from portico.doors.kfp.wire import KfpWire
from portico.doors.mlflow.wire import MlflowWire
from portico.doors.storage import errors as storage_errors
from portico.doors.storage import xml as storage_xml
from portico.doors.storage.requests import Request
from portico.doors.storage.wire import StorageWire
from portico.errors import Internal, InvalidArgument, NotFound, PorticoError, Unimplemented
from portico.prediction.front.guard import Guard, require_json
from portico.services.call import Rooms
from portico.services.standard.apis import declared, documented
from portico.services.standard.masks import apply_field_mask
from portico.store import disk

Receive = Callable[[], Awaitable[dict[str, Any]]]
Page = Callable[["Door"], Awaitable[tuple[bytes, bytes]]]

log = logging.getLogger(__name__)

_MAX_BODY = 16 * 2**20  # bytes of JSON
# Without a token; /-/token gives one, for an assertion that the key has signed.
_FOR_ANYONE = frozenset({"/-/healthz", "/-/token"})


class Door:
    """The ASGI application. `pages` are Portico's own GET pages below `/-/`: content type and body."""

    def __init__(
        self, rooms: Rooms, contract: Contract, identity: Identity, guard: Guard, pages: dict[str, Page]
    ) -> None:
        self.rooms = rooms
        self.contract = contract
        self._identity = identity
        self._guard = guard
        self._pages = pages
        self.dispatch = Dispatch(rooms, identity)
        self._storage = StorageWire(rooms, contract, self.dispatch)
        self._wires = [made(rooms, contract, self.dispatch) for made in (MlflowWire, KfpWire, JobUploads)]
        self._checkers = {(a.name, v): Checker(contract, a.name, v) for a in documented() for v in a.versions}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            scope["app"] = self  # a batch sends its parts through here
            await self._http(scope, Incoming(receive), send)

    async def _http(self, scope: dict[str, Any], receive: Incoming, send: Send) -> None:
        scope = habits.addressed(scope)
        path = scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        api = self.contract.owner(path)
        shape = api.errors
        xml = self._storage.is_xml(scope["raw_path"])
        started = False
        body = receive

        async def tracked(message: dict[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            headers = _headers(scope["headers"])
            self._guard.check(headers)
            if (
                path not in _FOR_ANYONE
            ):  # nothing is read for who may not ask, and a batch is refused as a whole
                self._identity.caller(headers.get("authorization"), scope["state"]["owner"])
            scope, meant = await habits.plain(scope, receive, packed=xml)
            if meant is not receive:
                body = Incoming(meant)  # what is unpacked is bounded too
            if path.startswith("/-/"):
                await self._own(scope["method"], path, body, tracked)
            elif path[1:] in self.contract.batches:
                place = self.contract.batches[path[1:]]
                await batch.handle(Request(scope, body, tracked, self.rooms), place)
            elif wire := next((one for one in self._wires if one.owns(scope["raw_path"])), None):
                await wire.handle(scope, body, tracked, headers.get("authorization"))
            elif self._storage.owns(scope["method"], scope["raw_path"], scope["query_string"]):
                shape = "legacy"
                await self._storage.handle(scope, body, tracked, headers.get("authorization"))
            else:
                answer = await self._api(scope, path, headers, body)
                if answer is None:
                    await send_bytes(tracked, b"", 204, [(b"content-type", b"application/json")])
                else:
                    await send_json(tracked, answer)
        except Exception as error:
            if started:
                raise  # too late for another answer: the server closes the connection
            known = error if isinstance(error, PorticoError) else self._unexpected(error, scope)
            if xml:
                known.http_status, shown = storage_errors.render_xml(known)
                await send_error(send, known, shown, storage_xml.MEDIA)
            elif shape == "flat":
                known.http_status, shown = flat(known, api.error_codes)
                await send_error(send, known, shown)
            elif shape != "rpc":
                status, shown = storage_errors.render(known, with_status=shape == "both")
                known.http_status = status
                await send_error(send, known, shown)
            else:
                await send_error(send, known)
        finally:
            body.close()

    async def _api(self, scope: dict[str, Any], path: str, headers: dict[str, str], receive: Incoming) -> Any:
        http = scope["method"]
        match = self.contract.match(http, path) or supplement.match(http, path)
        if match is None:
            name = path.split("/")[2] if path.startswith("/apis/") else ""
            if name and name not in declared():
                raise Unimplemented(
                    f"The API {name} is not built in Portico yet: {http} {path}; see docs/coverage.md for what is."
                )
            raise NotFound(
                f"The requested URL {path} was not found for {http}. Portico serves aiplatform at /v1 and "
                "/v1beta1, storage at /storage/v1, bigquery at /bigquery/v2, and other APIs at /apis/NAME, its own "
                "at /apis/portico/v1."
            )
        method = match.method
        pairs = parse_qsl(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)
        params = query(method, pairs)
        fields = params.pop("fields", None)

        async def body() -> dict[str, Any]:
            raw = await receive.whole(_MAX_BODY)
            if not raw.strip() and http not in ("POST", "PUT", "PATCH"):
                return {}
            if raw.strip():
                require_json(headers)
            checked = self._checkers[method.api, method.version].body(method, _parse(raw))
            declared()[method.api].check_required(method.id, checked)
            return checked

        arrival = Arrival(
            method, params | match.path_params, headers.get("authorization"), scope["state"]["owner"], body,
            headers=headers,
        )  # fmt: skip
        answer = await self.dispatch(arrival)
        if not fields or answer is None:
            return answer
        answer = orjson.loads(orjson.dumps(answer))  # also what is JSON already
        if isinstance(answer, list):  # of a method that streams
            return [apply_field_mask(one, fields) for one in answer]
        return apply_field_mask(answer, fields)

    async def _own(self, http: str, path: str, receive: Incoming, send: Send) -> None:
        if http == "POST" and path == "/-/token":
            form = dict(parse_qsl((await receive.whole(2**16)).decode("ascii", "replace")))
            await send_json(send, self._identity.mint(form))
            return
        page = self._pages.get(path) if http == "GET" else None
        if page is None:
            raise NotFound(f"There is no page {path}.")
        media, body = await page(self)
        await send_bytes(send, body, 200, [(b"content-type", media)])

    def _unexpected(self, error: Exception, scope: dict[str, Any]) -> PorticoError:
        if disk.is_full(error):
            return disk.exhausted(self.rooms.home)
        log.exception("%s %s failed", scope["method"], scope["path"], exc_info=error)
        return Internal("An internal error occurred; the server's log has the details.")


def _headers(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """By lower-case name; repeated ones are joined by commas, so that a second Host can't hide the first."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers


def _parse(raw: bytes) -> Any:
    if not raw.strip():
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"Invalid JSON payload received. {error}") from None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
