"""Uploads by HTML forms, as a signed policy document allows them: who signed it uploads, whoever sends the form.

https://cloud.google.com/storage/docs/xml-api/post-object-forms, .../authentication/signatures#policy-document
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from email.message import Message
from email.parser import Parser
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit
from xml.sax.saxutils import escape

import orjson

from portico.clock import parse_rfc3339
from portico.doors.storage import signed as storage_signed
from portico.doors.storage import upload as storage_upload
from portico.doors.storage import xml as storage_xml
from portico.doors.storage.download import xml_etag
from portico.doors.storage.requests import Meaning, Request, decode_name
from portico.doors.storage.signed import Signed
from portico.doors.storage.xml_documents import MEDIA
from portico.errors import InvalidArgument
from portico.services.standard.here import base_url
from portico.store.objects.generations import ObjectRow

_MOST: Final = 1 << 16  # bytes of all that stands before the file
_UNSIGNED: Final = frozenset({"policy", "x-goog-signature", "file"})
_GOOGLES: Final = frozenset({
    "x-goog-acl", "x-goog-algorithm", "x-goog-credential", "x-goog-custom-time", "x-goog-date", "x-goog-signature",
})  # fmt: skip
_DONE: Final = {"200": 200, "201": 201, "204": 204}


def is_form(request: Request, path: bytes) -> bool:
    """Whether it is a form that is sent to a bucket."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return (
        request.method == "POST"
        and media == "multipart/form-data"
        and path.count(b"/", 1) <= path.endswith(b"/")
    )


