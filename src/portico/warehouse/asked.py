"""What a statement is asked in, and what it gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument, PorticoError
from portico.warehouse import catalog
from portico.warehouse.catalog import Entry
from portico.warehouse.models.kept import Models
from portico.warehouse.models.trainer import Asking, Trainer
from portico.warehouse.routines import Routine
from portico.warehouse.types import Field

if TYPE_CHECKING:
    from portico.warehouse.query_sessions import QuerySessions


class Holder(Protocol):
    """The warehouse, as far as a statement needs it."""

    folder: Path
    models: Models
    trainer: Trainer
    sessions: QuerySessions
    entries: catalog.Entries


@dataclass(slots=True)
class Asked:
    """In which setting a statement runs."""

    project: str
    dataset: str = ""  # the default one, as PROJECT.DATASET or DATASET
    parameters: dict[str, exp.Expr] = field(default_factory=dict)
    positional: list[exp.Expr] = field(default_factory=list)
    dry: bool = False
    kept: bool = False  # whether the result goes into a table
    variables: dict[str, exp.Expr] = field(default_factory=dict)  # of its script, by lower-case name
    system: dict[str, exp.Expr] = field(default_factory=dict)  # @@variables
    functions: dict[str, Routine] = field(default_factory=dict)  # temporary ones, by lower-case name
    temporary: str = ""  # the hidden dataset of its script's temporary tables
    warehouse: Holder | None = None
    entries: catalog.Entries | None = None  # where it reads outside of a transaction
    asking: Asking = field(default_factory=Asking)
    exports: str = ""  # the folder for what EXPORT MODEL writes
    files: dict[str, str] = field(default_factory=dict)  # of objects that it imports, by their gs:// names
    caller: str = ""  # the e-mail address of who asks
    outside: Callable[..., Any] | None = None  # asks for what is not in the warehouse: files, jobs
    folder: str = ""  # for files that are on their way out
    tables: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # a job's own external tables, by lower-case name
    children: list[Done] = field(
        default_factory=list
    )  # what the statements of its script did, or failed to do
    measured: bool = False  # whether the bytes that are read and the plan are to be told
    most_billed: int | None = None  # bytes
    location: str = "US"  # where its job runs
    dataset_project: str = ""  # @@dataset_project_id, where it is another than `project`

    @property
    def of_datasets(self) -> str:
        """The project of data sets whose project is not told."""
        return self.dataset_project or self.project


@dataclass(slots=True)
class Done:
    """What a statement gave. `kind` is BigQuery's statementType, `target` what a DDL statement made or changed."""

    kind: str
    fields: list[Field] = field(default_factory=list)
    rows: pa.Table | None = None
    affected: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    target: Entry | None = None
    operation: str = ""
    read: list[Entry] = field(default_factory=list)
    routine: Routine | None = None
    text: str = ""  # of a statement of a script
    registers: dict[str, Any] = field(default_factory=dict)  # a model that goes to Vertex AI's registry
    children: int = 0  # how many statements a SCRIPT ran
    transaction: str = ""  # the id of that in which it ran
    error: PorticoError | None = None  # with which a script's statement failed
    warnings: list[str] = field(default_factory=list)  # of a training
    steady: bool = False  # whether the rows stay what they are until a table that is read changes
    scanned: list[int] = field(default_factory=list)  # bytes of each table that is read
    plan: dict[str, Any] = field(default_factory=dict)


def bind(tree: exp.Expr, values: list[exp.Expr]) -> None:
    """Puts positional parameters in their places.

    Raises:
        InvalidArgument: there are too few.
    """
    places = [one for one in tree.dfs() if isinstance(one, exp.Placeholder)]
    if len(places) > len(values):
        raise InvalidArgument(
            f"Not enough positional parameters: the query has {len(places)}, {len(values)} are given",
            reason="invalidQuery",
        )
    for place, value in zip(places, values, strict=False):
        place.replace(value.copy())
