"""As whom a user's code acts at this server, and how Google's clients in it find that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from portico.jobs import tokens
from portico.jobs.worker import Context
from portico.sandbox.clients import pointed_here
from portico.services.iam.bindings import agent
from portico.services.standard.names import location_of
from portico.store.replicas import ReplicaSet

_UNTIL_IT_RUNS = 3600.0  # seconds that its environment may take to be made
_FOREVER = (
    4102444800.0  # the year 2100: always the same, so that replicas which are wanted again are the same, too
)


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


def of_replicas(home: Path, wanted: ReplicaSet, project: str) -> ReplicaSet:
    """The same, whose own code, of an image with a server of its own, shows that it acts as the project's agent; that
    ends with the replicas. Other models have no network."""
    if not wanted.container:
        return wanted
    account = agent(project)
    token = tokens.mint(home, tokens.Claims(f"{tokens.REPLICAS}{wanted.id}", account, _FOREVER))
    given = {"PORTICO_JOB_TOKEN": token, "PORTICO_JOB_ACCOUNT": account}
    environment = {**wanted.container["environment"], **given}
    return replace(wanted, container={**wanted.container, "environment": environment})


def pointed(context: Context, python: Path, paths: list[Path]) -> tuple[dict[str, str], list[Path]]:
    """As `pointed_here`, for the job's own project."""
    environment, readable = pointed_here(context.home, python, paths)
    if tracking := environment.get("MLFLOW_TRACKING_URI"):
        environment["MLFLOW_TRACKING_URI"] = f"{tracking}/{location_of(context.job.resource)}"
    return environment, readable
