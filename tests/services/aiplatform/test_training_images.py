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
    [
        ("xgboost-cpu.1-1", ("3.9", "3.8", "3.7"), "1.1."),
        pytest.param("tf-cpu.2-5", ("3.9", "3.8", "3.7"), "2.5.", marks=pytest.mark.slow),
    ],
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


DEEP = "gcr.io/deeplearning-platform-release"


@pytest.mark.parametrize(
    ("uri", "library", "version", "python", "accelerated"),
    [
        (f"{DEEP}/tf2-cpu.2-6:latest", "tensorflow", "2.6", "3.11", False),
        (f"{DEEP}/tf2-gpu.2-13.py310", "tensorflow", "2.13", "3.10", True),
        ("us-docker.pkg.dev/deeplearning-platform-release/gcr.io/pytorch-cu121.2-2.py310:m120", "torch", "2.2",
         "3.10", True),
        ("tensorflow/tensorflow:2.13.0", "tensorflow", "2.13.0", "3.11", False),
        ("tensorflow/tensorflow:2.13.0-gpu-jupyter", "tensorflow", "2.13.0", "3.11", True),
        ("docker.io/pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime", "torch", "2.1.0", "3.11", True),
    ],
)  # fmt: skip
def test_the_images_of_others_are_a_library_of_their_version(
    uri: str, library: str, version: str, python: str, accelerated: bool
) -> None:
    found = resolve(uri, "image")
    assert (found.library, found.version, found.pythons[0]) == (library, version, python)
    assert found.accelerated is accelerated


def test_scikit_learns_images_have_an_old_and_a_new_name() -> None:
    old, new = image("scikit-learn-cpu.0-23"), image("sklearn-cpu.1-6")
    assert (old.library, old.version) == ("scikit-learn", "0.23")
    assert (new.library, new.version) == ("scikit-learn", "1.6")


def test_googles_images_have_what_samples_import_unasked() -> None:
    for found in (
        image("scikit-learn-cpu.0-23"),
        image("tf-cpu.2-12"),
        resolve(f"{DEEP}/xgboost-cpu", "image"),
    ):
        assert {"google-cloud-aiplatform", "pandas", "db-dtypes", "tqdm"} <= set(found.common)
    assert "tensorflow-datasets" in resolve(f"{DEEP}/tf2-gpu.2-8", "image").common
    assert "gcsfs" in image("pytorch-gpu.1-13").common


@pytest.mark.parametrize(
    ("uri", "package"),
    [
        (f"{DEEP}/sklearn-cpu", "scikit-learn"),
        (f"{DEEP}/tf2-cpu:latest", "tensorflow"),
        ("tensorflow/tensorflow", "tensorflow"),
        ("tensorflow/tensorflow:latest", "tensorflow"),
        ("pytorch/pytorch:latest", "torch"),
    ],
)
def test_without_a_version_it_is_the_newest(uri: str, package: str) -> None:
    found = resolve(uri, "image")
    assert found.library == "" and package in found.common
