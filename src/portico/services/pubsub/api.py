"""Pub/Sub."""

from portico.services.standard.apis import Api

API = Api(
    name="pubsub",
    versions=("v1",),
    title="Pub/Sub (`pubsub` v1)",
    collections=("topics", "subscriptions", "snapshots", "publishing", "pulling"),
    required={
        "projects.topics.publish": ("messages",),
        "projects.subscriptions.create": ("topic",),
        "projects.subscriptions.acknowledge": ("ackIds",),
        "projects.subscriptions.modifyAckDeadline": ("ackIds",),
        "projects.snapshots.create": ("subscription",),
        "projects.topics.patch": ("topic", "updateMask"),
        "projects.subscriptions.patch": ("subscription", "updateMask"),
        "projects.snapshots.patch": ("snapshot", "updateMask"),
    },
)
