"""Roles as sets of permissions: Google's predefined ones, what is added to them here, ours, and custom ones."""

from __future__ import annotations

import functools
from typing import Final

from sqlalchemy.engine import Connection

from portico.services.iam import facts
from portico.services.iam.table import ADDED, ROOT, known
from portico.store import resources

CUSTOM: Final = "iam:projects.roles"
OWNER: Final = "roles/owner"
AGENT: Final = "roles/portico.codeServiceAgent"

_OURS: Final = {
    # As Google's agent for custom code, and with what else jobs do here; without what that one may do as others, and
    # without what changes policies.
    AGENT: (
        "roles/aiplatform.customCodeServiceAgent", "roles/aiplatform.user", "roles/artifactregistry.admin",
        "roles/bigquery.dataOwner", "roles/bigquery.jobUser", "roles/bigquery.readSessionUser", "roles/bigquery.user",
        "roles/logging.logWriter", "roles/logging.viewer", "roles/storage.admin",
    ),
}  # fmt: skip


@functools.cache
def predefined(name: str) -> frozenset[str] | None:
    """The permissions of a role that is no custom one; None where there is none of this name."""
    if name == OWNER:
        return known() - ROOT
    parts = _OURS.get(name)
    if parts is not None:
        held = frozenset().union(*(predefined(one) or () for one in parts))
        return frozenset(one for one in held if not one.startswith("iam.") and "setIamPolicy" not in one)
    found = facts.of_role(name)
    return found and found | {added for added, stands in ADDED.items() if stands in found}


def names() -> list[str]:
    return sorted([*facts.roles(), *_OURS])


def is_mistaken(name: str) -> bool:
    """Whether it looks like a predefined role of a service that is served here, or of none, and is none."""
    if not name.startswith("roles/") or predefined(name) is not None:
        return False
    service, dot, _ = name.removeprefix("roles/").partition(".")
    return not dot or any(one.startswith(f"{service}.") for one in known())


def title(name: str) -> str:
    return facts.roles().get(name) or "Code Service Agent of Portico"


def custom(connection: Connection, name: str) -> frozenset[str]:
    """The permissions of a project's own role; none where it is deleted, disabled or was never made."""
    found = resources.get(connection, name)
    if found is None or found.kind != CUSTOM or found.body.get("deleted"):
        return frozenset()
    if found.body.get("stage") == "DISABLED":
        return frozenset()
    return frozenset(found.body.get("includedPermissions") or ())
