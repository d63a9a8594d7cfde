"""BigQuery's resources as its API shows them, and what all its collections read from a request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from portico.errors import FailedPrecondition, InvalidArgument
from portico.services.call import Call
from portico.warehouse import iam_policies
from portico.warehouse.client import OWNER, warehouse

_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE = re.compile(r"[\w\-  ]{1,1024}")


def ask(
    call: Call, method: str, outside: Callable[[str, dict[str, Any]], Any] | None = None, /, **arguments: Any
) -> Any:
    """Asks the warehouse of this home; `outside` answers what it needs meanwhile of what is not in it."""
    return warehouse(call.rooms.home).ask(method, outside, **arguments)


def caller(call: Call) -> str:
    """The e-mail address of who asks."""
    return call.caller.email or OWNER


def project(call: Call) -> str:
    return str(call.params["projectId"])


def check_dataset_id(name: str) -> str:
    """
    Raises:
        InvalidArgument: BigQuery allows no such id.
    """
    if not _DATASET.fullmatch(name or ""):
        raise InvalidArgument(
            f'Invalid dataset ID "{name}". Dataset IDs must be alphanumeric (plus underscores) and must be at most '
            "1024 characters long.",
            reason="invalid",
        )
    return name


def check_table_id(name: str) -> str:
    """
    Raises:
        InvalidArgument: BigQuery allows no such id.
    """
    if not _TABLE.fullmatch(name or ""):
        raise InvalidArgument(
            f'Invalid table ID "{name}". Table IDs must be letters, digits, underscores, hyphens and spaces, at most '
            "1024 characters.",
            reason="invalid",
        )
    return name


_DECORATED = re.compile(r"([^$@]*)(\$[^$@]*)?(@[^$@]*)?")


def check_decorated(name: str) -> str:
    """A table's id that may have a partition or a moment behind it: t$20240101, t@1700000000000.

    Raises:
        InvalidArgument: BigQuery allows no such id.
    """
    found = _DECORATED.fullmatch(name or "")
    check_table_id(found[1] if found else name)
    return name


_COUNTED = (
    "numRows",
    "numBytes",
    "lastModifiedTime",
    "location",
)  # which nobody sets: of the rows, of the dataset


def etag(body: Mapping[str, Any]) -> str:
    """Of what a caller may set of a resource."""
    kept = {key: value for key, value in body.items() if key not in _COUNTED}
    return hashlib.md5(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS), usedforsecurity=False).hexdigest()


def check_etag(call: Call, body: Mapping[str, Any]) -> None:
    """
    Raises:
        FailedPrecondition: the caller knows another state (`If-Match`).
    """
    given = call.headers.get("if-match", "").strip('"')
    if given and given not in ("*", etag(body)):
        raise FailedPrecondition("Precondition check failed.", reason="conditionNotMet", http_status=412)


def patched(body: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with what `change` says; null removes (RFC 7396)."""
    merged = dict(body)
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = patched(merged[key], value)
        else:
            merged[key] = value
    return merged


def timestamps(options: Mapping[str, Any]) -> str:
    """FLOAT64, INT64 or ISO8601_STRING, as DataFormatOptions say; "" where they say nothing.

    Raises:
        InvalidArgument: they say it twice.
    """
    said = str(options.get("timestampOutputFormat") or "").replace("TIMESTAMP_OUTPUT_FORMAT_UNSPECIFIED", "")
    if said and options.get("useInt64Timestamp"):
        raise InvalidArgument(
            "Cannot specify both use_int64_timestamp and timestamp_output_format.",
            reason="invalid",
            field="formatOptions",
        )
    return "INT64" if options.get("useInt64Timestamp") else said


def timestamps_asked(call: Call) -> str:
    """The same, by a request's parameters."""
    names = ("useInt64Timestamp", "timestampOutputFormat")
    return timestamps({name: call.params.get(f"formatOptions.{name}") for name in names})


_REASONS = {
    "NOT_FOUND": "notFound",
    "ALREADY_EXISTS": "duplicate",
    "UNIMPLEMENTED": "notImplemented",
    "CANCELLED": "stopped",
    "RESOURCE_EXHAUSTED": "resourcesExceeded",
    "UNAVAILABLE": "backendError",
}


def error_result(code: str, message: str, reason: str, *, query: bool) -> dict[str, str]:
    """An error as a job's status has it."""
    shown = {"reason": reason or _REASONS.get(code, "invalid"), "message": message}
    return {**shown, "location": "query"} if query and shown["reason"] == "invalidQuery" else shown


def dataset_reference(project_id: str, dataset: str) -> dict[str, str]:
    return {"projectId": project_id, "datasetId": dataset}


def table_reference(project_id: str, dataset: str, table: str) -> dict[str, str]:
    return {"projectId": project_id, "datasetId": dataset, "tableId": table}


def dataset_json(project_id: str, dataset: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "bigquery#dataset",
        "etag": etag(body),
        "id": f"{project_id}:{dataset}",
        "selfLink": f"https://www.googleapis.com/bigquery/v2/projects/{project_id}/datasets/{dataset}",
        "datasetReference": dataset_reference(project_id, dataset),
        "type": "DEFAULT",
        **body,
        "access": iam_policies.access(body),
    }


def table_json(project_id: str, dataset: str, table: str, body: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"fields": [plain(one) for one in (body.get("schema") or {}).get("fields") or ()]}
    return {
        "kind": "bigquery#table",
        "etag": etag(body),
        "id": f"{project_id}:{dataset}.{table}",
        "selfLink": f"https://www.googleapis.com/bigquery/v2/projects/{project_id}/datasets/{dataset}/tables/{table}",
        "tableReference": table_reference(project_id, dataset, table),
        "location": "US",
        **body,
        "schema": schema,
    }


def plain(one: Mapping[str, Any]) -> dict[str, Any]:
    """A field without what only the warehouse knows of it."""
    shown = {key: value for key, value in one.items() if not key.startswith("_")}
    if shown.get("fields"):
        shown["fields"] = [plain(each) for each in shown["fields"]]
    return shown
