"""Artifact Registry, for pipeline templates and images: repositories of the formats KFP and DOCKER."""

from portico.services.standard.apis import Api

API = Api(
    name="artifactregistry",
    versions=("v1",),
    title="Artifact Registry (`artifactregistry` v1)",
    note=(
        "Repositories of the formats KFP and DOCKER. Besides the methods: what `kfp.registry.RegistryClient` speaks to "
        "`LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY`, here `/apis/artifactregistry/kfp/LOCATION/PROJECT/REPOSITORY`."
    ),
    collections=("kfp_artifacts", "packages", "repositories", "tags", "versions"),
    package="type.googleapis.com/google.devtools.artifactregistry.",
    metadata="OperationMetadata",
    required={
        "projects.locations.repositories.packages.tags.create": ("version",),
        "projects.locations.repositories.packages.versions.batchDelete": ("names",),
    },
)
