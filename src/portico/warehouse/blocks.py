"""A script of GoogleSQL as blocks of statements.

sqlglot reads queries and expressions; where they begin and end within DECLARE, IF, LOOP, BEGIN … END is found here,
over its tokens. Names and words follow Google's reference of the procedural language.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from portico.errors import InvalidArgument
from portico.warehouse.dialect import GoogleSQL, parse
from portico.warehouse.models.syntax import Creation, read_creation, read_options

_DEPTH = 50  # blocks in blocks: Google's own limit
_TEXTS = {
    TokenType.STRING, TokenType.RAW_STRING, TokenType.BYTE_STRING, TokenType.HEREDOC_STRING,
    TokenType.NATIONAL_STRING, TokenType.IDENTIFIER, TokenType.NUMBER,
}  # fmt: skip


class _Tokenizer(BigQuery.Tokenizer):
    # Neither words that swallow what follows, nor two words as one.
    COMMANDS = set()
    KEYWORDS = {word: kind for word, kind in BigQuery.Tokenizer.KEYWORDS.items() if " " not in word}


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


class Tokens:
    """The tokens of a text, read from the left."""

    def __init__(self, text: str, tokens: list[Token] | None = None) -> None:
        if tokens is None:
            try:
                tokens = _Tokenizer().tokenize(text)
            except TokenError as error:
                raise InvalidArgument(
                    f"Syntax error: {str(error).splitlines()[0]}", reason="invalidQuery"
                ) from None
        self.text = text
        self._tokens = tokens
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self._tokens)

    def word(self, ahead: int = 0) -> str:
        """What stands there in upper case; "" for a string, a quoted name, a number and past the end."""
        place = self.at + ahead
        if place >= len(self._tokens) or self._tokens[place].token_type in _TEXTS:
            return ""
        return self._tokens[place].text.upper()

    def sees(self, *words: str) -> bool:
        return all(self.word(number) == word for number, word in enumerate(words))

    def take(self, *words: str) -> bool:
        """Passes over these words where they come next; whether they did."""
        if not self.sees(*words):
            return False
        self.at += len(words)
        return True

    def expect(self, *words: str) -> None:
        if not self.take(*words):
            raise self.error(f"Expected {' '.join(words)}")

    def error(self, message: str) -> InvalidArgument:
        if self:
            message += f" but got {self._tokens[self.at].text!r}"
        else:
            message += " but got end of script"
        return InvalidArgument(f"Syntax error: {message} at [{self.place()}]", reason="invalidQuery")

    def place(self) -> str:
        """Where the next token stands, as "line:column"."""
        start = self._tokens[self.at].start if self else len(self.text)
        line = self.text.count("\n", 0, start) + 1
        return f"{line}:{start - (self.text.rfind(chr(10), 0, start) + 1) + 1}"

    def since(self, start: int) -> str:
        """The text from a token to before the next."""
        if start >= self.at:
            return ""
        return self.text[self._tokens[start].start : self._tokens[self.at - 1].end + 1]

    def rest(self, start: int) -> Tokens:
        """The tokens from `start` to before the next."""
        return Tokens(self.text, self._tokens[start : self.at])

    def string(self) -> str:
        """
        Raises:
            InvalidArgument: no string comes next.
        """
        kinds = (TokenType.STRING, TokenType.RAW_STRING)
        if not self or self._tokens[self.at].token_type not in kinds:
            raise self.error("Expected a string literal")
        self.at += 1
        [select] = parse(f"SELECT {self.since(self.at - 1)}")
        return str(select.expressions[0].name)

    def name(self) -> str:
        kinds = _TEXTS - {TokenType.IDENTIFIER}
        if not self or self._tokens[self.at].token_type in kinds:
            raise self.error("Expected an identifier")
        text = self._tokens[self.at].text
        if self._tokens[self.at].token_type is not TokenType.IDENTIFIER and not text.isidentifier():
            raise self.error("Expected an identifier")
        self.at += 1
        return text

    def path(self) -> list[str]:
        """A name of several parts, however it is quoted: `a-b.c`.d, a-b.c.d."""
        parts = [self.name()]
        while self.word() in (".", "-"):
            dash = self.word() == "-"
            self.at += 1
            if dash:
                piece = self._tokens[self.at].text if self else ""
                self.at += 1
                parts[-1] += f"-{piece}"
            else:
                parts.append(self.name())
        return [piece for part in parts for piece in part.split(".")]

    def until(self, *ends: tuple[str, ...], angles: bool = False) -> str:
        """The text up to one of `ends`, which are words outside of brackets and of CASE … END; `angles` are brackets in
        a type.

        Raises:
            InvalidArgument: there is no such end, or no text.
        """
        start, brackets, cases = self.at, 0, 0
        while self:
            if brackets == cases == 0 and self._at(ends):
                break
            word = self.word()
            if word == ";":
                break
            brackets += (word in ("(", "[")) - (word in (")", "]"))
            brackets += angles and (word == "<") - (word == ">")
            if brackets < 0:
                break
            cases += (word == "CASE") - (word == "END" and cases > 0)
            self.at += 1
        ended = not self or self.word() == ";"
        if self.at == start or not (self._at(ends) or (ended and () in ends)):
            raise self.error(f"Expected {' or '.join(' '.join(end) for end in ends if end) or ';'}")
        return self.since(start)

    def _at(self, ends: tuple[tuple[str, ...], ...]) -> bool:
        return any(end and self.sees(*end) for end in ends)

    def expression(self, *ends: tuple[str, ...]) -> exp.Expr:
        """The expression up to one of `ends`; `()` is the end of the statement."""
        place = self.place()
        return expression(self.until(*ends), place)

    def kind(self, *ends: tuple[str, ...]) -> exp.DataType:
        """The type up to one of `ends`."""
        place = self.place()
        return data_type(self.until(*ends, angles=True), place)


def expression(text: str, place: str = "1:1") -> exp.Expr:
    """
    Raises:
        InvalidArgument: it is no expression.
    """
    line, _, column = place.partition(":")
    found = parse(f"SELECT {text}", after=(int(line), int(column) - 7))
    select = found[0] if len(found) == 1 else None
    if (
        not isinstance(select, exp.Select)
        or len(select.expressions) != 1
        or any(value for key, value in select.args.items() if key not in ("expressions", "kind"))
        or isinstance(select.expressions[0], exp.Alias | exp.Star)
    ):
        raise InvalidArgument(f"Syntax error: Expected an expression at [{place}]", reason="invalidQuery")
    found_one: exp.Expr = select.expressions[0]
    return found_one.pop()


def data_type(text: str, place: str = "1:1") -> exp.DataType:
    """
    Raises:
        InvalidArgument: it is no type.
    """
    try:
        return exp.DataType.build(text, dialect=GoogleSQL)
    except Exception:
        raise InvalidArgument(f"Type not found: {text} at [{place}]", reason="invalidQuery") from None


def query(text: str, place: str = "1:1") -> exp.Expr:
    """
    Raises:
        InvalidArgument: it is no query.
    """
    line, _, column = place.partition(":")
    found = parse(text, after=(int(line), int(column)))
    if len(found) != 1 or not isinstance(found[0], exp.Query):
        raise InvalidArgument(f"Syntax error: Expected a query at [{place}]", reason="invalidQuery")
    return found[0]


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
        return Run(place, "", found[0])


def _is_own(tokens: Tokens) -> bool | None:
    """Whether `commands` reads a statement and not sqlglot; None: where it copies a table."""
    first = tokens.word()
    ahead = 3 if tokens.sees(first, "OR", "REPLACE") else 2 if tokens.sees("DROP", "ALL") else 1
    if first in ("CREATE", "DROP"):
        return tokens.word(ahead) in ("SNAPSHOT", "EXTERNAL", "ROW") or (None if first == "CREATE" else False)
    return first in ("ALTER", "UNDROP", "LOAD")


_STATEMENTS = {
    "IF": _Reader._if, "CASE": _Reader._case, "DECLARE": _Reader._declare, "SET": _Reader._set,
    "BREAK": _Reader._jump, "LEAVE": _Reader._jump, "CONTINUE": _Reader._jump, "ITERATE": _Reader._jump,
    "RAISE": _Reader._raise, "RETURN": _Reader._return, "EXECUTE": _Reader._execute, "CALL": _Reader._call,
    "COMMIT": _Reader._transaction, "ROLLBACK": _Reader._transaction, "ASSERT": _Reader._assert,
    "CREATE": _Reader._create, "DROP": _Reader._drop, "ALTER": _Reader._alter, "EXPORT": _Reader._export,
}  # fmt: skip
