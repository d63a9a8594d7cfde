"""The walk over the routing table: of each method a caller without its permissions is refused, whoever has only them
gets past. Through the one dispatch, with the policies that a server has; what the method does is left out."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.iam.test_permission_table import routed

from portico.clock import SystemClock
from portico.doors.contract.documents import Contract, Match, Method
from portico.doors.dispatch import Arrival, Dispatch, implementation
from portico.doors.identity import Identity, write_key_file
from portico.errors import NotFound, PermissionDenied
from portico.host.wiring import import_services, make_rooms
from portico.services.call import Call
from portico.services.iam import accounts, dataset_policies, roles, tokens
from portico.services.iam.decide import Permissions
from portico.services.iam.permit import Permit
from portico.services.iam.table import ROOT, known, permissions_of
from portico.services.iam.targets import policy_of_project
from portico.store import policies, resources
from portico.store.objects import buckets

PROJECT, BUCKET, ROLE = "walked", "walked-bucket", "projects/walked/roles/walker"
EMAIL = "walker-1@walked.iam.gserviceaccount.com"
# What a method is about where its path does not say it.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("logging", "entries.list"): {"resourceNames": [f"projects/{PROJECT}"]},
    ("logging", "entries.write"): {"logName": f"projects/{PROJECT}/logs/l"},
    ("policytroubleshooter", "iam.troubleshoot"): {
        "accessTuple": {
            "fullResourceName": f"//aiplatform.googleapis.com/projects/{PROJECT}/locations/l/models/1"
        }
    },
}
TABLE = f"projects/{PROJECT}/datasets/d/tables/t"
BY_GRPC = {
    "CreateReadSession": {"parent": f"projects/{PROJECT}", "readSession": {"table": TABLE}},
    "ReadRows": {"readStream": f"projects/{PROJECT}/locations/us/sessions/s/streams/1"},
    "SplitReadStream": {"name": f"projects/{PROJECT}/locations/us/sessions/s/streams/1"},
    "CreateWriteStream": {"parent": TABLE},
    "BatchCommitWriteStreams": {"parent": TABLE},
    "GetWriteStream": {"name": f"{TABLE}/streams/s"},
    "FinalizeWriteStream": {"name": f"{TABLE}/streams/s"},
    "FlushRows": {"writeStream": f"{TABLE}/streams/s"},
}
# What else a caller needs, by what a call names beside.
MORE = {
    "objects.copy": {"storage.objects.get"}, "objects.rewrite": {"storage.objects.get"},
    "objects.compose": {"storage.objects.get"}, "BigQueryRead.CreateReadSession": {"bigquery.tables.getData"},
}  # fmt: skip


class Walk:
    """A door without transports, one caller, and a role of theirs that holds what it is told."""

    def __init__(self, home: Path) -> None:
        import_services()
        write_key_file(home, "http://127.0.0.1:1")
        self.contract = Contract.load(home / "cache")
        self.rooms = make_rooms(home, self.contract)
        self.rooms.database.create_tables()
        permissions = Permissions(home, self.rooms.database, self.rooms.clock)
        permit = Permit(self.rooms.database, permissions)
        self.dispatch = Dispatch(self.rooms, Identity(home, SystemClock()), permit)
        now = self.rooms.clock.now()
        with self.rooms.database.write() as connection:
            parent = f"projects/{PROJECT}"
            body = accounts.body(EMAIL, "1" * 21, PROJECT, {})
            resources.insert(
                connection, name=accounts.named(EMAIL), kind=accounts.KIND, parent=parent, body=body, now=now
            )
            buckets.insert(connection, BUCKET, PROJECT, {}, now)
            buckets.set_policy(connection, BUCKET, {"bindings": []}, now)
            resources.insert(connection, name=ROLE, kind=roles.CUSTOM, parent=parent, body={}, now=now)
            policy = {"bindings": [{"role": ROLE, "members": [accounts.member(EMAIL)]}]}
            policies.put(connection, policy_of_project(PROJECT), policy)
        self._token = tokens.access_token(home, EMAIL, now, 3600)

    def holds(self, permissions: set[str]) -> None:
        with self.rooms.database.write() as connection:
            role = resources.get(connection, ROLE)
            assert role is not None
            role.body = {"includedPermissions": sorted(permissions)}
            resources.update(connection, role, self.rooms.clock.now())
            accounts.changed(connection)

    def tried(self, method: Method) -> PermissionDenied | None:
        """With what a call is refused; None where it gets past."""
        passed = []

        async def done(call: Call) -> None:
            passed.append(call)

        async def body() -> dict[str, Any]:
            if method.api == "bigquerystorage":
                return dict(BY_GRPC[method.id.partition(".")[2]])
            return dict(BODIES.get(method.key, {}))

        arrival = Arrival(
            method, self._params(method), f"Bearer {self._token}", False, body, done, grows=False
        )
        try:
            asyncio.run(self.dispatch(arrival))
        except PermissionDenied as refused:
            assert not passed
            return refused
        assert passed
        return None

    def _params(self, method: Method) -> dict[str, Any]:
        if method.api == "bigquerystorage":
            return {}
        named = {"projects": PROJECT, "project": PROJECT, "resource": PROJECT, "serviceAccounts": EMAIL}
        named |= dict.fromkeys(("bucket", "sourceBucket", "destinationBucket"), BUCKET)

        def filled(found: re.Match[str]) -> str:
            name = found[1].removeprefix("+")
            return named.get(
                name.removesuffix("sId") + "s", named.get(name.removesuffix("Id"), named.get(name, "x1"))
            )

        path = re.sub(r"projects/\{[^}]+\}", f"projects/{PROJECT}", method.flat_path)
        path = re.sub(r"\{([^}]+)\}", filled, path)
        match = self.contract.match(method.http, f"/{path}")
        assert match is not None and match.method.id == method.id, (method.id, path)
        given = dict(match.path_params)
        if any(one.name == "project" and one.required for one in method.parameters):
            given.setdefault("project", PROJECT)
        return given


class Empty:
    """A warehouse that holds nothing."""

    def ask(self, method: str, **arguments: Any) -> Any:
        raise NotFound(method)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: Any) -> Iterator[Walk]:
    made = Walk(tmp_path_factory.mktemp("walk"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_policies, "warehouse", lambda home: Empty())
        yield made
    made.rooms.database.close()


def methods() -> list[Method]:
    """One version of each that is built, or known by gRPC; streams are asked as their requests come."""
    found = {
        m.key: m for m in routed() if m.api == "bigquerystorage" or implementation(Match(m, {})) is not None
    }
    streams = ("BigQueryWrite.AppendRows", "Subscriber.StreamingPull")
    return [one for one in found.values() if one.id not in streams]


def in_no_project(method: Method) -> bool:
    """Whether it is of the whole server: no project's policy gives anybody a permission on that."""
    if set(permissions_of(*method.key)) & ROOT:
        return True
    placed = re.search(r"projects/|\{project(s?Id)?\}|\{bucket\}|/b/", method.flat_path) is not None
    by_query = any(one.name == "project" and one.required for one in method.parameters)
    return not (placed or by_query or method.key in BODIES or method.api == "bigquerystorage")


