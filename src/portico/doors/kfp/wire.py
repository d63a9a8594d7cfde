"""The wire of Artifact Registry's repositories of compiled pipelines, `LOCATION-kfp.pkg.dev` on Google: a form uploads
one, a GET downloads it. It only translates: what a request means is one of the API's methods.

It lies at `/apis/artifactregistry/kfp/LOCATION/PROJECT/REPOSITORY`. Below that stand, as kfp's client asks for them of
a registry that is not Google's, the JSON methods too (`packages/…`: `doors.http.habits`).
"""

from __future__ import annotations

import re
from email.message import Message
from email.parser import Parser
from typing import Any

from portico.doors.http.answers import send_bytes, send_json
from portico.doors.http.wires import Wire
from portico.doors.storage.related import RelatedParts
from portico.doors.storage.requests import Request, decode_name, in_thread
from portico.doors.storage.upload import parse_resource
from portico.errors import InvalidArgument
from portico.services.artifactregistry import kfp_artifacts
from portico.services.call import Call
from portico.services.registry.templates import MOST_BYTES

_PATH = re.compile(
    rb"/apis/artifactregistry/(?:"
    rb"kfp/(?P<location>[^/]+)/(?P<project>[^/]+)/(?P<repository>[^/]+)(?:/(?!packages/)(?P<package>[^/]+)/(?P<version>[^/]+))?/?"
    rb"|upload/v1/(?P<parent>projects/[^/]+/locations/[^/]+/repositories/[^/]+)/kfpArtifacts:create)"
)
_REPOSITORIES = "projects.locations.repositories"
_MOST_FORM = MOST_BYTES + (64 << 10)


class KfpWire(Wire):
    API = ("artifactregistry", "v1")
    PATH = _PATH

    async def answer(self, request: Request, found: re.Match[bytes], authorization: str | None) -> None:
        if found["parent"]:
            parent = decode_name(found["parent"])
        else:
            project, location, repository = (
                decode_name(found[key]) for key in ("project", "location", "repository")
            )
            parent = f"projects/{project}/locations/{location}/repositories/{repository}"

        async def download(call: Call) -> None:
            content = await in_thread(kfp_artifacts.download, call)
            await send_bytes(request.send, content, 200, [(b"content-type", b"application/octet-stream")])

        async def upload(call: Call) -> None:
            content, tags, description = await _form(request)
            version = await in_thread(kfp_artifacts.kept, call, content, tags, description)
            if found["parent"]:
                await send_json(request.send, await in_thread(kfp_artifacts.operation_of, call, version))
            else:
                package, _, digest = version.name.partition("/packages/")[2].partition("/versions/")
                headers = [(b"content-type", b"text/plain; charset=utf-8")]
                await send_bytes(request.send, f"{package}/{digest}".encode(), 200, headers)

        down = found["package"] is not None
        if request.method != ("GET" if down else "POST"):
            words = "A template is downloaded by GET" if down else "A template is uploaded by POST"
            raise InvalidArgument(f"{words}, not {request.method}.", http_status=405)
        method = "packages.versions.get" if down else "kfpArtifacts.upload"
        params = {"parent": parent}
        if down:
            params = {
                "parent": f"{parent}/packages/{decode_name(found['package'])}",
                "version": decode_name(found["version"]),
            }
            params["name"] = f"{params['parent']}/versions/{params['version']}"
        await self.meant(
            request, authorization, f"{_REPOSITORIES}.{method}", params, download if down else upload,
            grows=not down,
        )  # fmt: skip


async def _form(request: Request) -> tuple[bytes, list[str], str]:
    """The file, tags and description that an upload holds: a form (as kfp's client writes it), metadata and file
    (multipart/related, as googleapiclient does), or the file alone.

    Raises:
        InvalidArgument: it holds no file, or is too long.
    """
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    if message.get_content_type() == "multipart/form-data":
        fields = _fields(await request.body(_MOST_FORM), message.get_param("boundary"))
        if "content" not in fields:
            raise InvalidArgument("The form has no file: its field is called content.", field="content")
        tags = fields.get("tags", b"").decode("utf-8", "replace").split(",")
        said = request.headers.get("description", "")  # kfp's client has it among its extra headers
        return fields["content"], [tag.strip() for tag in tags if tag.strip()], said
    if request.params.get("uploadType") == "multipart":
        parts = RelatedParts(request.headers.get("content-type", ""), request.pieces())
        told = parse_resource((await parts.first())[0])
        content = bytearray()
        async for piece in parts.data():
            request.receive.hold(len(piece))
            content += piece
            if len(content) > MOST_BYTES:
                raise InvalidArgument(f"The file is larger than {MOST_BYTES:,} bytes.", http_status=413)
        return (
            bytes(content),
            [str(tag) for tag in told.get("tags") or []],
            str(told.get("description") or ""),
        )
    return await request.body(MOST_BYTES), [], ""


def _fields(body: bytes, boundary: Any) -> dict[str, bytes]:
    """The fields of a form (RFC 7578) by name.

    Raises:
        InvalidArgument: it is malformed.
    """
    if not isinstance(boundary, str) or not boundary:
        raise InvalidArgument("The form has no boundary in its Content-Type.")
    mark = b"\r\n--" + boundary.encode("latin-1", "replace")
    found = {}
    parts = (b"\r\n" + body).split(mark)
    if len(parts) < 3 or not parts[-1].startswith(b"--"):
        raise InvalidArgument("The form is malformed, or does not end with its boundary.")
    for part in parts[1:-1]:
        head, blank, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = Parser().parsestr(head.decode("utf-8", "replace"), headersonly=True)
        name = headers.get_param("name", header="content-disposition")
        if not blank or not isinstance(name, str):
            raise InvalidArgument("A part of the form has no Content-Disposition with a name.")
        found[name] = content
    return found
