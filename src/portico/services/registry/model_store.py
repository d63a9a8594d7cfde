"""The model registry's rows: a model, its versions, its aliases. Shared by everything that makes models.

A version is a row of its own ("…/models/M@3"); the model's row ("…/models/M") holds the body of the default
version.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from portico.services.standard.collection import Collection
from portico.store import resources
from portico.store.resources import Private, Resource

_OUTPUT_ONLY = frozenset(
    {"versionId", "versionAliases", "versionCreateTime", "versionUpdateTime", "deployedModels", "trainingPipeline",
     "supportedExportFormats", "supportedDeploymentResourcesTypes", "supportedInputStorageFormats",
     "supportedOutputStorageFormats", "metadataSchemaUri", "metadata", "artifactUri", "containerSpec",
     "predictSchemata", "modelSourceInfo", "originalModelInfo", "metadataArtifact"}
)  # fmt: skip

MODELS = Collection(
    "projects.locations.models",
    "Model",
    output_only=_OUTPUT_ONLY,
    filters={"model": lambda shown: str(shown["name"]).rpartition("/")[2].partition("@")[0]},
)

VERSION_KIND = f"{MODELS.kind}.versions"
EVALUATION_KIND = f"{MODELS.kind}.evaluations"


class ModelPrivate(Private):
    """`last` is the number of its newest version ever."""

    last: int = 0


class VersionPrivate(Private):
    """`artifact` is the folder below HOME/models; `format` what serves it ("portico", "bqml", "lightgbm", "onnx",
    "replica"), "" where nothing does; `digest` that of its files, "" where they were never tried; `image` the one that
    its own is another name of; `copies` the gs:// address from which its own code fetches its artifacts."""

    artifact: str = ""
    format: str = ""
    digest: str = ""
    image: str = ""
    copies: str = ""


def folder(home: Path, artifact: str) -> Path:
    """Where the files of a version are."""
    return home / "models" / artifact


def split(name: str) -> tuple[str, str]:
    """`…/models/M@3` as ("…/models/M", "3"); without a version the second is empty."""
    model, _, version = name.partition("@")
    return model, version


def version_row(connection: Connection, name: str) -> Resource:
    """The version that `name` means: by number, by alias, or the default one.

    Raises:
        NotFound: there is no such model, or it has no such version.
    """
    model_name, wanted = split(name)
    model = MODELS.require(connection, model_name)
    wanted = wanted or "default"
    if wanted.isdigit():
        found = resources.get(connection, f"{model_name}@{wanted}")
        if found is not None:
            return found
    for version in resources.listed(connection, VERSION_KIND, model.name):
        if wanted in version.body["versionAliases"]:
            return version
    raise NotFound(f"The Model {model_name!r} has no version or alias {wanted!r}.")


def render_version(version: Resource) -> dict[str, Any]:
    """A version as clients see it: under the model's name, with the version's own times."""
    shown = MODELS.render(version)
    shown["name"] = split(version.name)[0]
    shown["versionCreateTime"] = rfc3339(version.create_time)
    shown["versionUpdateTime"] = rfc3339(version.update_time)
    return shown


def add_version(
    connection: Connection,
    parent: str,
    model_id: str,
    body: dict[str, Any],
    private: VersionPrivate,
    now: float,
    *,
    new: bool,
    aliases: list[str],
    make_default: bool,
) -> Resource:
    """Registers `body` as a new model, or as the next version of an existing one.

    Raises:
        AlreadyExists: `new`, and the id is taken. NotFound: not `new`, and there is no such model.
    """
    name = f"{parent}/models/{model_id}"
    model = resources.get(connection, name)
    if new and model is not None:
        raise AlreadyExists(
            f"The Model {name!r} already exists; give it as parentModel to add a version to it."
        )
    if not new and model is None:
        raise NotFound(f"The Model {name!r} does not exist.")
    if model is None:
        model = resources.insert(connection, name=name, kind=MODELS.kind, parent=parent, body={}, now=now)
        assert model is not None
    number = str(ModelPrivate.of(model).last + 1)
    wanted = [*aliases, *(["default"] if make_default or number == "1" else [])]
    for other in list(resources.listed(connection, VERSION_KIND, name)):
        kept = [alias for alias in other.body["versionAliases"] if alias not in wanted]
        if kept != other.body["versionAliases"]:
            other.body["versionAliases"] = kept
            resources.update(connection, other, now)
    body = {**body, "versionId": number, "versionAliases": wanted}
    version = resources.insert(
        connection,
        name=f"{name}@{number}",
        kind=VERSION_KIND,
        parent=name,
        body=body,
        now=now,
        private=private,
    )
    assert version is not None
    ModelPrivate.of(model).last = int(number)
    show_default(connection, model, now)
    return version


