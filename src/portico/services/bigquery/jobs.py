"""bigquery.jobs: insert, get, list, cancel, delete. What a job does is in `running`; its query's rows in `queries`."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

from portico.errors import AlreadyExists, InvalidArgument, NotFound
from portico.services.bigquery import job_places, permissions, running, settings, shapes
from portico.services.bigquery.pages import token
from portico.services.call import Call, implements
from portico.store import resources
from portico.store.resources import Resource
from portico.warehouse.client import child_name, job_name

KIND = "bigquery:jobs"
_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_PROMPT = 0.5  # seconds that the answer about a job waits for its end
_DRY = 60.0  # that of a dry run, which is refused at once where it can't be


def record(call: Call, project: str, job: str) -> Resource | None:
    """A job's row; `private` has its result's fields."""
    with call.rooms.database.read() as connection:
        return resources.get(connection, job_name(project, job))


@implements("bigquery", "jobs.insert")
async def insert(call: Call) -> dict[str, Any]:
    body = dict(call.body)
    dry = bool((body.get("configuration") or {}).get("dryRun"))
    begun = await asyncio.to_thread(begin, call, body)
    await running.ended(begun, _DRY if dry else _PROMPT)
    told = await asyncio.to_thread(shown, call, begun)
    if dry and (error := told["status"].get("errorResult")):
        raise running.raised(error)
    if dry:  # no job was made: it has no id
        place = {key: told["jobReference"][key] for key in ("projectId", "location")}
        return {**told, "id": "{projectId}:{location}.".format(**place), "jobReference": place}
    return told


def begin(call: Call, body: dict[str, Any], first: running.First | None = None) -> str:
    """Writes a new job down and starts it; returns its row's name. `first` gets a query's first rows.

    Raises:
        InvalidArgument: it says not what to do. AlreadyExists: its id is taken.
    """
    configuration = body.get("configuration") or {}
    kinds = [kind for kind in ("query", "load", "extract", "copy") if configuration.get(kind) is not None]
    if len(kinds) != 1:
        raise InvalidArgument(
            "Job configuration must contain exactly one job-specific configuration object (e.g., query, load, "
            "extract, copy)",
            reason="required",
        )
    reference = body.get("jobReference") or {}
    job = str(reference.get("jobId") or f"job_{uuid.uuid4().hex}")
    if not _ID.fullmatch(job):
        raise InvalidArgument(
            f"Invalid job ID {job[:100]!r}. It must be letters, digits, underscores and hyphens, at most 1,024.",
            reason="invalid",
        )
    running.check(call, kinds[0], configuration)
    permissions.of_job(call, kinds[0], configuration)
    location, within = job_places.place(call, kinds[0], configuration, str(reference.get("location") or ""))
    configuration["jobType"] = kinds[0].upper()
    if kinds[0] == "query":
        configuration["query"].setdefault("priority", "INTERACTIVE")
    if labels := settings.labels(configuration):
        configuration["labels"] = labels
    statistics: dict[str, Any] = {"creationTime": _now(call), "startTime": _now(call)}
    identity = settings.session(configuration.get("query") or {})
    if identity and not configuration.get("dryRun"):
        statistics["sessionInfo"] = {"sessionId": identity}
    kept = {
        "jobReference": {
            "projectId": shapes.project(call),
            "jobId": job,
            "location": location,
        },
        "configuration": configuration,
        "status": {"state": "RUNNING"},
        "statistics": statistics,
        "user_email": shapes.caller(call),
    }
    if within:
        kept[running.TOLD] = within
    name = job_name(shapes.project(call), job)
    with call.rooms.database.write() as connection:
        made = resources.insert(
            connection,
            name=name,
            kind=KIND,
            parent=f"projects/{shapes.project(call)}",
            body=kept,
            now=call.rooms.clock.now(),
        )
        if made is None:
            raise AlreadyExists(
                f"Already Exists: Job {shapes.project(call)}:{location}.{job}", reason="duplicate"
            )
    running.start(call, name, first)
    return name


def _now(call: Call) -> str:
    return str(int(call.rooms.clock.now() * 1000))


def shown(call: Call, name: str) -> dict[str, Any]:
    """
    Raises:
        NotFound: there is no such job, or none in the location that is asked for.
    """
    return render(running.settled(call, require(call, name)))


def require(call: Call, name: str) -> Resource:
    """A job's row; only for who looks for it where it runs, or says no location.

    Raises:
        NotFound: there is no such job, or none in the location that is asked for.
    """
    with call.rooms.database.read() as connection:
        found = resources.get(connection, name)
    asked = str(call.params.get("location") or "")
    if found is None or (asked and asked.lower() != found.body["jobReference"]["location"].lower()):
        job = f"{name.split('/')[1]}:{asked or 'US'}.{name.rpartition('/')[2]}"
        raise NotFound(f"Not found: Job {job}", reason="notFound")
    return found


def render(found: Resource) -> dict[str, Any]:
    reference = found.body["jobReference"]
    project, job = reference["projectId"], reference["jobId"]
    return {
        "kind": "bigquery#job",
        "etag": shapes.etag(found.body),
        "id": f"{project}:{reference['location']}.{job}",
        "selfLink": f"https://www.googleapis.com/bigquery/v2/projects/{project}/jobs/{job}?location={reference['location']}",
        **{key: value for key, value in found.body.items() if key != running.TOLD},
    }


@implements("bigquery", "jobs.get")
async def get(call: Call) -> dict[str, Any]:
    """A job that runs is waited for a little: clients ask again only after a second."""
    name = job_name(shapes.project(call), str(call.params["jobId"]))
    await running.ended(name, _PROMPT)
    return await asyncio.to_thread(shown, call, name)


@implements("bigquery", "jobs.list")
def list_(call: Call) -> dict[str, Any]:
    size = int(call.params.get("maxResults") or 50)
    wanted = {str(one).upper() for one in call.params.get("stateFilter") or ()}
    earliest, latest = (int(call.params.get(key) or 0) for key in ("minCreationTime", "maxCreationTime"))
    parent = str(call.params.get("parentJobId") or "")
    start = token(call)
    found: list[dict[str, Any]] = []
    with call.rooms.database.read() as connection:
        for one in resources.listed(connection, KIND, f"projects/{shapes.project(call)}"):
            if one.body["statistics"].get("parentJobId", "") != parent:
                continue  # who names no script gets none of the jobs of a script's statements
            created = int(one.body["statistics"]["creationTime"])
            if (wanted and one.body["status"]["state"] not in wanted) or created < earliest:
                continue
            if latest and created > latest:
                continue
            found.append(render(one))
            if len(found) > start + size:
                break
    answer: dict[str, Any] = {"kind": "bigquery#jobList"}
    answer["jobs"] = [{**one, "state": one["status"]["state"]} for one in found[start : start + size]]
    if len(found) > start + size:
        answer["nextPageToken"] = str(start + size)
    return answer


@implements("bigquery", "jobs.cancel")
def cancel(call: Call) -> dict[str, Any]:
    name = job_name(shapes.project(call), str(call.params["jobId"]))
    shown(call, name)
    running.interrupt(call, name)
    return {"kind": "bigquery#jobCancelResponse", "job": shown(call, name)}


@implements("bigquery", "jobs.delete")
def delete(call: Call) -> None:
    name = job_name(shapes.project(call), str(call.params["jobId"]))
    require(call, name)
    forget(call, name)


def forget(call: Call, name: str) -> None:
    """Forgets a job and what it answered; of a script the jobs of its statements too."""
    with call.rooms.database.read() as connection:
        found = resources.get(connection, name)
    children = int(found.body["statistics"].get("numChildJobs") or 0) if found else 0
    for one in [name, *(child_name(name, number) for number in range(children))]:
        shapes.ask(call, "forget", job=one)
        with call.rooms.database.write() as connection:
            resources.delete(connection, one)
