"""Service Account Credentials."""

from portico.services.standard.apis import Api

API = Api(
    name="iamcredentials",
    versions=("v1",),
    title="Service Account Credentials (`iamcredentials` v1)",
    collections=("credentials",),
    required={
        "projects.serviceAccounts.generateAccessToken": ("scope",),
        "projects.serviceAccounts.generateIdToken": ("audience",),
        "projects.serviceAccounts.signBlob": ("payload",),
        "projects.serviceAccounts.signJwt": ("payload",),
    },
)
