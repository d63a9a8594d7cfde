"""The XML API's buckets: which there are, making and deleting one.

https://cloud.google.com/storage/docs/xml-api/get-service, .../put-bucket
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final
from xml.sax.saxutils import escape

import msgspec

from portico.doors.storage import signed_v2, xml_listings, xml_lists, xml_settings
from portico.doors.storage.requests import Meaning, Request, in_thread
from portico.doors.storage.xml_documents import answer, children, parse, text
from portico.doors.storage.xml_lists import as_acl
from portico.errors import AlreadyExists, InvalidArgument, Unimplemented
from portico.services.call import Caller
from portico.services.storage import buckets
from portico.services.storage.render import milliseconds
from portico.store.objects import buckets as objects_buckets

_ACCOUNTS: Final = ".iam.gserviceaccount.com"
_SIGNATURES: Final = ("x-goog-", "x-amz-")
_LISTING: Final = frozenset({
    "list-type", "prefix", "delimiter", "max-keys", "marker", "continuation-token", "start-after", "encoding-type",
    "fetch-owner",
})  # fmt: skip
_MOST: Final = 1000
_BODY: Final = 64 << 10  # bytes
_Token = tuple[str, Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)], bool]


def meaning(request: Request, bucket: str, caller: Caller | None) -> Meaning:
    """What a request to `/BUCKET`, or to `/` (""), asks for. `caller`: who signed it; None without a signature.

    Raises:
        Unimplemented, InvalidArgument: there is no such method, or a project is missing.
    """
    told = {one for one in request.params if not one.lower().startswith(_SIGNATURES)} - signed_v2.IN_URL
    method = request.method
    if not bucket:
        if method != "GET" or told:
            raise Unimplemented(f"{method} / is built in Portico without parameters alone: it lists buckets.")
        return Meaning("buckets.list", {"project": _project(request, caller)}, partial(_list, request))
    if method == "PUT" and not told:
        params = {"project": _project(request, caller)}
        if acl := request.headers.get("x-goog-acl"):
            params["predefinedAcl"] = as_acl(acl)
        return Meaning("buckets.insert", params, partial(_make, request), partial(_wanted, request, bucket))
    named = {"bucket": bucket}
    if method == "DELETE" and not told:
        return Meaning("buckets.delete", named, partial(_delete, request))
    if method == "HEAD" and not told:
        return Meaning("buckets.get", named, partial(_head, request, bucket))
    if method == "GET" and told == {"location"}:
        return Meaning("buckets.get", named, partial(_location, request, bucket))
    if lists := xml_lists.of_bucket(request, bucket, told):
        return lists
    if found := xml_settings.meaning(request, bucket, told) or xml_listings.meaning(request, bucket, told):
        return found
    asked = "".join(f"?{one}" for one in sorted(told - xml_listings.KNOWN)[:1])
    better = {"?website": "?websiteConfig"}.get(asked)
    raise Unimplemented(
        f"{method} of a bucket{asked} is not built in Portico's XML API: use "
        + (f"{better}, as Cloud Storage calls it." if better else "the JSON API.")
    )


def _project(request: Request, caller: Caller | None) -> str:
    """The project that a header names, or else the signer's.

    Raises:
        InvalidArgument: there is none.
    """
    if told := request.headers.get("x-goog-project-id"):
        return told
    domain = caller.email.partition("@")[2] if caller is not None else ""
    if not domain.endswith(_ACCOUNTS):
        raise InvalidArgument("The header x-goog-project-id is to name the project.", reason="MissingProject")
    return domain.removesuffix(_ACCOUNTS)


async def _list(request: Request) -> None:
    def read() -> list[objects_buckets.BucketRow]:
        project = request.allowed.params["project"]
        found: list[objects_buckets.BucketRow] = []
        with request.rooms.database.read() as connection:
            while page := objects_buckets.list_page(
                connection, project, "", found[-1].name if found else "", _MOST
            ):
                found += page
        return found

    rows = "".join(
        f"<Bucket><Name>{row.name}</Name><CreationDate>{milliseconds(row.created)}</CreationDate></Bucket>"
        for row in await in_thread(read)
    )
    owner = text(request.allowed.params["project"])
    await answer(
        request, "ListAllMyBucketsResult", f"<Owner><ID>{owner}</ID></Owner><Buckets>{rows}</Buckets>"
    )


async def _wanted(request: Request, bucket: str) -> dict[str, Any]:
    """The bucket that a CreateBucketConfiguration, or no body, asks for.

    Raises:
        InvalidArgument: it is none. Unimplemented: it has what is not built.
    """
    body, wanted = await request.body(_BODY), {"name": bucket}
    fields = {"LocationConstraint": "location", "StorageClass": "storageClass"}
    if not body.strip():
        return wanted
    for name, value, _ in children(parse(body, "a bucket's configuration")):
        if name not in fields:
            raise Unimplemented(f"{name} of a bucket is not built in Portico's XML API: use the JSON API.")
        if value:
            wanted[fields[name]] = value
    return wanted


async def _make(request: Request) -> None:
    call = request.allowed

    def make() -> None:
        try:
            buckets.insert(call)
        except AlreadyExists as error:
            with call.rooms.database.read() as connection:
                there = objects_buckets.find(connection, call.body["name"])
            own = there is not None and there.project == call.params["project"]
            error.reason = "BucketAlreadyOwnedByYou" if own else "BucketAlreadyExists"
            raise

    await in_thread(make)
    await request.answer(200, headers=[(b"location", f"/{call.body['name']}".encode())])


async def _delete(request: Request) -> None:
    await in_thread(buckets.delete, request.allowed)
    await request.answer(204)


async def _head(request: Request, bucket: str) -> None:
    row = await in_thread(_bucket, request, bucket)
    told = [(b"x-goog-storage-class", str(row.fields.get("storageClass", "STANDARD")).encode())]
    await request.answer(200, headers=[*told, (b"x-goog-bucket-region", row.fields["location"].encode())])


async def _location(request: Request, bucket: str) -> None:
    row = await in_thread(_bucket, request, bucket)
    await answer(request, "LocationConstraint", escape(row.fields["location"]))


def _bucket(request: Request, bucket: str) -> objects_buckets.BucketRow:
    with request.rooms.database.read() as connection:
        return objects_buckets.get(connection, bucket)
