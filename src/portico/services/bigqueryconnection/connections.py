"""Connections, of which those to PostgreSQL in Cloud SQL are built."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, Unimplemented
from portico.services.call import Call
from portico.services.registry.connections import ConnectionPrivate
from portico.services.standard.collection import POLICIES, Collection, register
from portico.store.resources import Resource

_INSTANCE = re.compile(r"[^:]+(:[^:]+)?:[^:]+:[^:]+")  # a project may have its domain before it
_OTHERS = ("aws", "azure", "cloudSpanner", "cloudResource", "spark", "salesforceDataCloud", "configuration")


class _Connections(Collection):
    def render(self, resource: Resource) -> dict[str, Any]:
        shown = {"name": resource.name, **resource.body}
        shown["creationTime"] = str(int(resource.create_time * 1000))
        shown["lastModifiedTime"] = str(int(resource.update_time * 1000))
        shown["hasCredential"] = bool(ConnectionPrivate.of(resource).username)
        return shown

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        if other := next((name for name in _OTHERS if body.get(name) is not None), ""):
            raise Unimplemented(
                f"Connections with {other} are not built in Portico; those with cloudSql are.", field=other
            )
        told = body.get("cloudSql")
        if not told:
            raise InvalidArgument("cloudSql is missing: to which database it connects.", field="cloudSql")
        if told.get("type") != "POSTGRES":
            raise Unimplemented(
                f"Connections to {told.get('type') or 'DATABASE_TYPE_UNSPECIFIED'} are not built in Portico; those to "
                "POSTGRES are.",
                field="cloudSql.type",
            )
        if not _INSTANCE.fullmatch(told.get("instanceId") or ""):
            raise InvalidArgument(
                "cloudSql.instanceId must be PROJECT:REGION:INSTANCE.", field="cloudSql.instanceId"
            )
        if not told.get("database"):
            raise InvalidArgument("cloudSql.database is missing.", field="cloudSql.database")
        private = ConnectionPrivate.of(resource)
        if credential := told.pop("credential", None):
            private.username = str(credential.get("username") or "")
            private.password = str(credential.get("password") or "")
        if not private.username:
            raise InvalidArgument("cloudSql.credential.username is missing.", field="cloudSql.credential")


CONNECTIONS = _Connections(
    "projects.locations.connections", "Connection", api="bigqueryconnection", has_etag=False, indexed=frozenset()
)  # fmt: skip
register(CONNECTIONS, "create", "get", "list", "patch", "delete", *POLICIES)
