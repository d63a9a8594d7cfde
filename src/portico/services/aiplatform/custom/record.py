"""What a job of a user's own code is pinned to while it runs, for its result: see `reruns.pins`.

Code is what `packageUris` name. Inputs are the objects that were opened below /gcs, by whatever of the job, each in the
generation that it saw. What it reads through a client of Cloud Storage is not among them.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.errors import NotFound
from portico.jobs.worker import Context
from portico.sandbox import environments
from portico.sandbox.isolation import View
from portico.sandbox.opened import MISSED, WATCHED
from portico.services.aiplatform.reruns import pins
from portico.services.standard.sources import gcs_of
from portico.store.gcs import parse_uri
from portico.store.objects import generations as objects
from portico.store.objects.generations import ObjectRow

# Without it the order of a set of words is another in each process.
SEEDS = {"PYTHONHASHSEED": "0"}


@dataclass(slots=True)
class Record:
    """`again` is the record of the job that this one repeats; empty where it repeats none. `data` are variables that
    say what was exported of a dataset."""

    context: Context
    name: str
    data: Mapping[str, str]
    again: Mapping[str, Any]
    began: float
    code: list[ObjectRow] = field(default_factory=list)
    pythons: list[tuple[str, Path]] = field(default_factory=list)
    seen: dict[str, ObjectRow] = field(default_factory=dict)
    inputs: list[ObjectRow] = field(default_factory=list)
    complete: bool = True

    def package(self, uri: str) -> ObjectRow:
        """The generation of a package that is to run, pinned.

        Raises:
            NotFound, InvalidArgument
        """
        numbers = {one["uri"]: int(one["generation"]) for one in self.again.get("code") or ()}
        row = gcs_of(self.context).find(uri, numbers.get(uri))
        self._pin([row])
        self.code.append(row)
        return row

    def past(self) -> Past | None:
        """What the job is to see below /gcs; None where it is what is there now."""
        if not self.again:
            return None
        gcs = gcs_of(self.context)
        rows = [gcs.find(one["uri"], int(one["generation"])) for one in self.again["inputs"]]
        return Past(rows, self.again["saw"])

    def opened(self, view: View) -> None:
        """Notes and pins what was opened in the view, of what it showed (`seen`)."""
        names, self.complete = _opened(view)
        self.inputs = [self.seen[name] for name in sorted(names) if name in self.seen]
        self._pin(self.inputs)

    def to_json(self, base: str, written: Mapping[str, ObjectRow]) -> dict[str, Any]:
        """Once it has ended: with the base output directory and what it wrote below /gcs."""
        return {
            "machine": pins.machine(),
            "saw": self.again.get("saw", self.began),
            "environments": [_environment(image, python) for image, python in self.pythons],
            "seeds": SEEDS,
            "code": _generations(self.code),
            "inputs": _generations(self.inputs),
            "complete": self.complete,
            "variables": dict(self.data),
            "outputs": self._outputs(base, written),
        }

    def _outputs(self, base: str, written: Mapping[str, ObjectRow]) -> dict[str, str]:
        gcs = gcs_of(self.context)
        found = {uri: row for uri, row in written.items() if not base or not uri.startswith(f"{base}/")}
        below: list[ObjectRow] = []
        if base:
            with contextlib.suppress(NotFound):  # a bucket that nobody made, and nothing was written to
                below = gcs.under(base)
        for row in below:
            name = row.uri.removeprefix(f"{base}/")
            if row.created >= self.began and not name.startswith("reruns/"):
                found[name] = row
        made: dict[str, str] = {}
        for name, row in sorted(found.items()):
            with contextlib.suppress(FileNotFoundError):  # overwritten by another meanwhile
                made[name] = pins.sha256(gcs.path(row))
        return made

    def _pin(self, rows: Sequence[ObjectRow]) -> None:
        with self.context.database.write() as connection:
            for row in rows:
                bucket, name = parse_uri(row.uri)
                if objects.find(connection, bucket, name, row.generation, pinned=True):
                    objects.pin(connection, row, self.name)


@dataclass(frozen=True, slots=True)
class Past:
    """`rows` in the place of what is there now, and beside them only what was there before the time `until`."""

    rows: list[ObjectRow]
    until: float

    @property
    def buckets(self) -> set[str]:
        return {row.bucket for row in self.rows}

    def of(self, bucket: str, now: Iterable[ObjectRow]) -> list[ObjectRow]:
        held = {row.name: row for row in self.rows if row.bucket == bucket}
        return [
            *held.values(),
            *(row for row in now if row.created < self.until and row.name not in held),
        ]


def _opened(view: View) -> tuple[set[str], bool]:
    """The names of what was opened, and whether these are all."""
    names: set[str] = set()
    for told in view.opened.iterdir() if view.opened.is_dir() else ():
        for line in told.read_text().splitlines():
            try:
                names.add(ast.literal_eval(line))
            except (SyntaxError, ValueError):  # its writer was killed
                names.add(MISSED)
    complete = WATCHED in names and MISSED not in names
    names -= {WATCHED, MISSED}
    if view.part:
        names = {name.removeprefix(f"{view.part}/") for name in names if name.startswith(f"{view.part}/")}
    return names, complete


def _generations(rows: Iterable[ObjectRow]) -> list[dict[str, str]]:
    return [{"uri": row.uri, "generation": str(row.generation)} for row in rows]


def _environment(image: str, python: Path) -> dict[str, Any]:
    interpreter = str(python.resolve())
    return {
        "image": image,
        "key": python.parent.parent.name,
        "interpreter": interpreter,
        "python": pins.python_version(interpreter),
        "packages": environments.installed(python),
    }
