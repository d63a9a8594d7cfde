"""The table of permissions: every method that is routed has its own, and Google knows it, or it is reviewed."""

from __future__ import annotations

from portico.doors.contract.documents import Contract, Match, Method, compile_documents
from portico.doors.dispatch import implementation
from portico.doors.grpc.contract import methods
from portico.host.wiring import import_services
from portico.services.iam import roles
from portico.services.iam.table import known, permissions_of
from portico.services.standard.apis import declared

# Whoever is known may ask.
FOR_ALL = {
    ("bigquery", "projects.list"),
    ("cloudresourcemanager", "operations.get"),
    ("cloudresourcemanager", "projects.list"),
    ("cloudresourcemanager", "projects.search"),
    ("cloudresourcemanager", "effectiveTags.list"),
    ("cloudresourcemanager", "tagBindings.list"),  # what has the tags is asked: see `checks`
    ("iam", "permissions.queryTestablePermissions"),
    ("iam", "roles.get"),
    ("iam", "roles.list"),
    ("iam", "roles.queryGrantableRoles"),
    ("mlflow", "server.getServerInfo"),
    ("mlflow", "server.health"),
    ("mlflow", "server.version"),
}


def routed() -> list[Method]:
    import_services()
    by_grpc = [method for api in declared().values() if api.grpc for method in methods(api)]
    return [*Contract(compile_documents()).methods, *by_grpc]


def test_every_method_has_a_permission():
    without = {m.key for m in routed() if not permissions_of(*m.key)}
    assert {key for key in without if not key[1].endswith(".testIamPermissions")} == FOR_ALL


def test_what_is_built_checks_permissions_that_somebody_can_have():
    unknown = {
        (*m.key, permission)
        for m in routed()
        if declared()[m.api].grpc or implementation(Match(m, {})) is not None
        for permission in permissions_of(*m.key)
        if permission not in known()
    }
    assert unknown == set()


def test_roles_hold_what_they_say():
    viewer, editor, owner = (
        roles.predefined(f"roles/{one}") or frozenset() for one in ("viewer", "editor", "owner")
    )
    assert viewer < owner and editor < owner
    assert "portico.stewards.get" in viewer and "portico.stewards.create" not in viewer
    assert "portico.stewards.create" in editor and "aiplatform.models.setIamPolicy" not in editor
    assert {"aiplatform.models.setIamPolicy", "iam.serviceAccounts.create"} <= owner
    assert not any(one.startswith(("portico.users.", "portico.clock.")) for one in owner)
    agent = roles.predefined(roles.AGENT) or frozenset()
    assert "storage.objects.create" in agent and not any(one.startswith("iam.") for one in agent)
    assert not any("setIamPolicy" in one for one in agent)
    assert roles.predefined("roles/none.such") is None
