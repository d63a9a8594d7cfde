"""The model registry: upload, get, list, patch, delete, versions, aliases, copy."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Unimplemented
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.jobs.worker import Context
from portico.services.aiplatform import images
from portico.services.aiplatform.model_files import (
    custom_body,
    drop,
    fetch_artifact,
    image_of,
    keep,
    serving_of,
)
from portico.services.call import Call, implements
from portico.services.registry import model_store
from portico.services.registry.model_store import MODELS, VERSION_KIND, VersionPrivate, register_version
from portico.services.standard import operations
from portico.services.standard.collection import POLICIES, check_common, check_etag, page, register, remove
from portico.services.standard.names import MODEL_ID, check_aliases, check_same_location, own_id
from portico.store import resources
from portico.store.jobs import Job

register(MODELS, "list", *POLICIES)


@implements("aiplatform", MODELS.method("get"))
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return model_store.render_version(model_store.version_row(connection, call.name))


@implements("aiplatform", MODELS.method("listVersions"))
def list_versions(call: Call) -> dict[str, Any]:
    name = model_store.split(call.name)[0]
    with call.rooms.database.read() as connection:
        MODELS.require(connection, name)
        return page(call, MODELS, lambda after, limit: (
            model_store.render_version(v)
            for v in reversed(list(resources.listed(connection, VERSION_KIND, name)))
        ), ordered="version_create_time")  # fmt: skip


@implements("aiplatform", MODELS.method("patch"))
def patch(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        version = model_store.version_row(connection, call.name)
        check_etag(version, call.body.get("etag"))
        version.body = MODELS.patched(call, version.body)
        model_store.change_version(connection, version, call.rooms.clock.now())
        return model_store.render_version(version)


@implements("aiplatform", MODELS.method("delete"))
def delete(call: Call) -> dict[str, Any]:
    name = model_store.split(call.name)[0]
    with call.rooms.database.write() as connection:
        MODELS.require(connection, name)
        versions = list(resources.listed(connection, VERSION_KIND, name))
        for version in versions:
            model_store.require_undeployed(version)
        artifacts = [model_store.delete_version(connection, version) for version in versions]
        remove(call, connection, MODELS.require(connection, name))
        artifacts = [a for a in artifacts if not model_store.artifact_in_use(connection, a)]
        answer = operations.done(call, connection, name, "DeleteOperationMetadata", None)
    drop(call.rooms, artifacts)
    return answer


@implements("aiplatform", MODELS.method("deleteVersion"))
def delete_version(call: Call) -> dict[str, Any]:
    model_store.check_version_number(call.name)
    with call.rooms.database.write() as connection:
        version = model_store.version_row(connection, call.name)
        if "default" in version.body["versionAliases"]:
            raise FailedPrecondition(
                f"Version {version.body['versionId']} is the default one; make another the default first, "
                "or delete the model."
            )
        artifact = model_store.delete_version(connection, version)
        kept = model_store.artifact_in_use(connection, artifact)
        answer = operations.done(call, connection, version.parent, "DeleteOperationMetadata", None)
    if not kept:
        drop(call.rooms, [artifact])
    return answer


@implements("aiplatform", MODELS.method("mergeVersionAliases"))
def merge_version_aliases(call: Call) -> dict[str, Any]:
    asked = call.body["versionAliases"]
    added = [alias for alias in asked if not alias.startswith("-")]
    removed = {alias[1:] for alias in asked if alias.startswith("-")}
    check_aliases(added)
    now = call.rooms.clock.now()
    with call.rooms.database.write() as connection:
        version = model_store.version_row(connection, call.name)
        held = version.body["versionAliases"]
        if "default" in removed and "default" in held:
            raise FailedPrecondition("The alias 'default' can be moved to another version, not removed.")
        for other in list(resources.listed(connection, VERSION_KIND, version.parent)):
            kept = [alias for alias in other.body["versionAliases"] if alias not in added]
            if other.name != version.name and kept != other.body["versionAliases"]:
                other.body["versionAliases"] = kept
                resources.update(connection, other, now)
        version.body["versionAliases"] = [
            alias for alias in dict.fromkeys([*held, *added]) if alias not in removed
        ]
        model_store.change_version(connection, version, now)
        return model_store.render_version(version)


# --- making models -------------------------------------------------------------------------------------


def target_of(call: Call, parent: str, model_id: str, parent_model: str) -> dict[str, Any]:
    """Where a new version goes, as kept in a job: {"parent", "modelId", "new"}.

    Raises:
        InvalidArgument: an id is not allowed, or both were given. NotFound: there is no such parent model.
    """
    if not parent_model:
        made = own_id(model_id, call.rooms.ids.number(), "modelId", MODEL_ID)
        with call.rooms.database.read() as connection:
            taken = resources.get(connection, f"{parent}/models/{made}")
        if taken is not None:
            raise AlreadyExists(
                f"The Model {taken.name!r} already exists; give it as parentModel to add a version to it."
            )
        return {"parent": parent, "modelId": made, "new": True}
    if model_id:
        raise InvalidArgument("Give modelId or parentModel, not both.", field="modelId")
    name = parent_model if "/" in parent_model else f"{parent}/models/{parent_model}"
    check_same_location(parent, name, "parentModel")
    with call.rooms.database.read() as connection:
        MODELS.require(connection, model_store.split(name)[0])
    return {"parent": parent, "modelId": model_store.split(name)[0].rpartition("/")[2], "new": False}


@implements("aiplatform", MODELS.method("upload"))
def upload(call: Call) -> dict[str, Any]:
    parent = str(call.params["parent"])
    model = dict(call.body["model"])
    check_common(model)
    images.check_container(model.get("containerSpec") or {})
    aliases = list(model.pop("versionAliases", []))
    check_aliases(aliases)
    target = target_of(call, parent, call.body.get("modelId", ""), call.body.get("parentModel", ""))
    name = f"{target['parent']}/models/{target['modelId']}"
    payload = {"target": target, "model": model, "aliases": aliases, "artifact": call.rooms.ids.token()}
    with call.rooms.database.write() as connection:
        job = call.rooms.queue.add(connection, "models.upload", name, payload)
        operation = operations.start(call, connection, name, "UploadModelOperationMetadata", job=job)
    call.rooms.queue.wake()
    return operations.render(operation)


def run_upload(context: Context) -> dict[str, Any]:
    """Job: copies the artifact out of Cloud Storage, where there is one, and its image; returns what serves it."""
    payload = context.job.payload
    model = payload["model"]
    return keep(context, model, model.get("artifactUri", ""), payload["artifact"])


def _follow_upload(connection: Connection, job: Job, now: float) -> None:
    response = None
    if job.state == "SUCCEEDED":
        payload = job.payload
        model = payload["model"]
        body = {**model, **custom_body(bool(job.result.get("format")), bool(model.get("artifactUri")))}
        private = VersionPrivate(**job.result)
        version = register_version(connection, payload["target"], body, private, now, payload["aliases"])
        response = {"model": version.parent, "modelVersionId": version.body["versionId"]}
    operations.follow(connection, job, now, "UploadModelResponse", response)


register_kind(JobKind("models.upload", f"{__name__}:run_upload", _follow_upload, lane="thread"))


def run_fetch(context: Context) -> dict[str, Any]:
    """Job: copies the files of a version that another service has registered out of Cloud Storage."""
    payload = context.job.payload
    with context.database.read() as connection:
        version = model_store.version_row(connection, payload["version"])
    target = model_store.folder(context.home, payload["artifact"])
    serving = serving_of(image_of(version.body))
    return fetch_artifact(context, payload["uri"], target, serving, payload["names"])


def _follow_fetch(connection: Connection, job: Job, now: float) -> None:
    version = resources.get(connection, job.payload["version"])
    if job.state != "SUCCEEDED" or version is None:
        return
    private = VersionPrivate.of(version)
    private.artifact, private.format = job.payload["artifact"], job.result.get("format", "")
    private.digest = job.result.get("digest", "")
    version.body |= custom_body(bool(private.format), True)
    model_store.change_version(connection, version, now)


register_kind(JobKind("models.fetch", f"{__name__}:run_fetch", _follow_fetch, lane="thread"))


@implements("aiplatform", MODELS.method("copy"))
def copy(call: Call) -> dict[str, Any]:
    """Copies a version, as it is, to a new model or as a new version; the files are shared, being immutable."""
    parent = str(call.params["parent"])
    source_name = call.body["sourceModel"]
    target = target_of(call, parent, call.body.get("modelId", ""), call.body.get("parentModel", ""))
    with call.rooms.database.write() as connection:
        source = model_store.version_row(connection, source_name)
        body = {
            k: v for k, v in source.body.items() if k not in ("deployedModels", "versionId", "versionAliases")
        }
        body["modelSourceInfo"] = {**body.get("modelSourceInfo", {}), "copy": True}
        private = VersionPrivate.of(source)
        made = register_version(connection, target, body, private, call.rooms.clock.now(), [])
        return operations.done(
            call, connection, made.parent, "CopyModelOperationMetadata", "CopyModelResponse",
            {"model": made.parent, "modelVersionId": made.body["versionId"]},
        )  # fmt: skip


@implements("aiplatform", MODELS.method("export"))
def export(call: Call) -> dict[str, Any]:
    """Writes a version's files below a gs:// prefix."""
    config = call.body["outputConfig"]
    if config.get("imageDestination"):
        raise Unimplemented(
            "Exporting container images is not built in Portico yet; use artifactDestination."
        )
    prefix = (config.get("artifactDestination") or {}).get("outputUriPrefix", "")
    if not prefix.startswith("gs://"):
        raise InvalidArgument(
            "outputConfig.artifactDestination.outputUriPrefix must be a gs:// name.",
            field="outputConfig.artifactDestination.outputUriPrefix",
        )
    with call.rooms.database.write() as connection:
        version = model_store.version_row(connection, call.name)
        artifact = VersionPrivate.of(version).artifact
        if not artifact:
            raise FailedPrecondition(f"The Model {call.name!r} has no files to export.")
        formats = [f["id"] for f in version.body.get("supportedExportFormats", [])]
        wanted = config.get("exportFormatId") or (formats[0] if formats else "custom-trained")
        if formats and wanted not in formats:
            raise InvalidArgument(
                f"exportFormatId {wanted!r} is not supported; this model can be exported as {', '.join(formats)}.",
                field="outputConfig.exportFormatId",
            )
        model_id = version.parent.rpartition("/")[2]
        output = f"{prefix.rstrip('/')}/model-{model_id}/{wanted}/{call.rooms.ids.number()}"
        payload = {"artifact": artifact, "output": output}
        job = call.rooms.queue.add(connection, "models.export", version.parent, payload)
        operation = operations.start(
            call, connection, version.parent, "ExportModelOperationMetadata", job=job,
            outputInfo={"artifactOutputUri": output},
        )  # fmt: skip
    call.rooms.queue.wake()
    return operations.render(operation)


def run_export(context: Context) -> None:
    """Job: writes the files of a version as objects."""
    from portico.services.aiplatform.model_files import write_artifact

    payload = context.job.payload
    write_artifact(context, model_store.folder(context.home, payload["artifact"]), payload["output"])


def _follow_export(connection: Connection, job: Job, now: float) -> None:
    operations.follow(connection, job, now, "ExportModelResponse", {})


register_kind(JobKind("models.export", f"{__name__}:run_export", _follow_export, lane="thread"))
