"""The audit log as a table of BigQuery, in the shape that Cloud Logging gives tables of audit logs.

https://cloud.google.com/logging/docs/export/bigquery: `protoPayload` becomes `protopayload_auditlog`; what in it has
no fixed shape becomes JSON in a text (`requestJson`, `metadataJson`). Behind Google's columns stand two of ours, the
number and the digest of each entry, by which the chain can be followed.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

Field = dict[str, Any]


def _record(name: str, *fields: Field, mode: str = "NULLABLE") -> Field:
    return {"name": name, "type": "RECORD", "mode": mode, "fields": list(fields)}


def _fields(kind: str, *names: str) -> list[Field]:
    return [{"name": name, "type": kind, "mode": "NULLABLE"} for name in names]


FIELDS: Final = [
    *_fields("STRING", "logName"),
    _record("resource", *_fields("STRING", "type"),
            _record("labels", *_fields("STRING", "project_id", "service", "method", "bucket_name"))),
    _record(
        "protopayload_auditlog",
        *_fields("STRING", "serviceName", "methodName", "resourceName"),
        _record("status", *_fields("INTEGER", "code"), *_fields("STRING", "message")),
        _record("authenticationInfo", *_fields("STRING", "principalEmail")),
        _record("authorizationInfo", *_fields("STRING", "resource", "permission"), *_fields("BOOLEAN", "granted"),
                mode="REPEATED"),
        _record("requestMetadata", *_fields("STRING", "callerIp", "callerSuppliedUserAgent")),
        *_fields("STRING", "requestJson", "metadataJson"),
    ),
    *_fields("TIMESTAMP", "timestamp", "receiveTimestamp"),
    *_fields("STRING", "severity", "insertId"),
    *_fields("INTEGER", "entryNumber"),
    *_fields("STRING", "entryDigest"),
]  # fmt: skip


def row(number: int, digest: bytes, body: bytes) -> bytes:
    """An entry as a line of JSON for the table."""
    entry = orjson.loads(body)
    told = entry.pop("protoPayload")
    for name in ("request", "metadata"):
        if name in told:
            told[f"{name}Json"] = orjson.dumps(told[name]).decode()
    made = {**entry, "protopayload_auditlog": told, "entryNumber": number, "entryDigest": digest.hex()}
    return orjson.dumps(_kept(made, FIELDS)) + b"\n"


def _kept(value: dict[str, Any], fields: list[Field]) -> dict[str, Any]:
    """What of a record the table has; null where the record lacks it."""
    return {field["name"]: _value(value.get(field["name"]), field) for field in fields}


def _value(value: Any, field: Field) -> Any:
    if field["mode"] == "REPEATED":
        return [_kept(each, field["fields"]) for each in value or ()]
    return _kept(value, field["fields"]) if field["type"] == "RECORD" and value is not None else value
