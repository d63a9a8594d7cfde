"""Resource Manager."""

from portico.services.standard.apis import Api

API = Api(
    name="cloudresourcemanager",
    versions=("v1", "v3"),
    title="Resource Manager (`cloudresourcemanager` v1, v3)",
    collections=("effective_tags", "policies", "projects", "tag_policies", "tags"),
)