def test_without_its_permissions_nobody_gets_past(walk):
    walk.holds(set())
    passed = [m.key for m in methods() if permissions_of(*m.key) and walk.tried(m) is None]
    assert passed == []


def test_all_permissions_but_its_own_do_not_help(walk):
    by_permissions: dict[tuple[str, ...], list[Method]] = defaultdict(list)
    for method in methods():
        if permissions_of(*method.key):
            by_permissions[permissions_of(*method.key)].append(method)
    passed = []
    for permissions, some in by_permissions.items():
        walk.holds(set(known()) - set(permissions[:1]))
        passed += [m.key for m in some if walk.tried(m) is None]
    assert passed == []


def test_with_its_permissions_alone_everybody_gets_past(walk):
    by_permissions: dict[frozenset[str], list[Method]] = defaultdict(list)
    for method in methods():
        if not in_no_project(method):
            needed = frozenset(permissions_of(*method.key)) | MORE.get(method.id, set())
            by_permissions[needed].append(method)
    refused = []
    for permissions, some in by_permissions.items():
        walk.holds(set(permissions))
        refused += [(*m.key, str(error)) for m in some if (error := walk.tried(m)) is not None]
    assert refused == []


def test_what_is_the_servers_is_its_owners_alone(walk):
    walk.holds(set(known()))
    own = [m for m in methods() if in_no_project(m) and permissions_of(*m.key)]
    assert {m.api for m in own} >= {"portico", "aiplatform"}
    assert [m.key for m in own if walk.tried(m) is None] == []
