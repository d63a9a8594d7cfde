"""Environments made with uv, from the registry that this machine uses."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from portico.errors import FailedPrecondition
from portico.sandbox.environments import environment, find_python, kept, normalise, prefixes

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_spellings_of_a_requirement_agree():
    assert normalise("Scikit_Learn == 1.5.*") == normalise("scikit-learn==1.5.*") == "scikit-learn==1.5.*"
    assert normalise("numpy <2, >=1.20") == normalise("numpy>=1.20,<2")
    assert normalise("a.b[x, y]>1 ;  python_version<'3.9'") == "a-b[x,y]>1 ; python_version<'3.9'"
    assert normalise("numpy<2") != normalise("numpy<3")


def test_it_has_what_was_asked_for_and_is_made_once(tmp_path):
    told: list[str] = []
    python = environment(["threadpoolctl==3.5.0"], HERE, tmp_path, told.append)
    assert any("threadpoolctl==3.5.0" in line for line in told)
    asked = "import threadpoolctl, sys; print(threadpoolctl.__version__, '%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-I", "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["3.5.0", HERE]
    told.clear()
    assert environment(["Threadpoolctl == 3.5.0"], HERE, tmp_path, told.append) == python
    assert told == []
    (found,) = kept(tmp_path)
    assert found.path == python.parent.parent and found.requirements == ["threadpoolctl==3.5.0"]
    assert found.size > 10_000
    assert all(folder.is_dir() for folder in prefixes(python)) and len(prefixes(python)) >= 2


def test_builders_of_the_same_one_wait_for_each_other(tmp_path):
    told: list[str] = []
    with ThreadPoolExecutor(4) as threads:
        made = [threads.submit(environment, ["six==1.17.0"], HERE, tmp_path, told.append) for _ in range(4)]
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


def test_a_python_that_is_not_here_is_named():
    with pytest.raises(FailedPrecondition, match=r"needs Python 2\.3 or 2\.4"):
        find_python(["2.3", "2.4"])
    assert find_python(["2.3", HERE])
