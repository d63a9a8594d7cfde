"""The views of INFORMATION_SCHEMA about jobs and about the sessions that they run in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from portico.warehouse.information_schema import Scope, View, columns
from portico.warehouse.information_schema import time_of as _time
from portico.warehouse.query_sessions import IDLE, LONGEST

Rows = Iterator[dict[str, Any]]
_TEXT, _WHOLE, _TRUTH, _TIME = pa.string(), pa.int64(), pa.bool_(), pa.timestamp("us", "UTC")
_TIMED = (
    "project_id user_email job_id job_type statement_type priority parent_job_id reservation_id total_bytes_billed "
    "total_bytes_processed error_result cache_hit transaction_id"
)


def _bodies(scope: Scope) -> list[dict[str, Any]]:
    return list(scope.outside("jobs", project=scope.project)) if scope.outside is not None else []


def _jobs(scope: Scope) -> Rows:
    for body in _bodies(scope):
        configuration, statistics = body["configuration"], body.get("statistics") or {}
        asked = configuration.get(str(configuration["jobType"]).lower()) or {}
        told, status = statistics.get("query") or {}, body["status"]
        error, counts = status.get("errorResult"), told.get("dmlStats")
        yield {
            "creation_time": _time(statistics, "creationTime"), "start_time": _time(statistics, "startTime"),
            "end_time": _time(statistics, "endTime"), "project_id": body["jobReference"]["projectId"],
            "user_email": body.get("user_email"), "job_id": body["jobReference"]["jobId"],
            "job_type": configuration["jobType"], "statement_type": told.get("statementType"),
            "priority": asked.get("priority") or "INTERACTIVE", "query": asked.get("query"), "state": status["state"],
            "total_bytes_processed": int(statistics.get("totalBytesProcessed") or 0),
            "total_bytes_billed": int(told.get("totalBytesBilled") or 0),
            "total_slot_ms": int(statistics.get("totalSlotMs") or 0), "cache_hit": told.get("cacheHit"),
            "error_result": {
                "reason": error.get("reason"), "location": error.get("location"), "message": error.get("message"),
            } if error else None,
            "destination_table": _reference(asked.get("destinationTable")),
            "referenced_tables": [_reference(one) for one in told.get("referencedTables") or ()],
            "labels": [{"key": key, "value": value} for key, value in (configuration.get("labels") or {}).items()],
            "parent_job_id": statistics.get("parentJobId"),
            "query_dialect": "GOOGLE_SQL" if asked.get("query") else None,
            "dml_statistics": {
                "inserted_row_count": int(counts.get("insertedRowCount") or 0),
                "deleted_row_count": int(counts.get("deletedRowCount") or 0),
                "updated_row_count": int(counts.get("updatedRowCount") or 0),
            } if counts else None,
        }  # fmt: skip


def _timeline(scope: Scope) -> Rows:
    """A row for each second of a job. What was done in each is not measured: all have the same share of the whole."""
    for one in _jobs(scope):
        start, end = one["start_time"] or one["creation_time"], one["end_time"] or dt.datetime.now(dt.UTC)
        if start is None:
            continue
        period, last = start.replace(microsecond=0), end.replace(microsecond=0)
        kept = {name: one.get(name) for name in _TIMED.split()}
        times = {f"job_{name}": one[name] for name in ("creation_time", "start_time", "end_time")}
        share, over = divmod(one["total_slot_ms"], int((last - period).total_seconds()) + 1)
        while period <= last:
            yield {
                **kept, **times, "period_start": period, "period_slot_ms": share + (over if period == last else 0),
                "state": one["state"] if period == last else "RUNNING",
            }  # fmt: skip
            period += dt.timedelta(seconds=1)


def _sessions(scope: Scope) -> Rows:
    found: dict[str, dict[str, Any]] = {}
    for body in _bodies(scope):
        statistics = body.get("statistics") or {}
        if identity := (statistics.get("sessionInfo") or {}).get("sessionId"):
            made = _time(statistics, "creationTime")
            one = found.setdefault(identity, {
                "creation_time": made, "project_id": body["jobReference"]["projectId"], "session_id": identity,
                "user_email": body.get("user_email"), "principal_subject": f"user:{body.get('user_email')}",
                "last_modified_time": made, "is_active": identity in scope.sessions,
            })  # fmt: skip
            one["creation_time"] = min(one["creation_time"], made)
            one["last_modified_time"] = max(one["last_modified_time"], _time(statistics, "endTime") or made)
    for one in found.values():
        idle, longest = (dt.timedelta(seconds=each) for each in (IDLE, LONGEST))
        yield one | {"expiration_time": min(one["last_modified_time"] + idle, one["creation_time"] + longest)}


def _of_caller(rows: Callable[[Scope], Rows]) -> Callable[[Scope], Rows]:
    return lambda scope: (one for one in rows(scope) if one["user_email"] == scope.caller)


def _reference(told: dict[str, Any] | None) -> dict[str, Any] | None:
    if not told:
        return None
    return {
        "project_id": told.get("projectId"),
        "dataset_id": told.get("datasetId"),
        "table_id": told.get("tableId"),
    }


_REFERENCE = pa.struct({"project_id": _TEXT, "dataset_id": _TEXT, "table_id": _TEXT})
_JOBS = View(
    columns(
        "creation_time project_id user_email job_id job_type statement_type priority start_time end_time query state "
        "total_bytes_processed total_bytes_billed total_slot_ms error_result cache_hit destination_table "
        "referenced_tables labels parent_job_id reservation_id transaction_id query_dialect dml_statistics",
        creation_time=_TIME, start_time=_TIME, end_time=_TIME, total_bytes_processed=_WHOLE, total_bytes_billed=_WHOLE,
        total_slot_ms=_WHOLE, cache_hit=_TRUTH, destination_table=_REFERENCE, referenced_tables=pa.list_(_REFERENCE),
        error_result=pa.struct({"reason": _TEXT, "location": _TEXT, "message": _TEXT}),
        dml_statistics=pa.struct(
            {"inserted_row_count": _WHOLE, "deleted_row_count": _WHOLE, "updated_row_count": _WHOLE}
        ),
        labels=pa.list_(pa.struct({"key": _TEXT, "value": _TEXT})),
    ),
    _jobs,
)  # fmt: skip
_TIMELINE = columns(
    "period_start period_slot_ms project_id user_email job_id job_type statement_type priority parent_job_id "
    "job_creation_time job_start_time job_end_time state reservation_id total_bytes_billed total_bytes_processed "
    "error_result cache_hit transaction_id",
    period_start=_TIME, period_slot_ms=_WHOLE, job_creation_time=_TIME, job_start_time=_TIME, job_end_time=_TIME,
    total_bytes_billed=_WHOLE, total_bytes_processed=_WHOLE, cache_hit=_TRUTH,
    error_result=_JOBS.columns["error_result"],
)  # fmt: skip
_SESSIONS = columns(
    "creation_time expiration_time is_active last_modified_time principal_subject project_id session_id user_email",
    creation_time=_TIME, expiration_time=_TIME, last_modified_time=_TIME, is_active=_TRUTH,
)  # fmt: skip
VIEWS = {
    f"{name}{part}": View(shape, rows if part != "_BY_USER" else _of_caller(rows))
    for name, shape, rows, parts in (
        ("JOBS", _JOBS.columns, _jobs, ("", "_BY_PROJECT", "_BY_USER")),
        ("JOBS_TIMELINE", _TIMELINE, _timeline, ("", "_BY_PROJECT", "_BY_USER")),
        ("SESSIONS", _SESSIONS, _sessions, ("_BY_PROJECT", "_BY_USER")),
    )
    for part in parts
}
