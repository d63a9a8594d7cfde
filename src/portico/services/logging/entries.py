"""Log entries: what was written by this API, the audit log, what the code of training jobs printed, and what serving
left, as Vertex AI writes it.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry, https://cloud.google.com/vertex-ai/docs/training/monitor-logs
"""

from __future__ import annotations

import heapq
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339, rfc3339
from portico.errors import InvalidArgument, Violation
from portico.jobs import lines
from portico.jobs.worker import job_folder
from portico.services.call import Call, implements
from portico.services.iam import targets
from portico.services.logging import serving
from portico.services.logging.query import Query, compile_query
from portico.services.logging.streams import Placed, Stream, in_order
from portico.services.standard import pages
from portico.store import audit, jobs, log_entries
from portico.store.jobs import Job
from portico.store.log_entries import Entry

_OWNER = r"(?:projects|folders|organizations|billingAccounts)/[^/]+"
LOG = re.compile(rf"(?P<owner>{_OWNER})/logs/[A-Za-z0-9_.%/-]+")
_NAMED = re.compile(rf"(?P<owner>{_OWNER})(?:/locations/[^/]+/buckets/[^/]+/views/[^/]+)?")
_LARGEST = 256 << 10  # bytes of an entry
_ORDERS = {"": False, "timestamp": False, "timestamp asc": False, "timestamp desc": True}
_LOOKED = 100_000  # entries that a request looks at
_PAYLOADS = ("textPayload", "jsonPayload", "protoPayload")


@implements("logging", "entries.list")
def entries_list(call: Call) -> dict[str, Any]:
    body = call.body
    owners = _owners(body)
    query = compile_query(body.get("filter", ""), call.rooms.fields("logging", "v2", "LogEntry"))
    order = body.get("orderBy", "")
    if order not in _ORDERS:
        raise InvalidArgument('orderBy is "timestamp asc" or "timestamp desc".', field="orderBy")
    newest_first = _ORDERS[order]
    size = pages.page_size(body.get("pageSize"), default=50, maximum=1000)
    asked = ("entries", ",".join(owners), body.get("filter", ""), order)
    place = pages.read_token(body.get("pageToken", ""), *asked)
    if place and newest_first:
        query.until = min(query.until, place[0])
    elif place:
        query.since = max(query.since, place[0])
    with call.rooms.database.read() as connection:
        every = [
            found
            for owner in owners
            for found in (
                _written(connection, owner, query, newest_first),
                _audited(call, connection, owner, query, newest_first),
                _printed(call, connection, owner, query, newest_first),
                *serving.read(call.rooms, connection, owner, query, newest_first),
            )
        ]
        merged = heapq.merge(*every, key=lambda one: one[:2], reverse=newest_first)
        found, last = _page((one for one in merged if _is_after(one, place, newest_first)), query, size)
    answer: dict[str, Any] = {"entries": found} if found else {}
    if last:
        answer["nextPageToken"] = pages.write_token(last, *asked)
    return answer


def _page(
    merged: Iterable[Placed], query: Query, size: int
) -> tuple[list[dict[str, Any]], tuple[float, str] | None]:
    """The entries of a page, and behind which place the next one begins: a page is whole, or ends after so many entries
    that it does not want."""
    found: list[dict[str, Any]] = []
    last: tuple[float, str] | None = None
    for looked, one in enumerate(merged):
        if looked == _LOOKED:
            return found, last
        if query.passes(one[2]):
            if len(found) == size:
                return found, last
            found.append(one[2])
        last = one[:2]
    return found, None


@implements("logging", "entries.write")
def entries_write(call: Call) -> dict[str, Any]:
    now, good, bad = call.rooms.clock.now(), [], []
    for number, given in enumerate(call.body.get("entries") or []):
        try:
            good.append(_complete(call, given, f"entries[{number}]", now))
        except InvalidArgument as error:
            bad.append(error)
    if not (good or bad):
        raise InvalidArgument("entries has no entry.", field="entries")
    keep = good if call.body.get("partialSuccess") or not bad else []
    if keep and not call.body.get("dryRun"):
        with call.rooms.database.write() as connection:
            log_entries.insert(connection, keep, now)
    if bad:
        words = " ".join(error.message for error in bad[:5])
        fields = [violation for error in bad for violation in error.violations]
        raise InvalidArgument(words, violations=fields)
    return {}


def _owners(body: dict[str, Any]) -> list[str]:
    named = [*(body.get("resourceNames") or []), *(f"projects/{one}" for one in body.get("projectIds") or [])]
    if not named:
        raise InvalidArgument(
            "resourceNames says whose entries are wanted: projects/PROJECT.", field="resourceNames"
        )
    owners = []
    for number, name in enumerate(named):
        match = _NAMED.fullmatch(name)
        if not match:
            raise InvalidArgument(f"{name!r} is not projects/PROJECT.", field=f"resourceNames[{number}]")
        owners.append(match["owner"])
    return list(dict.fromkeys(owners))


