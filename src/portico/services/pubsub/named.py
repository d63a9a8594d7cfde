"""What Pub/Sub's collections share: a caller chooses each name whole, and a patch says in its body what is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds
from portico.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from portico.services.call import Call
from portico.services.standard.collection import Collection, page
from portico.services.standard.names import IdRule
from portico.store import resources
from portico.store.resources import Resource

DELETED: Final = "_deleted-topic_"
ID: Final = IdRule(
    r"(?!goog)[A-Za-z][A-Za-z0-9._~%+-]{2,254}",
    "3 to 255 of letters, digits and -_.~+%, beginning with a letter, and not with 'goog'",
)


@dataclass(frozen=True)
class Named(Collection):
    """`unbuilt`: fields that nothing here does anything with."""

    api: str = "pubsub"
    has_etag: bool = False
    ids: IdRule = ID
    unbuilt: tuple[str, ...] = ()

    @property
    def singular(self) -> str:
        """The parameter that names one: "topic"."""
        return self.message.lower()

    def create(self, call: Call) -> dict[str, Any]:
        return self.made(call, call.body)

    def made(self, call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
        project, collection, id = call.name.rsplit("/", 2)
        self.check_id(id)
        if body.get("name") not in (None, "", call.name):
            raise InvalidArgument(f"name is {body['name']!r}; the address says {call.name!r}.", field="name")
        with call.rooms.database.write() as connection:
            made, _ = self.add(call, connection, f"{project}/{collection}/{id}", project, body)
            return self.answer(call, connection, made, "Create")

    def check_id(self, id: str) -> None:
        """
        Raises:
            InvalidArgument: none can be called so.
        """
        if not re.fullmatch(self.ids.pattern, id, re.ASCII):
            raise InvalidArgument(
                f"The id {id!r} in the name is not allowed: {self.ids.words}.", field="name"
            )

    def insert(self, call: Call, connection: Connection, name: str, *args: Any, **more: Any) -> Resource:
        if resources.get(connection, name) is not None:
            raise AlreadyExists(f"Resource already exists in the project (resource={_id(name)}).")
        return super().insert(call, connection, name, *args, **more)

    def require(self, connection: Connection, name: str) -> Resource:
        found = resources.get(connection, name)
        if found is None or found.kind != self.kind:
            raise NotFound(f"Resource not found (resource={_id(name)}).")
        return found

    def get(self, call: Call) -> dict[str, Any]:
        call.params["name"] = call.params[self.singular]
        return super().get(call)

    def list(self, call: Call) -> dict[str, Any]:
        call.params["parent"] = call.params["project"]
        return super().list(call)

    def patch(self, call: Call) -> dict[str, Any]:
        call.params["updateMask"] = call.body["updateMask"]
        call.body = call.body[self.singular]
        return super().patch(call)

    def delete(self, call: Call) -> dict[str, Any]:
        call.params["name"] = call.params[self.singular]
        return super().delete(call)

    def check_usual(self, body: Mapping[str, Any]) -> None:
        super().check_usual(body)
        for name in self.unbuilt:
            if body.get(name) or body.get(name) == {}:
                raise Unimplemented(f"{name} is not built in Portico yet.")

    def complete(self, connection: Connection, shown: Sequence[dict[str, Any]]) -> None:
        for one in shown:  # by which lists are cut into pages
            one.pop("createTime", None)
            one.pop("updateTime", None)

    def names_of_topic(self, call: Call) -> dict[str, Any]:
        """A page of the names alone of those whose `topic` is the call's."""
        topic = call.params["parent"] = call.params["topic"]
        with call.rooms.database.read() as connection:
            found = page(call, self, lambda after, limit: (
                self.render(one)
                for one in resources.listed(connection, self.kind, after=after, wanted={"topic": topic})
                if one.body.get("topic") == topic
            ))  # fmt: skip
        return {
            key: value if key == "nextPageToken" else [one["name"] for one in value]
            for key, value in found.items()
        }


def seconds(body: Mapping[str, Any], path: str, least: float, most: float, usual: float = 0.0) -> float:
    """The duration at a dotted path in a body.

    Raises:
        InvalidArgument: it is less or more than allowed.
    """
    told: Any = body
    for name in path.split("."):
        told = (told or {}).get(name)
    if told is None:
        return usual
    found = duration_seconds(str(told))
    if not least <= found <= most:
        raise InvalidArgument(f"{path} is {told}; it must be from {least:.0f}s to {most:.0f}s.", field=path)
    return found


def _id(name: str) -> str:
    return name.rpartition("/")[2]
