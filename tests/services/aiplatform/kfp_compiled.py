"""Pipelines that kfp compiled, in an environment of its own: kfp needs another protobuf than Portico."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from tests.environments import ENVIRONMENTS

from portico.sandbox import environments

NEWEST = "2.17.3"
KFP = f"kfp=={NEWEST}"
OLDEST = "2.0.1"
# Each takes an environment: those before the newest are long checks.
VERSIONS = [
    *(pytest.param(version, marks=pytest.mark.slow) for version in (OLDEST, "2.4.0", "2.7.0", "2.11.0")),
    NEWEST,
]

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
    return _made(_PROGRAM.format(source=source), interpreter or python(version))


def _made(program: str, interpreter: Path) -> dict[str, str]:
    """What the program writes in the folder that it is given."""
    key = hashlib.sha256(f"{interpreter}{program}".encode()).hexdigest()[:16]
    folder = ENVIRONMENTS.parent / "kfp" / key
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "program.py"
        file.write_text(program)  # kfp reads a function's source from its file
        subprocess.run([interpreter, "-W", "ignore", file, folder], check=True)
        (folder / "done").touch()
    return {file.stem: str(file) for file in [*folder.glob("*.yaml"), *folder.glob("*.json")]}


_PROGRAM_OF_1 = """
import sys
from typing import *
from kfp.v2 import compiler, dsl
from kfp.v2.dsl import *

{source}

compiler.Compiler().compile(whole, f"{{sys.argv[1]}}/whole.json")
"""


def compiled_by_1(source: str) -> dict[str, str]:
    """The file of the pipeline `whole` that `source` defines, as the last kfp before 2.0 compiles it."""
    needed = ["kfp==1.8.22", "setuptools<80"]
    return _made(_PROGRAM_OF_1.format(source=source), environments.environment(needed, "3.11", ENVIRONMENTS))
