"""Cloud Monitoring."""

from portico.services.standard.apis import Api

API = Api(
    name="monitoring",
    versions=("v3",),
    title="Cloud Monitoring (`monitoring` v3)",
    collections=("notification_channels",),
    required={"projects.notificationChannels.create": ("type",)},
)
