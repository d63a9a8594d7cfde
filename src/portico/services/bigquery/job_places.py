"""In which location a job runs, and where it may look for data sets.

https://cloud.google.com/bigquery/docs/locations#specify_locations
"""

from __future__ import annotations

from typing import Any

from portico.services.bigquery import settings, shapes
from portico.services.call import Call
from portico.warehouse.client import ANONYMOUS
from portico.warehouse.locations import DEFAULT, canonical


def place(call: Call, kind: str, configuration: dict[str, Any], told: str) -> tuple[str, str]:
    """The location of a job, which is `told` or that of the data it speaks of, and the one whose data sets it finds; ""
    for all, since a table may be copied to another location.

    Raises:
        InvalidArgument: there is no location of the name.
    """
    if told:
        return (canonical(told),) * 2
    asked = configuration[kind]
    text, session = "", ""
    tables = [asked.get("sourceTable") or asked.get("sourceModel") if kind == "extract" else None]
    tables.append(asked.get("destinationTable"))
    project = shapes.project(call)
    if kind == "query":
        said = settings.connection(asked)
        text, session = str(asked["query"]), said.get("session_id", "")
        default = asked.get("defaultDataset") or {}
        tables.append({"projectId": said.get("dataset_project_id") or project, **default})
    named = [
        {"project": str(one.get("projectId") or project), "dataset": str(one["datasetId"])}
        for one in tables
        if one and one.get("datasetId", ANONYMOUS) != ANONYMOUS
    ]
    if named or session or "." in text or "schema" in text.lower():
        found = shapes.ask(call, "job_location", project=project, tables=named, text=text, session=session)
    else:
        found = DEFAULT
    return found, "" if kind == "copy" else found
