"""effectiveTags.list: the tags that count for something, its own and those of its project."""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument
from portico.services.call import Call, implements
from portico.services.cloudresourcemanager.tags import by_number
from portico.services.iam import facts, tags, targets
from portico.services.standard import pages
from portico.store import resources


@implements("cloudresourcemanager", "effectiveTags.list")
def listed(call: Call) -> dict[str, Any]:
    """Of two values of one key the one that is bound nearer to it."""
    parent = str(call.params.get("parent") or "")
    if tags.permission(parent, "listEffectiveTags") not in facts.permissions():
        raise InvalidArgument(
            f"parent is the full name of what may have tags, such as //cloudresourcemanager.googleapis.com/projects/P, "
            f"not {parent[:200]!r}.",
            field="parent",
        )
    with call.rooms.database.read() as connection:
        own = {one.body["tagValue"] for one in resources.listed(connection, tags.BINDINGS, parent)}
        found = [
            {
                "tagValue": one.value.name,
                "namespacedTagValue": tags.namespaced(connection, one.value),
                "tagKey": one.key.name,
                "namespacedTagKey": tags.namespaced(connection, one.key),
                "tagKeyParentName": by_number(one.key.parent),
                "inherited": one.value.name not in own,
            }
            for one in sorted(tags.of(connection, targets.target(parent)), key=lambda tag: tag.key.name)
        ]
    chosen, more = pages.part(found, call.params, "effectiveTags", parent)
    return ({"effectiveTags": chosen} if chosen else {}) | more
