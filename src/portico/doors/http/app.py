"""The control plane's door: guard, identity, route, check, hand to the service, answer in Google's shapes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import orjson

from portico.doors.console import CALLBACK, ConsoleDoor
from portico.doors.console import PATH as CONSOLE
from portico.doors.contract import supplement
from portico.doors.contract.checks import Checker, query
from portico.doors.contract.documents import Contract
from portico.doors.dispatch import Arrival, Dispatch
from portico.doors.http import batch, habits
from portico.doors.http.answers import Send, as_text, flat, is_pretty, send_bytes, send_error, send_json
from portico.doors.http.incoming import Incoming
from portico.doors.http.job_uploads import JobUploads
from portico.doors.identity import PROJECT, Identity, NoToken
from portico.doors.kfp.wire import KfpWire
from portico.doors.mlflow.wire import MlflowWire
from portico.doors.signing_in import COMPANY, PASSWORD, SigningIn
from portico.doors.storage import cors as storage_cors
from portico.doors.storage import errors as storage_errors
from portico.doors.storage import signed as storage_signed
from portico.doors.storage import xml_documents
from portico.doors.storage.requests import Request
from portico.doors.storage.wire import StorageWire
from portico.errors import Internal, InvalidArgument, NotFound, PermissionDenied, PorticoError, Unimplemented
from portico.prediction.front.guard import Guard, is_own, require_json
from portico.services.audit.configured import Configured
from portico.services.audit.recording import Recorder
from portico.services.call import Rooms
from portico.services.iam.permit import FOR_ANYBODY, Permit
from portico.services.iam.table import permissions_of
from portico.services.standard.apis import declared, documented
from portico.services.standard.masks import apply_field_mask, check_field_mask
from portico.store import disk
from portico.store.audit import Trail

Receive = Callable[[], Awaitable[dict[str, Any]]]
Page = Callable[["Door"], Awaitable[tuple[bytes, bytes]]]

log = logging.getLogger(__name__)

_MAX_BODY = 16 * 2**20  # bytes of JSON
_COMPANY = ("/-/company", "/-/company/provider")
# Without a token; /-/token gives one for an assertion or a password, and what is at /-/certs verifies ID tokens.
_FOR_ANYONE = frozenset({"/-/healthz", "/-/token", "/-/revoke", *_COMPANY, "/-/certs", "/-/rpcs"})
T = TypeVar("T")


class Door:
    """The ASGI application. `pages` are Portico's own GET pages below `/-/`: content type and body."""

    def __init__(
        self,
        rooms: Rooms,
        contract: Contract,
        identity: Identity,
        permit: Permit,
        guard: Guard,
        pages: dict[str, Page],
    ) -> None:
        self.rooms = rooms
        self.contract = contract
        self._identity = identity
        self._guard = guard
        self._pages = pages
        configured = Configured(rooms.database, rooms.clock)
        recorder = Recorder(Trail(rooms.home), PROJECT, configured, permissions_of)
        self.dispatch = Dispatch(rooms, identity, permit, recorder.begin)
        self._storage = StorageWire(rooms, contract, self.dispatch, identity)
        self._wires = [made(rooms, contract, self.dispatch) for made in (MlflowWire, KfpWire, JobUploads)]
        self._signing_in = SigningIn(rooms, identity)
        self._people = ThreadPoolExecutor(1, thread_name_prefix="people")  # one password at a time
        # Theirs alone: a company's provider that does not answer stands in nobody else's way.
        self._companys = ThreadPoolExecutor(4, thread_name_prefix="company")
        self._console = ConsoleDoor(rooms.home)
        self._checkers = {(a.name, v): Checker(contract, a.name, v) for a in documented() for v in a.versions}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            scope["app"] = self  # a batch sends its parts through here
            incoming = Incoming(receive)
            await self._http(scope, incoming, incoming.ending(scope["headers"], send))

    async def _http(self, scope: dict[str, Any], receive: Incoming, send: Send) -> None:
        scope = habits.addressed(_seen(scope))
        path = scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        api = self.contract.owner(path)
        shape = api.errors
        xml = self._storage.is_xml(scope["raw_path"])
        started = anonymous = False
        body = receive

        async def tracked(message: dict[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            headers = _headers(scope["headers"])
            xml = xml or (path == "/" and storage_signed.is_signed_header(headers.get("authorization")))
            linked = xml and storage_signed.is_shown(scope["method"], scope["query_string"])
            led = path == CALLBACK and scope["method"] == "GET"
            let = await self._let_ask(scope, headers, xml)
            if let is not None:
                send = storage_cors.adding(send, let)
                self._guard.check({"host": headers.get("host", "")})
                if storage_cors.is_preflight(scope["method"], headers):
                    await send_bytes(tracked, b"", 200)
                    return
            else:
                self._guard.check(
                    headers, ("navigate", "no-cors") if linked else ("navigate",) if led else ()
                )
            signed = xml and storage_signed.is_signed_header(headers.get("authorization"))
            if (
                let is not None or signed or (linked and not is_own(headers))
            ):  # what it shows alone counts then
                scope = {**scope, "state": {**scope["state"], "owner": False}}
            authorization = None if signed else headers.get("authorization")
            if self._console.owns(path):  # who may see what is the API's to say
                await self._console.handle(scope, body, tracked)
                return
            if path == "/" and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
                await send_bytes(tracked, b"", 307, [(b"location", f"{CONSOLE}/".encode())])
                return
            # Nothing is read for who may not ask, and a batch is refused as a whole.
            if path not in _FOR_ANYONE:
                named = path[1:] in self.contract.batches or not (xml or api.name in FOR_ANYBODY)
                caller = self._identity.caller(
                    authorization, scope["state"]["owner"], anonymous=not named,
                    api="portico" if path.startswith("/-/") else "", host=headers.get("host", ""),
                )  # fmt: skip
                if path.startswith("/-/") and not caller.owner:
                    raise PermissionDenied(f"{path} is for who runs this server.")
                anonymous = caller.anonymous
            if not anonymous:
                scope, meant = await habits.plain(scope, receive, packed=xml)
                if meant is not receive:
                    body = Incoming(meant)  # what is unpacked is bounded too
            if path.startswith("/-/"):
                await self._own(scope["method"], path, headers, body, tracked)
            elif path[1:] in self.contract.batches:
                place = self.contract.batches[path[1:]]
                await batch.handle(Request(scope, body, tracked, self.rooms), place)
            elif wire := next((one for one in self._wires if one.owns(scope["raw_path"])), None):
                await wire.handle(scope, body, tracked, authorization)
            elif (xml and path == "/") or self._storage.owns(
                scope["method"], scope["raw_path"], scope["query_string"]
            ):
                shape = "legacy"
                await self._storage.handle(scope, body, tracked, authorization)
            else:
                answer = await self._api(scope, path, headers, body)
                if answer is None:
                    await send_bytes(tracked, b"", 204, [(b"content-type", b"application/json")])
                else:
                    params = dict(parse_qsl(scope["query_string"].decode("ascii", "replace")))
                    # Of a resource of Cloud Storage's, also for `If-None-Match`.
                    tag = answer.get("etag") if api.name == "storage" and isinstance(answer, dict) else None
                    told = [(b"etag", str(tag).encode())] if tag else None
                    await send_json(tracked, answer, pretty=is_pretty(headers, params), headers=told)
        except Exception as error:
            if started:
                raise  # too late for another answer: the server closes the connection
            known = error if isinstance(error, PorticoError) else self._unexpected(error, scope)
            if xml:
                known.http_status, shown = storage_errors.render_xml(known)
                await send_error(send, known, shown, xml_documents.MEDIA)
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

    async def _let_ask(
        self, scope: dict[str, Any], headers: dict[str, str], xml: bool
    ) -> storage_cors.Lines | None:
        """What is added to the answer where a bucket lets the page of another site ask; None where it does not, or
        nobody asks that."""
        bucket = storage_cors.bucket_of(scope["raw_path"], xml) if storage_cors.is_foreign(headers) else ""
        if not bucket:
            return None
        return await asyncio.to_thread(
            storage_cors.answering, self.rooms.database, bucket, scope["method"], headers
        )

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
        if fields and fields.strip() and method.response:
            shown = self.contract.fields(method.api, method.version, method.response)
            check_field_mask(fields, shown, parameter="fields")

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
        answer = orjson.loads(orjson.dumps(answer, as_text))  # also what is JSON already
        if isinstance(answer, list):  # of a method that streams
            return [apply_field_mask(one, fields, parameter="fields") for one in answer]
        return apply_field_mask(answer, fields, parameter="fields")

    async def _own(
        self, http: str, path: str, headers: dict[str, str], receive: Incoming, send: Send
    ) -> None:
        if http == "POST" and path == "/-/token":
            form = dict(parse_qsl((await receive.whole(2**16)).decode("ascii", "replace")))
            try:
                await send_json(send, await self._token(form, headers.get("host", "")))
            except NoToken as refused:
                await send_json(send, refused.body, 400)
            return
        if http == "POST" and path == "/-/revoke":
            form = dict(parse_qsl((await receive.whole(2**16)).decode("ascii", "replace")))
            await self._signed_in(self._signing_in.end, form.get("token", ""))
            await send_json(send, {})
            return
        if http == "GET" and path in _COMPANY:
            asked = self._signing_in.provider if path == _COMPANY[1] else self._signing_in.company
            await send_json(send, await self._of_company(asked))
            return
        page = self._pages.get(path) if http == "GET" else None
        if page is None:
            raise NotFound(f"There is no page {path}.")
        media, body = await page(self)
        await send_bytes(send, body, 200, [(b"content-type", media)])

    async def _token(self, form: dict[str, str], host: str) -> dict[str, Any]:
        if form.get("grant_type") == PASSWORD:
            return await self._signed_in(self._signing_in.by_password, form)
        if form.get("grant_type") == COMPANY:
            return await self._of_company(self._signing_in.by_company, form)
        return self._identity.mint(form, host)

    async def _signed_in(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._people, work, *args)

    async def _of_company(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._companys, work, *args)

    def _unexpected(self, error: Exception, scope: dict[str, Any]) -> PorticoError:
        if disk.is_full(error):
            return disk.exhausted(self.rooms.home)
        log.exception("%s %s failed", scope["method"], scope["path"], exc_info=error)
        return Internal("An internal error occurred; the server's log has the details.")


def _seen(scope: dict[str, Any]) -> dict[str, Any]:
    """With a header that says whether it came by TLS, whatever the client says of that."""
    headers = [pair for pair in scope["headers"] if pair[0] != b"x-forwarded-proto"]
    if scope.get("scheme") == "https":
        headers.append((b"x-forwarded-proto", b"https"))
    return {**scope, "headers": headers}


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
        raise InvalidArgument(f"Invalid JSON payload received. {error}", reason="parseError") from None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
