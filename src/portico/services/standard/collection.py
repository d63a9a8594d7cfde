"""The standard methods, written once: a collection declares itself and gets create, get, list, patch, delete (AIP-131
to 136), with etags (154), pages (158), filters (160), masks (134), labels, and IAM policies (`policies`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339, rfc3339
from portico.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PorticoError,
)
from portico.services.call import Call, implements
from portico.services.standard import masks, operations, order, pages, policies
from portico.services.standard.apis import declared
from portico.services.standard.fields import FieldTypes
from portico.services.standard.filters import Function, compile_filter, wanted
from portico.services.standard.names import ANY_ID, IdRule, own_id
from portico.store import resource_index, resources
from portico.store.resources import Private, Resource

PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_COLUMNS = frozenset({"name", "etag", "createTime", "updateTime"})
_TOP = frozenset({"projects", "projects.locations"})  # what is no resource of ours

POLICIES = tuple(policies.METHODS)
After = Callable[[], None]
"""What a hook wants done when its transaction is committed."""
Made = Callable[[Connection], "tuple[Resource, After | None]"]
"""What makes a new resource in the transaction of its create."""
Making = Callable[[Call, str], Made]
"""What checks and reads, before that transaction, what a call asks for by that name."""


@dataclass(frozen=True)
class Collection:
    """What is particular to a collection. What its document says is not repeated here: whether a method answers at once
    or by an operation, under which parameter an id may be chosen, under which key a list stands.

    path: its place in the method ids ("projects.locations.models").
    message: its message without prefix ("Model").
    output_only: fields that only the service writes, beyond those the document marks.
    immutable: fields that no patch may change.
    has_etag: whether its message has one.
    ids: which ids a caller may choose.
    cascade: a delete takes along what is below; else that needs `force`.
    indexed: strings, enums and maps of the message by which the database finds what a filter asks for.
    filters: fields that a filter knows and the message lacks.

    A subclass says by `making`, `check`, `written` and `deleting` what is special about writing.
    """

    path: str
    message: str
    api: str = "aiplatform"
    output_only: frozenset[str] = frozenset()
    immutable: frozenset[str] = frozenset()
    has_etag: bool = True
    ids: IdRule = ANY_ID
    cascade: bool = False
    indexed: frozenset[str] = frozenset({"displayName", "labels", "state"})
    filters: Mapping[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        resource_index.declare(self.kind, self.indexed)

    # --- hooks, each in the transaction of its method ---

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        """Checks and completes the body and private part of what is about to be written; `before` is the body that it
        replaces, None for a new resource. Raises what is wrong."""

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> After | None:
        """What else changes when a resource was created or patched."""

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        """What else goes with a resource; raises where it must stay."""

    def abandoned(self, call: Call, name: str) -> None:
        """After the transaction of a create that failed: gives back what `making` took."""

    def check_usual(self, body: Mapping[str, Any]) -> None:
        """Checks what bodies have in common."""
        check_common(body)

    # --- names ---

    @property
    def kind(self) -> str:
        """What its rows are kept as: "aiplatform:models", "aiplatform:featureGroups.features"."""
        return _kind(self.api, self.path)

    @property
    def id_parameter(self) -> str:
        return f"{self.message[0].lower()}{self.message[1:]}Id"

    def method(self, verb: str) -> str:
        return f"{self.path}.{verb}"

    def fields(self, call: Call) -> FieldTypes:
        return call.rooms.fields(
            call.api, call.version, declared()[call.api].message_name(call.version, self.message)
        )

    def new_name(self, call: Call, parent: str, chosen: str | None) -> str:
        """The name of a new resource: with the id that the caller chose, or a number."""
        made = own_id(chosen, call.rooms.ids.number(), self.id_parameter, self.ids)
        return f"{parent}/{self.path.rpartition('.')[2]}/{made}"

    def complete(self, connection: Connection, shown: Sequence[dict[str, Any]]) -> None:
        """Adds what is not in a resource's body, but counted when it is read, to resources as clients see them."""

    # --- reading ---

    def render(self, resource: Resource) -> dict[str, Any]:
        """The resource as clients see it."""
        shown = {"name": resource.name, **resource.body}
        shown["createTime"] = rfc3339(resource.create_time)
        shown["updateTime"] = rfc3339(resource.update_time)
        if self.has_etag:
            shown["etag"] = self.etag(resource)
        return shown

    def etag(self, resource: Resource) -> str:
        return etag(resource)

    def check_etag(self, current: Resource, given: str | None) -> None:
        """
        Raises:
            Aborted: `given` is not the etag of `current`.
        """
        check_etag(current, given)

    def require(self, connection: Connection, name: str) -> Resource:
        """
        Raises:
            NotFound: there is no such resource of this collection.
        """
        found = resources.get(connection, name)
        if found is None or found.kind != self.kind:
            raise NotFound(f"The {self.message} {name!r} does not exist.")
        return found

    def require_parent(self, connection: Connection, parent: str) -> None:
        """
        Raises:
            NotFound: what the collection's resources are below does not exist.
        """
        above = self.path.rpartition(".")[0]
        if above in _TOP:
            return
        found = resources.get(connection, parent)
        if found is None or found.kind != _kind(self.api, above):
            raise NotFound(f"The parent {parent!r} does not exist.")

    def get(self, call: Call) -> dict[str, Any]:
        with call.rooms.database.read() as connection:
            shown = self.render(self.require(connection, call.name))
            self.complete(connection, [shown])
        mask = call.params.get("readMask")
        if not mask:
            return shown
        masks.check_field_mask(mask, self.fields(call))
        return masks.apply_field_mask(shown, mask)

    def list(self, call: Call) -> dict[str, Any]:
        parent = str(call.params["parent"])
        narrow = wanted(str(call.params.get("filter", "")), self.fields(call), self.filters)
        with call.rooms.database.read() as connection:
            self.require_parent(connection, parent)
            return page(call, self, lambda after, limit: (
                self.render(r)
                for r in resources.listed(
                    connection, self.kind, parent, after=after, limit=limit, wanted=narrow
                )
            ), complete=functools.partial(self.complete, connection))  # fmt: skip

    # --- writing ---

    def create(self, call: Call) -> dict[str, Any]:
        return self.created(call, self.making)

    def created(self, call: Call, making: Making) -> dict[str, Any]:
        """A create whose resource `making` makes: `create` where that stands in the collection itself."""
        name = self.new_name(call, str(call.params["parent"]), call.params.get(self.id_parameter))
        make = making(call, name)
        try:
            with call.rooms.database.write() as connection:
                made, after = make(connection)
                answer = self.answer(call, connection, made, "Create")
        except PorticoError:
            self.abandoned(call, name)
            raise
        if after:
            after()
        return answer

    def making(self, call: Call, name: str) -> Made:
        return lambda connection: self.add(call, connection, name, str(call.params["parent"]), call.body)

    def add(
        self, call: Call, connection: Connection, name: str, parent: str, body: Mapping[str, Any]
    ) -> tuple[Resource, After | None]:
        """A new resource of `body`, checked and with all that goes with it, in the caller's transaction."""
        now = call.rooms.clock.now()
        self.require_parent(connection, parent)
        asked = Resource(name, self.kind, parent, dict(body), 0, now, now)
        self.check(call, connection, asked, None)
        made = self.insert(call, connection, name, parent, asked.body, asked.private)
        return made, self.written(call, connection, made, None)

    def insert(
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
        self.check_usual(body)
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
            self.check_etag(current, call.body.get("etag"))
            before, current.body = current.body, self.patched(call, current.body)
            self.check(call, connection, current, before)
            resources.update(connection, current, call.rooms.clock.now())
            after = self.written(call, connection, current, before)
            answer = self.answer(call, connection, current, "Update")
        if after:
            after()
        return answer

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
        self.check_usual(changed)
        return changed

    def delete(self, call: Call) -> dict[str, Any]:
        with call.rooms.database.write() as connection:
            current = self.require(connection, call.name)
            self.check_etag(current, call.params.get("etag"))
            # What is of no collection, such as a mail that must still be sent, is not in the way, and stays.
            below = [one for one in resources.below(connection, current.name) if one.kind in _REGISTERED]
            if below and not (self.cascade or call.params.get("force")):
                raise FailedPrecondition(
                    f"{len(below)} resources are below {current.name}, such as {below[0].name}; delete them first, or "
                    "set force where the method has it."
                )
            afters = [remove(call, connection, resource) for resource in (*below, current)]
            answer = {} if call.response.endswith("Empty") else operations.done(
                call, connection, current.name, "DeleteOperationMetadata", None
            )  # fmt: skip
        for after in filter(None, afters):
            after()
        return answer

    def answer(self, call: Call, connection: Connection, resource: Resource, did: str) -> dict[str, Any]:
        """What a method that writes answers: the resource, or a finished operation with it."""
        shown = self.render(resource)
        self.complete(connection, [shown])
        if not call.response.endswith("Operation"):
            return shown
        metadata = f"{did}{self.message}OperationMetadata"
        return operations.done(call, connection, resource.name, metadata, self.message, shown)


_REGISTERED: dict[str, Collection] = {}


def register(collection: Collection, *verbs: str) -> None:
    """Registers the named standard methods of a collection: create, get, list, patch, delete, and those of POLICIES."""
    _REGISTERED[collection.kind] = collection
    for verb in verbs:
        policy = policies.METHODS.get(verb)
        handler = functools.partial(policy, collection) if policy else getattr(collection, verb)
        implements(collection.api, collection.method(verb))(handler)


def remove(call: Call, connection: Connection, resource: Resource) -> After | None:
    """Removes one resource, with what its collection says goes with it."""
    collection = _REGISTERED.get(resource.kind)
    after = collection.deleting(call, connection, resource) if collection else None
    policies.drop(connection, call.api, resource.name)
    resources.delete(connection, resource.name)
    return after


def _kind(api: str, path: str) -> str:
    return f"{api}:{path.removeprefix('projects.locations.')}"


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
    complete: Callable[[Sequence[dict[str, Any]]], None] = lambda shown: None,
    functions: Mapping[str, Function] | None = None,
    virtual: Mapping[str, Callable[[Mapping[str, Any]], Any]] | None = None,
    ordered: str = "",
) -> dict[str, Any]:
    """One page of what `read(after, limit)` yields, newest first, filtered and ordered as `call` asks.

    `complete` is as the collection's. `functions` are what the filter may call, `virtual` fields that it knows beside
    the collection's. `ordered`: by which fields, where the call asks for no order and newest first is not it.
    """
    params = call.params
    size = pages.page_size(params.get("pageSize"), default=PAGE_SIZE, maximum=MAX_PAGE_SIZE)
    query = [str(params.get(key, "")) for key in ("parent", "name", "filter", "orderBy")]
    place = pages.read_token(params.get("pageToken", ""), collection.kind, *query)
    fields = collection.fields(call)
    keep = compile_filter(
        params.get("filter", ""),
        fields,
        virtual={**collection.filters, **(virtual or {})},
        functions=functions,
    )
    ordered = params.get("orderBy", "") or ordered
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
            last = found[size - 1]
            after = parse_rfc3339(last["createTime"]), last["name"]
            token = pages.write_token(list(after), collection.kind, *query)
            found = found[:size]
    complete(found)
    mask = params.get("readMask")
    if mask:
        masks.check_field_mask(mask, collection.fields(call))
        found = [masks.apply_field_mask(shown, mask) for shown in found]
    answer: dict[str, Any] = {_list_key(call): found} if found else {}
    if token:
        answer["nextPageToken"] = token
    return answer


def _list_key(call: Call) -> str:
    """Under which name the method's answer lists what was found: its message's repeated field."""
    answer = call.rooms.fields(call.api, call.version, call.response)
    return next(name for name in answer if name != "unreachable" and (f := answer.get(name)) and f.repeated)
