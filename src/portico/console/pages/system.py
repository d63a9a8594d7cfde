"""System: what the server holds and does, and its jobs."""

from __future__ import annotations

from starlette.responses import Response

from portico.console.looking import Looking, address, page
from portico.console.pages.training import log_of

_PLACE = "/projects/{project}/locations/{location}"
_SHOWN = 100  # jobs


@page(f"{_PLACE}/system")
def system(looking: Looking) -> Response:
    api = looking.api
    held, health, clock, jobs = api.each(
        lambda: api.maybe("home"),
        lambda: api.maybe("/-/healthz"),
        lambda: api.maybe("clock"),
        lambda: api.listed("jobs", "jobs"),
    )

    # Stewards and monitors have a job that stands as long as they; what works or waits in a queue comes first.
    jobs.sort(key=lambda one: one["state"] == "WAITING")
    return looking.show(
        "system.html", "System", held=held, health=health, clock=clock, jobs=jobs[:_SHOWN], count=len(jobs)
    )


@page(f"{_PLACE}/jobs/{{id}}")
def job(looking: Looking) -> Response:
    shown, text = log_of(looking, looking.api.call("GET", f"jobs/{looking.part('id')}"))
    return looking.show(
        "job.html",
        f"Job {looking.part('id')}",
        job=shown,
        log=text,
        section="system",
        live=shown["state"] in ("QUEUED", "RUNNING", "WAITING"),
    )


@page("/go")
def go(looking: Looking) -> Response:
    """Opens the project and location that a form names."""
    return looking.go(
        address(f"projects/{looking.query.get('project', '')}/locations/{looking.query.get('location', '')}")
    )
