"""The XML API's deletes of many objects at once: each is deleted, or refused, as if it had come alone.

https://cloud.google.com/storage/docs/xml-api/post-bucket-delete-multiple
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from portico.doors.storage.errors import code_of
from portico.doors.storage.requests import Request
from portico.doors.storage.xml import answer, text
from portico.errors import InvalidArgument, NotFound, PorticoError, Unimplemented

_BODY: Final = 8 << 20  # bytes
_MOST: Final = 1000


async def handle(request: Request, delete: Callable[[str], Awaitable[Any]]) -> None:
    """Answers which objects are gone, by `delete`, and which are not, and why.

    Raises:
        InvalidArgument, Unimplemented: the body names no objects, or asks for what is not built.
    """
    names, quiet = _parse(await request.body(_BODY))
    told = ""
    for name in names:
        try:
            await delete(name)
        except NotFound as error:
            if code_of(error)[1] != "NoSuchKey":  # what is not there is as good as deleted
                raise
        except PorticoError as error:
            code, message = code_of(error)[1], escape(error.message)
            told += f"<Error><Key>{text(name)}</Key><Code>{code}</Code><Message>{message}</Message></Error>"
            continue
        told += "" if quiet else f"<Deleted><Key>{text(name)}</Key></Deleted>"
    await answer(request, "DeleteResult", told)


def _parse(body: bytes) -> tuple[list[str], bool]:
    """The objects' names in a Delete document, and whether only errors are to be told."""
    try:
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
            raise ValueError("declarations are not allowed")
        names, quiet = [], False
        for one in ElementTree.fromstring(body):
            kind = one.tag.rpartition("}")[2]
            if kind == "Quiet":
                quiet = (one.text or "").strip().lower() == "true"
            elif kind == "Object":
                values = {child.tag.rpartition("}")[2]: child.text or "" for child in one}
                names.append(values.pop("Key"))
                if values:
                    raise Unimplemented(
                        f"{min(values)} of an object to delete is not built in Portico's XML API: use the JSON API."
                    )
            else:
                raise ValueError(f"{kind} is unknown")
    except (ElementTree.ParseError, ValueError, KeyError) as error:
        raise InvalidArgument(f"Not a list of objects: {error}", reason="MalformedXML") from None
    if not 1 <= len(names) <= _MOST:
        raise InvalidArgument(
            f"1 to {_MOST:,} objects are deleted at once, not {len(names):,}.", reason="MalformedXML"
        )
    return names, quiet
