"""`portico rerun`: a training repeated, its log meanwhile, and how its files compare with the first's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portico.cli import logs
from portico.client.api import Client
from portico.errors import InvalidArgument, NotFound

_KINDS = ("customJobs", "trainingPipelines")
_WIDTH = 12  # characters of a hash that are shown


def repeat(home: Path, wanted: str, project: str, location: str, *, follow: bool) -> dict[str, Any]:
    """Repeats the training `wanted` (a resource's name, an id or a display name) to its end, whose Rerun it returns;
    with `follow` its log goes to stdout.

    Raises:
        NotFound: there is no such training. InvalidArgument: it is no training. FailedPrecondition: it can't be
        repeated. Unavailable: no server runs on `home`.
    """
    client = Client(home=home, project=project, location=location)
    begun = client.rerun(_find(client, wanted))
    if follow:
        print(f"{begun['first']}\nis repeated by {begun['name']}\n", flush=True)
        logs.show(home, begun["job"].removeprefix("jobs/"), follow=True)
    else:
        logs.as_json(home, begun["job"].removeprefix("jobs/"), follow=True)
    return client.rerun_of(begun["name"])


def as_text(found: dict[str, Any]) -> str:
    """The files in a table, and the verdict."""
    return "\n".join(_lines(found))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    files = found.get("files") or []
    if found["state"] != "SUCCEEDED":
        yield f"\nThe rerun is {found['state']}: {(found.get('error') or {}).get('message', '')}"
        return
    width = max([len(one["name"]) for one in files] + [4])
    yield f"\n{'file':<{width}}  {'sha256, first':<{_WIDTH + 2}} {'again':<{_WIDTH + 2}}"
    for one in files:
        first, again = one["first"], one["again"]
        said = (
            "same"
            if first == again
            else "differs"
            if first and again
            else "only here"
            if again
            else "missing"
        )
        shown = " ".join(f"{value[:_WIDTH] or '-':<{_WIDTH + 2}}" for value in (first, again))
        yield f"{one['name']:<{width}}  {shown} {said}"
    if not files:
        yield "\nNeither made files, so there is nothing to compare."
    elif found.get("identical"):
        yield "\nidentical: the model's files are the same, byte for byte"
    else:
        yield "\nnot identical: what differs is named above"


def _find(client: Client, wanted: str) -> str:
    """The resource's name of a training that is wanted by that, its id, or its display name; of several of one display
    name the newest."""
    name = wanted
    if "/" not in wanted:
        found = client.call("GET", "jobs", resource=wanted).get("jobs") if wanted else None
        name = found[0]["resource"] if found else _named(client, wanted)
    kind = name.split("/")[-2] if name.count("/") > 1 else ""
    if kind == "hyperparameterTuningJobs":
        trials = client.call("GET", f"/v1/{name}").get("trials") or []
        told = ", ".join(f"{one['id']} ({one['customJob'].rpartition('/')[2]})" for one in trials[:8])
        raise InvalidArgument(f"A tuning job is as many trainings as trials; repeat one of these: {told}.")
    if kind not in _KINDS:
        raise InvalidArgument(f"{name} is no training: there are {' and '.join(_KINDS)} to be repeated.")
    return name


def _named(client: Client, display: str) -> str:
    asked = f"display_name={json.dumps(display)}"
    found = [
        one
        for kind in _KINDS
        for one in client.call("GET", f"/v1/{client.parent}/{kind}", filter=asked, pageSize=1).get(kind, [])
    ]
    if not found:
        raise NotFound(f"There is no training {display!r} in {client.parent}: give its name, its id, or its "
                       "whole resource name.")  # fmt: skip
    return str(max(found, key=lambda one: str(one["createTime"]))["name"])
