"""bigquery.projects: getServiceAccount, list."""

from __future__ import annotations

import itertools
from typing import Any

from portico.ids import project_number
from portico.services.bigquery import shapes
from portico.services.call import Call, implements
from portico.services.iam.seen_projects import seen
from portico.services.standard import pages
from portico.warehouse.client import warehouse


@implements("bigquery", "projects.getServiceAccount")
def get_service_account(call: Call) -> dict[str, Any]:
    email = f"bq-{project_number(shapes.project(call))}@bigquery-encryption.iam.gserviceaccount.com"
    return {"kind": "bigquery#getServiceAccountResponse", "email": email}


@implements("bigquery", "projects.list")
def listed(call: Call) -> dict[str, Any]:
    size = pages.page_size(call.params.get("maxResults"), default=50, maximum=50)
    place = pages.read_token(str(call.params.get("pageToken") or ""), call.method)
    with_datasets = warehouse(call.rooms.home).ask("projects")
    found = list(
        itertools.islice(seen(call, after=str(place[0]) if place else "", more=with_datasets), size + 1)
    )
    shown = [
        {
            "kind": "bigquery#project",
            "id": one,
            "numericId": str(project_number(one)),
            "projectReference": {"projectId": one},
            "friendlyName": one,
        }
        for one in found[:size]
    ]
    answer = {"kind": "bigquery#projectList", "projects": shown, "totalItems": len(shown)}
    if len(found) > size:
        answer["nextPageToken"] = pages.write_token([found[size - 1]], call.method)
    return answer
