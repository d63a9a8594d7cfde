"""Whether what a task would do has been done already.

The key of a task says what it would do: its component's code and interface, the values and the content of its inputs,
below which pipeline root. What a task has done is kept under its key when it succeeds, with its environment and a
digest of what it left: one whose environment is another now, or whose outputs are changed or gone, is done again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.sandbox import environments
from portico.services.aiplatform.pipelines import rerunning, resolving
from portico.services.aiplatform.pipelines.placeholders import Scope
from portico.services.aiplatform.pipelines.turn import Turn
from portico.services.standard.names import location_of
from portico.store import pipelines, resources
from portico.store.gcs import parse_uri
from portico.store.objects.listing import Query, list_page
from portico.store.pipelines import Cached, Task

_MOST = 10_000  # objects of an artifact that are looked at
_OF_CODE = ("image", "command", "args", "env")  # of a container; what it asks of the machine changes nothing


class _TooLarge(Exception):
    """An artifact of more objects than are looked at."""


def found(turn: Turn, task: Task) -> dict[str, Any] | None:
    """The outputs of a task that has done what `task` would do, where it may take them; which one, its spec says."""
    before = rerunning.original_of(turn, task) or _done_before(turn, task)
    if before is None:
        return None
    task.spec["cachedFrom"] = {"run": before.run, "task": str(before.id)}
    return before.outputs


def keep(turn: Turn, task: Task, environment: str) -> None:
    """Notes what `task` has done, in an `environment`, unless its inputs have changed meanwhile."""
    key = task.spec.get("cacheKey")
    if key is None or key != _key(turn, task):
        return
    environment = "" if _options(turn, task).get("cacheKey") else environment
    try:
        left = _digest_of(turn.connection, _artifacts(task.outputs))
    except _TooLarge:
        return
    pipelines.keep(turn.connection, Cached(key, task.run, task.id, environment, left))


def _done_before(turn: Turn, task: Task) -> Task | None:
    if not _options(turn, task).get("enableCache"):
        return None
    key = task.spec["cacheKey"] = _key(turn, task)
    cached = pipelines.cached(turn.connection, key) if key else None
    if cached is None or not _stands(turn, task, cached.environment):
        return None
    before = pipelines.get(turn.connection, cached.task)
    return before if before and _left(turn.connection, before) == cached.outputs else None


def _stands(turn: Turn, task: Task, environment: str) -> bool:
    """Whether an environment still has the packages that it had."""
    place = Path(turn.root(task).spec.get("home", "")) / "envs"
    return not environment or environments.contents(place, environment.partition(":")[0]) == environment


def _left(connection: Connection, before: Task) -> str | None:
    """The digest of what a task has left; None where an artifact is gone."""
    made = _artifacts(before.outputs)
    names = {one["name"] for one in made}
    # What stands for a model, a dataset, … is gone with it.
    names |= {
        str(one["metadata"]["resourceName"]).partition("@")[0]
        for one in made
        if "resourceName" in one["metadata"]
    }
    if len(list(resources.named(connection, names))) < len(names):
        return None
    try:
        return _digest_of(connection, made)
    except _TooLarge:
        return None


def _options(turn: Turn, task: Task) -> Mapping[str, Any]:
    told = turn.parent(task) if task.iteration >= 0 else task
    return told.spec.get("cachingOptions") or {}


def _key(turn: Turn, task: Task) -> str | None:
    """None where an input is too large to look at."""
    root, component, facts = turn.root(task), turn.component(task), resolving.facts_of(turn, task)
    place = [location_of(task.run), root.spec["pipelineRoot"].rstrip("/")]
    interface = [component.get("inputDefinitions"), component.get("outputDefinitions")]
    inputs = resolving.whole_inputs(turn, task)
    values = _wanted(component, "parameters", inputs)
    if chosen := _options(turn, task).get("cacheKey"):
        scope = Scope({"inputs": {"parameterValues": values}, "outputs": {}}, facts)
        return _digest([*place, "chosen", scope.fill(chosen), interface[1]])
    container = component["executor"]["container"]
    code = {part: container.get(part) for part in _OF_CODE}
    before = (container.get("lifecycle") or {}).get("preCacheCheck")
    text = json.dumps(code)
    told = {name: value for name, value in facts.items() if "{{$." + name in text}
    # What a task has made is wherever its run has put it: only what it is called there counts.
    own = re.compile(rf"{re.escape(place[1])}/[^/]+/[^/]+/[^/]+_\d+/")
    try:
        content = {
            name: [_artifact(turn.connection, one, own) for one in some]
            for name, some in _wanted(component, "artifacts", inputs).items()
        }
        if before:  # what it looks for: whether the data are the same that its parameters name
            places = {
                name: one for name, one in values.items() if isinstance(one, str) and one.startswith("gs://")
            }
            code |= {
                "before": before,
                "data": {name: _objects(turn.connection, one) for name, one in places.items()},
            }
    except _TooLarge:
        return None
    return _digest([*place, code, told, interface, values, content])


def _wanted(component: Mapping[str, Any], which: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a task's inputs that its component has."""
    definitions = (component.get("inputDefinitions") or {}).get(which) or {}
    return {name: one for name, one in inputs[which].items() if name in definitions}


def _artifact(connection: Connection, one: Mapping[str, Any], own: re.Pattern[str]) -> list[Any]:
    return [one["type"], own.sub("", one["uri"]), one["metadata"], _objects(connection, one["uri"])]


def _artifacts(held: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [one for some in (held.get("artifacts") or {}).values() for one in some]


def _digest_of(connection: Connection, artifacts: Iterable[Mapping[str, Any]]) -> str:
    return _digest([_objects(connection, one["uri"]) for one in artifacts])


def _objects(connection: Connection, uri: str) -> list[Any]:
    """What lies at an artifact's place: also what is beside it with its name before their own, as in `model.joblib`.

    Raises:
        _TooLarge
    """
    if not uri.startswith("gs://"):
        return []
    bucket, name = parse_uri(uri)
    page = list_page(connection, Query(bucket, prefix=name), _MOST)
    if page.next is not None:
        raise _TooLarge
    return [[row.name[len(name) :], row.size, row.crc32c, row.md5] for row in page.items]


def _digest(told: list[Any]) -> str:
    return blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=20).hexdigest()
