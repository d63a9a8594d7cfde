"""Versions of packages: each is one file, called by the digest of its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument
from portico.services.artifactregistry import tags
from portico.services.call import Call, implements
from portico.services.standard import operations
from portico.services.standard.collection import Collection, register, remove
from portico.store import resources, templates
from portico.store.resources import Resource

_MOST_TAGS = 100  # that a version is shown with: Google's
_BATCH = 10_000  # versions that one request deletes at most: Google's


class _Versions(Collection):
    def get(self, call: Call) -> dict[str, Any]:
        return self._viewed(call, [super().get(call)])[0]

    def list(self, call: Call) -> dict[str, Any]:
        answer = super().list(call)
        self._viewed(call, answer.get("versions", []))
        return answer

    def _viewed(self, call: Call, shown: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """With their tags, where the view is FULL."""
        if call.params.get("view") == "FULL" and shown:
            package = shown[0]["name"].partition("/versions/")[0]
            with call.rooms.database.read() as connection:
                every = [
                    tags.TAGS.render(tag) for tag in resources.listed(connection, tags.TAGS.kind, package)
                ]
            for one in shown:
                if of := [tag for tag in every if tag["version"] == one["name"]]:
                    one["relatedTags"] = of[:_MOST_TAGS]
        return shown

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> None:
        """Its tags keep it, or go with it."""
        if call.method == self.method("delete"):
            held = [
                tag
                for tag in tags.of_package(connection, resource.parent)
                if tag.body["version"] == resource.name
            ]
            if held and not call.params.get("force"):
                raise FailedPrecondition(
                    f"{resource.name} has tags ({', '.join(tag.name.rpartition('/')[2] for tag in held)}); delete them "
                    "first, or set force."
                )
            for tag in held:
                resources.delete(connection, tag.name)
        templates.forget(connection, resource.name)


VERSIONS = _Versions(
    "projects.locations.repositories.packages.versions", "Version", api="artifactregistry", has_etag=False
)
register(VERSIONS, "get", "list", "patch", "delete")


@implements("artifactregistry", VERSIONS.method("batchDelete"))
def batch_delete(call: Call) -> dict[str, Any]:
    """All of them or none; their tags go too."""
    parent, names = str(call.params["parent"]), list(dict.fromkeys(call.body["names"]))
    if len(names) > _BATCH:
        raise InvalidArgument(f"At most {_BATCH:,} versions are deleted at once.", field="names")
    with call.rooms.database.write() as connection:
        found = [VERSIONS.require(connection, name) for name in names]
        for version in found:
            if version.parent != parent:
                raise InvalidArgument(f"{version.name} is no version of {parent}.", field="names")
        if not call.body.get("validateOnly"):
            for tag in tags.of_package(connection, parent):
                if tag.body["version"] in names:
                    resources.delete(connection, tag.name)
            for version in found:
                remove(call, connection, version)
        return operations.done(call, connection, parent, "", None)
