"""As whom a user's code acts at this server, and how Google's clients in it find that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from portico.jobs import tokens
from portico.jobs.worker import Context
from portico.sandbox.clients import pointed_here
from portico.services.standard.names import location_of

_UNTIL_IT_RUNS = 3600.0  # seconds that its environment may take to be made


def shown(context: Context, account: str, seconds: float, say: Callable[[str], None]) -> dict[str, str]:
    """Variables of what the code shows to this server as its own, the `account`; it ends with the job, which may run
    for so many `seconds`."""
    until = context.clock.now() + seconds + _UNTIL_IT_RUNS
    try:
        token = tokens.mint(context.home, tokens.Claims(context.job.id, account, until))
    except OSError:  # on another machine, which has no key of the home's
        return {}
    say(f"Google's clients in it act as {account}.")
    return {"PORTICO_JOB_TOKEN": token, "PORTICO_JOB_ACCOUNT": account, "MLFLOW_TRACKING_TOKEN": token}


def pointed(context: Context, python: Path, paths: list[Path]) -> tuple[dict[str, str], list[Path]]:
    """As `pointed_here`, for the job's own project."""
    environment, readable = pointed_here(context.home, python, paths)
    if tracking := environment.get("MLFLOW_TRACKING_URI"):
        environment["MLFLOW_TRACKING_URI"] = f"{tracking}/{location_of(context.job.resource)}"
    return environment, readable
