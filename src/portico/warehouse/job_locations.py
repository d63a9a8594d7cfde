"""Where a job runs that was told no location: where the first data set is that it speaks of, else in the US.

https://cloud.google.com/bigquery/docs/locations#specify_locations
"""

from __future__ import annotations

from collections.abc import Mapping

from portico.errors import InvalidArgument
from portico.warehouse import catalog
from portico.warehouse.engine import Warehouse
from portico.warehouse.locations import DEFAULT, canonical
from portico.warehouse.tokens import Tokens

# Words before the path of a table, a routine or a data set. A path elsewhere may be one of a column.
_BEFORE = frozenset(
    ["FROM", "JOIN", "INTO", "INSERT", "UPDATE", "DELETE", "MERGE", "USING", "TABLE", "VIEW", "MODEL", "FUNCTION",
     "PROCEDURE", "CALL", "SCHEMA", "EXISTS", "ON", "LIKE", "CLONE", "COPY"]
)  # fmt: skip

Datasets = Mapping[tuple[str, str], str]


def of_job(
    warehouse: Warehouse, project: str, tables: list[dict[str, str]], text: str = "", session: str = ""
) -> str:
    """`tables`: those (or data sets) that its configuration names, `project` and `dataset`, of which the first that is
    there counts; then what its text names. A session's jobs are where it is."""
    if session and (found := warehouse.sessions.location_of(session)):
        return found
    with warehouse.reading() as cursor:
        known = catalog.dataset_locations(cursor)
    named = ((one["project"], one["dataset"]) for one in tables)
    if found := next((known[key] for key in named if key in known), ""):
        return found
    try:
        return _of_text(Tokens(text), project, known) or DEFAULT
    except InvalidArgument:
        return DEFAULT  # the job tells what is wrong with its text


def _of_text(tokens: Tokens, project: str, known: Datasets) -> str:
    before, schema = "", False
    while tokens:
        if schema and tokens.take("LOCATION", "="):
            return canonical(tokens.string())
        path = _path(tokens)
        if found := _of_path(path, project, known, before in _BEFORE or tokens.sees("(")):
            return found
        before = path[0].upper() if len(path) == 1 else ""
        schema = schema or before == "SCHEMA"
    return ""


def _path(tokens: Tokens) -> list[str]:
    """The names that come next, joined by points; none where something else comes, which is passed over."""
    start = tokens.at
    try:
        return tokens.path()
    except InvalidArgument:
        tokens.at = max(tokens.at, start + 1)
        return []


def _of_path(path: list[str], project: str, known: Datasets, alone: bool) -> str:
    """`alone`: the path may begin with a data set of the job's own project."""
    for place in path[:2]:
        if place.lower().startswith("region-"):
            return canonical(place[len("region-") :])
    if len(path) > 2 and (found := known.get((path[0], path[1]))):
        return found
    return known.get((project, path[0]), "") if alone and len(path) > 1 else ""
