"""GRANT and REVOKE: roles on a data set, in its access list, and on tables and views, in their policies.

https://cloud.google.com/bigquery/docs/reference/standard-sql/data-control-language
"""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse import catalog, guard, iam_policies
from portico.warehouse.asked import Done
from portico.warehouse.catalog import Entry
from portico.warehouse.policies import Policies
from portico.warehouse.tokens import Tokens

_BASIC = {
    "roles/bigquery.dataViewer": "READER",
    "roles/bigquery.dataEditor": "WRITER",
    "roles/bigquery.dataOwner": "OWNER",
}
_KEYS = {"user": "userByEmail", "serviceAccount": "userByEmail", "group": "groupByEmail", "domain": "domain"}
_EVERYBODY = "allAuthenticatedUsers"


class Grants(Policies):
    """A statement about who has which role."""

    def grant(self, tokens: Tokens) -> Done:
        verb = tokens.word()
        tokens.at += 1
        roles = [".".join(tokens.path())]
        while tokens.take(","):
            roles.append(".".join(tokens.path()))
        tokens.expect("ON")
        kind = _kind(tokens)
        path = tokens.path()
        tokens.expect("TO" if verb == "GRANT" else "FROM")
        members = [tokens.string()]
        while tokens.take(","):
            members.append(tokens.string())
        for one in members:
            if one != _EVERYBODY and (":" not in one or one.split(":")[0] not in _KEYS):
                raise InvalidArgument(
                    f"Invalid user {one!r}: it must be {', '.join(f'{key}:…' for key in _KEYS)} or {_EVERYBODY}",
                    reason="invalidQuery",
                )
        entry = self._granted_on(kind, path)
        if not self._asked.dry:
            for role in roles:
                for member in members:
                    (_in_list if kind == "SCHEMA" else _in_policy)(entry, role, member, verb == "GRANT")
            catalog.write(self._cursor, entry)
        return Done(f"{verb}_ON_{kind}")

    def _granted_on(self, kind: str, path: list[str]) -> Entry:
        if kind == "SCHEMA":
            project = ".".join(path[:-1]) or self._asked.of_datasets
            guard.need(project, path[-1], "", "bigquery.datasets.update")
            return catalog.require(self._cursor, project, path[-1])
        guard.need(*catalog.key_of(self._named(path)), "bigquery.tables.setIamPolicy")
        entry = catalog.require(self._cursor, *catalog.key_of(self._named(path)))
        if (kind == "VIEW") != entry.is_view:
            raise InvalidArgument(f"{entry.shown} is no {kind}", reason="invalidQuery")
        return entry


def _kind(tokens: Tokens) -> str:
    for words in (("SCHEMA",), ("TABLE",), ("VIEW",), ("EXTERNAL", "TABLE")):
        if tokens.take(*words):
            return words[-1]
    raise Unimplemented(
        f"GRANT and REVOKE are built in Portico for SCHEMA, TABLE, VIEW and EXTERNAL TABLE; {tokens.word()} is not "
        "built."
    )


def _in_policy(entry: Entry, role: str, member: str, gives: bool) -> None:
    policy = iam_policies.get(entry.body)
    etag = policy.pop("etag")
    bindings = [one for one in policy.get("bindings") or [] if one["role"] != role or one.get("condition")]
    held = [one for one in policy.get("bindings") or [] if one not in bindings]
    members = [each for one in held for each in one.get("members") or [] if each != member]
    members += [member] * gives
    if members:
        bindings.append({"role": role, "members": members})
    iam_policies.put(entry.body, {**policy, "bindings": bindings}, etag)


def _in_list(entry: Entry, role: str, member: str, gives: bool) -> None:
    kind, _, name = member.partition(":")
    who: dict[str, Any] = {_KEYS[kind]: name} if name else {"specialGroup": member}
    wanted = {"role": _BASIC.get(role, role), **who}
    kept = [one for one in iam_policies.access(entry.body) if one not in (wanted, {"role": role, **who})]
    entry.body["access"] = [*kept, *([wanted] * gives)]
