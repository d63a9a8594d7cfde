"""Packages: a pipeline's templates, by its name. The first upload makes one (`kfp_artifacts`)."""

from portico.services.standard.collection import Collection, register

PACKAGES = Collection(
    "projects.locations.repositories.packages",
    "Package",
    api="artifactregistry",
    has_etag=False,
    cascade=True,
)
register(PACKAGES, "get", "list", "patch", "delete")
