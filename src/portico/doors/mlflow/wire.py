"""MLflow below its JSON methods: artifacts, whose bytes stream to and from Cloud Storage, and answers in plain text."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from portico.doors.http.answers import send_bytes, send_json
from portico.doors.http.wires import Wire
from portico.doors.storage import download, upload
from portico.doors.storage.requests import Request, decode_name, in_thread
from portico.errors import InvalidArgument
from portico.services.call import Call
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


class MlflowWire(Wire):
    API = ("mlflow", "v2")
    PATH = _PATH

    async def answer(self, request: Request, found: re.Match[bytes], authorization: str | None) -> None:
        params: dict[str, Any] = {name: decode_name(found[name]) for name in ("project", "location")}
        if found["text"]:
            text = await self.meant(request, authorization, f"server.{found['text'].decode()}", params)
            await send_bytes(
                request.send, text.encode(), 200, [(b"content-type", b"text/plain; charset=utf-8")]
            )
            return
        if request.method not in _METHODS:
            raise InvalidArgument(
                f"An artifact takes GET, PUT and DELETE, not {request.method}.", http_status=405
            )
        params["artifact_path"] = decode_name(found["artifact"])
        handler = {"GET": _download, "HEAD": _download, "PUT": _upload}.get(request.method)
        answer = await self.meant(
            request, authorization, _METHODS[request.method], params,
            partial(handler, request) if handler else None, grows=request.method == "PUT",
        )  # fmt: skip
        if handler is not _download:
            await send_json(request.send, answer)


async def _download(request: Request, call: Call) -> None:
    place = await in_thread(artifacts.address, call)
    await download.handle(request, place["bucket"], place["object"])


async def _upload(request: Request, call: Call) -> dict[str, Any]:
    place = await in_thread(artifacts.address, call)
    media = request.headers.get("content-type") or "application/octet-stream"
    resource = {"name": place["object"], "contentType": media}
    begin = partial(uploads.begin, request.rooms, place["bucket"], resource, {}, {}, call)
    await upload.store(request, begin, request.pieces())
    return {}
