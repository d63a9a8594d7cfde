"""The standard methods, written once: a collection declares itself and gets get, list, patch, delete (AIP-131 to
136), with etags (154), pages (158), filters (160), masks (134) and labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339, rfc3339
from portico.errors import Aborted, AlreadyExists, InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.standard import masks, order, pages
from portico.services.standard.apis import declared
from portico.services.standard.fields import FieldTypes
from portico.services.standard.filters import compile_filter
from portico.store import resources
from portico.store.resources import Private, Resource

PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_LOCATION = re.compile(r"projects/[^/]+/locations/[^/]+")
_COLUMNS = frozenset({"name", "etag", "createTime", "updateTime"})


@dataclass(frozen=True)
class Collection:
    """What is particular to a collection.

    `path` is its place in the method ids ("projects.locations.models"), `message` its message without prefix
    ("Model"). `output_only` are fields that only the service writes, beyond those the document marks.
    `view(resource JSON) -> JSON` adds what is computed when it is read.
    """

    path: str
    message: str
    api: str = "aiplatform"
    output_only: frozenset[str] = frozenset()
    immutable: frozenset[str] = frozenset()
    has_etag: bool = True
    view: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda body: body)
    filters: Mapping[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
    check: Callable[[Call, dict[str, Any]], None] = field(default=lambda call, body: None)

    @property
    def kind(self) -> str:
        """What its rows are kept as: "aiplatform:models", "aiplatform:entityTypes.features"."""
        return f"{self.api}:{self.path.removeprefix('projects.locations.')}"

    def method(self, verb: str) -> str:
        return f"{self.path}.{verb}"

    def fields(self, call: Call) -> FieldTypes:
        return call.rooms.fields(
            call.api, call.version, declared()[call.api].message_name(call.version, self.message)
        )

    # --- reading ---

    def render(self, resource: Resource) -> dict[str, Any]:
        """The resource as clients see it."""
        shown = {"name": resource.name, **resource.body}
        shown["createTime"] = rfc3339(resource.create_time)
        shown["updateTime"] = rfc3339(resource.update_time)
        if self.has_etag:
            shown["etag"] = etag(resource)
        return self.view(shown)

    def require(self, connection: Connection, name: str) -> Resource:
        """
        Raises:
            NotFound: there is no such resource of this collection.
        """
        found = resources.get(connection, name)
        if found is None or found.kind != self.kind:
            raise NotFound(f"The {self.message} {name!r} does not exist.")
        return found

    def get(self, call: Call) -> dict[str, Any]:
        with call.rooms.database.read() as connection:
            shown = self.render(self.require(connection, call.name))
        mask = call.params.get("readMask")
        return masks.apply_field_mask(shown, mask) if mask else shown

    def list(self, call: Call) -> dict[str, Any]:
        parent = str(call.params["parent"])
        with call.rooms.database.read() as connection:
            if not _LOCATION.fullmatch(parent) and resources.get(connection, parent) is None:
                raise NotFound(f"The parent {parent!r} does not exist.")
            return page(call, self, lambda after, limit: (
                self.render(r) for r in resources.listed(connection, self.kind, parent, after=after, limit=limit)
            ))  # fmt: skip

    # --- writing ---

    def create(
        self,
        call: Call,
        connection: Connection,
        name: str,
        parent: str,
        body: dict[str, Any],
        private: Private | None = None,
    ) -> Resource:
        """Inserts a new resource.

        Raises:
            AlreadyExists: the name is taken.
        """
        check_common(body)
        self.check(call, body)
        kept = {key: value for key, value in body.items() if key not in _COLUMNS}
        now = call.rooms.clock.now()
        made = resources.insert(
            connection, name=name, kind=self.kind, parent=parent, body=kept, now=now, private=private
        )
        if made is None:
            raise AlreadyExists(f"The {self.message} {name!r} already exists; choose another id.")
        return made

    def patch(self, call: Call) -> dict[str, Any]:
        with call.rooms.database.write() as connection:
            current = self.require(connection, call.name)
            check_etag(current, call.body.get("etag"))
            current.body = self.patched(call, current.body)
            self.check(call, current.body)
            return self.render(resources.update(connection, current, call.rooms.clock.now()))

    def patched(self, call: Call, body: dict[str, Any]) -> dict[str, Any]:
        """`body` with what the call's updateMask names taken from its body.

        Raises:
            InvalidArgument: on the mask, an immutable field, or a display name that would be gone.
        """
        changed = masks.apply_update_mask(
            body,
            call.body,
            call.params.get("updateMask"),
            output_only=self.output_only | _COLUMNS,
            immutable=self.immutable,
            fields=self.fields(call),
        )
        if body.get("displayName") and not changed.get("displayName"):
            raise InvalidArgument("displayName can be changed, not cleared.", field="displayName")
        check_common(changed)
        return changed


def register(collection: Collection, *verbs: str) -> None:
    """Registers the named standard methods (get, list, patch) of a collection."""
    for verb in verbs:
        implements(collection.api, collection.method(verb))(getattr(collection, verb))


def etag(resource: Resource) -> str:
    """Changes with every change of the resource, and with its being made anew."""
    return f"{int(resource.create_time * 1e6):x}-{resource.revision:x}"


def check_etag(current: Resource, given: str | None) -> None:
    """
    Raises:
        Aborted: `given` is not the etag of `current` (AIP-154).
    """
    if given and given != etag(current):
        raise Aborted(
            f"{current.name} was changed since it was read: its etag is {etag(current)!r}, not {given!r}. "
            "Get it again and repeat the change."
        )


def check_common(body: Mapping[str, Any]) -> None:
    """The rules for display names and labels, the same for every collection.

    Raises:
        InvalidArgument: naming the field.
    """
    name = body.get("displayName", "")
    if len(name) > 128:
        raise InvalidArgument("displayName is longer than 128 characters.", field="displayName")
    labels = body.get("labels") or {}
    if len(labels) > 64:
        raise InvalidArgument("A resource has at most 64 labels.", field="labels")
    for key, value in labels.items():
        legal = all(c in "_-" or c.isdigit() or (c.isalpha() and c == c.lower()) for c in key + value)
        if not key or len(key) > 63 or len(value) > 63 or not key[0].isalpha() or not legal:
            raise InvalidArgument(
                f"The label {key!r}: {value!r} is not allowed: at most 63 lower-case letters, digits, '_' and "
                "'-', the key beginning with a letter.",
                field=f"labels.{key}",
            )


def page(
    call: Call,
    collection: Collection,
    read: Callable[[tuple[float, str] | None, int | None], Iterable[dict[str, Any]]],
    cursor: Callable[[dict[str, Any]], tuple[str, str]] = lambda shown: (shown["createTime"], shown["name"]),
) -> dict[str, Any]:
    """One page of what `read(after, limit)` yields, newest first, filtered and ordered as `call` asks.

    `cursor` tells where in that order a shown resource is: its creation time and row name.
    """
    params = call.params
    size = pages.page_size(params.get("pageSize"), default=PAGE_SIZE, maximum=MAX_PAGE_SIZE)
    query = [str(params.get(key, "")) for key in ("parent", "name", "filter", "orderBy")]
    place = pages.read_token(params.get("pageToken", ""), collection.kind, *query)
    fields = collection.fields(call)
    keep = compile_filter(params.get("filter", ""), fields, virtual=collection.filters)
    ordered = params.get("orderBy", "")
    sort = order.compile_order(ordered, fields)
    found: list[dict[str, Any]]
    token = ""
    if ordered:
        start = int(place or 0)
        found = [dict(shown) for shown in sort(shown for shown in read(None, None) if keep(shown))]
        if len(found) > start + size:
            token = pages.write_token(start + size, collection.kind, *query)
        found = found[start : start + size]
    else:
        after = (float(place[0]), str(place[1])) if place else None
        limit = size + 1 if not params.get("filter") else None
        found = []
        for shown in read(after, limit):
            if keep(shown):
                found.append(shown)
                if len(found) > size:
                    break
        if len(found) > size:
            time, name = cursor(found[size - 1])
            token = pages.write_token([parse_rfc3339(time), name], collection.kind, *query)
            found = found[:size]
    mask = params.get("readMask")
    if mask:
        found = [masks.apply_field_mask(shown, mask) for shown in found]
    answer: dict[str, Any] = {_list_key(call): found} if found else {}
    if token:
        answer["nextPageToken"] = token
    return answer


def _list_key(call: Call) -> str:
    """Under which name the method's answer lists what was found: its message's repeated field."""
    answer = call.rooms.fields(call.api, call.version, call.response)
    return next(name for name in answer if name != "unreachable" and (f := answer.get(name)) and f.repeated)
