"""A model's files: out of Cloud Storage into the registry, checked, and back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from portico.errors import InvalidArgument, NotFound, PorticoError
from portico.jobs.worker import Context
from portico.prediction.models.native import files
from portico.services.aiplatform import images
from portico.services.aiplatform.images import Serving
from portico.services.standard.sources import gcs_of


def serving_of(model: dict[str, Any]) -> Serving | None:
    """What serves the model; None for one that is only registered, having no image or none for this machine."""
    try:
        return images.resolve((model.get("containerSpec") or {}).get("imageUri", ""))
    except PorticoError:
        return None


def custom_body(served: bool, files: bool) -> dict[str, Any]:
    """What a user's own model shows beside what was uploaded: whether something serves it, whether it has files."""
    formats = ["jsonl", "csv", "parquet"] if served else []
    return {
        "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES", "SHARED_RESOURCES"] if served else [],
        "supportedInputStorageFormats": formats,
        "supportedOutputStorageFormats": formats,
        "supportedExportFormats": [{"id": "custom-trained", "exportableContents": ["ARTIFACT"]}]
        if files
        else [],
        "modelSourceInfo": {"sourceType": "CUSTOM"},
    }


def fetch_artifact(context: Context, uri: str, target: Path, serving: Serving | None) -> dict[str, Any]:
    """Copies every object below `uri` into `target`, whole or not at all; returns what the registry keeps.

    Without `serving` the files are only kept.

    Raises:
        InvalidArgument: nothing is there, or not the file that `serving` loads.
    """
    gcs = gcs_of(context)
    try:
        rows = gcs.under(uri)
    except (NotFound, InvalidArgument) as error:
        raise InvalidArgument(error.message, field="model.artifactUri") from None
    prefix = uri.rstrip("/") + "/"
    names = [row.uri.removeprefix(prefix) for row in rows]
    if serving and not any(name in serving.artifacts for name in names):
        raise InvalidArgument(
            f"{prefix} has none of {', '.join(serving.artifacts)}, which {serving.framework} models are loaded "
            f"from; it has {', '.join(names[:5]) or 'nothing'}.",
            field="model.artifactUri",
        )
    beside = target.with_name(target.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    gcs.download(uri, beside)
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    if serving is None:
        return {}
    return {
        "format": "replica" if serving.kind == "replica" else serving.framework,
        "digest": files.digest(target),
    }


def write_artifact(context: Context, source: Path, uri: str) -> None:
    """Writes the files below `source` as objects below `uri`."""
    gcs = gcs_of(context)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    for position, path in enumerate(files):
        context.progress(position / max(1, len(files)), f"writing {path.name}")
        gcs.write(f"{uri}/{path.relative_to(source).as_posix()}", path)
