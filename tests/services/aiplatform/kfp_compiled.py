"""Pipelines that kfp compiled, in an environment of its own: kfp needs another protobuf than Portico."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from tests.environments import ENVIRONMENTS

from portico.sandbox import environments

NEWEST = "2.17.3"
KFP = f"kfp=={NEWEST}"
VERSIONS = ("2.0.1", "2.4.0", "2.7.0", "2.11.0", NEWEST)

_PROGRAM = """
import sys
from typing import *
from kfp import compiler, dsl
from kfp.dsl import *

{source}

for _name, _one in list(globals().items()):
    if type(_one).__name__ == "GraphComponent":
        compiler.Compiler().compile(_one, f"{{sys.argv[1]}}/{{_name}}.yaml")
"""


def python(version: str = NEWEST) -> Path:
    """The Python of an environment with that version of kfp."""
    return environments.environment([f"kfp=={version}", "setuptools<80"], "3.11", ENVIRONMENTS)


def compiled(source: str, version: str = NEWEST, interpreter: Path | None = None) -> dict[str, str]:
    """The files of the pipelines that `source` defines, by their names, as that version of kfp compiles them, or what
    another Python (`interpreter`) has of it."""
    program = _PROGRAM.format(source=source)
    key = hashlib.sha256(f"{interpreter or version}{program}".encode()).hexdigest()[:16]
    folder = ENVIRONMENTS.parent / "kfp" / key
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "program.py"
        file.write_text(program)  # kfp reads a function's source from its file
        subprocess.run([interpreter or python(version), "-W", "ignore", file, folder], check=True)
        (folder / "done").touch()
    return {file.stem: str(file) for file in folder.glob("*.yaml")}
