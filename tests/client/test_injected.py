"""What is put before the Google clients of any Python."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from portico.client.settings import injected_folder

FILES = sorted(injected_folder().rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_python_3_7_can_read_it(file: Path) -> None:
    """The Python in which kfp has components run where nobody says another."""
    ast.parse(file.read_text(), feature_version=(3, 7))
