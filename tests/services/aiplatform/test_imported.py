"""What a program's text says that it imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.services.aiplatform.custom.imported import modules_of

TEXT = """
import os, numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from . import beside
if os.environ.get("GPU"):
    import torch
try:
    import lightgbm
except ImportError:
    lightgbm = None
def main():
    import joblib
    import own
if __name__ == "__main__":
    import argparse
"""
FOUND = ["os", "numpy", "sklearn.ensemble", "joblib", "own", "argparse"]


def test_of_a_text_a_file_and_a_module(tmp_path: Path) -> None:
    assert modules_of(["python", "-c", TEXT, "--x"]) == modules_of(["python", "-u", "-c", TEXT]) == FOUND
    (tmp_path / "task.py").write_text(TEXT)
    (tmp_path / "own").mkdir()
    without = [name for name in FOUND if name != "own"]
    assert modules_of(["python", str(tmp_path / "task.py")]) == without
    package = tmp_path / "trainer"
    package.mkdir()
    (package / "task.py").write_text(TEXT + "from trainer import task\n")
    assert modules_of(["python", "-m", "trainer.task"], [tmp_path]) == without


@pytest.mark.parametrize(
    "command",
    [["python"], ["python", "-c"], ["python", "-m", "none"], ["python", "none.py"], ["sh", "-c", "exit 1"], [],
     ["python", "-c", "(" * 5000], ["python", "-c", "import a\0"]],
)  # fmt: skip
def test_of_none_nothing(command: list[str]) -> None:
    assert modules_of(command) == []
