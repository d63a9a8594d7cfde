"""The XML API's listings of a bucket: its objects, all their generations, and the multipart uploads into it.

https://cloud.google.com/storage/docs/xml-api/get-bucket-list, .../get-bucket-uploads
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Final, TypeVar
from urllib.parse import quote
from xml.sax.saxutils import escape

import msgspec
from sqlalchemy.engine import Connection

from portico.doors.storage import download as storage_download
from portico.doors.storage.requests import Meaning, Request, in_thread
from portico.doors.storage.xml_documents import answer, tagged, text
from portico.errors import InvalidArgument
from portico.services.storage.render import milliseconds
from portico.services.storage.requests import integer, page_token, parse_page_token
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import uploads as objects_uploads
from portico.store.objects.generations import LIVE, ObjectRow
from portico.store.objects.listing import Page, Position, Query, list_page, successor
from portico.store.objects.uploads import Upload

_COMMON: Final = frozenset({"prefix", "delimiter", "encoding-type"})
_LISTING: Final = _COMMON | {
    "list-type", "max-keys", "marker", "continuation-token", "start-after", "fetch-owner",
}  # fmt: skip
_VERSIONS: Final = _COMMON | {
    "versions", "max-keys", "marker", "key-marker", "generation-marker", "version-id-marker",
}  # fmt: skip
_UPLOADS: Final = _COMMON | {"uploads", "max-uploads", "key-marker", "upload-id-marker"}
KNOWN: Final = _LISTING | _VERSIONS | _UPLOADS
_MOST: Final = 1000
T = TypeVar("T")
_Token = tuple[str, Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)], bool]


def meaning(request: Request, bucket: str, told: set[str]) -> Meaning | None:
    """What a GET of a bucket lists by the parameters `told`; None where they ask for something else."""
    if request.method != "GET":
        return None
    for known, work in ((_LISTING, _objects), (_VERSIONS, _versions), (_UPLOADS, _uploads)):
        if told <= known:
            return Meaning("objects.list", {"bucket": bucket}, partial(work, request, bucket))
    return None


async def _objects(request: Request, bucket: str) -> None:
    params = request.params
    second = params.get("list-type") == "2"
    most, prefix, delimiter, shown = _asked(params, "max-keys")
    after = params.get("start-after" if second else "marker", "")
    token = parse_page_token({"pageToken": params.get("continuation-token") if second else ""}, _Token)

    def read(connection: Connection) -> Page:
        start = _following(after, prefix, delimiter)
        if start is None or not most:
            return Page([], [])
        query = Query(bucket=bucket, prefix=prefix, delimiter=delimiter, start=start)
        return list_page(connection, query, most, Position(*token) if token else None)

    page = await in_thread(_in_bucket, request, bucket, read)
    more = page.next is not None
    said = _said(bucket, params, more) | {"MaxKeys": str(most)}
    if second:
        said["KeyCount"] = str(len(page.items) + len(page.prefixes))
        said |= {"StartAfter": shown(after)} if after else {}
        said |= {"ContinuationToken": escape(params["continuation-token"])} if token else {}
        if page.next is not None:
            next_one = [page.next.name, page.next.generation, page.next.inside]
            said["NextContinuationToken"] = page_token(next_one)
    else:
        said["Marker"] = shown(after)
        if more:
            said["NextMarker"] = shown(_last(page))
    items = "".join(f"<Contents>{_item(row, shown(row.name))}</Contents>" for row in page.items)
    await answer(request, "ListBucketResult", _lines(said) + items + _below(page.prefixes, shown))


async def _versions(request: Request, bucket: str) -> None:
    """All generations, the oldest of a name first; a client of Amazon's calls them versions."""
    params = request.params
    most, prefix, delimiter, shown = _asked(params, "max-keys")
    after = params.get("key-marker") or params.get("marker", "")
    marker = "generation-marker" if "generation-marker" in params else "version-id-marker"
    generation = integer(params, marker)
    if generation is not None and not after:
        raise InvalidArgument(f"{marker} needs key-marker beside it.")

    def read(connection: Connection) -> Page:
        start = after if generation is not None else _following(after, prefix, delimiter)
        if start is None or not most:
            return Page([], [])
        query = Query(bucket=bucket, prefix=prefix, delimiter=delimiter, start=start, versions=True)
        at = None if generation is None else Position(max(after, prefix), max(generation, 0))
        return list_page(connection, query, most, at)

    page = await in_thread(_in_bucket, request, bucket, read)
    said = _said(bucket, params, page.next is not None) | {"MaxKeys": str(most), "KeyMarker": shown(after)}
    if page.next is not None:
        last = _last(page)
        said["NextKeyMarker"] = shown(last)
        if page.items and page.items[-1].name == last:
            held = str(page.items[-1].generation)
            said |= {"NextGenerationMarker": held, "NextVersionIdMarker": held}
    items = "".join(
        f"<Version>{_item(row, shown(row.name))}<VersionId>{row.generation}</VersionId>"
        f"<IsLatest>{str(row.state == LIVE).lower()}</IsLatest>"
        f"{tagged('DeletedTime', row.deleted and milliseconds(row.deleted))}</Version>"
        for row in page.items
    )
    await answer(request, "ListVersionsResult", _lines(said) + items + _below(page.prefixes, shown))


