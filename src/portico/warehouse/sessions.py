"""Read sessions: the rows of a table as they are at one moment, in a file that whoever reads them maps.

A session is two files of the folder `sessions`, ID.arrow and ID.json, so it outlives the processes; a stream of it is
a range of its rows, which its name says.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.errors import InvalidArgument, NotFound, Unimplemented
from portico.warehouse.client import ANONYMOUS, FOLDER, job_name, result_file
from portico.warehouse.types import Field

if TYPE_CHECKING:
    from portico.warehouse.engine import Warehouse

LIFETIME = 6 * 3600  # seconds, as Google's


@dataclass(frozen=True)
class Wanted:
    """What a session shows of a table: `columns` (nested ones as "a.b"; all where none is named), rows by an expression
    of GoogleSQL's, as they were at `snapshot` (RFC 3339), a percentage of them."""

    project: str
    dataset: str
    table: str
    columns: Sequence[str] = ()
    restriction: str = ""
    snapshot: str = ""
    sample: float | None = None
    caller: str = ""  # who sees the rows that row access policies grant


def folder_of(warehouse_folder: Path) -> Path:
    return warehouse_folder / "sessions"


def make(warehouse: Warehouse, **asked: Any) -> dict[str, Any]:
    """Keeps the rows that are `Wanted` for a session; its id, how many they are and how large.

    Raises:
        PorticoError: there is no such table, it has no rows of its own, or what is wanted of it can't be read.
    """
    from portico.warehouse import arrow

    wanted = Wanted(**asked)
    kept = folder_of(warehouse.folder)
    kept.mkdir(mode=0o700, exist_ok=True)
    _sweep(kept)
    made = uuid.uuid4().hex
    path = kept / f"{made}.arrow"
    result = result_file(warehouse.folder, job_name(wanted.project, wanted.table))
    if wanted.dataset == ANONYMOUS and result.exists():
        _result(result, wanted, path)
    else:
        done = _selected(warehouse, wanted)
        arrow.write(path, done.rows, done.fields)
    table, _ = arrow.read(path)
    return {"id": made, "rows": table.num_rows, "bytes": table.nbytes}


def _result(found: Path, wanted: Wanted, path: Path) -> None:
    """A query's result, which is a file already."""
    from portico.warehouse import arrow

    if wanted.restriction or wanted.snapshot or wanted.sample is not None:
        raise Unimplemented(
            "A row restriction, a snapshot time or a sample of a query's own result is not built in Portico: say it "
            "in the query, or give the query a destination table."
        )
    if not wanted.columns:
        os.link(found, path)
        return
    table, fields = arrow.read(found)
    chosen = _chosen(fields, wanted.columns)
    arrow.write(path, table.select([one["name"] for one in chosen]), chosen)


def _chosen(fields: list[Field], columns: Sequence[str]) -> list[Field]:
    names = {name.lower() for name in columns}
    _check_known(fields, columns)
    return [one for one in fields if one["name"].lower() in names]


def _check_known(fields: list[Field], columns: Sequence[str]) -> None:
    known = {one["name"].lower() for one in fields}
    unknown = [name for name in columns if name.partition(".")[0].lower() not in known]
    if unknown:
        raise InvalidArgument(
            f"request failed: The following selected fields do not exist in the table schema: {', '.join(unknown)}"
        )


def _selected(warehouse: Warehouse, wanted: Wanted) -> Any:
    from portico.warehouse import catalog
    from portico.warehouse.asked import Asked
    from portico.warehouse.dialect import parse

    with warehouse.reading() as cursor:
        found = catalog.require(cursor, wanted.project, wanted.dataset, wanted.table)
    if found.is_view:
        raise InvalidArgument(
            f"request failed: only tables are supported; {found.shown} is a view. Query it, and read the result."
        )
    _check_known(found.fields, wanted.columns)
    text = f"SELECT {_cells(found.fields, wanted.columns)} FROM `{wanted.project}.{wanted.dataset}.{wanted.table}`"
    if wanted.snapshot:
        text += f" FOR SYSTEM_TIME AS OF TIMESTAMP '{wanted.snapshot}'"
    if wanted.sample is not None:
        text += f" TABLESAMPLE SYSTEM ({wanted.sample} PERCENT)"
    if wanted.restriction:
        try:
            [condition] = parse(f"SELECT {wanted.restriction}\n")
            [expression] = condition.expressions
        except ValueError:
            raise InvalidArgument(
                f"request failed: the row restriction is no expression: {wanted.restriction}"
            ) from None
        text += f" WHERE {expression.sql('bigquery')}"
    [done] = warehouse.run(text, Asked(wanted.project, caller=wanted.caller))
    done.fields = _modes(done.fields, found.fields)
    return done


def _modes(shown: list[Field], fields: list[Field]) -> list[Field]:
    """Columns of a query with what only their table says: that they have always a value."""
    own = {one["name"].lower(): one for one in fields}
    return [
        {**one, "mode": own[one["name"].lower()].get("mode") or one["mode"]}
        if one["name"].lower() in own
        else one
        for one in shown
    ]


def _cells(fields: list[Field], columns: Sequence[str], within: str = "") -> str:
    """The columns of a query, in the table's order, of structs only the members that are named."""
    members: dict[str, list[str]] = {}
    for name in columns:
        first, _, rest = name.partition(".")
        members.setdefault(first.lower(), []).append(rest)
    shown = []
    for one in fields:
        name = one["name"]
        if columns and name.lower() not in members:
            continue
        inside = members.get(name.lower(), [""])
        place = f"{within}`{name}`"
        if "" in inside:
            shown.append(place if not within else f"{place} AS `{name}`")
        elif str(one.get("mode", "")).upper() == "REPEATED":
            inner = _cells(one["fields"], inside, "_e.")
            shown.append(
                f"ARRAY(SELECT STRUCT({inner}) FROM UNNEST({place}) AS _e WITH OFFSET _o ORDER BY _o) AS `{name}`"
            )
        else:
            inner = _cells(one["fields"], inside, f"{place}.")
            shown.append(f"IF({place} IS NULL, NULL, STRUCT({inner})) AS `{name}`")
    return ", ".join(shown)


def _sweep(folder: Path) -> None:
    """Removes sessions that have expired."""
    oldest = time.time() - LIFETIME
    for path in folder.glob("*.json"):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
            path.with_suffix(".arrow").unlink(missing_ok=True)


# --- in the process that serves them ---------------------------------------------------------------------


def keep(home: Path, session: str, settings: dict[str, Any]) -> None:
    """Writes down how a session's rows are to be answered."""
    path = folder_of(home / FOLDER) / f"{session}.json"
    path.write_text(json.dumps(settings))


def settings_of(home: Path, session: str) -> tuple[dict[str, Any], Path]:
    """What `keep` wrote, and the file of the rows.

    Raises:
        NotFound: there is no such session, or it has expired.
    """
    path = folder_of(home / FOLDER) / f"{session}.json"
    try:
        if path.stat().st_mtime > time.time() - LIFETIME:
            return json.loads(path.read_text()), path.with_suffix(".arrow")
    except OSError:
        pass
    raise NotFound(f"Requested read session {session} was not found; it may have expired.")
