"""Tags: names of versions that can be moved to others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import InvalidArgument
from portico.services.call import Call
from portico.services.registry import templates
from portico.services.standard.collection import Collection, page, register
from portico.services.standard.names import IdRule, own_id
from portico.store import resources
from portico.store.resources import Resource

_ID = IdRule(
    rf"(?!{templates.DIGEST})[a-zA-Z0-9._~:@-]{{1,128}}",
    "at most 128 of letters, digits and -._~:@, and not beginning with sha256:",
)


class _Tags(Collection):
    def create(self, call: Call) -> dict[str, Any]:
        if not call.params.get("tagId"):
            raise InvalidArgument("tagId is missing: how the tag is to be called.", field="tagId")
        return super().create(call)

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        """A version may be written without its repository's name."""
        version, package = str(resource.body.get("version", "")), resource.parent
        if version.startswith("packages/"):
            version = f"{package.partition('/packages/')[0]}/{version}"
        if not version.startswith(f"{package}/versions/"):
            raise InvalidArgument(f"version is {version!r}; it must be one of {package}.", field="version")
        templates.version_of(connection, package, version.rpartition("/")[2])
        resource.body["version"] = version

    def render(self, resource: Resource) -> dict[str, Any]:
        return {"name": resource.name, "version": resource.body["version"]}

    def list(self, call: Call) -> dict[str, Any]:
        parent = str(call.params["parent"])

        def timeless(shown: Sequence[dict[str, Any]]) -> None:
            for one in shown:
                del one["createTime"]

        with call.rooms.database.read() as connection:
            self.require_parent(connection, parent)
            return page(call, self, lambda after, limit: (
                {**self.render(tag), "createTime": rfc3339(tag.create_time)}
                for tag in resources.listed(connection, self.kind, parent, after=after, limit=limit)
            ), complete=timeless)  # fmt: skip


TAGS = _Tags(
    "projects.locations.repositories.packages.tags", "Tag", api="artifactregistry", has_etag=False, ids=_ID
)
register(TAGS, "create", "get", "list", "patch", "delete")


def of_package(connection: Connection, package: str) -> list[Resource]:
    return list(resources.listed(connection, TAGS.kind, package))


def put(call: Call, connection: Connection, version: Resource, tag: str) -> None:
    """Gives `version` a tag, which another may have had.

    Raises:
        InvalidArgument: the tag may not be called so.
    """
    name = f"{version.parent}/tags/{own_id(tag, '', 'tag', TAGS.ids)}"
    found = resources.get(connection, name)
    if found is None:
        TAGS.insert(call, connection, name, version.parent, {"version": version.name})
    elif found.body["version"] != version.name:
        found.body["version"] = version.name
        resources.update(connection, found, call.rooms.clock.now())
