"""Repositories, of which those for compiled pipelines (KFP) are built."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, Unimplemented
from portico.services.call import Call
from portico.services.standard.collection import POLICIES, Collection, register
from portico.services.standard.names import LABEL_ID
from portico.store.resources import Resource

_STANDARD = ("", "MODE_UNSPECIFIED", "STANDARD_REPOSITORY")


class _Repositories(Collection):
    def create(self, call: Call) -> dict[str, Any]:
        if not call.params.get("repositoryId"):
            raise InvalidArgument(
                "repositoryId is missing: how the repository is to be called.", field="repositoryId"
            )
        return super().create(call)

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        if body.get("format") != "KFP":
            raise Unimplemented(
                f"Repositories of the format {body.get('format') or 'FORMAT_UNSPECIFIED'} are not built in Portico; "
                "those of KFP are.",
                field="format",
            )
        if body.get("mode", "") not in _STANDARD:
            raise Unimplemented(
                f"Repositories of the mode {body['mode']} are not built in Portico.", field="mode"
            )
        for unbuilt in ("cleanupPolicies", "kmsKeyName"):
            if body.get(unbuilt):
                raise Unimplemented(f"{unbuilt} of repositories is not built in Portico.", field=unbuilt)
        _, project, _, location, _, name = resource.name.split("/")
        body |= {"mode": "STANDARD_REPOSITORY", "registryUri": f"{location}-kfp.pkg.dev/{project}/{name}"}


REPOSITORIES = _Repositories(
    "projects.locations.repositories",
    "Repository",
    api="artifactregistry",
    immutable=frozenset({"format", "mode", "kmsKeyName"}),
    has_etag=False,
    ids=LABEL_ID,
    cascade=True,
)
register(REPOSITORIES, "create", "get", "list", "patch", "delete", *POLICIES)