async def _uploads(request: Request, bucket: str) -> None:
    """Multipart uploads that are not finished, by name and then by when they began."""
    params = request.params
    most, prefix, delimiter, shown = _asked(params, "max-uploads")
    after, upload_after = params.get("key-marker", ""), params.get("upload-id-marker", "")

    def read(connection: Connection) -> list[Upload]:
        found = objects_uploads.of_bucket(connection, bucket)
        return [one for one in found if not one.file and one.name.startswith(prefix)]

    found = await in_thread(_in_bucket, request, bucket, read)
    same = [one.id for one in found if one.name == after]
    seen = set(same[: same.index(upload_after) + 1] if upload_after in same else [] if upload_after else same)
    entries: dict[str, Upload | None] = {}  # by name and id, or by common prefix
    for one in found:
        cut = one.name.find(delimiter, len(prefix)) if delimiter else -1
        common = one.name[: cut + len(delimiter)] if cut >= 0 else ""
        if one.name < after or one.id in seen or (common and common <= after):
            continue
        entries[common or f"{one.name}\0{one.id}"] = None if common else one
    taken = dict(list(entries.items())[:most])
    more = len(taken) < len(entries)
    said = {"Bucket": bucket, **_said("", params, more), "MaxUploads": str(most), "KeyMarker": shown(after)}
    said["UploadIdMarker"] = text(upload_after)
    if more and taken:
        name, _, upload = list(taken)[-1].partition("\0")
        said |= {"NextKeyMarker": shown(name), "NextUploadIdMarker": upload}
    items = "".join(
        f"<Upload><Key>{shown(one.name)}</Key><UploadId>{one.id}</UploadId>"
        f"<StorageClass>{one.request['settings'].get('storageClass') or 'STANDARD'}</StorageClass>"
        f"<Initiated>{milliseconds(one.created)}</Initiated></Upload>"
        for one in taken.values()
        if one is not None
    )
    below = _below([name for name, one in taken.items() if one is None], shown)
    await answer(request, "ListMultipartUploadsResult", _lines(said) + items + below)


Shown = Callable[[str], str]


def _asked(params: Mapping[str, str], limit: str) -> tuple[int, str, str, Shown]:
    """How many entries at most, the prefix, the delimiter, and how names are shown.

    Raises:
        InvalidArgument
    """
    if params.get("encoding-type", "url") != "url":
        raise InvalidArgument("encoding-type is url, or left out.")
    told = integer(params, limit) if params.get(limit) else None
    most = _MOST if told is None else min(_MOST, told)
    if most < 0:
        raise InvalidArgument(f"{limit} is not negative.")
    shown: Shown = partial(quote, safe="/") if "encoding-type" in params else text
    return most, params.get("prefix", ""), params.get("delimiter", ""), shown


def _in_bucket(request: Request, bucket: str, read: Callable[[Connection], T]) -> T:
    with request.rooms.database.read() as connection:
        objects_buckets.get(connection, bucket)
        return read(connection)


def _said(bucket: str, params: Mapping[str, str], more: bool) -> dict[str, str]:
    """What every listing says of itself."""
    shown: Shown = partial(quote, safe="/") if "encoding-type" in params else text
    said = {"Name": bucket} if bucket else {}
    said |= {"Prefix": shown(params.get("prefix", "")), "IsTruncated": str(more).lower()}
    if delimiter := params.get("delimiter"):
        said["Delimiter"] = shown(delimiter)
    return said | ({"EncodingType": "url"} if "encoding-type" in params else {})


def _lines(said: Mapping[str, str]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in said.items())


def _last(page: Page) -> str:
    return max([*(row.name for row in page.items[-1:]), *page.prefixes[-1:]])


def _below(prefixes: list[str], shown: Shown) -> str:
    return "".join(f"<CommonPrefixes><Prefix>{shown(one)}</Prefix></CommonPrefixes>" for one in prefixes)


def _following(after: str, prefix: str, delimiter: str) -> str | None:
    """Where what follows `after` begins, which may be a common prefix; None where nothing can."""
    if not after:
        return ""
    if delimiter and after.startswith(prefix) and after.endswith(delimiter) and after != prefix:
        return successor(after)
    return after + "\x01"  # no name has a character before that


def _item(row: ObjectRow, name: str) -> str:
    return (
        f"<Key>{name}</Key><Generation>{row.generation}</Generation>"
        f"<MetaGeneration>{row.metageneration}</MetaGeneration>"
        f"<LastModified>{milliseconds(row.updated)}</LastModified>"
        f"<ETag>{escape(storage_download.xml_etag(row))}</ETag><Size>{row.size}</Size>"
        f"<StorageClass>{row.fields.get('storageClass') or 'STANDARD'}</StorageClass>"
    )
