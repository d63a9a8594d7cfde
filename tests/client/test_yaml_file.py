"""YAML files that a person wrote, or somebody else: small, or refused with a line and a field."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from portico.client import declaration, yaml_file
from portico.errors import InvalidArgument

LEVELS = "abcdefghij"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in pairwise(LEVELS)
)


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        (BOMB, 4, "d[", "10,000 values"),
        ("kind: Steward\na: &a\n  b: *a\n", 2, "a.b.b", "20 levels"),
        ("kind: Steward\na: " + "[" * 3000 + "]" * 3000, 2, "a[0][0]", "20 levels"),
        ("\n".join(" " * depth + f"k{depth}:" for depth in range(200)), 21, "k0.k1.k2", "20 levels"),
        ("a:\n  b: !!set {x}\n", 2, "a.b", "set"),
        ("a: !!binary aGk=\n", 1, "a", "binary"),
        ("a: !!python/object/apply:os.getcwd []\n", 1, "a", "python"),
        ("a: !!int x\n", 1, "a", "int"),
        ("b: 1\na: .nan\n", 2, "a", "no number"),
        ("a: " + "9" * 30, 1, "a", "too large"),
        ("a: " + "9" * 5000, 1, "a", "int"),
        ("a:\n- 1\n- [b, .inf]\n", 3, "a[1][1]", "no number"),
        ("a:\n  ? [b, c]\n  : 1\n", 2, "a", "word"),
        ("a: 1\nb: 2\na: 3\n", 3, "a", "line 1"),
        ("a: 1\nb: \x00\n", 2, "", "YAML"),
        ("a: 1\nb: *c\n", 2, "", "alias"),
        ("a: " + "x" * (1 << 20), 1, "", "bytes"),
    ],
)
def test_what_is_no_declaration_is_refused_with_line_and_field(
    tmp_path: Path, text: str, line: int, field: str, words: str
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InvalidArgument) as caught:
        yaml_file.read(path)
    message = caught.value.message
    assert message.startswith(f"s.yaml:{line}: {field}") and words in message, message


def test_dates_are_text_aliases_are_written_out_and_each_field_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "since: 2024-01-01\nat: 2024-13-45\nbase: &base {a: 1, b: 2}\nagain: *base\n"
        "merged:\n  <<: *base\n  b: 3\nflag: true\nnothing:\nshare: 0.5\n"
    )
    body, lines = yaml_file.read(path)
    assert body == {
        "since": "2024-01-01",
        "at": "2024-13-45",
        "base": {"a": 1, "b": 2},
        "again": {"a": 1, "b": 2},
        "merged": {"a": 1, "b": 3},
        "flag": True,
        "nothing": None,
        "share": 0.5,
    }
    assert (lines["at"], lines["again"], lines["merged.b"], lines["share"]) == (2, 4, 7, 10)


@pytest.mark.parametrize("text", ["", "- a\n", "text", "kind: Steward\nname: 2024-01-01\n"])
def test_a_file_that_holds_no_steward(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=r"s\.yaml:[12]: "):
        declaration.load(path)
