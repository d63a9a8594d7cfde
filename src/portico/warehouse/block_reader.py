"""Reads the text of a script into its blocks. Where queries and expressions begin and end within DECLARE, IF, LOOP,
BEGIN … END is found over sqlglot's tokens; names and words follow Google's reference of the procedural language."""

from __future__ import annotations

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.blocks import (
    Assert,
    Begin,
    Block,
    Call,
    ChangeModel,
    CreateModel,
    CreateRoutine,
    Declare,
    DropRoutine,
    Execute,
    ExportModel,
    For,
    If,
    Jump,
    Loop,
    Node,
    Raise,
    Return,
    Run,
    Set,
    Transaction,
)
from portico.warehouse.dialect import parse
from portico.warehouse.models.syntax import read_creation, read_options
from portico.warehouse.tokens import Tokens, query

_DEPTH = 50  # blocks in blocks: Google's own limit


def read(text: str) -> Block:
    """The blocks of a script.

    Raises:
        InvalidArgument: its syntax is wrong, with line and column.
    """
    tokens = Tokens(text)
    found = _Reader(tokens).block(())
    if tokens:
        raise tokens.error("Expected end of script")
    return found


class _Reader:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._depth = 0

    def block(self, ends: tuple[tuple[str, ...], ...]) -> Block:
        """The statements up to one of `ends`, or to the end of the script where there are none."""
        tokens, found, declarations = self._tokens, list[Node](), True
        self._depth += 1
        if self._depth > _DEPTH:
            raise tokens.error(f"Blocks are nested more than {_DEPTH} deep: expected fewer")
        while tokens and not any(tokens.sees(*end) for end in ends):
            if tokens.take(";"):
                continue
            if tokens.sees("DECLARE") and not declarations:
                raise InvalidArgument(
                    "Variable declarations are allowed only at the start of a block or script at "
                    f"[{tokens.place()}]",
                    reason="invalidQuery",
                )
            found.append(self._statement())
            declarations = isinstance(found[-1], Declare)
            if ends:
                tokens.expect(";")
            elif tokens and not tokens.take(";"):
                raise tokens.error("Expected ;")
        self._depth -= 1
        if ends and not tokens:
            raise tokens.error(f"Expected {' or '.join(' '.join(end) for end in ends)}")
        return found

    def _statement(self) -> Node:
        tokens = self._tokens
        start, place = tokens.at, tokens.place()
        node = self._one(place)
        node.text = tokens.since(start)
        return node

    def _one(self, place: str) -> Node:
        tokens = self._tokens
        label = ""
        if tokens.word(1) == ":" and tokens.word(2) in ("LOOP", "WHILE", "REPEAT", "FOR", "BEGIN"):
            label = tokens.name()
            tokens.at += 1
        word = tokens.word()
        if word == "BEGIN":
            return self._begin(place, label)
        if word in ("LOOP", "WHILE", "REPEAT", "FOR"):
            node = {"LOOP": self._loop, "WHILE": self._while, "REPEAT": self._repeat, "FOR": self._for}[word](
                place, label
            )
            if label and tokens.word() not in (";", ""):
                tokens.expect(label.upper())
            return node
        made = _STATEMENTS.get(word)
        return made(self, place) if made else self._plain(place)

    # --- blocks ---

    def _begin(self, place: str, label: str) -> Node:
        tokens = self._tokens
        tokens.expect("BEGIN")
        if tokens.take("TRANSACTION") or tokens.word() == ";" or not tokens:
            return Transaction(place, "", "BEGIN")
        handler = None
        block = self.block((("EXCEPTION", "WHEN"), ("END",)))
        if tokens.take("EXCEPTION"):
            tokens.expect("WHEN", "ERROR", "THEN")
            handler = self.block((("END",),))
        tokens.expect("END")
        if label and tokens.word() == label.upper():
            tokens.at += 1
        return Begin(place, "", label, block, handler)

    def _if(self, place: str) -> Node:
        tokens, branches, otherwise = self._tokens, list[tuple[exp.Expr, Block]](), list[Node]()
        tokens.expect("IF")
        while True:
            condition = tokens.expression(("THEN",))
            tokens.expect("THEN")
            branches.append((condition, self.block((("ELSEIF",), ("ELSE",), ("END", "IF")))))
            if not tokens.take("ELSEIF"):
                break
        if tokens.take("ELSE"):
            otherwise = self.block((("END", "IF"),))
        tokens.expect("END", "IF")
        return If(place, "", branches, otherwise)

    def _case(self, place: str) -> Node:
        tokens, branches, otherwise = self._tokens, list[tuple[exp.Expr, Block]](), list[Node]()
        tokens.expect("CASE")
        subject = None if tokens.sees("WHEN") else tokens.expression(("WHEN",))
        while tokens.take("WHEN"):
            condition = tokens.expression(("THEN",))
            tokens.expect("THEN")
            if subject is not None:
                condition = exp.EQ(this=exp.Paren(this=subject.copy()), expression=exp.Paren(this=condition))
            branches.append((condition, self.block((("WHEN",), ("ELSE",), ("END", "CASE")))))
        if tokens.take("ELSE"):
            otherwise = self.block((("END", "CASE"),))
        tokens.expect("END", "CASE")
        return If(place, "", branches, otherwise)

    def _loop(self, place: str, label: str) -> Node:
        self._tokens.expect("LOOP")
        block = self.block((("END", "LOOP"),))
        self._tokens.expect("END", "LOOP")
        return Loop(place, "", label, block)

    def _while(self, place: str, label: str) -> Node:
        tokens = self._tokens
        tokens.expect("WHILE")
        condition = tokens.expression(("DO",))
        tokens.expect("DO")
        block = self.block((("END", "WHILE"),))
        tokens.expect("END", "WHILE")
        return Loop(place, "", label, block, first=condition)

    def _repeat(self, place: str, label: str) -> Node:
        tokens = self._tokens
        tokens.expect("REPEAT")
        block = self.block((("UNTIL",),))
        tokens.expect("UNTIL")
        condition = tokens.expression(("END", "REPEAT"))
        tokens.expect("END", "REPEAT")
        return Loop(place, "", label, block, last=condition)

    def _for(self, place: str, label: str) -> Node:
        tokens = self._tokens
        tokens.expect("FOR")
        name = tokens.name()
        tokens.expect("IN", "(")
        where = tokens.place()
        rows = query(tokens.until((")",)), where)
        tokens.expect(")", "DO")
        block = self.block((("END", "FOR"),))
        tokens.expect("END", "FOR")
        return For(place, "", label, name, rows, block)

    # --- statements ---

    def _declare(self, place: str) -> Node:
        tokens = self._tokens
        tokens.expect("DECLARE")
        names = [tokens.name()]
        while tokens.take(","):
            names.append(tokens.name())
        kind = None if tokens.sees("DEFAULT") else tokens.kind(("DEFAULT",), ())
        default = tokens.expression(()) if tokens.take("DEFAULT") else None
        return Declare(place, "", names, kind, default)

    def _set(self, place: str) -> Node:
        tokens = self._tokens
        tokens.expect("SET")
        if tokens.take("("):
            names = [self._target()]
            while tokens.take(","):
                names.append(self._target())
            tokens.expect(")", "=")
            return Set(place, "", names, tokens.expression(()), True)
        names = [self._target()]
        tokens.expect("=")
        return Set(place, "", names, tokens.expression(()), False)

    def _target(self) -> str:
        tokens = self._tokens
        return "@@" + ".".join(tokens.path()) if tokens.take("@", "@") else tokens.name()

    def _jump(self, place: str) -> Node:
        tokens = self._tokens
        again = tokens.word() in ("CONTINUE", "ITERATE")
        tokens.at += 1
        return Jump(place, "", again, tokens.name() if tokens and tokens.word() != ";" else "")

    def _raise(self, place: str) -> Node:
        tokens = self._tokens
        tokens.expect("RAISE")
        if not tokens.take("USING"):
            return Raise(place, "", None)
        tokens.expect("MESSAGE", "=")
        return Raise(place, "", tokens.expression(()))

    def _return(self, place: str) -> Node:
        self._tokens.expect("RETURN")
        return Return(place, "")

    def _execute(self, place: str) -> Node:
        tokens = self._tokens
        tokens.expect("EXECUTE", "IMMEDIATE")
        made = Execute(place, "", tokens.expression(("INTO",), ("USING",), ()))
        if tokens.take("INTO"):
            made.into = [tokens.name()]
            while tokens.take(","):
                made.into.append(tokens.name())
        if tokens.take("USING"):
            made.using = [self._using()]
            while tokens.take(","):
                made.using.append(self._using())
        return made

    def _using(self) -> tuple[str, exp.Expr]:
        value = self._tokens.expression(("AS",), (",",), ())
        return (self._tokens.name() if self._tokens.take("AS") else ""), value

    def _call(self, place: str) -> Node:
        tokens = self._tokens
        tokens.expect("CALL")
        path, arguments = tokens.path(), list[exp.Expr]()
        tokens.expect("(")
        while not tokens.take(")"):
            arguments.append(tokens.expression((",",), (")",)))
            if not tokens.take(",") and not tokens.sees(")"):
                raise tokens.error("Expected , or )")
        return Call(place, "", path, arguments)

    def _transaction(self, place: str) -> Node:
        tokens = self._tokens
        kind = tokens.word()
        tokens.at += 1
        tokens.take("TRANSACTION")
        return Transaction(place, "", kind)

    def _assert(self, place: str) -> Node:
        tokens = self._tokens
        tokens.expect("ASSERT")
        condition = tokens.expression(("AS",), ())
        return Assert(place, "", condition, tokens.string() if tokens.take("AS") else "")

    def _create(self, place: str) -> Node:
        tokens, ahead = self._tokens, 1
        while tokens.word(ahead) in ("OR", "REPLACE", "TEMP", "TEMPORARY", "TABLE", "AGGREGATE"):
            ahead += 1
        kind, start = tokens.word(ahead), tokens.at
        if kind == "MODEL":
            return CreateModel(place, "", read_creation(tokens))
        if kind not in ("FUNCTION", "PROCEDURE"):
            return self._plain(place)
        if kind == "FUNCTION":
            while tokens and tokens.word() != ";":
                tokens.at += 1
        else:
            while tokens and tokens.word() not in ("BEGIN", ";"):
                tokens.at += 1
            self._begin(tokens.place(), "")
        return CreateRoutine(place, "", tokens.rest(start))

    def _drop(self, place: str) -> Node:
        tokens = self._tokens
        if tokens.take("DROP", "MODEL"):
            exists_ok = tokens.take("IF", "EXISTS")
            return ChangeModel(place, "", "DROP", tokens.path(), exists_ok)
        for kind in (("FUNCTION",), ("PROCEDURE",), ("TABLE", "FUNCTION")):
            if tokens.take("DROP", *kind):
                exists_ok = tokens.take("IF", "EXISTS")
                return DropRoutine(place, "", " ".join(kind), tokens.path(), exists_ok)
        return self._plain(place)

    def _alter(self, place: str) -> Node:
        tokens = self._tokens
        if not tokens.take("ALTER", "MODEL"):
            return self._plain(place)
        exists_ok = tokens.take("IF", "EXISTS")
        return ChangeModel(place, "", "ALTER", tokens.path(), exists_ok, read_options(tokens))

    def _export(self, place: str) -> Node:
        tokens = self._tokens
        if not tokens.take("EXPORT", "MODEL"):
            return self._plain(place)
        return ExportModel(place, "", tokens.path(), read_options(tokens, "OPTIONS"))

    def _plain(self, place: str) -> Node:
        tokens, start = self._tokens, self._tokens.at
        own, then = _is_own(tokens), False
        while tokens and tokens.word() != ";":
            then = then or tokens.word() in ("CLONE", "COPY")
            tokens.at += 1
        if own or (own is None and then):
            text = tokens.since(start)
            word = text.split(None, 1)[0]
            return Run(place, "", exp.Command(this=word.upper(), expression=text[len(word) :]))
        line, _, column = place.partition(":")
        found = parse(tokens.since(start), after=(int(line), int(column)))
        if len(found) != 1:
            raise InvalidArgument(f"Syntax error: Unexpected statement at [{place}]", reason="invalidQuery")
        for one in found[0].find_all(exp.Identifier):
            if one.meta.get("line") and one.meta.get("col"):  # where it stands in the script
                one.meta["col"] += int(column) - 1 if one.meta["line"] == 1 else 0
                one.meta["line"] += int(line) - 1
        return Run(place, "", found[0])


