"""What something came from and what was made of it, as a graph."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.client.api import Client
from portico.errors import NotFound

Neighbours = dict[str, list[str]]
_SHOWN = 200  # characters of a parameter


@dataclass(slots=True)
class Graph:
    """The nodes above and below `start`: artifacts and executions by name, and the edges by both ends, in the order of
    their events. An edge leads from an input to its execution and from there to an output."""

    start: str
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    above: Neighbours = field(default_factory=dict)
    below: Neighbours = field(default_factory=dict)

    def distances(self) -> dict[str, int]:
        """How far each node is above (negative) or below the start; no further than it must be."""
        found = {self.start: 0}
        for neighbours, step in ((self.above, -1), (self.below, 1)):
            newest = [self.start]
            while newest:
                newest = [
                    other
                    for node in newest
                    for other in neighbours.get(node, [])
                    if found.setdefault(other, found[node] + step) == found[node] + step and other != node
                ]
                newest = list(dict.fromkeys(newest))
        return found

    def as_json(self) -> dict[str, Any]:
        near = self.distances()
        edges = [
            {"from": one, "to": two}
            for one, others in self.below.items()
            for two in others
            if {one, two} <= near.keys()
        ]
        return {"start": self.start, "nodes": [self.nodes[name] for name in near], "edges": edges}


def anywhere(home: Path | str | None, location: str, name: str) -> Graph:
    """`around` in the first project that has something of `name`: "portico", and then by the order of their names.

    Raises:
        NotFound: none has.
    """
    first = Client(home=home, location=location)
    own = first.parent.split("/")[1]
    pages = first.pages("/apis/cloudresourcemanager/v3/projects:search", "projects")
    others = sorted({one["projectId"] for one in pages} - {own})
    for project in (own, *others):
        with contextlib.suppress(NotFound):
            return around(Client(home=home, project=project, location=location), name)
    raise NotFound(f"Nothing is recorded of {name!r} in {location}, in any of {len(others) + 1} projects.")


def around(client: Client, name: str) -> Graph:
    """
    Raises:
        NotFound: nothing is recorded of `name` in the client's project.
    """
    if run := client.run_lineage(name):
        return _of_run(*run)
    start, found = client.lineage(name)
    graph = Graph(start["name"])
    for node in (*found.get("artifacts", []), *found.get("executions", [])):
        graph.nodes[node["name"]] = node
    for event in found.get("events", []):
        ends = (event["artifact"], event["execution"])
        one, two = ends if event["type"] == "INPUT" else ends[::-1]
        graph.below.setdefault(one, []).append(two)
        graph.above.setdefault(two, []).append(one)
    return graph


def _of_run(run: dict[str, Any], found: dict[str, Any]) -> Graph:
    """What a pipeline's run took, parameters too, and what its tasks made of it."""
    graph, start = Graph(run["name"], {run["name"]: run}), run["name"]
    for way, neighbours in (("input", graph.above), ("output", graph.below)):
        for key, value in (run.get("metadata") or {}).items():
            side, _, parameter = key.partition(":")
            if side == way:
                graph.nodes[key] = {"name": key, "displayName": f"{parameter} = {value}"[:_SHOWN]}
                neighbours.setdefault(start, []).append(key)
    artifacts = {one["name"]: one for one in found.get("artifacts", [])}
    finds = {
        one["name"]
        for one in found.get("executions", [])
        if one.get("schemaTitle") in ("system.ImporterExecution", "system.ResolverExecution")
    }
    made: dict[str, None] = {}
    used: dict[str, None] = {}
    for event in found.get("events", []):
        gave = event["type"] == "OUTPUT" and event["execution"] not in finds
        (made if gave else used)[event["artifact"]] = None
    taken = [name for name in used if name not in made]
    for some, neighbours in ((taken, graph.above), (made, graph.below)):
        for name in some:
            if name in artifacts:
                graph.nodes[name] = artifacts[name]
                neighbours.setdefault(start, []).append(name)
    for one, others in list(graph.below.items()):
        for other in others:
            graph.above.setdefault(other, []).append(one)
    for one in list(graph.above.get(start, [])):
        graph.below.setdefault(one, []).append(start)
    return graph
