"""`gcloud ai`: list, describe, delete, cancel of what Vertex AI has; what is made is in `portico_gcloud_ai_made`, what
is asked of endpoints in `portico_gcloud_ai_served`.

It runs in the caller's own Python, as `portico_gcloud_command` does.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import portico_gcloud_asking as asking
import portico_gcloud_shown as shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

API = "v1"
REGION = "--region"
_LOGS = "apis/logging/v2/entries:list"
_EVERY = 0.5  # seconds between two looks at the logs of a job
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")


def _id(one: dict[str, Any]) -> str:
    return str(one["name"].rpartition("/")[2])


def _titled(label: str, *more: tuple[str, str]) -> dict[str, Callable[[dict[str, Any]], Any]]:
    columns: dict[str, Callable[[dict[str, Any]], Any]] = {label: _id}
    for heading, field in (*more, ("DISPLAY_NAME", "displayName")):
        columns[heading] = lambda one, field=field: one.get(field)  # type: ignore[misc]
    return columns


# Of each: what the API calls it, what gcloud calls one, and the table that a list of them is, where it is one.
COLLECTIONS: dict[str, tuple[str, str, Any]] = {
    "custom-jobs": ("customJobs", "CustomJob", None),
    "endpoints": ("endpoints", "endpoint", _titled("ENDPOINT_ID")),
    "hp-tuning-jobs": ("hyperparameterTuningJobs", "hyperparameter tuning job", None),
    "models": ("models", "model", _titled("MODEL_ID")),
    "persistent-resources": ("persistentResources", "PersistentResource", None),
    "tensorboards": ("tensorboards", "tensorboard", None),
}


def parent(asked: asking.Asked) -> str:
    """The location in which things are listed and made."""
    region = asked.options.get(REGION) or asked.region
    return f"projects/{asked.project}/locations/{region.rpartition('/')[2]}"


def named(asked: asking.Asked, collection: str, told: str = "") -> str:
    """The whole name of what the line names, or of `told`."""
    told = told or asked.names[0]
    return told if "/" in told else f"{parent(asked)}/{collection}/{told}"


def tracked(asked: asking.Asked) -> str:
    """What a command of the same track begins with."""
    return f"gcloud {asked.track} ai" if asked.track else "gcloud ai"


def ended(asked: asking.Asked, operation: dict[str, Any]) -> dict[str, Any]:
    """What an operation has made, once it is done.

    Raises:
        ValueError: it failed.
    """
    done = asking.ended(asked.ask, operation, API)
    print(f"Waiting for operation [{_id(operation)}]...done.", file=sys.stderr)
    made: dict[str, Any] = done.get("response", {})
    return {key: value for key, value in made.items() if key != "@type"}


def _list(kind: str) -> Callable[[asking.Asked], int]:
    collection, _, columns = COLLECTIONS[kind]

    def run(asked: asking.Asked) -> int:
        found = asking.listed(asked.ask, f"{parent(asked)}/{collection}", collection, API)
        shown.resources(found, asked.options, columns)
        return 0

    return run


def _describe(collection: str) -> Callable[[asking.Asked], int]:
    def run(asked: asking.Asked) -> int:
        shown.resource(asked.ask("GET", named(asked, collection), None, API), asked.form)
        return 0

    return run


def _delete(kind: str) -> Callable[[asking.Asked], int]:
    collection, label, _ = COLLECTIONS[kind]

    def run(asked: asking.Asked) -> int:
        name = named(asked, collection)
        operation = asked.ask("DELETE", name, None, API)
        if kind == "persistent-resources":
            print(
                f"Request to delete the {label} [{name}] has been sent.\n\nYou may view the status of your persistent "
                f"resource with the command\n\n  $ {tracked(asked)} persistent-resources describe {name}\n",
                file=sys.stderr,
            )
            return 0
        ended(asked, operation)
        print(f"Deleted {label} [{name}].", file=sys.stderr)
        return 0

    return run


def _cancel(kind: str) -> Callable[[asking.Asked], int]:
    collection, label, _ = COLLECTIONS[kind]

    def run(asked: asking.Asked) -> int:
        name = named(asked, collection)
        asked.ask("POST", f"{name}:cancel", {}, API)
        last = name
        if kind == "hp-tuning-jobs":
            name = name.rpartition("/")[2]
            last = f"{name} --region={asked.options.get(REGION) or asked.region}"
        print(
            f"Request to cancel {label} [{name}] has been sent.\n\nYou may view the status of your job with the command"
            f"\n\n  $ {tracked(asked)} {kind} describe {last}\n",
            file=sys.stderr,
        )
        return 0

    return run


def _stream(kind: str) -> Callable[[asking.Asked], int]:
    """What a job logs, until it is at its end."""
    collection = COLLECTIONS[kind][0]

    def run(asked: asking.Asked) -> int:
        name = named(asked, collection)
        told = f'resource.type="ml_job" AND resource.labels.job_id="{name.rpartition("/")[2]}"'
        if asked.options.get("--task-name"):
            told += f' AND resource.labels.task_name="{asked.options["--task-name"]}"'
        seen = ""
        while True:
            state = str(asked.ask("GET", name, None, API).get("state", ""))
            seen = _more(asked, told, seen)
            if state.rpartition("JOB_STATE_")[2] in _ENDED:
                return 0
            time.sleep(_EVERY)

    return run


def _more(asked: asking.Asked, told: str, seen: str) -> str:
    """Prints the entries that come after those `seen`; the filter of those after them."""
    body = {"resourceNames": [f"projects/{asked.project}"], "orderBy": "timestamp asc", "pageSize": 1000}
    while True:
        page = asked.ask("POST", "", {**body, "filter": f"{told} {seen}"}, _LOGS).get("entries", [])
        for one in page:
            print("\t".join(_line(one)), flush=True)
            at = f'timestamp="{one["timestamp"]}"'
            seen = f'AND (({at} AND insertId>"{one["insertId"]}") OR {at.replace("=", ">", 1)})'
        if not page:
            return seen


def _line(entry: dict[str, Any]) -> list[str]:
    import datetime

    moment = datetime.datetime.strptime(entry["timestamp"][:19] + "+0000", "%Y-%m-%dT%H:%M:%S%z").astimezone()
    message = entry.get("textPayload") or entry.get("jsonPayload", {}).get("message", "")
    task = entry.get("resource", {}).get("labels", {}).get("task_name", "")
    return [
        entry.get("severity", "DEFAULT"),
        f"{moment:%Y-%m-%d %H:%M:%S %z}",
        task,
        str(message).rstrip("\n"),
    ]


def _versions(asked: asking.Asked) -> int:
    found = asking.listed(asked.ask, f"{named(asked, 'models')}:listVersions", "models", API)
    shown.resources(found, asked.options, _titled("MODEL_ID", ("VERSION_ID", "versionId")))
    return 0


def _delete_version(asked: asking.Asked) -> int:
    ended(asked, asked.ask("DELETE", f"{named(asked, 'models')}:deleteVersion", None, API))
    return 0


def _reboot(asked: asking.Asked) -> int:
    shown.resource(
        ended(asked, asked.ask("POST", f"{named(asked, 'persistentResources')}:reboot", {}, API)), "none"
    )
    return 0


def _all() -> dict[str, asking.Command]:
    found: dict[str, asking.Command] = {}
    here = (REGION,)
    for kind, (collection, _, _) in COLLECTIONS.items():
        one = (kind[:-1].replace("-", "_").upper(),)
        found[f"{kind} list"] = asking.Command(_list(kind), (*here, *asking.LISTED))
        found[f"{kind} describe"] = asking.Command(_describe(collection), here, one)
        if kind.endswith("-jobs"):
            found[f"{kind} cancel"] = asking.Command(_cancel(kind), here, one)
            logs = (*here, "--task-name", "--polling-interval", "--allow-multiline-logs")
            found[f"{kind} stream-logs"] = asking.Command(_stream(kind), logs, one)
        else:
            found[f"{kind} delete"] = asking.Command(_delete(kind), here, one)
    found["models list-version"] = asking.Command(_versions, (*here, *asking.LISTED), ("MODEL",))
    found["models delete-version"] = asking.Command(_delete_version, here, ("MODEL",))
    found["persistent-resources reboot"] = asking.Command(_reboot, here, ("PERSISTENT_RESOURCE",))
    found["operations describe"] = asking.Command(_describe("operations"), here, ("OPERATION",))
    return found


def commands() -> dict[str, asking.Command]:
    import portico_gcloud_ai_made
    import portico_gcloud_ai_served

    return {**_all(), **portico_gcloud_ai_made.COMMANDS, **portico_gcloud_ai_served.COMMANDS}
