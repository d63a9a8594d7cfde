"""What a custom job's environment is made of, where its packages pin the library that its image names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from google.cloud.aiplatform.version import __version__ as aiplatform_version

from portico.sandbox import environments
from portico.sandbox.installer import Teller
from portico.services.aiplatform.custom.environments import python_of
from portico.services.aiplatform.custom.training_images import resolve
from portico.services.aiplatform.images import profiler_of

_NAME = "portico.services.aiplatform.custom.environments.interpreter_of"


def wanted_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, needed: list[str], name: str = "tf-cpu.2-5"
) -> list[str]:
    """What the environment of an image and `needed` is made of."""
    asked: list[list[str]] = []

    def environment(wanted: list[str], *_: object, **__: object) -> Path:
        asked.append(wanted)
        return tmp_path

    def newest(image, cache, teller):
        return sys.executable, image.version if image.version.count(".") > 1 else f"{image.version}.0"

    monkeypatch.setattr(_NAME, newest)
    monkeypatch.setattr(environments, "environment", environment)
    image = resolve(f"us-docker.pkg.dev/vertex-ai/training/{name}:latest", "imageUri")
    python_of(image, needed, tmp_path, Teller())
    [wanted] = asked
    return wanted


@pytest.mark.parametrize(
    ("needed", "installed"),
    [
        (["joblib"], ["tensorflow==2.5.0", "joblib"]),
        (["tensorflow==2.13.1", "joblib"], ["tensorflow==2.13.1", "joblib"]),
        (["tensorflow == 2.4.*"], ["tensorflow==2.4.0"]),
        (["tensorflow_datasets==1.3.0"], ["tensorflow==2.5.0", "tensorflow_datasets==1.3.0"]),
        (["tensorflow>=2.4"], ["tensorflow==2.5.0", "tensorflow>=2.4"]),
    ],
)
def test_a_pin_of_the_images_library_takes_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, needed: list[str], installed: list[str]
) -> None:
    image = resolve("us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-5:latest", "imageUri")
    wanted = wanted_for(monkeypatch, tmp_path, needed)
    assert wanted[0] == installed[0] and wanted[-1] == (installed[1:] or [image.common[-1]])[-1]
    assert sum(line.startswith("tensorflow==") for line in wanted) == 1


@pytest.mark.parametrize(
    "needed", ["google-cloud-aiplatform[cloud_profiler]>=1.20.0", "tensorboard_plugin_profile"]
)
def test_the_profiler_fits_the_protobuf_of_its_tensorflow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, needed: str
) -> None:
    [bound] = profiler_of("tensorflow", "2.9.3")
    assert bound in wanted_for(monkeypatch, tmp_path, [needed], "tf-cpu.2-9")
    assert bound not in wanted_for(monkeypatch, tmp_path, ["google-cloud-aiplatform"], "tf-cpu.2-9")
    assert not profiler_of("tensorflow", "2.18.0") and not profiler_of("torch", "2.1.0")


@pytest.mark.parametrize("extra", ["autologging", "tensorboard, autologging"])
def test_autologging_gets_an_mlflow_that_bounds_its_protobuf(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, extra: str
) -> None:
    # MLflow 1.27, the oldest that the extra takes, would be chosen for the newest protobuf, with which it can't run.
    needed = [f"google-cloud-aiplatform[{extra}]=={aiplatform_version}", "pandas"]
    wanted = wanted_for(monkeypatch, tmp_path, needed, "sklearn-cpu.1-6")
    assert "mlflow>=2" in wanted and wanted[-2:] == needed
    plain = wanted_for(monkeypatch, tmp_path, ["google-cloud-aiplatform[tensorboard]"], "sklearn-cpu.1-6")
    assert not any(line.startswith("mlflow") for line in plain)
    own = wanted_for(monkeypatch, tmp_path, [*needed, "mlflow==1.30.0"], "sklearn-cpu.1-6")
    assert "mlflow>=2" not in own and "mlflow==1.30.0" in own
