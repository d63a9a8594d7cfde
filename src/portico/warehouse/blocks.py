"""What a script of GoogleSQL is made of: blocks of statements."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from portico.warehouse.models.syntax import Creation
from portico.warehouse.tokens import Tokens


@dataclass(slots=True)
class Node:
    """Something that a script does; `place` is where it stands, as "line:column"."""

    place: str
    text: str


Block = list[Node]


@dataclass(slots=True)
class Run(Node):
    """One statement that is no matter of scripts."""

    tree: exp.Expr


@dataclass(slots=True)
class CreateRoutine(Node):
    """CREATE … FUNCTION or PROCEDURE, which `routines` reads further."""

    tokens: Tokens


@dataclass(slots=True)
class DropRoutine(Node):
    kind: str
    path: list[str]
    exists_ok: bool


@dataclass(slots=True)
class CreateModel(Node):
    creation: Creation


@dataclass(slots=True)
class ChangeModel(Node):
    """ALTER MODEL … SET OPTIONS, or DROP MODEL."""

    kind: str
    path: list[str]
    exists_ok: bool
    options: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class ExportModel(Node):
    path: list[str]
    options: list[tuple[str, str]]


@dataclass(slots=True)
class Declare(Node):
    names: list[str]
    kind: exp.DataType | None
    default: exp.Expr | None


@dataclass(slots=True)
class Set(Node):
    """`names` are variables; those that begin with @@ are the system's."""

    names: list[str]
    value: exp.Expr
    is_tuple: bool


@dataclass(slots=True)
class If(Node):
    branches: list[tuple[exp.Expr, Block]]
    otherwise: Block


@dataclass(slots=True)
class Loop(Node):
    """LOOP, WHILE (`first`) and REPEAT (`last`), over `block`."""

    label: str
    block: Block
    first: exp.Expr | None = None
    last: exp.Expr | None = None


@dataclass(slots=True)
class For(Node):
    label: str
    name: str
    query: exp.Expr
    block: Block


@dataclass(slots=True)
class Jump(Node):
    """BREAK or LEAVE (`again` is false), CONTINUE or ITERATE."""

    again: bool
    label: str


@dataclass(slots=True)
class Begin(Node):
    label: str
    block: Block
    handler: Block | None


@dataclass(slots=True)
class Raise(Node):
    message: exp.Expr | None


@dataclass(slots=True)
class Return(Node):
    pass


@dataclass(slots=True)
class Execute(Node):
    sql: exp.Expr
    into: list[str] = field(default_factory=list)
    using: list[tuple[str, exp.Expr]] = field(default_factory=list)


@dataclass(slots=True)
class Call(Node):
    path: list[str]
    arguments: list[exp.Expr]


@dataclass(slots=True)
class Transaction(Node):
    kind: str


@dataclass(slots=True)
class Assert(Node):
    condition: exp.Expr
    description: str


SINGLE = (Run, DropRoutine, Assert, CreateModel, ChangeModel, ExportModel)
"""What is one statement, and makes a text no script."""
QUERIES = ("select", "union", "except", "intersect", "subquery")
"""The keys of trees that only read."""
