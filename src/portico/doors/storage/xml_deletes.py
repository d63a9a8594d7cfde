"""The XML API's deletes of many objects at once: each is deleted, or refused, as if it had come alone.

https://cloud.google.com/storage/docs/xml-api/post-bucket-delete-multiple
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from xml.sax.saxutils import escape

from portico.doors.storage.errors import code_of
from portico.doors.storage.requests import Request
from portico.doors.storage.xml_documents import answer, children, malformed, name_of, parse, tagged
from portico.errors import InvalidArgument, NotFound, PorticoError, Unimplemented

_BODY: Final = 8 << 20  # bytes
_MOST: Final = 1000
_WHAT: Final = "a list of objects"


async def handle(request: Request, delete: Callable[[str, str], Awaitable[Any]]) -> None:
    """Answers which objects are gone, by `delete(name, generation)`, and which are not, and why. Where no generation is
    told it is "".

    Raises:
        InvalidArgument, Unimplemented: the body names no objects, or asks for what is not built.
    """
    wanted, quiet = _parse(await request.body(_BODY))
    told = ""
    for name, generation in wanted:
        named = tagged("Key", name) + tagged("VersionId", generation or None)
        try:
            await delete(name, generation)
        except NotFound as error:
            if code_of(error)[1] != "NoSuchKey":  # what is not there is as good as deleted
                raise
        except PorticoError as error:
            code, message = code_of(error)[1], escape(error.message)
            told += f"<Error>{named}<Code>{code}</Code><Message>{message}</Message></Error>"
            continue
        told += "" if quiet else f"<Deleted>{named}</Deleted>"
    await answer(request, "DeleteResult", told)


def _parse(body: bytes) -> tuple[list[tuple[str, str]], bool]:
    """The names in a Delete document, each with the generation that is meant, if one is; and whether only errors are to
    be told."""
    found, quiet = [], False
    for kind, told, one in children(parse(body, _WHAT)):
        if kind == "Quiet":
            quiet = told.lower() == "true"
        elif kind == "Object":
            values = {name_of(child): child.text or "" for child in one}
            if "Key" not in values:
                raise malformed(_WHAT, "an Object needs a Key")
            found.append((values.pop("Key"), values.pop("VersionId", "").strip()))
            if values:
                raise Unimplemented(
                    f"{min(values)} of an object to delete is not built in Portico's XML API: use the JSON API."
                )
        else:
            raise malformed(_WHAT, f"{kind} is unknown")
    if not 1 <= len(found) <= _MOST:
        raise InvalidArgument(
            f"1 to {_MOST:,} objects are deleted at once, not {len(found):,}.", reason="MalformedXML"
        )
    return found, quiet
