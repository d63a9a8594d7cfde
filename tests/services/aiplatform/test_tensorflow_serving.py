"""TensorFlow Serving's own image, by its name or another: its versions' folders, and what is served of them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from google.api_core import exceptions

from portico.services.aiplatform import images

OWN = "us-central1-docker.pkg.dev/test-project/repo/tf_serving:cpu"


def docker(portico: Any, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--", "docker"]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize(
    ("image", "needed"),
    [
        ("tensorflow/serving:2.5.4", "tensorflow-cpu==2.15.* ; python_version < '3.12'"),
        ("docker.io/tensorflow/serving:2.15.1-gpu", "tensorflow-cpu==2.15.* ; python_version < '3.12'"),
        ("tensorflow/serving:2.18.0", "tensorflow-cpu==2.18.*"),
        ("tensorflow/serving", "tensorflow-cpu"),
    ],
)
def test_its_tags_are_versions_of_tensorflow(image: str, needed: str) -> None:
    assert images.resolve(image).requirements[0] == needed


def test_a_model_is_its_newest_version_by_whatever_name_the_image_goes(
    portico: Any, aiplatform: Any, bucket: Any
) -> None:
    for version in ("2", "10"):
        bucket.blob(f"model/{version}/saved_model.pb").upload_from_string(f"of {version}")
        bucket.blob(f"model/{version}/variables/variables.index").upload_from_string("x")
    assert docker(portico, "pull", "tensorflow/serving:2.5.4").returncode == 0
    tagged = docker(portico, "tag", "tensorflow/serving:2.5.4", OWN)
    assert tagged.returncode == 0, tagged.stdout + tagged.stderr
    assert docker(portico, "push", OWN).returncode == 0
    for image in (OWN, "tensorflow/serving:2.5.4"):
        model = aiplatform.Model.upload(
            display_name="served", artifact_uri=f"gs://{bucket.name}/model", serving_container_image_uri=image,
            serving_container_command=["/usr/bin/tensorflow_model_server"],
            serving_container_args=["--model_name=served", "--model_base_path=$(AIP_STORAGE_URI)"],
        )  # fmt: skip
        assert model.container_spec.image_uri == image
        assert "DEDICATED_RESOURCES" in [one.name for one in model.supported_deployment_resources_types]
        out = model.export_model("custom-trained", artifact_destination=f"gs://{bucket.name}/out")[
            "artifactOutputUri"
        ]
        name = out.removeprefix(f"gs://{bucket.name}/")
        assert bucket.blob(f"{name}/saved_model.pb").download_as_text() == "of 10"
        assert bucket.blob(f"{name}/variables/variables.index").exists()


def test_a_model_without_versions_is_refused(aiplatform: Any, bucket: Any) -> None:
    bucket.blob("flat/saved_model.pb").upload_from_string("x")
    with pytest.raises(exceptions.GoogleAPICallError, match=r"put its files below gs://.*/flat/1/"):
        aiplatform.Model.upload(
            display_name="flat", artifact_uri=f"gs://{bucket.name}/flat",
            serving_container_image_uri="tensorflow/serving:latest",
        )  # fmt: skip
