"""A model's files: out of Cloud Storage into the registry, checked, and back."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from portico.errors import InvalidArgument, NotFound, PorticoError
from portico.jobs.worker import Context
from portico.prediction.models.native import files
from portico.sandbox.installer import Teller
from portico.services.aiplatform import images, model_archives, source_images
from portico.services.aiplatform.images import Serving
from portico.services.call import Rooms
from portico.services.registry import model_store
from portico.services.registry.model_store import VersionPrivate
from portico.services.standard.sources import gcs_of
from portico.store.resources import Resource

_COPIES = "gs://portico-models"  # the artifacts of models that fetch them by themselves (AIP_STORAGE_URI)

_AS_THEY_ARE: Mapping[str, str] = MappingProxyType({})


def serving_of(model: dict[str, Any]) -> Serving | None:
    """What serves the model; None for one that is only registered, having no image or none for this machine."""
    try:
        return images.resolve(_image_of(model))
    except PorticoError:
        return None


def serving_of_version(home: Path, version: Resource) -> Serving:
    """What serves a registered version.

    Raises:
        PorticoError: nothing does, and why.
    """
    artifact = VersionPrivate.of(version).artifact
    folder = model_store.folder(home, artifact)
    if not artifact or not source_images.is_in(folder):
        found = images.resolve(_image_of(version.body))
        return model_archives.serving(found, folder) if found.framework == "pytorch" else found
    storage = f"{_COPIES}/{artifact}" if version.body.get("artifactUri") else ""
    return source_images.serving(_image_of(version.body), folder, version.body["containerSpec"], storage)


def _image_of(model: Mapping[str, Any]) -> str:
    return str((model.get("containerSpec") or {}).get("imageUri", ""))


def keep(context: Context, model: dict[str, Any], uri: str, artifact: str) -> dict[str, Any]:
    """Makes the files below `uri` ("" for none), and the source of the model's image where that was built here, those
    of a version under the name `artifact`; returns what the registry keeps (`VersionPrivate`).

    Raises:
        InvalidArgument: nothing is there, or not what the model's image loads.
    """
    gcs, target = gcs_of(context), model_store.folder(context.home, artifact)
    source = source_images.find(gcs, _image_of(model))
    if source is None:
        return (
            {"artifact": artifact, **fetch_artifact(context, uri, target, serving_of(model))} if uri else {}
        )
    if uri:
        fetch_artifact(context, uri, target, None)
    source_images.unpack(gcs, source, target)
    source_images.serving(source.name, target, model["containerSpec"], "")
    if uri:
        gcs.copy(uri, f"{_COPIES}/{artifact}", context.job.resource.split("/")[1])
    return {"artifact": artifact, "format": "replica", "digest": files.digest(target)}


def drop(rooms: Rooms, artifacts: list[str]) -> None:
    """Removes the files of versions that are gone."""
    model_store.drop_artifacts(rooms.home, artifacts)
    for artifact in filter(None, artifacts):
        gcs_of(rooms).delete_under(f"{_COPIES}/{artifact}")


def custom_body(served: bool, files: bool) -> dict[str, Any]:
    """What a user's own model shows beside what was uploaded: whether something serves it, whether it has files."""
    formats = ["jsonl", "csv", "parquet", "bigquery"] if served else []
    return {
        "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES", "SHARED_RESOURCES"] if served else [],
        "supportedInputStorageFormats": formats,
        "supportedOutputStorageFormats": formats,
        "supportedExportFormats": [{"id": "custom-trained", "exportableContents": ["ARTIFACT"]}]
        if files
        else [],
        "modelSourceInfo": {"sourceType": "CUSTOM"},
    }


def fetch_artifact(
    context: Context,
    uri: str,
    target: Path,
    serving: Serving | None,
    called: Mapping[str, str] = _AS_THEY_ARE,
) -> dict[str, Any]:
    """Copies every object below `uri` into `target`, whole or not at all; returns what the registry keeps.

    Without `serving` the files are only kept. `called` says which files get another name.

    Raises:
        InvalidArgument: nothing is there, or not the file that `serving` loads.
    """
    gcs = gcs_of(context)
    try:
        rows = gcs.under(uri)
    except (NotFound, InvalidArgument) as error:
        raise InvalidArgument(error.message, field="model.artifactUri") from None
    prefix = uri.rstrip("/") + "/"
    names = [called.get(name, name) for name in (row.uri.removeprefix(prefix) for row in rows)]
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
    for name, other in called.items():
        if (beside / name).exists():
            (beside / name).rename(beside / other)
    if serving and serving.framework == "pytorch":
        teller = Teller(context.say, context.check)
        model_archives.unpack(beside, serving, context.home, teller)
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
    ours = [source / source_images.FOLDER, source / model_archives.FOLDER]
    files = sorted(
        path for path in source.rglob("*") if path.is_file() and not any(map(path.is_relative_to, ours))
    )
    for position, path in enumerate(files):
        context.progress(position / max(1, len(files)), f"writing {path.name}")
        gcs.write(f"{uri}/{path.relative_to(source).as_posix()}", path)
