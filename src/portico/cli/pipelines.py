"""`portico pipelines`: the runs of pipelines, and one of them task by task, with its times and its graph."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from portico.client.api import Client
from portico.client.pipeline_graph import waits_for
from portico.clock import parse_rfc3339
from portico.errors import NotFound

_SHOWN = "name,displayName,state,createTime,startTime,endTime,scheduleName,labels"
MOST = 50  # runs in a list
_POLL = 0.5  # seconds between two looks at a run
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
_MARKS = {
    "SUCCEEDED": "✓", "SKIPPED": "=", "FAILED": "✗", "CANCELLED": "✗", "RUNNING": "▸", "NOT_TRIGGERED": "-",
}  # fmt: skip


def runs(client: Client) -> list[dict[str, Any]]:
    """The newest runs, without their tasks."""
    found = client.call("GET", f"/v1/{client.parent}/pipelineJobs", pageSize=MOST, readMask=_SHOWN).get(
        "pipelineJobs", []
    )
    return list(found)


def run(client: Client, name: str) -> dict[str, Any]:
    """One run with its tasks; `name`: its resource name, its id, or how the id of the newest begins.

    Raises:
        NotFound: there is none.
    """
    if "/" in name:
        return client.call("GET", f"/v1/{name}")
    try:
        return client.call("GET", f"/v1/{client.parent}/pipelineJobs/{name}")
    except NotFound:
        for one in client.pages(f"/v1/{client.parent}/pipelineJobs", "pipelineJobs", readMask="name"):
            if one["name"].rpartition("/")[2].startswith(name):
                return client.call("GET", f"/v1/{one['name']}")
        raise


def in_lines(some: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each run."""
    for one in some:
        by = one.get("scheduleName") or (one.get("labels") or {}).get("portico-trigger", "")
        started = f"  by {by.rpartition('/')[2]}" if by else ""
        yield f"{_word(one['state']):<10} {one['createTime'][:19]}Z {_took(one):>8}  {_short(one)}{started}"


def follow(client: Client, name: str) -> dict[str, Any]:
    """The run at its end; prints a line whenever one of its tasks moves."""
    said: dict[str, str] = {}
    while True:
        found = run(client, name)
        for line, (key, state) in _tasks(found):
            if said.get(key) != state and state != "PENDING":
                print(line, flush=True)
            said[key] = state
        if _word(found["state"]) in _ENDED:
            return found
        sys.stdout.flush()
        time.sleep(_POLL)


def as_text(found: Mapping[str, Any]) -> list[str]:
    """A run: its state, its tasks as they are below each other with their times, and what is wrong where it failed."""
    lines = [f"{_short(found)}  {_word(found['state'])}  {_took(found)}".rstrip()]
    if by := found.get("scheduleName") or (found.get("labels") or {}).get("portico-trigger"):
        lines.append(f"started by {by}")
    lines += [line for line, _ in _tasks(found)]
    if words := (found.get("error") or {}).get("message"):
        lines.append(words)
    return lines


def graph(found: Mapping[str, Any]) -> list[str]:
    """The pipeline as it was compiled: each task below the dag that it is in, and what it waits for."""
    spec = found["pipelineSpec"]
    return list(_dag(spec["root"], spec, ""))


def _dag(component: Mapping[str, Any], spec: Mapping[str, Any], indent: str) -> Iterator[str]:
    tasks = component.get("dag", {}).get("tasks") or {}
    called = {name: (task.get("taskInfo") or {}).get("name") or name for name, task in tasks.items()}
    done: set[str] = set()
    left = dict(tasks)
    while left:
        ready = [name for name, task in left.items() if waits_for(task, tasks) <= done] or list(left)
        for name in ready:
            task = left.pop(name)
            words = [f"{indent}{called[name]}"]
            if waits := waits_for(task, tasks):
                words.append(f"after {', '.join(sorted(called[one] for one in waits))}")
            if condition := (task.get("triggerPolicy") or {}).get("condition"):
                words.append(f"if {condition}")
            if "parameterIterator" in task or "artifactIterator" in task:
                words.append("for each")
            yield "  ".join(words)
            inner = (spec.get("components") or {}).get(task["componentRef"]["name"], {})
            yield from _dag(inner, spec, indent + "    ")
        done |= set(ready)


def _tasks(found: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """A line for each task, those inside another right below it; its id and state beside."""
    tasks = (found.get("jobDetail") or {}).get("taskDetails") or []
    below: dict[str, list[dict[str, Any]]] = {}
    for task in tasks:
        below.setdefault(task.get("parentTaskId", ""), []).append(task)
    root = next(iter(below.get("", [])), None)
    yield from _below(root["taskId"], below, "  ") if root else ()


def _below(
    parent: str, below: Mapping[str, list[dict[str, Any]]], indent: str
) -> Iterator[tuple[str, tuple[str, str]]]:
    last = "9"  # what has not started comes last
    for task in sorted(below.get(parent, []), key=lambda one: (one.get("startTime", last), one["taskName"])):
        state = task["state"]
        mark = _MARKS.get(state, "·")
        line = f"{indent}{mark} {task['taskName']:<{max(1, 40 - len(indent))}} {state.lower():<13} {_took(task):>8}"
        if task.get("executorDetail") and state not in ("SKIPPED", "PENDING"):
            line += f"  log {task['taskId']}"
        if state == "FAILED" and task.get("executorDetail"):  # of the others those inside tell
            line += f"\n{indent}  {_last_words((task.get('error') or {}).get('message', ''))}"
        yield line.rstrip(), (task["taskId"], state)
        yield from _below(task["taskId"], below, indent + "  ")


def _last_words(message: str) -> str:
    """The last line that a task printed, of an error that ends with its inputs."""
    lines = [line for line in message.partition("\nIts inputs: ")[0].splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _took(one: Mapping[str, Any]) -> str:
    """How long it took, or takes so far."""
    if "startTime" not in one:
        return ""
    end = parse_rfc3339(one["endTime"]) if "endTime" in one else datetime.now().timestamp()
    seconds = max(0.0, end - parse_rfc3339(one["startTime"]))
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _word(state: str) -> str:
    return state.removeprefix("PIPELINE_STATE_")


def _short(one: Mapping[str, Any]) -> str:
    return str(one["name"]).rpartition("/")[2]
