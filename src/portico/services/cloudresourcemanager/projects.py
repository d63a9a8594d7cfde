"""Projects. Every project is there: a name that is used makes it."""

from __future__ import annotations

import re
from typing import Any

from portico.errors import InvalidArgument
from portico.services.call import Call, implements
from portico.services.standard.projects import project_number

# https://cloud.google.com/resource-manager/docs/creating-managing-projects; older ones have a domain before a colon.
_ID = re.compile(r"([a-z][a-z0-9.-]*:)?[a-z][a-z0-9-]*|\d+")


@implements("cloudresourcemanager", "projects.get")
def get(call: Call) -> dict[str, Any]:
    project = call.name.removeprefix("projects/")
    if not _ID.fullmatch(project):
        raise InvalidArgument(
            f"{project!r} is no project id: lower-case letters, digits and hyphens, a letter first.",
            field="name",
        )
    return {
        "name": f"projects/{project_number(project)}",
        "projectId": project,
        "displayName": project,
        "state": "ACTIVE",
    }
