"""Repositories, of which those for compiled pipelines (KFP) and for images (DOCKER) are built.

The images of one for Docker are those that `docker build` under `portico exec` makes by names below its own.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented
from portico.services.call import Call
from portico.services.standard.collection import POLICIES, After, Collection, page, register
from portico.services.standard.names import LABEL_ID
from portico.store import resources
from portico.store.objects import buckets, files, generations
from portico.store.objects.listing import Query, list_page
from portico.store.objects.names import IMAGES
from portico.store.resources import Resource

_PAGE = 1000
_FORMATS = ("DOCKER", "KFP")
_STANDARD = ("", "MODE_UNSPECIFIED", "STANDARD_REPOSITORY")


class _Repositories(Collection):
    def create(self, call: Call) -> dict[str, Any]:
        if not call.params.get("repositoryId"):
            raise InvalidArgument(
                "repositoryId is missing: how the repository is to be called.", field="repositoryId"
            )
        return super().create(call)

    def list(self, call: Call) -> dict[str, Any]:
        """Of a location, or with "-" for it those of all."""
        project, every, _ = str(call.params["parent"]).partition("/locations/-")
        if not every:
            return super().list(call)
        with call.rooms.database.read() as connection:
            return page(call, self, lambda after, _: (
                self.render(one) for one in resources.listed(connection, self.kind, after=after)
                if one.parent.startswith(f"{project}/")
            ))  # fmt: skip

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        if body.get("format") not in _FORMATS:
            raise Unimplemented(
                f"Repositories of the format {body.get('format') or 'FORMAT_UNSPECIFIED'} are not built in Portico; "
                f"those of {' and '.join(_FORMATS)} are.",
                field="format",
            )
        if body.get("mode", "") not in _STANDARD:
            raise Unimplemented(
                f"Repositories of the mode {body['mode']} are not built in Portico.", field="mode"
            )
        for unbuilt in ("cleanupPolicies", "dockerConfig", "kmsKeyName"):
            if body.get(unbuilt):
                raise Unimplemented(f"{unbuilt} of repositories is not built in Portico.", field=unbuilt)
        body |= {"mode": "STANDARD_REPOSITORY", "registryUri": _address(resource)}

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        """Its images go with it."""
        bucket = buckets.find(connection, IMAGES) if resource.body["format"] == "DOCKER" else None
        if bucket is None:
            return None
        garbage, at = [], Query(bucket=IMAGES, prefix=f"{_address(resource)}/")
        while page := list_page(connection, at, _PAGE).items:
            for row in page:
                garbage += generations.delete(connection, bucket, row, call.rooms.clock.now())
        return lambda: files.remove(call.rooms.home, garbage)


def require_format(repository: Resource, wanted: str) -> None:
    """
    Raises:
        FailedPrecondition: the repository is for something else.
    """
    if repository.body["format"] != wanted:
        raise FailedPrecondition(
            f"{repository.name} is a repository of the format {repository.body['format']}, not of {wanted}."
        )


def _address(repository: Resource) -> str:
    _, project, _, location, _, name = repository.name.split("/")
    return f"{location}-{repository.body['format'].lower()}.pkg.dev/{project}/{name}"


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
