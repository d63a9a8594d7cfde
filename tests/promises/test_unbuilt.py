"""What Google has and Portico has not is told in the same words everywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import portico
from portico.errors import Unimplemented

SOURCE = Path(portico.__file__).parent


def refusals() -> Iterator[tuple[str, str]]:
    """Where each is made in the source, and its message as far as it is written there."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            texts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
            message = "".join(text for text in texts if isinstance(text, str))
            if ast.unparse(node.func).rpartition(".")[2] == "Unimplemented":
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", str(Unimplemented(message))
            elif (
                "Failed" in ast.unparse(node.func) and "UNIMPLEMENTED" in texts
            ):  # a user's process has no class of ours
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", message


def test_every_refusal_says_not_built() -> None:
    found = list(refusals())
    assert len(found) > 100
    assert [where for where, message in found if "not built" not in message] == []


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Tags are not built in Portico.", "Tags are not built in Portico."),
        ("Only UTC.", "Only UTC. This is not built in Portico."),
        ("Leave it out", "Leave it out. This is not built in Portico."),
    ],
)
def test_one_that_says_it_otherwise_gets_the_words(message: str, told: str) -> None:
    error = Unimplemented(message, field="a")
    assert (error.message, str(error), error.violations[0].description) == (told, told, told)
