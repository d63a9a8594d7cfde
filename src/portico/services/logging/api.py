"""Cloud Logging."""

from portico.services.standard.apis import Api

API = Api(
    name="logging",
    versions=("v2",),
    title="Cloud Logging (`logging` v2)",
    collections=("entries", "logs"),
)