def register_version(
    connection: Connection,
    target: dict[str, Any],
    body: dict[str, Any],
    private: VersionPrivate,
    now: float,
    aliases: list[str],
) -> Resource:
    """Registers what a job made. `aliases` as clients send them: "default" among them moves the default."""
    return add_version(
        connection, target["parent"], target["modelId"], body, private, now, new=target["new"],
        aliases=[a for a in aliases if a != "default"], make_default="default" in aliases,
    )  # fmt: skip


def show_default(connection: Connection, model: Resource, now: float | None) -> None:
    """Copies the default version's body into the model's row, which lists and filters read; without a time
    it is no change of the model."""
    default = next(
        v
        for v in resources.listed(connection, VERSION_KIND, model.name)
        if "default" in v.body["versionAliases"]
    )
    times = {
        "versionCreateTime": rfc3339(default.create_time),
        "versionUpdateTime": rfc3339(default.update_time),
    }
    model.body = {**default.body, **times}
    if now is None:
        resources.note(connection, model)
    else:
        resources.update(connection, model, now)


def change_version(connection: Connection, version: Resource, now: float) -> Resource:
    """Writes a changed version, and the model's row where it is the default one."""
    resources.update(connection, version, now)
    model = MODELS.require(connection, split(version.name)[0])
    show_default(connection, model, now)
    return version


def make_default(connection: Connection, version: Resource, now: float) -> None:
    """Moves the alias "default" to `version`."""
    for other in list(resources.listed(connection, VERSION_KIND, version.parent)):
        kept = [alias for alias in other.body["versionAliases"] if alias != "default"]
        if other.name == version.name:
            kept.append("default")
        if kept != other.body["versionAliases"]:
            other.body["versionAliases"] = kept
            resources.update(connection, other, now)
    show_default(connection, MODELS.require(connection, version.parent), now)


def set_deployed(
    connection: Connection, version: Resource, endpoint: str, deployed_id: str, deployed: bool
) -> None:
    """Notes on a version that an endpoint serves it, or no longer does. Its etag stays: what a client has read
    of the model before it deployed it is still what it may update."""
    pointer = {"endpoint": endpoint, "deployedModelId": deployed_id}
    held = [d for d in version.body.get("deployedModels", []) if d != pointer]
    version.body["deployedModels"] = [*held, pointer] if deployed else held
    resources.note(connection, version)
    show_default(connection, MODELS.require(connection, split(version.name)[0]), None)


def require_undeployed(version: Resource) -> None:
    """
    Raises:
        FailedPrecondition: an endpoint serves it.
    """
    for deployed in version.body.get("deployedModels", []):
        raise FailedPrecondition(
            f"The Model {split(version.name)[0]} (version {version.body['versionId']}) is deployed at "
            f"{deployed['endpoint']} as {deployed['deployedModelId']}; undeploy it first."
        )


def delete_version(connection: Connection, version: Resource) -> str:
    """Removes one version's rows; returns its artifact folder's name, for `drop_artifacts` after the commit."""
    require_undeployed(version)
    for evaluation in list(resources.listed(connection, EVALUATION_KIND, version.name)):
        for piece in list(resources.listed(connection, f"{EVALUATION_KIND}.slices", evaluation.name)):
            resources.delete(connection, piece.name)
        resources.delete(connection, evaluation.name)
    resources.delete(connection, version.name)
    return VersionPrivate.of(version).artifact


def artifact_in_use(connection: Connection, artifact: str) -> bool:
    """Whether a version still has this folder: copies share one."""
    every = resources.listed(connection, VERSION_KIND)
    return any(VersionPrivate.of(v).artifact == artifact for v in every)


def drop_artifacts(home: Path, artifacts: list[str]) -> None:
    import shutil

    for artifact in artifacts:
        if artifact:
            shutil.rmtree(folder(home, artifact), ignore_errors=True)


def check_version_number(name: str) -> None:
    if not split(name)[1]:
        raise InvalidArgument(f"{name!r} names no version; say which, as in {name}@1.", field="name")
