"""Cloud Storage below the JSON methods: uploads, downloads, the XML API. It only translates: what a request means is
one of the API's methods, and goes the way of every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from portico.doors.contract.documents import Contract
from portico.doors.dispatch import Arrival, Dispatch, no_body
from portico.doors.http.incoming import Incoming
from portico.doors.identity import Identity
from portico.doors.storage import amazon, signed_v2, xml_copies, xml_deletes
from portico.doors.storage import download as storage_download
from portico.doors.storage import sessions as storage_sessions
from portico.doors.storage import signed as storage_signed
from portico.doors.storage import upload as storage_upload
from portico.doors.storage import xml as storage_xml
from portico.doors.storage import xml_buckets as storage_xml_buckets
from portico.doors.storage.form import Form, is_form
from portico.doors.storage.requests import ClientGone, Meaning, Request, Send, decode_name
from portico.errors import InvalidArgument, PermissionDenied, PorticoError
from portico.services.call import Call, Caller, Rooms
from portico.services.iam.checks import NAMED_LATER
from portico.store.objects.names import is_bucket_name

# First segments of paths that clients of Google's use and no served document has.
_FOREIGN = frozenset(
    (
        "-",
        "compute",
        "discovery",
        "download",
        "operations",
        "projects",
        "ui",
        "v1alpha1",
        "v1beta2",
        "v2",
        "v3",
    )
)


class StorageWire:
    def __init__(self, rooms: Rooms, contract: Contract, dispatch: Dispatch, identity: Identity) -> None:
        self._rooms = rooms
        self._identity = identity
        self._contract = contract
        self._dispatch = dispatch
        self._reserved = contract.first_segments | _FOREIGN

    def is_xml(self, raw_path: bytes) -> bool:
        """Whether the path is `/BUCKET/OBJECT` or `/BUCKET`. A bucket whose name begins the paths of some API is
        reached through the JSON API only."""
        first = raw_path.partition(b"?")[0].split(b"/", 2)[1:2]
        name = first[0].decode("ascii", "replace") if first else ""
        return name not in self._reserved and is_bucket_name(name)

    def owns(self, method: str, raw_path: bytes, query: bytes) -> bool:
        """Which requests are for `handle`; the others go through the documents' routes."""
        if raw_path.startswith((b"/upload/storage/v1/", b"/download/storage/v1/")):
            return True
        if raw_path.startswith(b"/storage/v1/b/"):
            return method in ("GET", "HEAD") and b"alt=media" in query and b"/o/" in raw_path
        return self.is_xml(raw_path)

    async def handle(
        self, scope: dict[str, Any], receive: Incoming, send: Send, authorization: str | None
    ) -> None:
        """Answers the request, or raises PorticoError before the answer has begun."""
        request = Request(scope, receive, send, self._rooms)
        path = scope["raw_path"].partition(b"?")[0]
        xml = path == b"/" or self.is_xml(path)
        caller = None
        try:
            form = Form(request, path) if xml and is_form(request, path) else None
            if form is not None:  # who asks stands in it
                await form.read()
            caller = None if authorization else self._caller(request, path, xml, form)
            if xml and request.method == "POST" and "delete" in request.params and path.count(b"/") == 1:
                await xml_deletes.handle(request, self._delete(request, path, authorization, caller))
                return
            if form is not None:
                meaning = form.meaning()
            else:
                meaning = _xml_meaning(request, path, caller) if xml else _meaning(request, path)

            async def work(call: Call) -> None:
                request.call = call
                await meaning.work()

            method = self._contract.method("storage", "v1", meaning.method)
            await self._dispatch(
                Arrival(
                    method,
                    meaning.params,
                    authorization,
                    scope["state"]["owner"],
                    meaning.body or no_body,
                    work,
                    headers=request.headers,
                    grows=request.method in ("POST", "PUT"),
                    caller=caller,
                )
            )
        except ClientGone:
            return
        except PorticoError as error:
            if not xml:
                raise
            await storage_xml.answer_error(request, error)

    def _delete(
        self, request: Request, path: bytes, authorization: str | None, caller: Caller | None
    ) -> Callable[[str, str], Awaitable[Any]]:
        """What deletes an object of the bucket at `path` for who sent the request."""
        method, bucket = self._contract.method("storage", "v1", "objects.delete"), decode_name(path[1:])
        owner = request.scope["state"]["owner"]

        async def delete(name: str, generation: str) -> None:
            params = {"bucket": bucket, "object": name} | ({"generation": generation} if generation else {})
            await self._dispatch(
                Arrival(method, params, authorization, owner, headers=request.headers, caller=caller)
            )

        return delete

    def _caller(self, request: Request, path: bytes, xml: bool, form: Form | None) -> Caller | None:
        """Whose a request without a token is: who signed its URL, or its form's policy, or began the upload that it
        goes on with. None where it is as any other without a token, also where its signer's account is not known here:
        that proves nothing.

        Raises:
            PermissionDenied, InvalidArgument, Unimplemented: the signature is not good.
        """
        now, signed = self._rooms.clock.now(), None
        if form is not None:
            signed = form.signed(now)
        elif xml:
            signed = signed_v2.read(request, path, now) or storage_signed.read(request, path, now)
        if signed is not None:
            found = self._identity.signer(signed.signer, by_hmac=signed.by_hmac)
            if found is None and storage_signed.is_signed_header(request.headers.get("authorization")):
                raise PermissionDenied(
                    f"{signed.signer[:80]!r} signs nothing here.", reason="InvalidSecurity"
                )
            if found is None:
                return None
            email, keys = found
            signed.check(keys)
            if signed.amazons:
                request.amazons = True
                amazon.translate(request)
            return Caller(email)
        upload = request.params.get("upload_id")
        if not upload or request.scope["state"]["owner"]:
            return None
        began = storage_sessions.who_began(self._rooms, upload, *_named(request, path, xml))
        return began and self._identity.lasting(began)


