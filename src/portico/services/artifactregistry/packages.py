"""Packages: a pipeline's templates, by its name. The first upload makes one (`kfp_artifacts`)."""

from __future__ import annotations

from typing import Any

from portico.errors import Unimplemented
from portico.services.artifactregistry.repositories import REPOSITORIES
from portico.services.call import Call
from portico.services.standard.collection import Collection, register


class _Packages(Collection):
    def list(self, call: Call) -> dict[str, Any]:
        with call.rooms.database.read() as connection:
            above = REPOSITORIES.require(connection, str(call.params["parent"]))
        if above.body["format"] == "DOCKER":
            raise Unimplemented(
                f"The images of {above.name} are not told as packages in Portico: `docker images` under "
                "`portico exec` lists them."
            )
        return super().list(call)


PACKAGES = _Packages(
    "projects.locations.repositories.packages",
    "Package",
    api="artifactregistry",
    has_etag=False,
    cascade=True,
)
register(PACKAGES, "get", "list", "patch", "delete")
