"""BigQuery's load jobs that bring their file along, multipart or resumable: `/upload/bigquery/v2/projects/ID/jobs`.

The file is a session's, in the warehouse's folder; when it is whole it belongs to the job, which reads and removes it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from portico.doors.http.wires import Wire
from portico.doors.storage.related import RelatedParts
from portico.doors.storage.requests import Request, in_thread
from portico.doors.storage.upload import parse_resource
from portico.errors import InvalidArgument, NotFound
from portico.services.bigquery.jobs import insert
from portico.services.call import Call
from portico.services.standard.here import base_url
from portico.warehouse.client import FOLDER

_PATH = re.compile(rb"/(?:resumable/)?upload/bigquery/v2/projects/([^/?]+)/jobs")
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", re.ASCII)
_TOKEN = re.compile(r"[\w-]{1,64}", re.ASCII)
_MOST_METADATA = 1 << 20


class JobUploads(Wire):
    API = ("bigquery", "v2")
    PATH = _PATH

    async def answer(self, request: Request, found: re.Match[bytes], authorization: str | None) -> None:
        async def work(call: Call) -> None:
            await self._answer(request, call)

        params = {"projectId": found[1].decode("ascii", "replace")}
        await self.meant(request, authorization, "jobs.insert", params, work)

    async def _answer(self, request: Request, call: Call) -> None:
        kind = request.params.get("uploadType")
        if request.params.get("upload_id"):
            await self._chunk(request, call, request.params["upload_id"])
        elif kind == "multipart":
            parts = RelatedParts(request.headers.get("content-type", ""), request.pieces())
            first, _ = await parts.first()
            path = self._file(self._rooms.ids.token())
            await in_thread(path.write_bytes, b"")
            with path.open("ab") as file:
                async for piece in parts.data():
                    await in_thread(file.write, piece)
            await self._begin(request, call, parse_resource(first), path)
        elif kind == "resumable":
            body = parse_resource(await request.body(_MOST_METADATA))
            upload = self._rooms.ids.token()
            await in_thread(self._file(upload).write_bytes, b"")
            await in_thread(self._file(upload).with_suffix(".json").write_bytes, orjson.dumps(body))
            query = urlencode({"uploadType": "resumable", "upload_id": upload})
            path = request.scope["raw_path"].partition(b"?")[0].decode("ascii", "replace")
            place = f"{base_url(request.headers)}{path}?{query}"
            await request.answer(
                200, headers=[(b"location", place.encode()), (b"x-guploader-uploadid", upload.encode())]
            )
        else:
            raise InvalidArgument(
                f"uploadType must be multipart or resumable, not {kind!r}.", reason="invalid"
            )

    async def _chunk(self, request: Request, call: Call, upload: str) -> None:
        path = self._file(upload)
        if not _TOKEN.fullmatch(upload) or not path.exists():
            raise NotFound("There is no such upload; begin a new one.", reason="notFound")
        size = path.stat().st_size
        written = request.headers.get("content-range", "")
        found = _RANGE.fullmatch(written)
        if written and not found:
            raise InvalidArgument(f"Malformed Content-Range: {written!r}", reason="badRequest")
        first = int(found[1]) if found and found[1] else size if found else 0
        if first > size:
            raise InvalidArgument(
                f"The upload has {size} bytes; a chunk at {first} leaves a gap.", reason="badRequest"
            )
        with path.open("r+b") as file:
            file.seek(first)
            async for piece in request.pieces():
                await in_thread(file.write, piece)
            size = max(size, file.tell())
        if found and (found[3] == "*" or size < int(found[3])):
            have = [(b"range", f"bytes=0-{size - 1}".encode())] if size else []
            await request.answer(308, headers=have)
            return
        body = orjson.loads(path.with_suffix(".json").read_bytes())
        path.with_suffix(".json").unlink()
        await self._begin(request, call, body, path)

    async def _begin(self, request: Request, call: Call, body: dict[str, Any], path: Path) -> None:
        load = (body.get("configuration") or {}).get("load")
        if not isinstance(load, dict):
            path.unlink()
            raise InvalidArgument(
                "An upload begins a load job: configuration.load is missing.", reason="required"
            )
        load["sourceUris"] = []
        call.body = body
        call.upload = path
        await request.answer(200, orjson.dumps(await insert(call)))

    def _file(self, upload: str) -> Path:
        folder = self._rooms.home / FOLDER / "uploads"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / upload