def _xml_meaning(request: Request, path: bytes, caller: Caller | None) -> Meaning:
    _, bucket, *rest = path.split(b"/", 2)
    if rest and rest[0]:
        if request.method == "PUT" and xml_copies.SOURCE in request.headers:
            return xml_copies.meaning(request, decode_name(bucket), decode_name(rest[0]))
        if request.method == "PUT" and "compose" in request.params:
            return xml_copies.composition(request, decode_name(bucket), decode_name(rest[0]))
        return storage_xml.meaning(request, decode_name(bucket), decode_name(rest[0]))
    return storage_xml_buckets.meaning(request, decode_name(bucket), caller)


def _meaning(request: Request, path: bytes) -> Meaning:
    if path.startswith(b"/upload/"):
        bucket, rest = _bucket(path.removeprefix(b"/upload/storage/v1/"))
        if rest != b"o":
            raise InvalidArgument("Uploads go to /upload/storage/v1/b/BUCKET/o.", http_status=404)
        params: dict[str, Any] = {"bucket": bucket, NAMED_LATER: True}
        return Meaning("objects.insert", params, partial(storage_upload.handle, request, bucket))
    bucket, rest = _bucket(path.removeprefix(b"/download").removeprefix(b"/storage/v1/"))
    if not rest.startswith(b"o/") or request.method not in ("GET", "HEAD"):
        raise InvalidArgument(
            "Downloads are GET .../storage/v1/b/BUCKET/o/OBJECT?alt=media.", http_status=404
        )
    name = decode_name(rest[2:])
    params = {"bucket": bucket, "object": name, **storage_xml.generation_in(request)}
    return Meaning("objects.get", params, partial(storage_download.handle, request, bucket, name))


def _named(request: Request, path: bytes, xml: bool) -> tuple[str, str | None]:
    """The bucket and the object in an upload's address; the JSON API's may have the bucket alone."""
    if xml:
        _, bucket, name = (path + b"/").split(b"/", 2)
        return decode_name(bucket), decode_name(name.removesuffix(b"/"))
    return _bucket(path.removeprefix(b"/upload/storage/v1/"))[0], request.params.get("name")


def _bucket(path: bytes) -> tuple[str, bytes]:
    """The bucket in `b/BUCKET/REST`, and the rest."""
    kind, _, after = path.partition(b"/")
    bucket, _, rest = after.partition(b"/")
    if kind != b"b" or not bucket:
        raise InvalidArgument("The path names no bucket.", http_status=404)
    return decode_name(bucket), rest
