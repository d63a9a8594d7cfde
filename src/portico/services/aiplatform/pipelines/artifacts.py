"""Artifacts of tasks: their names, types and places."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from portico.services.aiplatform.metadata import things
from portico.services.registry import metadata
from portico.store.pipelines import Task

_PLAIN = "system.Artifact"


def at(task: Task, uri: str) -> str:
    """The artifact of what a task makes at `uri`: the same however often it is tried, and the one that stands for these
    files when others use them, a model's upload for example."""
    return f"{metadata.store_of(task.run)}/artifacts/{things.files(uri).id}"


def name_of(task: Task, output: str) -> str:
    """The artifact that an importer makes."""
    digest = blake2b(f"{task.id}/{output}".encode(), digest_size=8).digest()
    return f"{metadata.store_of(task.run)}/artifacts/{int.from_bytes(digest) % 10**19}"


def type_of(schema: Mapping[str, Any]) -> tuple[str, str]:
    """Title and version of an ArtifactTypeSchema."""
    version = str(schema.get("schemaVersion") or "0.0.1")
    if title := schema.get("schemaTitle"):
        return str(title), version
    if text := schema.get("instanceSchema"):
        return _title_in(str(text)), version
    return _PLAIN, version


def _title_in(text: str) -> str:
    """The title in a schema's YAML, of older compilers."""
    import yaml

    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return _PLAIN
    title = read.get("title") if isinstance(read, dict) else None
    return str(title).replace("kfp.", "system.", 1) if title else _PLAIN


def place_of(root: Task, task: Task) -> str:
    """Where a task's outputs lie: below the pipeline root, as Vertex AI arranges them."""
    project, told = task.run.split("/")[1], root.spec
    return f"{told['pipelineRoot'].rstrip('/')}/{project}/{told['job']}/{task.name}_{task.id}"
