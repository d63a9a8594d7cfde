"""What artifacts, executions and contexts share: their schema, their etag, filters by context, purge."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.errors import Aborted, InvalidArgument
from portico.services.aiplatform.metadata import metadata_stores
from portico.services.call import Call, implements
from portico.services.registry import metadata
from portico.services.registry.metadata_schemas import SchemaType
from portico.services.standard import operations
from portico.services.standard.collection import After, Collection, page, register, remove
from portico.services.standard.fields import Resource as Shown
from portico.services.standard.filters import Function, compile_filter, wanted
from portico.services.standard.names import IdRule, own_id
from portico.store import lineage, resources
from portico.store.resources import Resource

ID = IdRule(
    r"[a-z0-9_][a-z0-9_-]{0,127}",
    "at most 128 of lower-case letters, digits, '-' and '_', not beginning with '-'",
)
_SAMPLE = 100  # names that a purge shows which only looks
_AT_ONCE = 200  # nodes that a purge deletes in one transaction
_TOO_MUCH = 200 * 1024  # characters of metadata: Google's 200 KB
# The same resource of Vertex AI, at whichever address a client knew it.
_RESOURCE_URI = re.compile(r'(\buri\s*=\s*")https?://[^"*]*?/v1(?:beta1)?/(projects/[^"*]+")')


@dataclass(frozen=True)
class Nodes(Collection):
    """`schemas` is the type of their schemas."""

    schemas: SchemaType = "ARTIFACT_TYPE"
    indexed: frozenset[str] = frozenset({"displayName", "labels", "state", "schemaTitle", "uri"})

    def etag(self, resource: Resource) -> str:
        return digits(resource.create_time, resource.revision)

    def check_etag(self, current: Resource, given: str | None) -> None:
        if given and given != self.etag(current):
            # In the words from which Google's client reads that it may get it again and repeat the change.
            raise Aborted(
                f"Specified {self.message} `etag`: `{given}` does not match server `etag`: `{self.etag(current)}`. "
                "Get it again and repeat the change."
            )

    def require_parent(self, connection: Connection, parent: str) -> None:
        if not parent.endswith(f"/{metadata.DEFAULT}"):
            super().require_parent(connection, parent)

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        if before is None:
            metadata.ensure(connection, resource.parent, call.rooms.clock.now())
        body, field = resource.body, f"{self.message[0].lower()}{self.message[1:]}"
        if title := body.get("schemaTitle"):
            metadata_stores.check_schema(title, self.schemas, f"{field}.schemaTitle")
            body.setdefault("schemaVersion", "0.0.1")
        if len(str(body.get("metadata") or "")) > _TOO_MUCH:
            raise InvalidArgument("metadata is larger than 200 KB.", field=f"{field}.metadata")

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        lineage.forget(connection, resource.name)
        return None

    # --- methods ---

    def patch(self, call: Call) -> dict[str, Any]:
        if call.params.get("allowMissing"):
            with call.rooms.database.write() as connection:
                if resources.get(connection, call.name) is None:
                    return self._made(call, connection)
        return super().patch(call)

    def _made(self, call: Call, connection: Connection) -> dict[str, Any]:
        """What a patch makes that may find nothing."""
        parent, _, given = call.name.rsplit("/", 2)
        own_id(given, "", "name", self.ids)
        self.require_parent(connection, parent)
        now = call.rooms.clock.now()
        asked = Resource(call.name, self.kind, parent, dict(call.body), 0, now, now)
        self.check(call, connection, asked, None)
        return self.render(self.insert(call, connection, call.name, parent, asked.body))

    def list(self, call: Call) -> dict[str, Any]:
        parent = str(call.params["parent"])
        call.params["filter"] = asked = _anywhere(str(call.params.get("filter", "")))
        with call.rooms.database.read() as connection:
            self.require_parent(connection, parent)
            functions, virtual = self.functions(connection), self.virtual(connection)
            narrow = wanted(asked, self.fields(call), virtual, functions)
            return page(call, self, lambda after, limit: (
                self.render(found)
                for found in resources.listed(
                    connection, self.kind, parent, after=after, limit=limit, wanted=narrow, among=_among(narrow)
                )
            ), functions=functions, virtual=virtual)  # fmt: skip

    def matching(self, connection: Connection, parent: str, asked: str) -> Iterator[Shown]:
        """Those in the store `parent` that pass a filter, the newest first.

        Raises:
            InvalidArgument: the filter is none.
        """
        asked, functions, virtual = _anywhere(asked), self.functions(connection), self.virtual(connection)
        keep = compile_filter(asked, virtual=virtual, functions=functions)
        narrow = wanted(asked, None, virtual, functions)
        found = resources.listed(connection, self.kind, parent, wanted=narrow, among=_among(narrow))
        return filter(keep, map(self.render, found))

    def virtual(self, connection: Connection) -> dict[str, Callable[[Shown], Any]]:
        """Fields that a filter knows and the message lacks."""
        return {}

    def functions(self, connection: Connection) -> dict[str, Function]:
        """What a filter can call."""
        members: dict[str, set[str]] = {}

        def in_context(shown: Shown, arguments: tuple[str, ...]) -> bool:
            if len(arguments) != 1:
                raise InvalidArgument("in_context takes the name of one context.", field="filter")
            context = arguments[0]
            if context not in members:
                members[context] = set(connection.execute(lineage.other(context, "member")).scalars())
            return shown["name"] in members[context]

        return {"in_context": in_context}

    def purge(self, call: Call) -> dict[str, Any]:
        """Deletes what passes the filter; without `force` it only says how many that are, and some names."""
        parent = str(call.params["parent"])
        asked = str(call.body.get("filter") or "")
        if not asked.strip():  # which would be all there is
            raise InvalidArgument("filter says what is purged; it is blank.", field="filter")
        with call.rooms.database.read() as connection:
            self.require_parent(connection, parent)
            keep = compile_filter(
                asked,
                self.fields(call),
                virtual=self.virtual(connection),
                functions=self.functions(connection),
            )
            names = [
                found.name
                for found in resources.listed(connection, self.kind, parent)
                if keep(self.render(found))
            ]
        response: dict[str, Any] = {"purgeCount": str(len(names))}
        if call.body.get("force"):
            for some in range(0, len(names), _AT_ONCE):
                with call.rooms.database.write() as connection:
                    for found in resources.named(connection, names[some : some + _AT_ONCE]):
                        remove(call, connection, found)
        else:
            response["purgeSample"] = names[:_SAMPLE]
        did = f"Purge{self.message}s"
        with call.rooms.database.write() as connection:
            return operations.done(call, connection, parent, f"{did}Metadata", f"{did}Response", response)


def _anywhere(text: str) -> str:
    return _RESOURCE_URI.sub(r"\1*/\2", text)


def _among(narrow: Mapping[str, str]) -> sa.Select[Any] | None:
    """The names that a filter's contexts leave, where it names one."""
    if context := narrow.get("in_context()"):
        return lineage.other(context, "member")
    if parent := narrow.get("parentContexts:"):
        return lineage.other(parent, "child")
    if child := narrow.get("childContexts:"):
        return lineage.back(child, "child")
    return None


ARTIFACTS = Nodes("projects.locations.metadataStores.artifacts", "Artifact", ids=ID)
EXECUTIONS = Nodes(
    "projects.locations.metadataStores.executions", "Execution", ids=ID, schemas="EXECUTION_TYPE"
)


def digits(create_time: float, revision: int) -> str:
    """A node's etag: digits that grow, by which Google's client tells what is older."""
    return f"{int(create_time * 1e3)}{revision:06d}"


def register_nodes(collection: Nodes) -> None:
    register(collection, "create", "get", "list", "patch", "delete")
    implements(collection.api, collection.method("purge"))(collection.purge)


for _nodes in (ARTIFACTS, EXECUTIONS):
    register_nodes(_nodes)
