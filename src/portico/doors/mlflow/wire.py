"""MLflow below its JSON methods: artifacts, whose bytes stream to and from Cloud Storage, and answers in plain text."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from portico.doors.contract.documents import Contract
from portico.doors.dispatch import Arrival, Dispatch
from portico.doors.http.answers import send_bytes, send_json
from portico.doors.http.incoming import Incoming
from portico.doors.storage import download, upload
from portico.doors.storage.requests import ClientGone, Request, Send, decode_name, in_thread
from portico.errors import InvalidArgument
from portico.services.call import Call, Rooms
from portico.services.mlflow import artifacts
from portico.services.storage import uploads

_PATH = re.compile(
    rb"/apis/mlflow/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/"
    rb"(?:api/2\.0/mlflow-artifacts/artifacts/(?P<artifact>.*)|(?P<text>health|version))"
)
_METHODS = {
    "GET": "mlflow-artifacts.downloadArtifact",
    "HEAD": "mlflow-artifacts.downloadArtifact",
    "PUT": "mlflow-artifacts.uploadArtifact",
    "DELETE": "mlflow-artifacts.deleteArtifact",
}


class MlflowWire:
    def __init__(self, rooms: Rooms, contract: Contract, dispatch: Dispatch) -> None:
        self._rooms = rooms
        self._contract = contract
        self._dispatch = dispatch

    def owns(self, raw_path: bytes) -> bool:
        """Which requests are for `handle`; the others go through the document's routes."""
        return _PATH.fullmatch(raw_path.partition(b"?")[0]) is not None

    async def handle(
        self, scope: dict[str, Any], receive: Incoming, send: Send, authorization: str | None
    ) -> None:
        """Answers the request, or raises PorticoError before the answer has begun."""
        request = Request(scope, receive, send, self._rooms)
        found = _PATH.fullmatch(scope["raw_path"].partition(b"?")[0])
        assert found is not None  # it is ours
        params: dict[str, Any] = {name: decode_name(found[name]) for name in ("project", "location")}
        owner = scope["state"]["owner"]
        if found["text"]:
            name = f"server.{found['text'].decode()}"
            arrival = Arrival(self._method(name), params, authorization, owner, headers=request.headers)
            text = await self._dispatch(arrival)
            await send_bytes(send, text.encode(), 200, [(b"content-type", b"text/plain; charset=utf-8")])
            return
        if request.method not in _METHODS:
            raise InvalidArgument(
                f"An artifact takes GET, PUT and DELETE, not {request.method}.", http_status=405
            )
        params["artifact_path"] = decode_name(found["artifact"])
        handlers = {"GET": _download, "HEAD": _download, "PUT": _upload}
        handler = handlers.get(request.method)
        arrival = Arrival(
            self._method(_METHODS[request.method]), params, authorization, owner,
            handler=partial(handler, request) if handler else None, headers=request.headers,
            grows=request.method == "PUT",
        )  # fmt: skip
        try:
            answer = await self._dispatch(arrival)
        except ClientGone:
            return
        if handler is not _download:
            await send_json(send, answer)

    def _method(self, name: str) -> Any:
        return self._contract.method("mlflow", "v2", name)


async def _download(request: Request, call: Call) -> None:
    place = await in_thread(artifacts.address, call)
    await download.handle(request, place["bucket"], place["object"])


async def _upload(request: Request, call: Call) -> dict[str, Any]:
    place = await in_thread(artifacts.address, call)
    media = request.headers.get("content-type") or "application/octet-stream"
    resource = {"name": place["object"], "contentType": media}
    begin = partial(uploads.begin, request.rooms, place["bucket"], resource, {}, {})
    await upload.store(request, begin, request.pieces())
    return {}
