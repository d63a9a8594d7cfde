"""What is run in the repository itself: its pipeline is compiled, its components are tested, its sample is made."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from portico.cli.ci.declaration import KFP, Declaration
from portico.client import portico_alone
from portico.errors import FailedPrecondition, InvalidArgument
from portico.sandbox import environments
from portico.sandbox.environments import normalise

_COMPILED = (".yaml", ".yml", ".json")


class Repository:
    """A folder with a declaration, and the Python that its own code is run with: one that has kfp, which needs other
    libraries than Portico, and can import `portico.client.components`."""

    def __init__(self, folder: Path, declared: Declaration, python: Path, path: str) -> None:
        self.folder, self._declared, self._python = folder, declared, python
        self._env = os.environ | {
            "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "VIRTUAL_ENV": str(python.parent.parent),
            "PYTHONPATH": path,
            "PYTHONWARNINGS": "ignore",
        }

    def compile(self, to: Path) -> None:
        """Writes what kfp makes of the pipeline.

        Raises:
            FailedPrecondition: with what kfp says; InvalidArgument: there is no such file.
        """
        source = self.file(self._declared.pipeline, "pipeline")
        if source.suffix in _COMPILED:
            shutil.copyfile(source, to)
            return
        command = [
            str(self._python.parent / "kfp"),
            "dsl",
            "compile",
            "--py",
            str(source),
            "--output",
            str(to),
        ]
        if self._declared.function:
            command += ["--function", self._declared.function]
        code, told = self._run(command)
        if code or not to.exists():
            raise FailedPrecondition(f"{self._declared.pipeline} does not compile:\n{told}")

    def command(self, line: str) -> tuple[int, str]:
        """Runs one of the declaration's commands; its exit code, and all that it printed."""
        return self._run(shlex.split(line))

    def file(self, name: str, field: str) -> Path:
        """
        Raises:
            InvalidArgument: there is none.
        """
        path = (self.folder / name).absolute()
        if not path.exists():
            raise InvalidArgument(f"{field}: there is no {name} in {self.folder}.", field=field)
        return path

    def _run(self, command: list[str]) -> tuple[int, str]:
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", check=False,
            )  # fmt: skip
        except OSError as error:
            return 127, f"{command[0]}: {error.strerror}"
        return done.returncode, done.stdout


@contextmanager
def opened(
    folder: Path, declared: Declaration, cache: Path, tell: Callable[[str], None]
) -> Iterator[Repository]:
    """A repository with its environment, made under `cache` where it is not there.

    Raises:
        FailedPrecondition: it can't be made.
    """
    names = [normalise(one) for one in declared.packages]
    has_kfp = any(one == "kfp" or one.startswith(("kfp=", "kfp>", "kfp<", "kfp~", "kfp[")) for one in names)
    wanted = [*([] if has_kfp else [KFP]), *declared.packages]
    tell(f"an environment with {', '.join(wanted)}")
    python = environments.environment(wanted, declared.python, cache)
    with portico_alone() as path:
        yield Repository(folder, declared, python, path)
