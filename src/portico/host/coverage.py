"""Writes docs/coverage.md from the table that routes requests: `python -m portico.host.coverage docs/coverage.md`."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from portico.doors.contract.documents import Contract, Match, Method, compile_documents
from portico.doors.dispatch import implementation
from portico.doors.grpc.contract import methods
from portico.host.wiring import import_services
from portico.prediction.front.framing import is_prediction
from portico.services.standard.apis import Api, declared

_BETA = "ᵝ"


@dataclass(frozen=True, slots=True)
class Covered:
    """One method of an API, in all versions that have it."""

    api: str
    id: str
    versions: tuple[str, ...]
    built: bool

    @property
    def collection(self) -> str:
        return self.id.rpartition(".")[0] or "(root)"

    @property
    def verb(self) -> str:
        beta = _BETA if self.versions == ("v1beta1",) else ""
        return f"`{self.id.rpartition('.')[2]}`{beta}"

    @property
    def is_operation(self) -> bool:
        return self.collection.endswith("operations")


def covered(methods: Iterable[Method]) -> list[Covered]:
    """Every method of the contract, in the documents' order."""
    grouped: dict[tuple[str, str], list[Method]] = defaultdict(list)
    for method in methods:
        grouped[method.key].append(method)
    return [
        Covered(api, name, tuple(m.version for m in found), all(_built(m) for m in found))
        for (api, name), found in grouped.items()
    ]


def _built(method: Method) -> bool:
    if implementation(Match(method, {})) is not None:
        return True
    path = "/".join("x" if s.startswith("{") and ":" not in s else s for s in method.flat_path.split("/"))
    path = path.replace("{endpointsId}:", "x:")
    return bool(is_prediction(f"{method.http} /{path} ".encode()))


def page(methods: Iterable[Method]) -> str:
    """The page, in Markdown."""
    every = covered(methods)
    lines = [
        "# Coverage",
        "",
        "Generated from the table that routes requests (`make docs`). A method that is not built answers 501",
        f"UNIMPLEMENTED in Google's error shape. {_BETA} marks what only v1beta1 has.",
        "",
        "| API | methods | built | operation methods | built |",
        "|---|--:|--:|--:|--:|",
    ]
    for api in declared().values():
        proper = [m for m in every if m.api == api.name and not m.is_operation]
        operations = [m for m in every if m.api == api.name and m.is_operation]
        counts = (len(proper), _count(proper), len(operations), _count(operations))
        lines.append(f"| {api.title} | " + " | ".join(f"{n:,}" for n in counts) + " |")
    for api in declared().values():
        lines += ["", f"## {api.title}", "", *_api(api, [m for m in every if m.api == api.name])]
    return "\n".join(lines) + "\n"


def _api(api: Api, methods: list[Covered]) -> list[str]:
    shared = "{operations}" in api.note  # they are one implementation
    operations = sum(m.built for m in methods if m.is_operation)
    note = api.note.replace("{operations}", f"{operations:,}")
    by_collection: dict[str, list[Covered]] = defaultdict(list)
    for method in methods:
        if not (shared and method.is_operation and method.built):
            by_collection[method.collection].append(method)
    built = {name: found for name, found in by_collection.items() if _count(found)}
    lines = [note, ""] if note else []
    if built:
        lines += ["| collection | built | not built |", "|---|---|---|"]
    for name, found in sorted(built.items()):
        yes = " ".join(m.verb for m in found if m.built)
        no = " ".join(m.verb for m in found if not m.built)
        lines.append(f"| `{name}` | {yes} | {no} |")
    rest = {name: found for name, found in by_collection.items() if name not in built}
    count = sum(len(found) for found in rest.values())
    lines += [
        *([""] if built else []),
        "<details>",
        f"<summary>{len(rest)} collections with nothing built ({count:,} methods)</summary>",
    ]
    lines += ["", "| collection | not built |", "|---|---|"]
    lines += [f"| `{name}` | {' '.join(m.verb for m in found)} |" for name, found in sorted(rest.items())]
    return [*lines, "", "</details>"]


def _count(methods: Iterable[Covered]) -> int:
    return sum(method.built for method in methods)


def current() -> str:
    """The page as the code stands."""
    import_services()
    by_grpc = [method for api in declared().values() if api.grpc for method in methods(api)]
    return page([*Contract(compile_documents()).methods, *by_grpc])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(current())
