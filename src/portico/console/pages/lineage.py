"""What came from what, drawn; and the page of a thing that lineage or metadata name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from portico.client.lineage import Graph, around
from portico.console import words
from portico.console.graphs import Box, drawing
from portico.console.looking import Looking, address
from portico.errors import PorticoError

_PAGES = (
    "models",
    "datasets",
    "endpoints",
    "trainingPipelines",
    "customJobs",
    "pipelineJobs",
    "batchPredictionJobs",
    "hyperparameterTuningJobs",
)
_MOST = 40  # boxes, the nearest first


def page_of(name: str) -> str:
    """The page of a resource, where there is one; "" else."""
    plain, _, version = name.partition("#")[0].partition("@")
    parts = plain.split("/")
    if len(parts) == 6 and parts[0] == "projects" and parts[4] in _PAGES:
        return address(plain, **({"version": version} if version else {}))
    return ""


def place_of(artifact: Mapping[str, Any], parent: str) -> str:
    """The page of what an artifact stands for: a resource, or the folder of an object; "" where there is none."""
    metadata, uri = artifact.get("metadata") or {}, str(artifact.get("uri") or "")
    if uri.startswith("gs://"):
        bucket, _, path = uri[5:].partition("/")
        return address(
            f"{parent}/buckets/{bucket}", prefix=f"{path.rpartition('/')[0]}/" if "/" in path else ""
        )
    name = str(metadata.get("resourceName") or metadata.get("resource_name") or "")
    return page_of(name) or page_of(uri.partition("/v1/")[2])


def drawn(looking: Looking, name: str) -> Markup:
    """What `name` came from and what was made of it; why not, where nothing is recorded."""
    try:
        graph = around(looking.api, name)
    except PorticoError as error:
        return Markup('<p class="soft">{}</p>').format(escape(error.message))
    distances = graph.distances()
    near = sorted(distances, key=lambda key: abs(distances[key]))
    boxes = {key: _box(graph, key, looking.parent) for key in near[:_MOST]}
    edges = [(a, b) for a, others in graph.below.items() for b in others]
    made = drawing(boxes, edges, "What it came from, on the left, and what was made of it, on the right")
    if len(near) > _MOST:
        made += Markup(
            '<p class="soft">And {} more; <code>portico lineage</code> tells all of them.</p>'
        ).format(len(near) - _MOST)
    return made


def _box(graph: Graph, key: str, parent: str) -> Box:
    node = graph.nodes[key]
    run = "/executions/" in key
    kind = str(node.get("schemaTitle", "")).rpartition(".")[2]
    if generation := (node.get("metadata") or {}).get("generation"):
        kind = f"generation {generation}"
    marks = "run " + {"FAILED": "bad", "RUNNING": "busy"}.get(node.get("state", ""), "") if run else ""
    if key == graph.start:
        marks += " here"
    return Box(node.get("displayName") or words.short(key), kind, place_of(node, parent), marks.strip())
