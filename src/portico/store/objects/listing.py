"""Listings: objects in the order of their names' bytes, with prefixes, delimiters, globs and pages.

Strings compare in SQL as their UTF-8 bytes, which is also the order of code points.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.store.objects.generations import LIVE, SEEN, SOFT_DELETED, ObjectRow, row_of
from portico.store.tables.storage import objects

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Query:
    """What to list. `start` is inclusive, `end` exclusive; `glob` is a Cloud Storage glob of whole names;
    `soft_deleted_at` (seconds since the epoch) has alone those listed that are kept then, though they are deleted."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    glob: str = ""
    versions: bool = False
    soft_deleted_at: float | None = None
    trailing_delimiter: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: at names >= `name`, and with `name` itself at generations > `generation`. `inside`: the
    page before ended among the generations of `name`, which is a common prefix that it has."""

    name: str
    generation: int = -1
    inside: bool = False


@dataclass(slots=True)
class Page:
    items: list[ObjectRow]
    prefixes: list[str]
    next: Position | None = None


def list_page(connection: Connection, query: Query, limit: int, position: Position | None = None) -> Page:
    """At most `limit` items and prefixes together, in order.

    A common prefix costs about one probe of the index, however many objects lie under it.
    """
    page = Page([], [])
    pattern = glob_pattern(query.glob) if query.glob else ""
    at: Position | None = position or Position(max(query.start, query.prefix))
    last_prefix = position.name if position is not None and position.inside else ""
    while at is not None:
        rows = _fetch(connection, query, at, min(_BATCH, limit + 1))
        at_end = len(rows) < min(_BATCH, limit + 1)
        commons = [_common_prefix(query, row.name) for row in rows]
        entries = [row.name if common is None else common for row, common in zip(rows, commons, strict=True)]
        fitting = matching(pattern, entries) if pattern else [True] * len(rows)
        for row, common, fits in zip(rows, commons, fitting, strict=True):
            if last_prefix and row.name.startswith(last_prefix) and not _is_trailing(query, row.name):
                continue
            wanted = fits and common != last_prefix
            more = common == last_prefix and _is_trailing(query, row.name)  # another generation of it
            if (wanted or more) and len(page.items) + len(page.prefixes) >= limit:
                page.next = Position(row.name, row.generation - 1, more)
                return page
            if common is None:
                if wanted:
                    page.items.append(row)
                continue
            if wanted:
                page.prefixes.append(common)
            last_prefix = common
            if _is_trailing(query, row.name) and (not pattern or matching(pattern, [row.name])[0]):
                page.items.append(row)
        if at_end:
            return page
        at = _after(rows[-1], last_prefix)
    return page


def _fetch(connection: Connection, query: Query, at: Position, limit: int) -> list[ObjectRow]:
    name, generation = objects.c.name, objects.c.generation
    select = sa.select(objects).where(objects.c.bucket == query.bucket, name >= at.name)
    if query.soft_deleted_at is not None:
        kept = (objects.c.state == SOFT_DELETED, objects.c.hard_deleted > query.soft_deleted_at)
        select = select.where(*kept).order_by(name, generation)
    elif query.versions:
        select = select.where(SEEN).order_by(name, generation)
    else:
        # Written out as a constant, so that the partial index of live objects serves.
        select = select.where(sa.text(f"state = {LIVE}")).order_by(name)
    if at.generation >= 0:
        select = select.where(sa.or_(name > at.name, generation > at.generation))
    upper = successor(query.prefix)
    for bound in (upper, query.end or None):
        if bound is not None:
            select = select.where(name < bound)
    glob_end = successor(_literal_start(query.glob)) if query.glob else None
    if glob_end is not None:
        select = select.where(name >= _literal_start(query.glob), name < glob_end)
    return [row_of(found) for found in connection.execute(select.limit(limit))]


def _common_prefix(query: Query, name: str) -> str | None:
    """`name` up to and with the first delimiter after the prefix, or None if there is none."""
    if not query.delimiter:
        return None
    cut = name.find(query.delimiter, len(query.prefix))
    return None if cut < 0 else name[: cut + len(query.delimiter)]


def _is_trailing(query: Query, name: str) -> bool:
    return query.trailing_delimiter and _common_prefix(query, name) == name


def _after(row: ObjectRow, last_prefix: str) -> Position | None:
    """Where to go on after `row`: past everything under its common prefix, if it has one."""
    if last_prefix and row.name.startswith(last_prefix):
        if row.name == last_prefix:  # other generations of a name that ends with the delimiter
            return Position(row.name, row.generation)
        beyond = successor(last_prefix)
        return None if beyond is None else Position(beyond)
    return Position(row.name, row.generation)


def successor(prefix: str) -> str | None:
    """The least string greater than every string that begins with `prefix`; None if there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
        prefix = prefix[:-1]
    return None


def _literal_start(glob: str) -> str:
    return re.split(r"[*?\[{\\]", glob, maxsplit=1)[0]


def glob_pattern(glob: str) -> str:
    """The glob as a pattern for `matching`: `*` and `?` stop at `/`, `**` does not, and
    `**/` may be none; `[a-z]`, `[!a]`, `{x,y}`.

    Source: cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob.
    Raises:
        InvalidArgument: an unclosed bracket or brace; nonsense in brackets, or too much of it all.
    """
    out: list[str] = []
    i, depth = 0, 0
    while i < len(glob):
        c = glob[i]
        i += 1
        if glob.startswith("**/", i - 1) and (i == 1 or glob[i - 2] in "/{,"):
            out.append("(?:.*/)?")  # folders, also none
            i += 2
        elif glob.startswith("**", i - 1):
            out.append(".*")
            i += 1
        elif c == "*":
            out.append("[^/]*")
        elif c == "?":
            out.append("[^/]")
        elif c == "[":
            close = glob.find("]", i + 1)
            if close < 0:
                raise _bad_glob(glob)
            inside = glob[i:close]
            negated = inside[:1] in ("!", "^")
            inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if negated else inside)
            out.append(f"[{'^' if negated else ''}{inside}]")
            i = close + 1
        elif c == "{":
            depth += 1
            out.append("(?:")
        elif c == "}" and depth:
            depth -= 1
            out.append(")")
        elif c == "," and depth:
            out.append("|")
        elif c == "\\" and i < len(glob):
            out.append(re.escape(glob[i]))
            i += 1
        else:
            out.append(re.escape(c))
    if depth:
        raise _bad_glob(glob)
    pattern = f"(?s)^(?:{''.join(out)})$"
    try:
        matching(pattern, [""])
    except ValueError:
        raise _bad_glob(glob) from None
    return pattern


def matching(pattern: str, names: list[str]) -> list[bool]:
    """Which of these the pattern matches: by RE2, which takes no time that grows with its tricks.

    Raises:
        ValueError: it is none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    match: Any = pc.match_substring_regex
    found: list[bool] = match(pa.array(names, pa.string()), pattern=pattern).to_pylist()
    return found


def _bad_glob(glob: str) -> InvalidArgument:
    return InvalidArgument(f"Not a glob: {glob!r}", reason="invalid", field="matchGlob")