def _complete(call: Call, given: dict[str, Any], field: str, now: float) -> Entry:
    """An entry with what the request says of all, and what Cloud Logging adds.

    Raises:
        InvalidArgument: naming the field.
    """
    body = {key: call.body[key] for key in ("logName", "resource") if call.body.get(key)} | given
    if labels := (call.body.get("labels") or {}) | (given.get("labels") or {}):
        body["labels"] = labels
    log = LOG.fullmatch(body.get("logName", ""))
    if not log:
        raise _wrong(f"{field}.logName", "is projects/PROJECT/logs/LOG, LOG URL-encoded")
    if audit.LOGS in log[0]:
        raise _wrong(f"{field}.logName", "is an audit log, which only what is done here is written to")
    if not (body.get("resource") or {}).get("type"):
        raise _wrong(f"{field}.resource.type", 'is missing; one that fits everywhere is "global"')
    if sum(key in body for key in _PAYLOADS) > 1:
        raise _wrong(field, f"has more than one of {', '.join(_PAYLOADS)}")
    try:
        time = parse_rfc3339(body["timestamp"]) if body.get("timestamp") else now
    except ValueError:
        raise _wrong(f"{field}.timestamp", "is no RFC 3339 time") from None
    if time > now + 24 * 3600:
        raise _wrong(f"{field}.timestamp", "is more than a day in the future")
    resource = body["resource"]
    if log["owner"].startswith("projects/"):
        named = {"project_id": log["owner"].partition("/")[2]}
        resource = {**resource, "labels": named | (resource.get("labels") or {})}
    made = {
        **body,
        "resource": resource,
        "timestamp": body.get("timestamp") or rfc3339(now),
        "insertId": body.get("insertId") or call.rooms.ids.token(),
        "receiveTimestamp": rfc3339(now),
    }
    if len(orjson.dumps(made)) > _LARGEST:
        raise _wrong(field, f"has more than {_LARGEST >> 10} KiB")
    return Entry(log["owner"], body["logName"], time, made["insertId"], made)


def _wrong(field: str, words: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {words}.", violations=[Violation(field, words)])


def _is_after(one: Placed, place: list[Any] | None, newest_first: bool) -> bool:
    if place is None:
        return True
    here, there = one[:2], (place[0], place[1])
    return here < there if newest_first else here > there


def _written(connection: Connection, owner: str, query: Query, newest_first: bool) -> Iterator[Placed]:
    for entry in log_entries.read(connection, owner, query.since, query.until, newest_first=newest_first):
        yield entry.time, f"{entry.insert_id} {entry.log}", entry.body


def _audited(
    call: Call, connection: Connection, owner: str, query: Query, newest_first: bool
) -> Iterator[Placed]:
    """Who read what is for those alone who may see private entries."""
    place = targets.project(owner.partition("/")[2])
    private = call.rooms.permissions.held(call.caller, ["logging.privateLogEntries.list"], place)
    resource = query.equal.get("protoPayload.resourceName")
    for entry in audit.read(connection, owner, query.since, query.until, resource, newest_first=newest_first):
        if private or not entry.log.endswith("data_access"):
            yield entry.time, f"{entry.insert_id} {entry.log}", entry.body


def _printed(
    call: Call, connection: Connection, owner: str, query: Query, newest_first: bool
) -> Iterator[Placed]:
    """What the code of the jobs of `owner` printed."""
    if not query.may_want({"resource.type": "ml_job"}):
        return iter(())
    job_id = query.equal.get("resource.labels.job_id")
    if job_id is not None:
        name = jobs.newest_resource(connection, job_id)
        ids = [one.id for one in jobs.of_resource(connection, name)] if name else []
    else:
        ids = [path.parent.name for path in (call.rooms.home / "jobs").glob("*/lines.jsonl")]
    bound = _newest if newest_first else _oldest
    of_job = partial(_of_job, call, connection, owner, query, newest_first)
    folders = ((one, job_folder(call.rooms.home, one)) for one in ids)
    return in_order(
        (Stream(bound(folder, query), partial(of_job, job_id)) for job_id, folder in folders), newest_first
    )


def _oldest(folder: Path, query: Query) -> float:
    return next((line.time for line in lines.read(folder, query.since)), math.inf)


def _newest(folder: Path, query: Query) -> float:
    """A time after a job's last line, without a look into its file: a line is written when it is that late, but for
    lines of one moment and the coarseness of a file's time."""
    try:
        return lines.path_of(folder).stat().st_mtime + 1
    except FileNotFoundError:
        return -math.inf


def _of_job(
    call: Call, connection: Connection, owner: str, query: Query, newest_first: bool, job_id: str
) -> Iterator[Placed]:
    job = jobs.get(connection, job_id)
    if job is None or not job.resource.startswith(f"{owner}/"):
        return
    found = lines.read(job_folder(call.rooms.home, job.id), query.since)
    within = itertools.takewhile(lambda line: line.time <= query.until, found)
    for line in list(within)[::-1] if newest_first else within:
        yield line.time, _id(job, line), _entry(job, line)


def _id(job: Job, line: lines.Line) -> str:
    return f"{line.at:012x}-{job.id}"


def _entry(job: Job, line: lines.Line) -> dict[str, Any]:
    """As Vertex AI writes it; what Vertex AI itself says of a job, the task "service", is text."""
    project, job_id = job.resource.split("/")[1], job.resource.rpartition("/")[2]
    if line.task == "service":
        log = f"ml.googleapis.com%2F{job_id}"
        payload: dict[str, Any] = {"textPayload": line.text}
    else:
        log = line.task
        payload = {
            "jsonPayload": {"levelname": line.severity, "message": line.text, "attrs": {"tag": line.task}}
        }
    return {
        "insertId": _id(job, line),
        **payload,
        "resource": {
            "type": "ml_job",
            "labels": {"project_id": project, "job_id": job_id, "task_name": line.task},
        },
        "timestamp": rfc3339(line.time),
        "severity": line.severity,
        "labels": {"ml.googleapis.com/job_id/log_area": "root", "ml.googleapis.com/trial_id": ""},
        "logName": f"projects/{project}/logs/{log}",
        "receiveTimestamp": rfc3339(line.time),
    }
