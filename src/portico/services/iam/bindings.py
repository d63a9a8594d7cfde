"""The policies that count for a target, and whom their bindings mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.errors import NotFound
from portico.services.call import OWNER, Caller
from portico.services.iam import accounts, acl, dataset_policies, groups, roles, tags, targets
from portico.services.iam.accounts import State
from portico.services.iam.targets import Target
from portico.store import policies
from portico.store.objects import buckets, generations

Policy = Mapping[str, Any]
_BASIC: Final = {
    "projectOwner": "roles/owner",
    "projectEditor": "roles/editor",
    "projectViewer": "roles/viewer",
}


_AGENT: Final = re.compile(r"service-([^@]+)@gcp-sa-aiplatform-cc\.iam\.gserviceaccount\.com")


def agent(project: str) -> str:
    """The account as which a project's work is done where none is named."""
    return f"service-{project}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"


def acting(account: str, resource: str, state: State) -> Caller | None:
    """Who works on `resource` as `account`: one that nobody made has what the project's agent has. None for one that is
    disabled or deleted."""
    if state is State.ENABLED:
        return Caller(account)
    if state is not State.UNKNOWN:
        return None
    parts = resource.split("/")
    return Caller(account, agent(parts[1]) if parts[0] == "projects" and len(parts) > 1 else "")


def of_project(connection: Connection, project: str) -> dict[str, Any]:
    """The policy of a project with its etag. Until one is set: its owner's, and its agent's, whose work goes on."""
    name = targets.policy_of_project(project)
    held = policies.get(connection, name)
    if "bindings" in held:
        return held
    made = [
        {"role": roles.OWNER, "members": [accounts.member(OWNER)]},
        {"role": roles.AGENT, "members": [accounts.member(agent(project))]},
    ]
    return {**held, "bindings": made}


def of_the_owners_agent(connection: Connection, caller: Caller) -> dict[str, Any] | None:
    """What an agent has everywhere whose project has no policy yet: nobody but the owner can have work done there, so
    it is the owner's work. None for everybody else."""
    found = _AGENT.fullmatch(caller.agent or caller.email)
    if found is None or "bindings" in policies.get(connection, targets.policy_of_project(found[1])):
        return None
    held = (roles.AGENT, "roles/iam.serviceAccountUser")  # the jobs that it starts may act as any account
    return {"bindings": [{"role": role, "members": [accounts.member(found[0])]} for role in held]}


def of_bucket(row: buckets.BucketRow) -> dict[str, Any]:
    """The policy of a bucket. Until one is set, as Google's: its project's editors write, its viewers read; of its
    objects their lists say that, where lists count."""
    if row.policy is not None:
        return row.policy
    writers = [f"projectEditor:{row.project}", f"projectOwner:{row.project}"]
    readers = [f"projectViewer:{row.project}"]
    made = [("legacyBucketOwner", writers), ("legacyBucketReader", readers)]
    if acl.is_uniform(row):
        made += [("legacyObjectOwner", writers), ("legacyObjectReader", readers)]
    return {
        "version": 1,
        "bindings": [{"role": f"roles/storage.{role}", "members": list(who)} for role, who in made],
    }


def counting(
    connection: Connection, home: Path, caller: Caller, target: Target
) -> Iterator[tuple[str, Policy]]:
    """What has a policy that counts for `target`, by full name, and the policies; what is asked of another process
    last."""
    if target.service and (owners := of_the_owners_agent(connection, caller)) is not None:
        yield "the owner's work", owners
    project = target.project
    if target.bucket:
        try:
            row = buckets.get(connection, target.bucket)
        except NotFound:
            return
        shown = acl.without_everybody if acl.prevents_public(row) else dict
        yield target.policies[0], shown(of_bucket(row))
        yield targets.project(row.project), shown(of_project(connection, row.project))
        if target.object is not None and not acl.is_uniform(row):
            there = generations.find(connection, row.name, target.object)
            yield target.name, shown(acl.of_object(row, there))
    else:
        above: Iterable[str] = target.policies
        if target.service == "cloudresourcemanager" and not project:
            above = tags.policies_of(connection, target.relative)
            project = tags.project_of(connection, target.relative)
        for name in above:
            held = policies.get(connection, name)
            if held.get("bindings"):
                yield name, held
    if project:
        yield targets.project(project), of_project(connection, project)
    if target.service == "bigquery":
        yield from dataset_policies.counting(home, target)


def means(connection: Connection, member: str, caller: Caller) -> bool:
    """Whether a member of a binding is, or includes, the caller."""
    kind, _, who = member.partition(":")
    if kind == "allUsers" or caller.anonymous:
        return kind == "allUsers"
    if kind == "allAuthenticatedUsers":
        return True
    emails = [caller.email, caller.agent] if caller.agent else [caller.email]
    if kind == "group":
        return groups.holds(connection, who, emails)
    own = [accounts.member(one) for one in emails]
    if kind in _BASIC:
        return any(
            each in map(str.lower, binding.get("members") or ())
            for binding in of_project(connection, who)["bindings"]
            if binding["role"] == _BASIC[kind] and not binding.get("condition")
            for each in map(str.lower, own)
        )
    if kind == "domain":
        return own[0].startswith("user:") and caller.email.lower().endswith(f"@{who.lower()}")
    return member.lower() in map(str.lower, own)
