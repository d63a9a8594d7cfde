"""The bytecode of environments: made once, shared by what has the same files."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from portico.sandbox import bytecode, installer
from portico.sandbox.installer import Teller

SOURCE = "import inspect\ndef where():\n    return inspect.currentframe().f_code.co_filename\n"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "envs"


def made(cache: Path, name: str, **files: str) -> Path:
    """An environment of that name, the place of whose modules it returns."""
    venv.create(cache / name)
    place = next((cache / name).glob("lib/python3*/site-packages"))
    for module, text in files.items():
        (place / f"{module}.py").write_text(text)
    bytecode.make(cache / name, cache, Teller())
    return place


def compiled(place: Path, module: str) -> Path:
    return place / "__pycache__" / f"{module}.{sys.implementation.cache_tag}.pyc"


def test_environments_with_the_same_file_share_its_bytecode(cache: Path) -> None:
    first = made(cache, "one", same=SOURCE, other="x = 1\n")
    second = made(cache, "two", same=SOURCE, other="x = 2\n")
    assert compiled(first, "same").samefile(compiled(second, "same"))
    assert not compiled(first, "other").samefile(compiled(second, "other"))
    for place, name, x in ((first, "one", "1"), (second, "two", "2")):
        command = [
            str(cache / name / "bin" / "python"),
            "-vc",
            "import same, other; print(same.where(), other.x)",
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=True)
        assert told.stdout.split() == [str(place / "same.py"), x], "it is told where its own source lies"
        assert f"code object from '{compiled(place, 'same')}'" in told.stderr, "and nothing is compiled again"


def test_it_tells_how_many_modules_are_compiled(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "_EVERY", 0.0)
    made(cache, "one", same=SOURCE)
    venv.create(cache / "two")
    place = next((cache / "two").glob("lib/python3*/site-packages"))
    for module, text in {"same": SOURCE, "a": "x = 1\n", "b": "x = 2\n"}.items():
        (place / f"{module}.py").write_text(text)
    told: list[str] = []
    bytecode.make(cache / "two", cache, Teller(told.append))
    assert any(line.startswith("compiling the bytecode of 2 modules (") for line in told), told


def test_bytecode_that_a_package_brings_is_not_taken(cache: Path) -> None:
    """Not for itself, and not for others that have the same source."""
    venv.create(cache / "evil")
    place = next((cache / "evil").glob("lib/python3*/site-packages"))
    source, foreign = place / "same.py", cache / "foreign.py"
    source.write_text("x = 'right'\n")
    foreign.write_text("x = 'wrong'\n")
    os.utime(
        foreign, (source.stat().st_atime, source.stat().st_mtime)
    )  # so Python would take it for same.py's
    py_compile.compile(str(foreign), cfile=str(compiled(place, "same")))
    bytecode.make(cache / "evil", cache, Teller())
    made(cache, "other", same="x = 'right'\n")
    for name in ("evil", "other"):
        command = [str(cache / name / "bin" / "python"), "-c", "import same; print(same.x)"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "right\n"


def test_what_can_not_be_compiled_keeps_nothing_else_from_it(cache: Path) -> None:
    place = made(cache, "one", broken="def (:\n", right="x = 1\n")
    assert compiled(place, "right").exists() and not compiled(place, "broken").exists()


def test_what_no_environment_has_any_more_goes(cache: Path) -> None:
    import shutil

    made(cache, "one", same=SOURCE, only="x = 1\n")
    second = made(cache, "two", same=SOURCE)
    bytecode.sweep(cache)
    assert len(list((cache / ".bytecode").glob("*/*/*"))) == 2
    shutil.rmtree(cache / "one")
    bytecode.sweep(cache)
    (left,) = (cache / ".bytecode").glob("*/*/*")
    assert left.samefile(compiled(second, "same"))
