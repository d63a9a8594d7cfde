"""`portico logs`: the log of a job, found by its own id or by what it works on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portico.cli.progress import bar
from portico.client.api import Client
from portico.errors import NotFound

_POLL = 0.3  # seconds between two looks at a log that grows


def show(home: Path, wanted: str, follow: bool) -> None:
    """Prints the log of the job `wanted`; with `follow`, until the job has ended.

    Raises:
        NotFound: there is no such job. Unavailable: no server runs on `home`.
    """
    client = Client(home=home)
    name = _find(client, wanted)
    with bar() if follow else _silent() as progress:
        for text, job in _pieces(client, name, follow):
            progress(job.get("progress", 0.0), job.get("message", ""))
            sys.stdout.write(text)
            sys.stdout.flush()


def as_json(home: Path, wanted: str, follow: bool) -> dict[str, Any]:
    """The job `wanted` with its whole log; with `follow`, once it has ended.

    Raises:
        NotFound: there is no such job. Unavailable: no server runs on `home`.
    """
    client = Client(home=home)
    pieces = list(_pieces(client, _find(client, wanted), follow))
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
    }


def _find(client: Client, wanted: str) -> str:
    """The name of the job with the id `wanted`, or of the newest of the resource with that name or last part of one.

    Raises:
        NotFound: there is none.
    """
    if wanted and "/" not in wanted:
        try:
            return str(client.call("GET", f"jobs/{wanted}")["name"])
        except NotFound:
            pass
    found = client.call("GET", "jobs", resource=wanted).get("jobs") if wanted else None
    if not found:
        raise NotFound(f"There is no job {wanted!r}, and no resource of that name that a job worked on.")
    return str(found[0]["name"])


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
