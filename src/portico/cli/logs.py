"""`portico logs`: the log of a job, found by its own id or by what it works on; of an endpoint what serving left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portico.cli import serving_logs as serving
from portico.cli.progress import bar
from portico.client.api import Client
from portico.errors import NotFound

_POLL = 0.3  # seconds between two looks at a log that grows


def show(home: Path, wanted: str, follow: bool, project: str = "") -> None:
    """Prints the log of the job `wanted`, of a `project` where one is given; with `follow`, until the job has ended.
    Of an endpoint, that of its newest deployment and then the newest of what serving left; with `follow`, what comes
    too.

    Raises:
        NotFound: there is no such job. Unavailable: no server runs on `home`.
    """
    client = Client(home=home)
    name, endpoint = _find(client, wanted, project)
    with bar() if follow else _silent() as progress:
        for text, job in _pieces(client, name, follow):
            progress(job.get("progress", 0.0), job.get("message", ""))
            sys.stdout.write(text)
            sys.stdout.flush()
    if endpoint:
        for entry in serving.followed(client, endpoint) if follow else serving.newest(client, endpoint):
            print(serving.line(entry), flush=follow)


def as_json(home: Path, wanted: str, follow: bool, project: str = "") -> dict[str, Any]:
    """The job `wanted` with its whole log; with `follow`, once it has ended.

    Raises:
        NotFound: there is no such job. Unavailable: no server runs on `home`.
    """
    client = Client(home=home)
    name, endpoint = _find(client, wanted, project)
    pieces = list(_pieces(client, name, follow))
    job = pieces[-1][1]
    return {
        "id": job["name"].removeprefix("jobs/"),
        **{key: job[key] for key in ("kind", "resource", "state")},
        **{key: job.get(key, 0) for key in ("attempts", "lost", "progress")},
        "message": job.get("message", ""),
        "error": job.get("error"),
        "create_time": job["createTime"],
        "start_time": job.get("startTime"),
        "end_time": job.get("endTime"),
        "log": "".join(text for text, _ in pieces),
        **({"entries": serving.newest(client, endpoint)} if endpoint else {}),
    }


def _find(client: Client, wanted: str, project: str) -> tuple[str, str]:
    """The name of the job with the id `wanted`, of the newest of the resource with that name or last part of one, or of
    the task that "RUN/TASK" names in a run of a pipeline; and where that resource is an endpoint, its name.

    Raises:
        NotFound: there is none.
    """
    if wanted and "/" not in wanted:
        try:
            return str(client.call("GET", f"jobs/{wanted}")["name"]), ""
        except NotFound:
            pass
    within = {"project": project} if project else {}
    found = client.call("GET", "jobs", resource=wanted, **within).get("jobs") if wanted else None
    if not found and "/" in wanted:
        run, _, task = wanted.rpartition("/")
        found = _of_task(client, run, task, within)
    if not found:
        raise NotFound(f"There is no job {wanted!r}, and no resource of that name that a job worked on.")
    resource = str(found[0]["resource"])
    return str(found[0]["name"]), resource if resource.split("/")[-2:-1] == ["endpoints"] else ""


def _of_task(client: Client, run: str, task: str, within: dict[str, str]) -> list[dict[str, Any]]:
    """The jobs of the newest task with that name in a run of a pipeline, the newest first."""
    found = client.call("GET", "jobs", resource=run, **within).get("jobs") or [{"resource": ""}]
    if "/pipelineJobs/" not in found[0]["resource"]:
        return []
    name = found[0]["resource"].partition("/tasks/")[0]
    tasks = client.call("GET", f"/v1/{name}").get("jobDetail", {}).get("taskDetails", [])
    ids = [one["taskId"] for one in tasks if one["taskName"] == task and one.get("executorDetail")]
    return list(client.call("GET", "jobs", resource=f"{name}/tasks/{ids[-1]}").get("jobs", [])) if ids else []


def _pieces(client: Client, name: str, follow: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """The text of the log, as far as it has come, each piece with the job as it was before."""
    offset = "0"
    while True:
        found = client.call("GET", f"{name}:readLog", offset=offset)
        offset = found["nextOffset"]
        text = found.get("text", "")
        yield text, found["job"]
        if found.get("atEnd") or not (text or follow):
            return
        if not text:
            time.sleep(_POLL)


@contextmanager
def _silent() -> Iterator[Any]:
    yield lambda fraction, sentence: None
