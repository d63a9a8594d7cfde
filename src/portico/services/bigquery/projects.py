"""bigquery.projects: getServiceAccount."""

from __future__ import annotations

from typing import Any

from portico.ids import project_number
from portico.services.bigquery import shapes
from portico.services.call import Call, implements


@implements("bigquery", "projects.getServiceAccount")
def get_service_account(call: Call) -> dict[str, Any]:
    email = f"bq-{project_number(shapes.project(call))}@bigquery-encryption.iam.gserviceaccount.com"
    return {"kind": "bigquery#getServiceAccountResponse", "email": email}
