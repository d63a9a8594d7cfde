"""What can't be parsed, in the words of GoogleSQL's parser."""

from __future__ import annotations

import re

from portico.errors import InvalidArgument


def in_words(said: str) -> str:
    """What sqlglot says, as GoogleSQL's parser does."""
    if found := re.match(r"Expecting (.+)", said):
        return f'Expected "{found[1].rstrip(".")}"'
    if said.startswith("Required keyword"):
        return "Unexpected end of expression"
    said = re.sub(r"<Token token_type: .*?, text: (.*?), line: .*?>", r"\1", said)
    said = said.replace("SENTINEL", "end of query")
    return said.replace("Invalid expression / Unexpected token", "Unexpected token")


_LITERALS = re.compile(
    r"#[^\n]*|--[^\n]*|/\*.*?\*/|(\"\"\"|\'\'\'|[\"\'`])(?:\\.|(?!\1).)*?(\1|\Z)", re.DOTALL
)


def unclosed(text: str) -> InvalidArgument:
    """What is wrong with a text that can't be taken apart: one of its literals has no end."""
    for found in _LITERALS.finditer(text):
        if found[1] and not found[2]:
            before = text[: found.start()]
            line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
            kind = "identifier" if found[1] == "`" else "string"
            return InvalidArgument(
                f"Syntax error: Unclosed {kind} literal at [{line}:{column}]", reason="invalidQuery"
            )
    return InvalidArgument("Syntax error: Unclosed comment", reason="invalidQuery")
