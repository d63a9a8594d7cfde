"""Uploads of compiled pipelines: each is a version of the package that is called as the pipeline."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from portico.errors import InvalidArgument
from portico.services.artifactregistry import tags
from portico.services.artifactregistry.packages import PACKAGES
from portico.services.artifactregistry.repositories import REPOSITORIES, require_format
from portico.services.artifactregistry.versions import VERSIONS
from portico.services.call import Call, implements
from portico.services.registry import templates as registry
from portico.services.standard import operations
from portico.store import resources, templates
from portico.store.resources import Resource

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{3,127}")
_RESERVED = "packages"  # what it would be downloaded from is their list


@implements("artifactregistry", "projects.locations.repositories.kfpArtifacts.upload")
def upload(call: Call) -> dict[str, Any]:
    """
    Raises:
        InvalidArgument: nothing came along; uploads come to `kept` through a door of their own.
    """
    raise InvalidArgument(
        "The compiled pipeline is missing: send it as media to /upload/v1/…/kfpArtifacts:create."
    )


def kept(call: Call, content: bytes, wanted: Sequence[str], description: str) -> Resource:
    """The version that `content` is of its package, made where it is new; the `wanted` tags are moved to it.

    Raises:
        InvalidArgument: it is no compiled pipeline, or a tag may not be called so. NotFound: no such repository.
    """
    repository = str(call.params["parent"])
    with call.rooms.database.read() as connection:
        require_format(REPOSITORIES.require(connection, repository), "KFP")
    spec = registry.parse(content)
    registry.check(spec)
    info = spec["pipelineInfo"]
    pipeline = info["name"]
    if not _NAME.fullmatch(pipeline) or pipeline == _RESERVED:
        raise InvalidArgument(
            f"pipelineInfo.name is {pipeline!r}; a template's is 4 to 128 lower-case letters, digits and '-', "
            f"beginning with a letter or a digit, and not {_RESERVED!r}.",
            field="pipelineInfo.name",
        )
    package = f"{repository}/packages/{pipeline}"
    name = f"{package}/versions/{registry.DIGEST}{hashlib.sha256(content).hexdigest()}"
    now = call.rooms.clock.now()
    with call.rooms.database.write() as connection:
        REPOSITORIES.require(connection, repository)
        held = resources.get(connection, package)
        if held is None:
            held = PACKAGES.insert(call, connection, package, repository, {"displayName": pipeline})
        found = resources.get(connection, name)
        if found is None:
            said = description or info.get("description", "")
            found = VERSIONS.insert(call, connection, name, package, {"description": said} if said else {})
            templates.add(connection, name, content)
            resources.update(connection, held, now)
        for tag in wanted:
            tags.put(call, connection, found, tag)
    return found


def operation_of(call: Call, version: Resource) -> dict[str, Any]:
    """What kfpArtifacts.upload answers."""
    artifact = {
        "name": f"{call.params['parent']}/kfpArtifacts/{version.name.rpartition('/')[2]}",
        "version": version.name,
    }
    with call.rooms.database.write() as connection:
        return {
            "operation": operations.done(call, connection, call.params["parent"], "", "KfpArtifact", artifact)
        }


def download(call: Call) -> bytes:
    """The file of `call.params["version"]`, a digest or a tag, of the package `call.params["parent"]`.

    Raises:
        NotFound: there is none.
    """
    package, reference = str(call.params["parent"]), str(call.params["version"])
    if (content := registry.published(call.rooms.home, package, reference)) is not None:
        return content
    with call.rooms.database.read() as connection:
        version = registry.version_of(connection, package, reference)
        return templates.read(connection, version)
