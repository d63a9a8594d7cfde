"""Pub/Sub."""

from portico.services.standard.apis import Api

API = Api(name="pubsub", versions=("v1",), title="Pub/Sub (`pubsub` v1)")
