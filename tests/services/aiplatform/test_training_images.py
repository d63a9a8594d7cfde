"""Which Python, and which version of a library, a training image's name stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.errors import FailedPrecondition
from portico.sandbox.environments import find_python
from portico.sandbox.installer import Teller
from portico.services.aiplatform.custom import environments
from portico.services.aiplatform.custom.training_images import resolve


def image(name: str):
    return resolve(f"us-docker.pkg.dev/vertex-ai/training/{name}:latest", "image")


@pytest.mark.parametrize(
    ("name", "pythons", "version"),
    [("xgboost-cpu.1-1", ("3.9", "3.8", "3.7"), "1.1."), ("tf-cpu.2-5", ("3.9", "3.8", "3.7"), "2.5.")],
)
def test_an_old_image_gets_a_python_that_has_wheels_of_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, pythons: tuple[str, ...], version: str
) -> None:
    try:
        wanted = find_python(pythons)
    except FailedPrecondition:
        pytest.skip("there is none of its Pythons here")
    found = environments.interpreter_of(image(name), tmp_path, Teller())
    assert found[0] == wanted and found[1].startswith(version)
    monkeypatch.setattr(environments, "_compile", None)  # the index is asked once
    assert environments.interpreter_of(image(name), tmp_path, Teller()) == found


def test_of_a_version_that_no_python_here_has_the_closest_above_is_taken(tmp_path: Path) -> None:
    _, version = environments.interpreter_of(image("scikit-learn-cpu.0-1"), tmp_path, Teller())
    assert version.startswith(("0.", "1."))
