"""Environments made with uv, from the registry that this machine uses."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portico.errors import FailedPrecondition
from portico.sandbox.environments import environment, find_python, installed, kept, normalise, prefixes
from portico.sandbox.installer import Teller
from portico.sandbox.isolation import walls

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_spellings_of_a_requirement_agree():
    assert normalise("Scikit_Learn == 1.5.*") == normalise("scikit-learn==1.5.*") == "scikit-learn==1.5.*"
    assert normalise("numpy <2, >=1.20") == normalise("numpy>=1.20,<2")
    assert normalise("a.b[x, y]>1 ;  python_version<'3.9'") == "a-b[x,y]>1 ; python_version<'3.9'"
    assert normalise("numpy<2") != normalise("numpy<3")


def test_it_has_what_was_asked_for_and_is_made_once(tmp_path):
    told: list[str] = []
    python = environment(["threadpoolctl==3.5.0"], HERE, tmp_path, Teller(told.append))
    assert any("threadpoolctl==3.5.0" in line for line in told)
    asked = "import threadpoolctl, sys; print(threadpoolctl.__version__, '%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-I", "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["3.5.0", HERE]
    told.clear()
    assert environment(["Threadpoolctl == 3.5.0"], HERE, tmp_path, Teller(told.append)) == python
    assert told == []
    (found,) = kept(tmp_path)
    assert found.path == python.parent.parent and found.requirements == ["threadpoolctl==3.5.0"]
    assert found.size > 10_000
    assert all(folder.is_dir() for folder in prefixes(python)) and len(prefixes(python)) >= 2


def test_builders_of_the_same_one_wait_for_each_other(tmp_path):
    told: list[str] = []
    with ThreadPoolExecutor(4) as threads:
        made = [
            threads.submit(environment, ["six==1.17.0"], HERE, tmp_path, Teller(told.append))
            for _ in range(4)
        ]
        assert len({one.result() for one in made}) == 1
    assert sum("six==1.17.0" in line for line in told) == 1


def test_a_broken_one_is_built_again(tmp_path):
    python = environment([], HERE, tmp_path)
    home = python.parent.parent
    (home / "portico.json").unlink()
    (tmp_path / f".{home.name}-1").mkdir()
    assert environment([], HERE, tmp_path) == python and kept(tmp_path)
    python.unlink()
    python.symlink_to("/nonexistent/python")
    assert environment([], HERE, tmp_path) == python and python.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_failure_gives_the_reason_and_leaves_nothing(tmp_path):
    with pytest.raises(FailedPrecondition) as failure:
        environment(["threadpoolctl==77.0"], HERE, tmp_path)
    message = failure.value.message
    assert message.startswith("The Python environment for threadpoolctl==77.0 cannot be made: ")
    assert "no version of threadpoolctl==77.0" in message and "\n" not in message and "hint" not in message
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


SETUP = """
import os, setuptools
for place in {places}:
    try:
        with open(os.path.join(place, "left behind"), "w") as file:
            file.write("here")
    except OSError:
        pass
{more}
setuptools.setup(name="madeup", version="{version}", py_modules=["madeup"])
"""


UNIVERSAL = """
import functools
setuptools.setup = functools.partial(setuptools.setup, options={"bdist_wheel": {"python_tag": "py2.py3"}})
"""


def source_of_madeup(folder: Path, more: str = "", version: str = "1.0") -> None:
    """Puts an sdist, whose setup.py writes where it can, into `folder`."""
    with tarfile.open(folder / f"madeup-{version}.tar.gz", "w:gz") as archive:
        for name, text in (
            ("PKG-INFO", f"Metadata-Version: 1.0\nName: madeup\nVersion: {version}\n"),
            ("setup.py", SETUP.format(places=[str(folder), str(Path.home())], more=more, version=version)),
            ("madeup.py", "value = 42"),
        ):
            entry = tarfile.TarInfo(f"madeup-{version}/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.mark.skipif(walls().name == "none", reason="nothing here confines the build")
def test_what_is_there_as_source_only_is_built_behind_the_walls(tmp_path, monkeypatch):
    links = tmp_path / "links"
    links.mkdir()
    source_of_madeup(links)
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    told: list[str] = []
    python = environment(["madeup==1.0"], HERE, tmp_path / "envs", Teller(told.append))
    asked = [python, "-I", "-c", "import madeup; print(madeup.value)"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "42\n"
    assert any("madeup==1.0 is there as source only" in line for line in told)
    assert [path.name for path in links.iterdir()] == ["madeup-1.0.tar.gz"]
    assert not (Path.home() / "left behind").exists()

    source_of_madeup(links, more="raise SystemExit('no such compiler')")
    with pytest.raises(FailedPrecondition, match=r"(?s)madeup.*building it fails.*no such compiler"):
        environment(["madeup", "six"], HERE, tmp_path / "envs")


def wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    told = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    told += f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}")
        for file, text in (
            ("METADATA", told),
            ("WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            ("RECORD", ""),
        ):
            archive.writestr(f"{name}-{version}.dist-info/{file}", text)


@pytest.mark.skipif(walls().name == "none", reason="nothing here confines the build")
def test_of_several_sources_the_newest_that_fits_is_built(tmp_path, monkeypatch):
    """Also where another asks for it, and where its wheel is one for Python 2 too."""
    links = tmp_path / "links"
    links.mkdir()
    for version in ("1.0", "2.0", "3.0"):
        source_of_madeup(links, UNIVERSAL, version)
    wheel(links, "madeneeds", "1.0", "madeup<3")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    told: list[str] = []
    python = environment(["madeneeds"], HERE, tmp_path / "envs", Teller(told.append))
    assert "madeup==2.0" in installed(python)
    assert sum("is there as source only" in line for line in told) == 1


def test_what_cannot_be_had_with_the_others_is_installed_over_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    wheel(tmp_path, "madeimage", "1.0", "madebelow<2")
    wheel(tmp_path, "madebelow", "1.0")
    wheel(tmp_path, "madebelow", "2.0")
    wheel(tmp_path, "madeown", "1.0", "madebelow>=2")
    both = ["madeimage==1.0", "madeown==1.0"]
    with pytest.raises(FailedPrecondition, match="madebelow"):
        environment(both, HERE, tmp_path / "envs")
    told: list[str] = []
    python = environment(both, HERE, tmp_path / "envs", Teller(told.append), over=["madeown == 1.0"])
    asked = "import madebelow, madeimage, madeown; print(madebelow.version)"
    done = subprocess.run([python, "-I", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "2.0\n"
    assert any("madeown==1.0 are installed over the others" in line for line in told)
    # What another of them needs of the image stays as it is, also where the two can't be had together.
    wheel(tmp_path, "madeimage", "2.0", "madebelow>=2")
    wheel(tmp_path, "madeextra", "1.0", "madeimage")
    over = ["madeextra", "madebelow==2.0"]
    python = environment(["madeimage==1.0", *over], HERE, tmp_path / "envs", over=over)
    assert {"madeimage==1.0", "madebelow==2.0", "madeextra==1.0"} <= set(installed(python))


def test_a_python_that_is_not_here_is_named():
    with pytest.raises(FailedPrecondition, match=r"needs Python 2\.3 or 2\.4"):
        find_python(["2.3", "2.4"])
    assert find_python(["2.3", HERE])
