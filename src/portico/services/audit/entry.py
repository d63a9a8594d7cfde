"""An entry of Cloud Audit Logs (https://cloud.google.com/logging/docs/reference/audit/auditlog/rest/Shared.Types/AuditLog)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import orjson

from portico.clock import rfc3339
from portico.store.audit import LOGS, Entry

_LARGEST = 16 << 10  # bytes of a request that is kept whole
_SECRET = re.compile(r"password|secret|token(?!izer)|private_?key|credential", re.IGNORECASE)
_TYPE = "type.googleapis.com/google.cloud.audit.AuditLog"


def made(
    project: str,
    service: str,
    resource: str,
    told: Mapping[str, Any],
    now: float,
    insert_id: str,
    *,
    log: Literal["activity", "data_access"] = "activity",
    bucket: str = "",
) -> Entry:
    """`told` is the rest of the AuditLog; with a `status` it tells of what failed. `now` in seconds since the epoch."""
    name = f"projects/{project}{LOGS}%2F{log}"
    labels = {"project_id": project, "service": service, "method": told["methodName"]}
    usual = "NOTICE" if log == "activity" else "INFO"
    body = {
        "logName": name,
        "insertId": insert_id,
        "timestamp": rfc3339(now),
        "receiveTimestamp": rfc3339(now),
        "severity": "ERROR" if "status" in told else usual,
        "resource": {
            "type": "gcs_bucket" if bucket else "audited_resource",
            "labels": labels | ({"bucket_name": bucket} if bucket else {}),
        },
        "protoPayload": {"@type": _TYPE, "serviceName": service, "resourceName": resource, **told},
    }
    return Entry(f"projects/{project}", name, now, insert_id, resource, body)


def service_agent(project: str) -> str:
    """As whom Vertex AI acts in a project."""
    return f"service-{project}@gcp-sa-aiplatform.iam.gserviceaccount.com"


def shown(body: dict[str, Any]) -> dict[str, Any]:
    """A request as it is kept: without secrets, and only so much."""
    shown: dict[str, Any] = _without_secrets(body)
    size = len(orjson.dumps(shown, lambda data: "of bytes"))
    return shown if size <= _LARGEST else {"truncated": f"a request of {size} bytes", "fields": sorted(shown)}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: "(not kept)" if _SECRET.search(key) and isinstance(inner, str) else _without_secrets(inner)
            for key, inner in value.items()
        }
    return [_without_secrets(one) for one in value] if isinstance(value, list) else value
