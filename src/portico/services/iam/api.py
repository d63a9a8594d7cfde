"""Identity and Access Management."""

from portico.services.standard.apis import Api

API = Api(
    name="iam",
    versions=("v1",),
    title="Identity and Access Management (`iam` v1)",
    collections=("role_resources", "service_accounts", "service_account_keys"),
    required={
        "projects.serviceAccounts.create": ("accountId",),
        "projects.serviceAccounts.patch": ("serviceAccount", "updateMask"),
    },
)
