"""Row access policies: which rows of a table a caller sees. They are kept with the table, under `_policies`.

https://cloud.google.com/bigquery/docs/row-level-security-intro: a caller sees a row where the filter of one of the
policies granted to it holds; of a table that has policies and none for the caller, none.
"""

from __future__ import annotations

import re
import time
from typing import Any

from portico.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied
from portico.warehouse import catalog
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.tokens import Tokens, expression

_GRANTEE = re.compile(
    r"(user|serviceAccount|group|domain|principal|principalSet):.+|allUsers|allAuthenticatedUsers"
)
_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,255}")


def policies(entry: Entry) -> list[dict[str, Any]]:
    return list(entry.body.get("_policies") or ())


def granted(entry: Entry, caller: str) -> list[str]:
    """The filters, in GoogleSQL, of the policies that a caller is granted."""
    return [
        one["filterPredicate"]
        for one in policies(entry)
        if any(_is(each, caller) for each in one["grantees"])
    ]


def require_all(entry: Entry, caller: str, what: str) -> None:
    """
    Raises:
        PermissionDenied: the caller does not see every row of the table, which `what` needs.
    """
    sees = {one.strip().upper() for one in granted(entry, caller)}
    if policies(entry) and not {"TRUE", "(TRUE)"} & sees:
        raise PermissionDenied(
            f"Access Denied: Table {entry.shown}: {what} needs a row access policy whose filter is TRUE",
            reason="accessDenied",
        )


def _is(grantee: str, caller: str) -> bool:
    kind, _, name = grantee.partition(":")
    if kind in ("allUsers", "allAuthenticatedUsers"):
        return True
    if kind == "domain":
        return caller.lower().endswith(f"@{name.lower()}")
    return kind in ("user", "serviceAccount") and name.lower() == caller.lower()


def write(
    cursor: Cursor, entry: Entry, policy: dict[str, Any], *, replace: bool = False, exists_ok: bool = False
) -> dict[str, Any]:
    """Makes a policy, or replaces the one of its name.

    Raises:
        InvalidArgument: it is none. AlreadyExists: there is one of its name.
    """
    name = str(policy.get("policyId") or "")
    if not _ID.fullmatch(name):
        raise InvalidArgument(
            f"Invalid row access policy ID {name!r}: letters, digits and underscores, at most 256",
            reason="invalid",
        )
    if entry.body.get("type", "TABLE") != "TABLE":
        raise InvalidArgument(f"Row access policies are for tables; {entry.shown} is none", reason="invalid")
    for one in policy["grantees"]:
        if not _GRANTEE.fullmatch(one):
            raise InvalidArgument(
                f"Invalid grantee {one!r}: user:…, serviceAccount:…, group:…, domain:…, allUsers or "
                "allAuthenticatedUsers",
                reason="invalid",
            )
    have = policies(entry)
    before = next((one for one in have if one["policyId"] == name), None)
    if before is not None and exists_ok:
        return before
    if before is not None and not replace:
        raise AlreadyExists(f"Already Exists: Row access policy {entry.shown}.{name}", reason="duplicate")
    at = time.time()
    made = {
        "policyId": name, "filterPredicate": str(policy["filterPredicate"]), "grantees": list(policy["grantees"]),
        "created": before["created"] if before else at, "changed": at,
    }  # fmt: skip
    entry.body["_policies"] = [one for one in have if one is not before] + [made]
    catalog.write(cursor, entry)
    return made


def drop(cursor: Cursor, entry: Entry, name: str) -> None:
    """
    Raises:
        NotFound: there is no policy of this name.
    """
    have = policies(entry)
    left = [one for one in have if one["policyId"] != name]
    if len(left) == len(have):
        raise NotFound(f"Not found: Row access policy {entry.shown}.{name}", reason="notFound")
    entry.body["_policies"] = left
    catalog.write(cursor, entry)


def read_creation(tokens: Tokens) -> tuple[dict[str, Any], list[str], bool, bool]:
    """CREATE [OR REPLACE] ROW ACCESS POLICY [IF NOT EXISTS] name ON table [GRANT TO (…)] FILTER USING (…): the policy,
    the table's name, whether it replaces, whether one may be there.

    Raises:
        InvalidArgument: its syntax is wrong.
    """
    tokens.expect("CREATE")
    replace = tokens.take("OR", "REPLACE")
    tokens.expect("ROW", "ACCESS", "POLICY")
    exists_ok = tokens.take("IF", "NOT", "EXISTS")
    name = tokens.name()
    tokens.expect("ON")
    path = tokens.path()
    grantees: list[str] = []
    if tokens.take("GRANT", "TO", "("):
        while not tokens.take(")"):
            grantees.append(tokens.string())
            if not tokens.take(",") and not tokens.sees(")"):
                raise tokens.error("Expected , or )")
    tokens.expect("FILTER", "USING", "(")
    predicate = tokens.until((")",))
    expression(predicate)
    tokens.expect(")")
    return {"policyId": name, "filterPredicate": predicate, "grantees": grantees}, path, replace, exists_ok


def read_drop(tokens: Tokens) -> tuple[str, list[str], bool]:
    """DROP ROW ACCESS POLICY [IF EXISTS] name ON table, or DROP ALL ROW ACCESS POLICIES ON table: the name ("" for
    all), the table's name, whether there may be none.

    Raises:
        InvalidArgument: its syntax is wrong.
    """
    tokens.expect("DROP")
    if tokens.take("ALL", "ROW", "ACCESS", "POLICIES"):
        tokens.expect("ON")
        return "", tokens.path(), True
    tokens.expect("ROW", "ACCESS", "POLICY")
    exists_ok = tokens.take("IF", "EXISTS")
    name = tokens.name()
    tokens.expect("ON")
    return name, tokens.path(), exists_ok