class Form:
    """One upload. Its fields are known once it was `read`; the file's bytes come after them."""

    def __init__(self, request: Request, path: bytes) -> None:
        """Raises InvalidArgument: its content type names no boundary."""
        self._request = request
        self._bucket = decode_name(path.strip(b"/"))
        message = Message()
        message["content-type"] = request.headers["content-type"]
        boundary = message.get_param("boundary")
        if not isinstance(boundary, str) or not boundary:
            raise _malformed("it names no boundary")
        self._mark = b"\r\n--" + boundary.encode("latin-1")
        self._pieces = request.pieces()
        self._held = b"\r\n"  # so that the first boundary looks as the others do
        self._fields: dict[str, str] = {}
        self._most: int | None = None
        self._least = 0

    async def read(self) -> None:
        """Everything before the file's bytes.

        Raises:
            InvalidArgument: it is malformed, has no file, or too much before it.
        """
        await self._until(self._mark)
        while True:
            head = (await self._until(b"\r\n\r\n")).decode("utf-8", "replace")
            part = Parser().parsestr(head.strip(), headersonly=True)
            name = part.get_param("name", header="content-disposition")
            if not isinstance(name, str):
                raise _malformed("a part has no name")
            if name.lower() == "file":
                break
            self._fields[name.lower()] = (await self._until(self._mark)).decode("utf-8", "replace")
        filename = part.get_filename() or ""
        self._key = self._fields.get("key", "")
        self._fields["key"] = self._key.replace("${filename}", filename)
        if part.get("content-type"):
            self._fields.setdefault("content-type", part.get_content_type())
            self._of_file = "content-type"

    _of_file = ""  # what the file's own part says, which needs no condition

    def signed(self, now: float) -> Signed | None:
        """Its signature; None of one without a policy.

        Raises:
            InvalidArgument: it has run out, or holds what its policy does not allow. PermissionDenied: it is not good
                yet.
        """
        fields, policy = self._fields, self._fields.get("policy", "")
        if not policy:
            return None
        for name in ("x-goog-algorithm", "x-goog-credential", "x-goog-date", "x-goog-signature"):
            if not fields.get(name):
                raise InvalidArgument(
                    f"A form with a policy needs the field {name}.", reason="InvalidPolicyDocument"
                )
        signer, _, scope = fields["x-goog-credential"].partition("/")
        by_hmac = storage_signed.check_algorithm(fields["x-goog-algorithm"], signer)
        storage_signed.check_scope(scope, fields["x-goog-date"])
        try:
            document = orjson.loads(base64.b64decode(policy, validate=True))
            end = parse_rfc3339(document["expiration"])
            conditions = list(document["conditions"])
        except (binascii.Error, ValueError, KeyError, TypeError):
            raise InvalidArgument(
                "The policy is no JSON document in base64 with an expiration and conditions.",
                reason="InvalidPolicyDocument",
            ) from None
        storage_signed.check_time(storage_signed.moment(fields["x-goog-date"]), end, now)
        self._check(conditions)
        signature = storage_signed.unhex(fields["x-goog-signature"])
        how = storage_signed.by_key(by_hmac, scope)
        return Signed(signer, signature, (policy,), {"StringToSign": policy}, **how)

    def _check(self, conditions: list[Any]) -> None:
        """
        Raises:
            InvalidArgument: a condition does not hold, or is none; or a field has none.
        """
        given = {**self._fields, "bucket": self._bucket}
        covered = set(_UNSIGNED) | {self._of_file}
        for condition in conditions:
            match condition:
                case dict() if len(condition) == 1:
                    [(name, wanted)] = condition.items()
                    holds = self._is(given, name, str(wanted))
                case ["eq", str(field), wanted] if field.startswith("$"):
                    name, holds = field[1:], self._is(given, field[1:], str(wanted))
                case ["starts-with", str(field), str(beginning)] if field.startswith("$"):
                    name, holds = field[1:], given.get(field[1:].lower(), "").startswith(beginning)
                case ["content-length-range", int(least), int(most)]:
                    self._least, self._most, name, holds = least, most, "", True
                case _:
                    raise _not_allowed(f"{condition!r} is no condition")
            if not holds:
                raise _not_allowed(f"{condition!r} does not hold")
            covered.add(name.lower())
        for name in self._fields:
            if name not in covered and not name.startswith("x-ignore-"):
                raise _not_allowed(f"no condition allows the field {name}")

    def _is(self, given: dict[str, str], name: str, wanted: str) -> bool:
        """A key with ${filename} may be meant as it is written, too."""
        value = given.get(name.lower())
        return value == wanted or (name.lower() == "key" and self._key == wanted)

    def meaning(self) -> Meaning:
        """
        Raises:
            InvalidArgument: it names no object, or has a field in Google's words that there is not.
        """
        for name in self._fields:
            if name.startswith("x-goog-") and name not in _GOOGLES and not name.startswith("x-goog-meta-"):
                raise InvalidArgument(
                    f"The form's field {name} is none of Cloud Storage's.", reason="InvalidArgument"
                )
        if not self._fields.get("key"):
            raise InvalidArgument("The form has no field key: the object's name.")
        return Meaning("objects.insert", {"bucket": self._bucket, "object": self._fields["key"]}, self._work)

    async def _work(self) -> None:
        fields, request = self._fields, self._request
        told = {"x-goog-acl": fields["acl"]} if "acl" in fields else {}

        def begin() -> Any:
            return storage_xml.insertion(request, self._bucket, fields["key"], {**fields, **told})

        row = await storage_upload.store(request, begin, self._data())
        await self._answer(row)

    async def _answer(self, row: ObjectRow) -> None:
        request, tag = self._request, xml_etag(row)
        to = self._fields.get("success_action_redirect", "")
        if urlsplit(to).scheme in ("http", "https"):
            told = urlencode({"bucket": row.bucket, "key": row.name, "etag": tag})
            await request.answer(
                303, headers=[(b"location", f"{to}{'&' if '?' in to else '?'}{told}".encode())]
            )
            return
        status = _DONE.get(self._fields.get("success_action_status", ""), 204)
        place = f"{base_url(request.headers)}/{row.bucket}/{quote(row.name)}"
        body = (
            f"<?xml version='1.0' encoding='UTF-8'?><PostResponse><Location>{escape(place)}</Location>"
            f"<Bucket>{row.bucket}</Bucket><Key>{escape(row.name)}</Key><ETag>{escape(tag)}</ETag></PostResponse>"
        )
        headers = [(b"etag", tag.encode())]
        if status == 201:
            await request.answer(status, body.encode(), headers, media=MEDIA)
        else:
            await request.answer(status, headers=headers)

    async def _data(self) -> AsyncIterator[bytes]:
        """The file's bytes.

        Raises:
            InvalidArgument: they are more or fewer than the policy allows, or no boundary ends them.
        """
        size, held, self._held = 0, self._held, b""
        ended = False
        while not ended:
            found = held.find(self._mark)
            ended = found >= 0
            sure = found if ended else max(0, len(held) - len(self._mark) + 1)
            size += sure
            if self._most is not None and size > self._most:
                raise InvalidArgument(
                    f"The file has more than the {self._most} bytes that the policy allows.",
                    reason="EntityTooLarge",
                )
            if sure:
                yield held[:sure]
            held = held[sure:]
            if not ended:
                piece = await anext(self._pieces, b"")
                if not piece:
                    raise _malformed("its closing boundary is missing")
                held += piece
        async for _ in self._pieces:  # what follows the file means nothing
            pass
        if size < self._least:
            raise InvalidArgument(
                f"The file has {size} bytes, fewer than the {self._least} that the policy asks for.",
                reason="EntityTooSmall",
            )

    async def _until(self, mark: bytes) -> bytes:
        """What comes before `mark`; reads to behind it."""
        while (found := self._held.find(mark)) < 0:
            if len(self._held) > _MOST:
                raise _malformed("too much stands before its file")
            piece = await anext(self._pieces, b"")
            if not piece:
                raise _malformed("it has no part that is called file, or ends before it")
            self._held += piece
        if found > _MOST or sum(map(len, self._fields.values())) > _MOST:
            raise _malformed("too much stands before its file")
        before, self._held = self._held[:found], self._held[found + len(mark) :]
        return before


def _malformed(problem: str) -> InvalidArgument:
    return InvalidArgument(f"Malformed form: {problem}.", reason="MalformedPOSTRequest")


def _not_allowed(problem: str) -> InvalidArgument:
    return InvalidArgument(
        f"The content of the form does not meet the conditions specified in the policy document: {problem}.",
        reason="InvalidPolicyDocument",
    )
