"""Which of a table's versions held at a time, and tables that are brought back."""

from __future__ import annotations

from portico.errors import AlreadyExists, InvalidArgument, NotFound
from portico.warehouse import catalog, storage
from portico.warehouse.catalog import Cursor, Entry


def find(cursor: Cursor, named: Entry, moment: int) -> tuple[Entry, int]:
    """The table of this name as it was at `moment`, in microseconds since the epoch, and that moment.

    Raises:
        InvalidArgument: it is in the future, or before what is kept. NotFound: there never was such a table.
    """
    holder = catalog.require(cursor, named.project, named.dataset)
    found = catalog.find(cursor, named.project, named.dataset, named.table)
    if found is not None and not found.storage:
        raise InvalidArgument(
            f"FOR SYSTEM_TIME AS OF is only for tables with rows of their own: {found.shown} is none",
            reason="invalidQuery",
        )
    former = storage.versions(cursor, named.project, named.dataset, named.table)
    if found is None and not former:
        catalog.require(cursor, named.project, named.dataset, named.table)
    present = storage.now(cursor)
    if moment > present:
        raise _refused(named, moment, f"The time is in the future: it is {present // 1000}.")
    oldest = present - storage.window(holder.body)
    if moment >= oldest:
        if found is not None and int(found.body["_began"]) <= moment:
            return found, moment
        for body, began, ended in former:
            if began <= moment < ended:
                return Entry(named.project, named.dataset, named.table, body), moment
    first = min([began for _, began, _ in former] + ([int(found.body["_began"])] if found else []))
    raise _refused(named, moment, f"Cannot read before {max(first, oldest) // 1000}.")


def _refused(named: Entry, moment: int, why: str) -> InvalidArgument:
    at = moment // 1000
    return InvalidArgument(
        f"Invalid snapshot time {at} for table {named.shown}@{at}. {why}", reason="invalidQuery"
    )


def undrop(cursor: Cursor, named: Entry) -> Entry:
    """Brings back the table that was dropped last.

    Raises:
        AlreadyExists: there is one of this name. NotFound: none was dropped within the time that is kept.
    """
    catalog.require(cursor, named.project, named.dataset)
    if catalog.find(cursor, named.project, named.dataset, named.table) is not None:
        raise AlreadyExists(f"Already Exists: Table {named.shown}", reason="duplicate")
    former = storage.versions(cursor, named.project, named.dataset, named.table)
    if not former:
        raise NotFound(f"Not found: Table {named.shown} was not dropped lately", reason="notFound")
    body, _, ended = former[0]
    found = Entry(named.project, named.dataset, named.table, body)
    storage.revive(cursor, *catalog.key_of(found), ended)
    catalog.write(cursor, found)
    return found


def undrop_dataset(cursor: Cursor, named: Entry) -> Entry:
    """Brings back the dataset that was dropped last, and what was in it then.

    Raises:
        AlreadyExists: there is one of this name. NotFound: none was dropped within the time that is kept.
    """
    if catalog.find(cursor, named.project, named.dataset) is not None:
        raise AlreadyExists(f"Already Exists: Dataset {named.shown}", reason="duplicate")
    former = storage.versions(cursor, named.project, named.dataset, "")
    if not former:
        raise NotFound(f"Not found: Dataset {named.shown} was not dropped lately", reason="notFound")
    body, _, ended = former[0]
    found = Entry(named.project, named.dataset, "", body)
    for name, inner in storage.dropped_at(cursor, named.project, named.dataset, ended):
        storage.revive(cursor, named.project, named.dataset, name, ended)
        catalog.write(cursor, Entry(named.project, named.dataset, name, inner))
    return found
