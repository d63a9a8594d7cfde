"""Resource Manager."""

from portico.services.standard.apis import Api

API = Api(
    name="cloudresourcemanager",
    versions=("v3",),
    title="Resource Manager (`cloudresourcemanager` v3)",
    collections=("projects",),
)
