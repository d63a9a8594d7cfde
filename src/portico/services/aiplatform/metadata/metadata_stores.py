"""Metadata stores, and the schemas that each has. The store "default" is made as soon as something is put into it."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.services.call import Call
from portico.services.registry import metadata
from portico.services.registry.metadata_schemas import SCHEMAS_OF_ALL, SchemaType
from portico.services.standard.collection import After, Collection, register
from portico.services.standard.names import IdRule
from portico.store.resources import Resource

ID = IdRule(
    r"[a-z0-9][a-z0-9-]{0,127}",
    "at most 128 of lower-case letters, digits and '-', beginning with a letter or a digit",
)
_TITLE = re.compile(r"[a-z][a-z0-9_-]{2,20}[.][A-Z][a-zA-Z0-9_-]{2,49}")  # Google's
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


class Stores(Collection):
    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> After | None:
        metadata.add_schemas(connection, resource.name, call.rooms.clock.now())
        return None


class Schemas(Collection):
    """They stay as they are, as on Vertex AI: a changed one is another version."""

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        import yaml

        body = resource.body
        try:
            read = yaml.load(body["schema"], yaml.BaseLoader)
        except (yaml.YAMLError, RecursionError) as error:
            raise InvalidArgument(f"schema is no YAML: {error}.", field="metadataSchema.schema") from None
        title = read.get("title") if isinstance(read, dict) else None
        check_title(str(title or ""), "metadataSchema.schema")
        if not body.get("schemaType"):
            body["schemaType"] = "ARTIFACT_TYPE"
        version = body.setdefault("schemaVersion", "0.0.1")
        if not _VERSION.fullmatch(version):
            raise InvalidArgument(
                f"schemaVersion {version!r} is not one such as 0.0.1.", field="metadataSchema.schemaVersion"
            )


STORES = Stores("projects.locations.metadataStores", "MetadataStore", has_etag=False, ids=ID)
SCHEMAS = Schemas(
    "projects.locations.metadataStores.metadataSchemas", "MetadataSchema", has_etag=False, ids=ID
)
assert (STORES.kind, SCHEMAS.kind) == (metadata.STORE_KIND, metadata.SCHEMA_KIND)
register(STORES, "create", "get", "list", "delete")
register(SCHEMAS, "create", "get", "list")


def check_title(title: str, field: str) -> None:
    """
    Raises:
        InvalidArgument: it can't be a schema's title.
    """
    if not _TITLE.fullmatch(title):
        raise InvalidArgument(
            f"The schema title {title!r} is not allowed: it is a namespace and a name, such as system.Model or "
            "mine.PreparedTable.",
            field=field,
        )


def check_schema(title: str, kind: SchemaType, field: str) -> None:
    """Whether a node of `kind` can have this schema.

    Raises:
        InvalidArgument: it can't.
    """
    check_title(title, field)
    known = SCHEMAS_OF_ALL.get(title)
    if known and known[0] != kind:
        raise InvalidArgument(f"The schema {title} is an {known[0]}, not an {kind}.", field=field)
    if not known and title.partition(".")[0] in ("system", "google"):
        raise InvalidArgument(
            f"There is no schema {title}; of these two namespaces there are {', '.join(SCHEMAS_OF_ALL)}.",
            field=field,
        )
