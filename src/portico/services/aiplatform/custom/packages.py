"""A user's Python packages (sdists and wheels), unpacked for a job, and what they need.

Nothing of them runs here: an sdist's own `*.egg-info/requires.txt`, or its PKG-INFO, says what it needs; in a folder
that was only packed, pyproject.toml, setup.cfg or what setup.py says in so many words. Its modules are found where
setuptools finds them, below its root or below `src`.
"""

from __future__ import annotations

import ast
import configparser
import email
import shutil
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from portico.errors import InvalidArgument
from portico.sandbox import archives
from portico.store.gcs import Gcs
from portico.store.objects.generations import ObjectRow

_MOST_BYTES = 2 << 30  # of one package, unpacked


@dataclass(frozen=True, slots=True)
class Unpacked:
    """`paths` for PYTHONPATH, and the `requirements` (PEP 508)."""

    paths: list[Path]
    requirements: list[str]


def unpack(
    gcs: Gcs, uris: Sequence[str], folder: Path, field: str, find: Callable[[str], ObjectRow] | None = None
) -> Unpacked:
    """`find` tells which generation of a package is meant, where it is not the live one.

    Raises:
        InvalidArgument: one is not there, or is no package.
    """
    paths, requirements = [], []
    for number, uri in enumerate(uris):
        target = folder / str(number)
        try:
            unpack_file(gcs.path((find or gcs.find)(uri)), target, uri.rpartition("/")[2])
        except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise InvalidArgument(f"{uri} can't be unpacked: {error}", field=f"{field}[{number}]") from None
        found = described(target)
        paths += found.paths
        requirements += found.requirements
    return Unpacked(paths, list(dict.fromkeys(requirements)))


def unpack_file(file: Path, target: Path, name: str = "") -> None:
    """Unpacks an sdist or a wheel, whose `name` tells which, into `target`; or copies a package's folder there.

    Raises:
        InvalidArgument: it is too large. OSError, TarError, BadZipFile, EOFError: it is neither.
    """
    name = name or file.name
    shutil.rmtree(target, ignore_errors=True)
    if file.is_dir():
        shutil.copytree(file, target)
        return
    target.mkdir(parents=True)
    if name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(file) as archive:
            _bounded(sum(entry.file_size for entry in archive.infolist()), name)
            archive.extractall(target)
    else:
        with tarfile.open(file) as archive:
            _bounded(sum(entry.size for entry in archive.getmembers()), name)
            archives.unpack(archive, target)


def described(target: Path) -> Unpacked:
    """Of one package that was unpacked into `target`."""
    entries = list(target.iterdir())
    alone = len(entries) == 1 and entries[0].is_dir() and not (entries[0] / "__init__.py").exists()
    root = entries[0] if alone else target
    source = (root / "src").is_dir() and not (root / "src" / "__init__.py").exists()
    return Unpacked([root / "src" if source else root], _requirements(root))


def _bounded(size: int, name: str) -> None:
    if size > _MOST_BYTES:
        raise InvalidArgument(f"{name} has {size:,} bytes unpacked; at most {_MOST_BYTES:,} are taken.")


def _requirements(root: Path) -> list[str]:
    """What the package in the folder `root` needs, by the first of its files that says something."""
    for listed in sorted(root.glob("**/*.egg-info/requires.txt")):
        lines = listed.read_text().partition("\n[")[0].splitlines()  # the rest are extras
        return [line.strip() for line in lines if line.strip()]
    for metadata in [*sorted(root.glob("*.dist-info/METADATA")), root / "PKG-INFO"]:
        if metadata.is_file():
            wanted = email.message_from_string(metadata.read_text()).get_all("Requires-Dist") or []
            if wanted:
                return [line for line in wanted if "extra ==" not in line]
    for name, read in (
        ("pyproject.toml", _of_pyproject),
        ("setup.cfg", _of_setup_cfg),
        ("setup.py", _of_setup),
    ):
        try:
            found = read((root / name).read_text())
        except (OSError, ValueError, SyntaxError, configparser.Error):  # not there, or not what its name says
            continue
        if found:
            return found
    return []


def _of_pyproject(text: str) -> list[str]:
    told = tomllib.loads(text).get("project", {}).get("dependencies", [])
    return [line for line in told if isinstance(line, str)]


def _of_setup_cfg(text: str) -> list[str]:
    read = configparser.ConfigParser(interpolation=None)
    read.read_string(text)
    lines = read.get("options", "install_requires", fallback="").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def _of_setup(text: str) -> list[str]:
    """`install_requires` of the call of setup(), where it is written out, there or in a variable of the file."""
    tree = ast.parse(text)
    variables = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and "setup" in (
            getattr(call.func, "id", ""),
            getattr(call.func, "attr", ""),
        ):
            for argument in call.keywords:
                if argument.arg == "install_requires":
                    value = argument.value
                    told = ast.literal_eval(
                        variables.get(value.id, value) if isinstance(value, ast.Name) else value
                    )
                    lines = told.splitlines() if isinstance(told, str) else told
                    return [line.strip() for line in lines if isinstance(line, str) and line.strip()]
    return []
