"""The XML API's documents: reading those of requests, writing those of answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from portico.doors.storage.requests import Request
from portico.errors import InvalidArgument

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
MEDIA: Final = b"application/xml; charset=UTF-8"


def parse(body: bytes, what: str, root: str = "") -> Element:
    """The root element of a document, which is named `root` where that is told.

    Raises:
        InvalidArgument: it is none. `what`: what it should be.
    """
    try:
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
            raise ValueError("declarations are not allowed")
        found = ElementTree.fromstring(body)
        if root and name_of(found) != root:
            raise ValueError(f"the root element is {root}, not {name_of(found)}")
    except (ElementTree.ParseError, ValueError) as error:
        raise malformed(what, str(error)) from None
    return found


def malformed(what: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"Not {what}: {why}", reason="MalformedXML")


def name_of(element: Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def children(element: Element) -> Iterator[tuple[str, str, Element]]:
    """Each child's name, its text, and itself."""
    for one in element:
        yield name_of(one), (one.text or "").strip(), one


def text(name: str) -> str:
    """`name` for an XML text; characters that XML can't hold are replaced."""
    return escape("".join(c if c >= " " or c == "\t" else "\ufffd" for c in name))


def tagged(name: str, told: object) -> str:
    """An element with a text; "" where there is none to tell."""
    return "" if told is None else f"<{name}>{text(str(told))}</{name}>"


async def answer(
    request: Request, root: str, inner: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Answers with a document whose root element has `inner`, which is XML."""
    body = f"<?xml version='1.0' encoding='UTF-8'?><{root} xmlns='{NAMESPACE}'>{inner}</{root}>"
    await request.answer(200, body.encode(), headers, media=MEDIA)
