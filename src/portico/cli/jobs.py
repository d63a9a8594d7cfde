"""`portico jobs`: what runs and what waits, and for what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from portico.client.api import Client


def unended(home: Path, project: str = "") -> list[dict[str, Any]]:
    """The jobs that have not ended, of a `project` where one is given, as the API shows them: those that run
    first, then those that wait, in their order.

    Raises:
        Unavailable: no server runs on `home`.
    """
    within = {"project": project} if project else {}
    found: list[dict[str, Any]] = Client(home=home).call("GET", "jobs", **within).get("jobs", [])
    return found


def in_lines(jobs: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A line for each."""
    for job in jobs:
        what = "/".join(job["resource"].split("/")[-2:])
        far = f"{job['progress']:.0%}" if job.get("progress") else ""
        words = " ".join(filter(None, (far, job.get("message", "")))) or f"since {job['createTime'][:19]}Z"
        yield f"{job['state']:<8} {what}: {words}"
