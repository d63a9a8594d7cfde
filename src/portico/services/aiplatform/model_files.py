"""A model's files: out of Cloud Storage into the registry, checked, and back."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from portico.errors import InvalidArgument, NotFound, PorticoError
from portico.ids import project_number
from portico.jobs.worker import Context
from portico.prediction.models.native import files
from portico.sandbox.installer import Teller
from portico.services.aiplatform import images, model_archives, source_images
from portico.services.aiplatform.images import Serving
from portico.services.call import Rooms
from portico.services.registry import model_store
from portico.services.registry.model_store import VersionPrivate
from portico.services.standard.sources import gcs_of
from portico.store.objects import buckets
from portico.store.resources import Resource

# The artifacts of models that fetch them by themselves (AIP_STORAGE_URI), as their project's agent. Each project's are
# in a bucket of its own: this, "-", and the project's number; an older Portico had them all in one.
_COPIES = "gs://portico-models"

_AS_THEY_ARE: Mapping[str, str] = MappingProxyType({})


def serving_of(image: str) -> Serving | None:
    """What serves a model of this image; None for one that is only registered, having no image or none for this
    machine."""
    try:
        return images.resolve(image)
    except PorticoError:
        return None


def serving_of_version(home: Path, version: Resource) -> Serving:
    """What serves a registered version.

    Raises:
        PorticoError: nothing does, and why.
    """
    private = VersionPrivate.of(version)
    artifact, image = private.artifact, private.image or image_of(version.body)
    folder = model_store.folder(home, artifact)
    if not artifact or not source_images.is_in(folder):
        found = images.resolve(image)
        if folder.is_dir():
            found = images.of_files(found, [path.name for path in folder.iterdir()])
        return model_archives.serving(found, folder) if found.framework == "pytorch" else found
    storage = (private.copies or f"{_COPIES}/{artifact}") if version.body.get("artifactUri") else ""
    return source_images.serving(image, folder, version.body["containerSpec"], storage)


def image_of(model: Mapping[str, Any]) -> str:
    """The image that a Model names; "" where it names none."""
    return str((model.get("containerSpec") or {}).get("imageUri", ""))


def keep(context: Context, model: dict[str, Any], uri: str, artifact: str) -> dict[str, Any]:
    """Makes the files below `uri` ("" for none), and the source of the model's image where that was built here, those
    of a version under the name `artifact`; returns what the registry keeps (`VersionPrivate`).

    Raises:
        InvalidArgument: nothing is there, or not what the model's image loads.
    """
    gcs, target = gcs_of(context), model_store.folder(context.home, artifact)
    source = source_images.find(gcs, image_of(model))
    other = source_images.another_name_of(gcs, source) if source else ""
    if source is None or other:
        found = fetch_artifact(context, uri, target, serving_of(other or image_of(model))) if uri else None
        return {"image": other} if found is None else {"artifact": artifact, "image": other, **found}
    if uri:
        fetch_artifact(context, uri, target, None)
    source_images.unpack(gcs, source, target)
    source_images.serving(source.name, target, model["containerSpec"], "")
    copies = ""
    if uri:
        project = context.job.resource.split("/")[1]
        copies = f"{_COPIES}-{project_number(project)}/{artifact}"
        gcs.copy(uri, copies, project)
    return {"artifact": artifact, "format": "replica", "digest": files.digest(target), "copies": copies}


def drop(rooms: Rooms, artifacts: list[str]) -> None:
    """Removes the files of versions that are gone."""
    model_store.drop_artifacts(rooms.home, artifacts)
    with rooms.database.read() as connection:
        places = [f"gs://{one}" for one in buckets.names(connection) if f"gs://{one}".startswith(_COPIES)]
    for artifact in filter(None, artifacts):
        for place in places:
            gcs_of(rooms).delete_under(f"{place}/{artifact}")


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
    if serving and serving.versions:
        uri = _newest(prefix, names)
        rows, prefix = gcs.under(uri), f"{uri}/"
        names = [row.uri.removeprefix(prefix) for row in rows]
    serving = images.of_files(serving, names) if serving else None
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


def _newest(prefix: str, names: Collection[str]) -> str:
    """The folder of a model's newest version, as TensorFlow Serving looks for it.

    Raises:
        InvalidArgument: there is none.
    """
    numbers = {
        first for name in names for first, slash, _ in (name.partition("/"),) if slash and first.isdecimal()
    }
    if not numbers:
        raise InvalidArgument(
            f"{prefix} has no folder that is called by a version's number, from which TensorFlow Serving loads a "
            f"model: put its files below {prefix}1/.",
            field="model.artifactUri",
        )
    return prefix + max(numbers, key=int)


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
