"""What BigQuery's data sets, tables and routines say of who may do what: they are kept in the warehouse, with what they
are of. https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets#Dataset (access)"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from portico.errors import NotFound
from portico.services.iam import accounts
from portico.services.iam.targets import Target
from portico.warehouse import iam_policies
from portico.warehouse.client import warehouse

_ROLES: Final = {
    "READER": "roles/bigquery.dataViewer",
    "WRITER": "roles/bigquery.dataEditor",
    "OWNER": "roles/bigquery.dataOwner",
}
_GROUPS: Final = {
    "projectOwners": "projectOwner",
    "projectWriters": "projectEditor",
    "projectReaders": "projectViewer",
}


def counting(home: Path, target: Target) -> Iterator[tuple[str, dict[str, Any]]]:
    """The full names of the table or routine and of the data set, and their policies; none of what is not there."""
    parts = target.relative.split("/")
    if len(parts) < 4 or parts[2] != "datasets":
        return
    project, dataset = parts[1], parts[3]
    ask = warehouse(home).ask
    try:
        if len(parts) > 5 and parts[4] in ("tables", "routines"):
            named = {"table": "", "routine": "", parts[4].removesuffix("s"): parts[5]}
            held = ask("iam_policy", project=project, dataset=dataset, **named)
            yield f"//bigquery.googleapis.com/{'/'.join(parts[:6])}", held
    except NotFound:
        pass
    try:
        body = ask("get", project=project, dataset=dataset)
    except NotFound:
        return
    found = [one for entry in iam_policies.access(body) if (one := _binding(entry, project)) is not None]
    yield f"//bigquery.googleapis.com/{'/'.join(parts[:4])}", {"bindings": found}


def _binding(entry: Mapping[str, Any], project: str) -> dict[str, Any] | None:
    """An access entry as a binding; None for what grants no role, as an authorized view."""
    member = _member(entry, project)
    role = str(entry.get("role") or "")
    if not member or not role:
        return None
    condition = {"condition": entry["condition"]} if entry.get("condition") else {}
    return {"role": _ROLES.get(role, role), "members": [member], **condition}


def _member(entry: Mapping[str, Any], project: str) -> str:
    if group := entry.get("specialGroup"):
        return f"{_GROUPS[group]}:{project}" if group in _GROUPS else str(group)
    if email := entry.get("userByEmail"):
        return accounts.member(str(email))
    for key, kind in (("groupByEmail", "group:"), ("domain", "domain:"), ("iamMember", "")):
        if entry.get(key):
            return f"{kind}{entry[key]}"
    return ""
