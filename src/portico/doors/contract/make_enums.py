"""Makes `enums.json`: the numbers of the enums whose values the documents list out of numeric order.

Run it when the pinned clients change: `python -m portico.doors.contract.make_enums`. It imports Google's message
types, which takes 20 s; the server reads only the table.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import orjson

from portico.doors.contract.documents import document_path, enum_key
from portico.services.aiplatform.api import API

# Of APIs whose clients are not among the pinned ones: google-cloud-artifact-registry's Repository.Format, which lacks
# GOOGET and CONDA (they get the numbers that are left, and are refused by either).
_BY_HAND = {
    ("FORMAT_UNSPECIFIED", "DOCKER", "MAVEN", "NPM", "APT", "YUM", "GOOGET", "PYTHON", "KFP", "GO", "GENERIC", "RUBY",
     "CONDA"): [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13],
}  # fmt: skip


def main() -> None:
    table = {enum_key(list(names)): numbers for names, numbers in _BY_HAND.items()}
    unknown: list[str] = []
    for version in API.versions:
        by_names = _client_enums(f"google.cloud.aiplatform_{version}.types")
        document = orjson.loads(document_path("aiplatform", version).read_bytes())
        for names in _document_enums(document["schemas"]):
            numbers = by_names.get(frozenset(names)) or _superset(by_names, names)
            if numbers is None:
                unknown.append(" ".join(names[:4]))
            elif (ordered := [numbers[n] for n in names]) != list(range(len(names))):
                table[enum_key(names)] = ordered
    target = Path(__file__).with_name("enums.json")
    target.write_bytes(orjson.dumps(table, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    print(f"{len(table)} enums out of order; {len(unknown)} not in the client's types")


def _client_enums(module: str) -> dict[frozenset[str], dict[str, int]]:
    import proto

    found: dict[frozenset[str], dict[str, int]] = {}

    def collect(holder: Any) -> None:
        for value in vars(holder).values():
            if isinstance(value, type) and issubclass(value, proto.Enum):
                members = {str(member.name): int(member) for member in iter(value)}  # type: ignore[call-overload]
                found[frozenset(members)] = members
            elif isinstance(value, type) and issubclass(value, proto.Message) and value is not holder:
                collect(value)

    collect(importlib.import_module(module))
    return found


def _superset(by_names: dict[frozenset[str], dict[str, int]], names: list[str]) -> dict[str, int] | None:
    """The document and the client may be of different days: an enum that has all these names and few more."""
    fits = [numbers for held, numbers in by_names.items() if held.issuperset(names)]
    return min(fits, key=len) if fits else None


def _document_enums(node: Any) -> list[list[str]]:
    if isinstance(node, list):
        return [enum for item in node for enum in _document_enums(item)]
    if not isinstance(node, dict):
        return []
    own = [node["enum"]] if isinstance(node.get("enum"), list) else []
    return own + [enum for child in node.values() for enum in _document_enums(child)]


if __name__ == "__main__":
    main()