_OWN = ("SNAPSHOT", "EXTERNAL", "ROW", "SEARCH", "VECTOR")  # what is created or dropped


def _is_own(tokens: Tokens) -> bool | None:
    """Whether `commands` reads a statement and not sqlglot; None: where it copies a table."""
    first = tokens.word()
    ahead = 3 if tokens.sees(first, "OR", "REPLACE") else 2 if tokens.sees("DROP", "ALL") else 1
    if first in ("CREATE", "DROP"):
        return tokens.word(ahead) in _OWN or (None if first == "CREATE" else False)
    return first in ("ALTER", "UNDROP", "LOAD", "GRANT", "REVOKE")


_STATEMENTS = {
    "IF": _Reader._if, "CASE": _Reader._case, "DECLARE": _Reader._declare, "SET": _Reader._set,
    "BREAK": _Reader._jump, "LEAVE": _Reader._jump, "CONTINUE": _Reader._jump, "ITERATE": _Reader._jump,
    "RAISE": _Reader._raise, "RETURN": _Reader._return, "EXECUTE": _Reader._execute, "CALL": _Reader._call,
    "COMMIT": _Reader._transaction, "ROLLBACK": _Reader._transaction, "ASSERT": _Reader._assert,
    "CREATE": _Reader._create, "DROP": _Reader._drop, "ALTER": _Reader._alter, "EXPORT": _Reader._export,
}  # fmt: skip
