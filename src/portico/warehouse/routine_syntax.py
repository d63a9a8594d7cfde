"""CREATE … FUNCTION and PROCEDURE, read from a statement's tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse.standard_types import standard_type
from portico.warehouse.tokens import Tokens, data_type

AGGREGATE = "AGGREGATE_FUNCTION"
KINDS = {
    "FUNCTION": "SCALAR_FUNCTION",
    "TABLE FUNCTION": "TABLE_VALUED_FUNCTION",
    "PROCEDURE": "PROCEDURE",
    "AGGREGATE FUNCTION": AGGREGATE,
}


@dataclass(slots=True)
class Creation:
    """What CREATE … FUNCTION or PROCEDURE says."""

    path: list[str]
    body: dict[str, Any]
    replace: bool
    exists_ok: bool
    temporary: bool


def read(tokens: Tokens) -> Creation:
    """
    Raises:
        InvalidArgument: its syntax is wrong. Unimplemented: it is of a kind or a language that Portico lacks.
    """
    tokens.expect("CREATE")
    replace = tokens.take("OR", "REPLACE")
    temporary = tokens.take("TEMP") or tokens.take("TEMPORARY")
    kind = next((one for one in ("TABLE FUNCTION", "AGGREGATE FUNCTION") if tokens.take(*one.split())), "")
    if not kind:
        kind = tokens.word()
        tokens.at += 1
    exists_ok = tokens.take("IF", "NOT", "EXISTS")
    made = Creation(
        tokens.path(), {"routineType": KINDS[kind], "language": "SQL"}, replace, exists_ok, temporary
    )
    made.body["arguments"] = _arguments(tokens, kind)
    if kind == "PROCEDURE":
        _procedure(tokens, made.body)
    else:
        _function(tokens, made.body)
    if not made.body["arguments"]:
        del made.body["arguments"]
    return made


def _arguments(tokens: Tokens, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    tokens.expect("(")
    while not tokens.take(")"):
        one: dict[str, Any] = {}
        if (
            kind == "PROCEDURE"
            and tokens.word() in ("IN", "OUT", "INOUT")
            and tokens.word(1) not in (",", ")")
        ):
            one["mode"] = tokens.word()
            tokens.at += 1
        one["name"] = tokens.name()
        if tokens.take("ANY", "TYPE"):
            one["argumentKind"] = "ANY_TYPE"
        elif kind == "TABLE FUNCTION" and tokens.take("ANY", "TABLE"):
            one["argumentKind"] = "ANY_TABLE"
        elif kind == "TABLE FUNCTION" and tokens.take("TABLE"):
            one |= {"argumentKind": "FIXED_TABLE", "tableType": _table_type(tokens)}
        else:
            if kind != "PROCEDURE":
                one["argumentKind"] = "FIXED_TYPE"
            one["dataType"] = standard_type(tokens.kind((",",), (")",), ("DEFAULT",), ("NOT",)))
        if kind == "AGGREGATE FUNCTION":
            one["isAggregate"] = not tokens.take("NOT", "AGGREGATE")
        if tokens.word() in ("DEFAULT", "NOT"):
            raise Unimplemented("Arguments of a routine with DEFAULT are not built in Portico yet.")
        if any(other["name"].lower() == one["name"].lower() for other in found):
            raise InvalidArgument(f"Duplicate argument name {one['name']}", reason="invalidQuery")
        found.append(one)
        if not tokens.take(",") and not tokens.sees(")"):
            raise tokens.error("Expected , or )")
    return found


def _procedure(tokens: Tokens, body: dict[str, Any]) -> None:
    _options(tokens, body)
    start = tokens.at
    if not tokens.sees("BEGIN"):
        if tokens.sees("LANGUAGE") or tokens.sees("WITH"):
            raise Unimplemented("Procedures of Apache Spark are not built in Portico.")
        raise tokens.error("Expected BEGIN")
    while tokens:
        tokens.at += 1
    body["definitionBody"] = tokens.since(start)


def _function(tokens: Tokens, body: dict[str, Any]) -> None:
    ends: tuple[tuple[str, ...], ...] = (
        ("AS",),
        ("LANGUAGE",),
        ("OPTIONS",),
        ("DETERMINISTIC",),
        ("NOT",),
        ("REMOTE",),
    )
    if tokens.take("RETURNS"):
        if tokens.take("TABLE"):
            start = tokens.at
            tokens.until(*ends, angles=True)
            body["returnTableType"] = _table_type(tokens.rest(start))
        else:
            body["returnType"] = standard_type(tokens.kind(*ends))
    if tokens.take("NOT", "DETERMINISTIC"):
        body["determinismLevel"] = "NOT_DETERMINISTIC"
    elif tokens.take("DETERMINISTIC"):
        body["determinismLevel"] = "DETERMINISTIC"
    if tokens.take("LANGUAGE"):
        body["language"] = {"JS": "JAVASCRIPT"}.get(language := tokens.name().upper(), language)
        if body["language"] != "JAVASCRIPT":
            raise Unimplemented(
                f"Functions of the language {language.lower()} are not built in Portico; it has SQL and js."
            )
    if tokens.sees("REMOTE"):
        raise Unimplemented("Remote functions are not built in Portico.")
    _options(tokens, body)
    tokens.expect("AS")
    if body["language"] == "JAVASCRIPT":
        body["definitionBody"] = tokens.string()
        if "returnType" not in body:
            raise InvalidArgument("JavaScript UDFs must specify a return type", reason="invalidQuery")
    elif body["routineType"] == "TABLE_VALUED_FUNCTION":
        body["definitionBody"] = _without_brackets(tokens)
    else:
        tokens.expect("(")
        body["definitionBody"] = tokens.until((")",))
        tokens.expect(")")
    _options(tokens, body)
    if tokens:
        raise tokens.error("Expected end of statement")


def _without_brackets(tokens: Tokens) -> str:
    if tokens.take("("):
        text = tokens.until((")",))
        tokens.expect(")")
        return text
    start = tokens.at
    while tokens:
        tokens.at += 1
    return tokens.since(start)


def _table_type(tokens: Tokens) -> dict[str, Any]:
    tokens.expect("<")
    columns = []
    while not tokens.take(">"):
        name = tokens.name()
        start, depth = tokens.at, 0
        while tokens and (depth or tokens.word() not in (",", ">")):
            depth += (tokens.word() in ("<", "(")) - (tokens.word() in (">", ")"))
            tokens.at += 1
        columns.append({"name": name, "type": standard_type(data_type(tokens.since(start)))})
        if not tokens.take(",") and not tokens.sees(">"):
            raise tokens.error("Expected , or >")
    return {"columns": columns}


def _options(tokens: Tokens, body: dict[str, Any]) -> None:
    if not tokens.take("OPTIONS"):
        return
    tokens.expect("(")
    while not tokens.take(")"):
        name = tokens.name().lower()
        tokens.expect("=")
        value = tokens.expression((",",), (")",))
        if name == "description":
            body["description"] = value.name
        elif name == "strict_mode":
            body["strictMode"] = isinstance(value, exp.Boolean) and bool(value.this)
        elif name == "library":
            named = value.expressions if isinstance(value, exp.Array) else [value]
            body["importedLibraries"] = [one.name for one in named]
        else:
            raise InvalidArgument(f"Unknown option: {name}", reason="invalidQuery")
        if not tokens.take(",") and not tokens.sees(")"):
            raise tokens.error("Expected , or )")
