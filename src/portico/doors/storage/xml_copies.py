"""The XML API's objects that are made of others: a PUT whose header names another, and one that composes several.

https://cloud.google.com/storage/docs/xml-api/put-object-copy, .../put-object-compose
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

from portico.doors.storage import download
from portico.doors.storage.requests import Meaning, Request, decode_name, in_thread
from portico.doors.storage.xml import preconditions_in, settings_in
from portico.doors.storage.xml_documents import answer, children, malformed, parse
from portico.doors.storage.xml_lists import as_acl
from portico.errors import InvalidArgument, Unimplemented
from portico.services.call import Call
from portico.services.storage import copies, customer_keys
from portico.services.storage.requests import integer
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import generations as objects
from portico.store.objects.generations import SEALED

SOURCE: Final = "x-goog-copy-source"
_DIRECTIVE: Final = "x-goog-metadata-directive"
_NUMBERS: Final = {
    f"{SOURCE}-generation": "sourceGeneration",
    f"{SOURCE}-if-generation-match": "ifSourceGenerationMatch",
    f"{SOURCE}-if-metageneration-match": "ifSourceMetagenerationMatch",
}
_OTHERS: Final = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_BODY: Final = 1 << 20  # bytes
_COMPOSITION: Final = "a composition"


def meaning(request: Request, bucket: str, name: str) -> Meaning:
    """What a request that names a source asks for, as a method of the JSON API.

    Raises:
        InvalidArgument: the source, or what is to become of its metadata, is no such thing. Unimplemented: it asks for
            a part of another object.
    """
    headers = request.headers
    known = {*_NUMBERS, *(f"{SOURCE}-{one}" for one in _OTHERS)}
    more = [
        one for one in headers
        if one.startswith(f"{SOURCE}-") and one not in known and not one.startswith(customer_keys.SOURCE)
    ]  # fmt: skip
    if more or "uploadId" in request.params:
        asked = more[0] if more else "a part as a copy"
        raise Unimplemented(f"{asked} is not built in Portico's XML API: copy the whole object.")
    path, _, version = headers[SOURCE].removeprefix("/").partition("?")
    source, _, of = unquote_to_bytes(path).partition(b"/")
    if not source or not of:
        raise InvalidArgument(f"{SOURCE} is /BUCKET/OBJECT, not {headers[SOURCE][:200]!r}.")
    directive = headers.get(_DIRECTIVE, "COPY").upper()
    if directive not in ("COPY", "REPLACE"):
        raise InvalidArgument(f"{_DIRECTIVE} is COPY or REPLACE, not {directive[:80]!r}.")
    params = {
        "sourceBucket": source.decode("ascii", "replace"), "sourceObject": decode_name(of),
        "destinationBucket": bucket, "destinationObject": name, **preconditions_in(request),
    }  # fmt: skip
    params |= {_NUMBERS[one]: value for one, value in headers.items() if one in _NUMBERS}
    if version:
        kind, _, generation = version.partition("=")
        if kind not in ("versionId", "generation"):
            raise InvalidArgument(f"{SOURCE} is /BUCKET/OBJECT?versionId=GENERATION, not ?{version[:80]}.")
        params["sourceGeneration"] = generation
    if acl := headers.get("x-goog-acl"):
        params["destinationPredefinedAcl"] = as_acl(acl)

    async def body() -> dict[str, Any]:
        return settings_in(headers) if directive == "REPLACE" else {}

    return Meaning("objects.copy", params, partial(_copy, request), body)


def composition(request: Request, bucket: str, name: str) -> Meaning:
    """What a PUT with ?compose asks for: one object of several."""
    params = {"destinationBucket": bucket, "destinationObject": name, **preconditions_in(request)}
    if acl := request.headers.get("x-goog-acl"):
        params["destinationPredefinedAcl"] = as_acl(acl)

    async def body() -> dict[str, Any]:
        document = parse(await request.body(_BODY), _COMPOSITION, "ComposeRequest")
        sources = []
        for kind, _, one in children(document):
            told = {name: value for name, value, _ in children(one)}
            unknown = told.keys() - {"Name", "Generation", "IfGenerationMatch"}
            if kind != "Component" or unknown or "Name" not in told:
                raise malformed(_COMPOSITION, "a Component has a Name, a Generation, an IfGenerationMatch")
            source: dict[str, Any] = {"name": told["Name"]}
            if "Generation" in told:
                source["generation"] = str(integer(told, "Generation"))
            if "IfGenerationMatch" in told:
                match = str(integer(told, "IfGenerationMatch"))
                source["objectPreconditions"] = {"ifGenerationMatch": match}
            sources.append(source)
        return {"sourceObjects": sources, "destination": settings_in(request.headers)}

    return Meaning("objects.compose", params, partial(_compose, request), body)


async def _copy(request: Request) -> None:
    asked = {one: told for one in _OTHERS if (told := request.headers.get(f"{SOURCE}-{one}"))}
    made = await in_thread(_copied, request.allowed, asked)
    inner = f"<LastModified>{made['updated']}</LastModified><ETag>{escape(_tag(made))}</ETag>"
    await answer(request, "CopyObjectResult", inner, _generation(made))


async def _compose(request: Request) -> None:
    made = await in_thread(copies.compose, request.allowed)
    await request.answer(200, headers=[(b"etag", _tag(made).encode()), *_generation(made)])


def _tag(made: Mapping[str, Any]) -> str:
    if made.get("md5Hash") and SEALED not in made:
        return f'"{base64.b64decode(made["md5Hash"]).hex()}"'
    return f'"{made["etag"]}"'


def _generation(made: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    return [(b"x-goog-generation", made["generation"].encode())]


def _copied(call: Call, asked: Mapping[str, str]) -> dict[str, Any]:
    """
    Raises:
        FailedPrecondition: the source is not as the headers `asked` want it.
    """
    if asked:
        params = call.params
        with call.rooms.database.read() as connection:
            objects_buckets.get(connection, params["sourceBucket"])
            row = objects.get(
                connection,
                params["sourceBucket"],
                params["sourceObject"],
                integer(params, "sourceGeneration"),
            )
        if not download.fits(row, asked, download.xml_etag(row)):
            objects.Preconditions(generation_match=-1).check(row)
        params["sourceGeneration"] = str(row.generation)  # that one is copied, whatever happens meanwhile
    made: dict[str, Any] = copies.copy(call)
    return made
