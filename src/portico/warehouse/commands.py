"""Statements that sqlglot does not read: each as a tree that it would read, or as what its words say.

`blocks` keeps such a statement as its text; here its words are read from the left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import options
from portico.warehouse.dialect import parse
from portico.warehouse.tokens import Tokens, data_type, expression


@dataclass(slots=True)
class Action:
    """One change of ALTER: `kind` names it; `column` and `to` are names, `value` what it sets."""

    kind: str
    column: str = ""
    to: str = ""
    exists: bool = False
    value: exp.Expr | None = None
    definition: exp.ColumnDef | None = None
    options: dict[str, exp.Expr] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Alter:
    kind: str  # TABLE, VIEW, MATERIALIZED VIEW, SCHEMA
    path: list[str]
    exists: bool
    actions: list[Action]


def alter(tokens: Tokens) -> Alter:
    """
    Raises:
        InvalidArgument: its syntax is wrong.
    """
    tokens.expect("ALTER")
    kind = "MATERIALIZED VIEW" if tokens.take("MATERIALIZED", "VIEW") else tokens.name().upper()
    exists = tokens.take("IF", "EXISTS")
    found = Alter(kind, tokens.path(), exists, [_action(tokens)])
    while tokens.take(","):
        found.actions.append(_action(tokens))
    if tokens:
        raise tokens.error("Expected end of statement")
    return found


def _action(tokens: Tokens) -> Action:
    if tokens.sees("SET", "OPTIONS"):
        tokens.take("SET")
        return Action("SET OPTIONS", options=options.read(tokens))
    if tokens.take("RENAME", "TO"):
        return Action("RENAME TO", to=tokens.path()[-1])
    if tokens.take("RENAME", "COLUMN"):
        exists, column = tokens.take("IF", "EXISTS"), tokens.name()
        tokens.expect("TO")
        return Action("RENAME COLUMN", column, tokens.name(), exists)
    if tokens.take("DROP", "COLUMN"):
        exists = tokens.take("IF", "EXISTS")
        return Action("DROP COLUMN", tokens.name(), exists=exists)
    if tokens.take("DROP", "PRIMARY", "KEY"):
        return Action("DROP PRIMARY KEY", exists=tokens.take("IF", "EXISTS"))
    if tokens.take("DROP", "CONSTRAINT"):
        exists = tokens.take("IF", "EXISTS")
        return Action("DROP CONSTRAINT", tokens.name(), exists=exists)
    if tokens.take("ADD", "COLUMN"):
        exists = tokens.take("IF", "NOT", "EXISTS")
        return Action("ADD COLUMN", exists=exists, definition=_definition(tokens))
    if tokens.take("ADD"):
        return _constraint(tokens)
    if tokens.take("ALTER", "COLUMN"):
        exists = tokens.take("IF", "EXISTS")
        return _of_column(tokens, tokens.name(), exists)
    raise tokens.error("Expected a change: SET OPTIONS, ADD, DROP, RENAME or ALTER COLUMN")


def _of_column(tokens: Tokens, column: str, exists: bool) -> Action:
    if tokens.sees("SET", "OPTIONS"):
        tokens.take("SET")
        return Action("COLUMN OPTIONS", column, exists=exists, options=options.read(tokens))
    if tokens.take("SET", "DATA", "TYPE"):
        kind = tokens.until((",",), (), angles=True)
        return Action("DATA TYPE", column, exists=exists, definition=_column(column, kind))
    if tokens.take("SET", "DEFAULT"):
        return Action("SET DEFAULT", column, exists=exists, value=tokens.expression((",",), ()))
    if tokens.take("DROP", "DEFAULT"):
        return Action("DROP DEFAULT", column, exists=exists)
    tokens.expect("DROP", "NOT", "NULL")
    return Action("DROP NOT NULL", column, exists=exists)


def _definition(tokens: Tokens) -> exp.ColumnDef:
    """NAME TYPE and its constraints, as sqlglot reads them within CREATE TABLE."""
    text = tokens.until((",",), (), angles=True)
    [made] = parse(f"CREATE TABLE t ({text})")
    columns = list(made.find_all(exp.ColumnDef))
    if not isinstance(made, exp.Create) or not columns:
        raise InvalidArgument(f"Syntax error: Expected a column instead of {text}", reason="invalidQuery")
    return columns[0]


def _column(name: str, kind: str) -> exp.ColumnDef:
    return exp.ColumnDef(this=exp.to_identifier(name, quoted=True), kind=data_type(kind))


def _constraint(tokens: Tokens) -> Action:
    name = ""
    exists = False
    if tokens.take("CONSTRAINT"):
        exists = tokens.take("IF", "NOT", "EXISTS")
        name = tokens.name()
    if tokens.take("PRIMARY", "KEY"):
        made = Action("ADD PRIMARY KEY", name, exists=exists, names=tokens.names())
    else:
        tokens.expect("FOREIGN", "KEY")
        made = Action("ADD FOREIGN KEY", name, exists=exists, names=tokens.names())
        tokens.expect("REFERENCES")
        made.path, made.references = tokens.path(), tokens.names()
    tokens.expect("NOT", "ENFORCED")
    return made


def keys(schema: exp.Schema) -> list[Action]:
    """The keys among the columns of CREATE TABLE."""
    found = []
    for one in schema.expressions:
        if isinstance(one, exp.ColumnDef):
            found += [_key(each.args["kind"], "", [one.name]) for each in one.args.get("constraints") or ()]
        elif isinstance(one, exp.Constraint):
            found += [_key(each, one.name, []) for each in one.expressions]
        else:
            found.append(_key(one, "", []))
    return [one for one in found if one is not None]


def _key(one: exp.Expr, name: str, columns: list[str]) -> Action | None:
    names = columns or [each.name for each in one.expressions]
    if isinstance(one, exp.PrimaryKey | exp.PrimaryKeyColumnConstraint):
        return Action("ADD PRIMARY KEY", name, names=names)
    reference = one if isinstance(one, exp.Reference) else one.args.get("reference")
    if reference is None:
        return None
    target = reference.this
    path = [piece for part in target.this.parts for piece in part.name.split(".")]
    others = [each.name for each in target.expressions]
    return Action("ADD FOREIGN KEY", name, names=names, path=path, references=others)


# --- trees of what sqlglot reads but for one clause ---


def plain(tree: exp.Command) -> exp.Expr:
    """CREATE and DROP of what sqlglot has no word for, as of a table, marked by `kind`; a clone with its `moment` and
    its `options`. Everything else as it is.

    Raises:
        InvalidArgument: its syntax is wrong.
    """
    tokens = Tokens(text_of(tree))
    verb = tokens.word()
    if verb not in ("CREATE", "DROP"):
        return tree
    tokens.at += 1
    if tokens.take("OR", "REPLACE"):
        verb = f"{verb} OR REPLACE"
    kind = tokens.word() if tokens.word() in ("SNAPSHOT", "EXTERNAL") else ""
    if not tokens.take(*([kind] if kind else []), "TABLE"):
        own = ("ROW",), ("ALL", "ROW"), ("SEARCH",), ("VECTOR",)
        return tree if any(tokens.sees(*one) for one in own) else parse(text_of(tree))[0]
    start = tokens.at
    while tokens and not (
        tokens.sees("FOR", "SYSTEM_TIME") or (kind != "EXTERNAL" and tokens.sees("OPTIONS", "("))
    ):
        tokens.at += 1
    text = tokens.since(start)
    moment = (
        expression(tokens.until(("OPTIONS",), ())) if tokens.take("FOR", "SYSTEM_TIME", "AS", "OF") else None
    )
    said = options.read(tokens) if tokens.sees("OPTIONS", "(") else {}
    start = tokens.at
    while tokens:
        tokens.at += 1
    [found] = parse(
        f"{verb} {'EXTERNAL ' * (verb != 'DROP' and kind == 'EXTERNAL')}TABLE {text} {tokens.since(start)}"
    )
    found.meta.update({"kind": kind, "moment": moment, "options": said})
    return found


def text_of(tree: exp.Command) -> str:
    return f"{tree.this} {tree.expression}"
