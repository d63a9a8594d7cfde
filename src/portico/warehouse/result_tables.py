"""Queries' own results as tables, which `job.destination` names: each is made when it is first named, so that queries,
copies and extracts read it like any other. https://cloud.google.com/bigquery/docs/writing-results#temporary_and_permanent_tables
"""

from __future__ import annotations

import re
import time
from typing import Any

from portico.warehouse import arrow, catalog
from portico.warehouse.catalog import Entry
from portico.warehouse.client import ANONYMOUS, job_name, result_file
from portico.warehouse.engine import Warehouse
from portico.warehouse.typed_rows import typed

NAMED = re.compile(rf"{ANONYMOUS}\W+(?:tables?\W+)*([\w-]+)")
READERS = frozenset({"query", "get", "copy", "extract"})
"""Requests that read tables by their names; the others that name a result read its file."""

_KEPT = 24 * 3600 * 1000  # milliseconds, as long as Google keeps a result


def look(warehouse: Warehouse, arguments: dict[str, Any], request: str) -> None:
    """Makes those that a request names, by whoever may see everything: another's results are nobody else's."""
    if arguments.get("guarded"):
        return
    project = str(arguments.get("project") or (arguments.get("source") or {}).get("project") or "")
    for one in arguments.get("sources") or ():
        project = project or str(one["project"])
    for name in set(NAMED.findall(request)) | {str(arguments.get("table") or "")}:
        if project and name:
            _make(warehouse, project, name)


def _make(warehouse: Warehouse, project: str, name: str) -> None:
    path = result_file(warehouse.folder, job_name(project, name))
    with warehouse.reading() as cursor:
        if not path.exists() or catalog.find(cursor, project, ANONYMOUS, name) is not None:
            return
    rows, fields = arrow.read(path)
    with warehouse.transaction() as cursor:
        expires = str(int(time.time() * 1000) + _KEPT)
        body = {"schema": {"fields": fields}, "expirationTime": expires}
        cursor.register("_made", typed(cursor, rows, fields, [], 0))
        catalog.create_table(cursor, Entry(project, ANONYMOUS, name, body), select="SELECT * FROM _made")
        cursor.unregister("_made")
