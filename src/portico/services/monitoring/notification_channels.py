"""Notification channels: the e-mail addresses and webhooks that budgets tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import InvalidArgument, Unimplemented
from portico.services.alerts.budgets import SINKS
from portico.services.call import Call
from portico.services.standard.collection import Collection, check_common, register
from portico.store.resources import Resource


class NotificationChannels(Collection):
    def create(self, call: Call) -> dict[str, Any]:
        call.params["parent"] = call.name  # as this API calls it
        return super().create(call)

    def list(self, call: Call) -> dict[str, Any]:
        call.params["parent"] = call.name
        return super().list(call)

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        body.setdefault("enabled", True)
        kind = body.get("type", "")
        if kind not in SINKS:
            raise Unimplemented(f"Channels of the type {kind!r} are not built; there are {', '.join(SINKS)}.")
        _, label = SINKS[kind]
        told = (body.get("labels") or {}).get(label, "")
        if not told:
            raise InvalidArgument(f"A channel of the type {kind} has the label {label}.", field="labels")
        if label == "email_address" and "@" not in told:
            raise InvalidArgument(f"{told!r} is no e-mail address.", field="labels.email_address")
        if label == "url" and urlsplit(told).scheme not in ("http", "https"):
            raise InvalidArgument(f"{told!r} is no address of a webhook.", field="labels.url")

    def check_usual(self, body: Mapping[str, Any]) -> None:
        """Here `labels` say where the channel leads, and `userLabels` are what labels are elsewhere."""
        check_common({**body, "labels": body.get("userLabels")})

    def render(self, resource: Resource) -> dict[str, Any]:
        made = {"mutateTime": rfc3339(resource.create_time)}
        return {"name": resource.name, **resource.body, "creationRecord": made}


CHANNELS = NotificationChannels(
    "projects.notificationChannels",
    "NotificationChannel",
    api="monitoring",
    has_etag=False,
    immutable=frozenset({"type"}),
    output_only=frozenset({"creationRecord", "mutationRecords", "verificationStatus"}),
)
register(CHANNELS, "create", "get", "list", "patch", "delete")
