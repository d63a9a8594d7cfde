"""Image names, and what serves them."""

from __future__ import annotations

import runpy
from importlib.metadata import distribution
from types import SimpleNamespace

import pytest

from portico.errors import InvalidArgument, Unimplemented
from portico.services.aiplatform.images import Serving, resolve


@pytest.mark.parametrize(
    "uri",
    [
        "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5:latest",
        "europe-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5",
        "asia-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5@sha256:0af",
        "eu.gcr.io/cloud-aiplatform/prediction/sklearn-cpu.1-5:latest",
    ],
)
def test_scikit_learn(uri):
    serving = resolve(uri)
    assert (serving.kind, serving.framework, serving.version) == ("replica", "sklearn", "1.5")
    assert serving.artifacts == ("model.joblib", "model.pkl", "model.skops")
    assert "scikit-learn==1.5.*" in serving.requirements and "3.11" in serving.pythons
    assert Serving.from_json(serving.to_json()) == serving


def test_xgboost():
    serving = resolve("us-docker.pkg.dev/vertex-ai/prediction/xgboost-cpu.2-1:latest")
    assert serving.artifacts == ("model.bst", "model.joblib", "model.pkl")
    assert "xgboost-cpu==2.1.* ; sys_platform != 'darwin'" in serving.requirements
    assert "xgboost==1.7.*" in resolve("gcr.io/cloud-aiplatform/prediction/xgboost-cpu.1-7").requirements


def test_every_prebuilt_image_of_the_client_is_known():
    # Its file alone: importing the client takes 10 seconds.
    found = distribution("google-cloud-aiplatform")
    file = found.locate_file("google/cloud/aiplatform/constants/prediction.py")
    constants = SimpleNamespace(**runpy.run_path(str(file)))
    served = constants.SKLEARN_CONTAINER_URIS + constants.XGBOOST_CONTAINER_URIS + constants.TF_CONTAINER_URIS
    for uri in served + constants.PYTORCH_CONTAINER_URIS:
        assert resolve(uri).kind == "replica"


def test_our_own_are_native():
    for framework, file in (("lightgbm", "model.txt"), ("onnx", "model.onnx")):
        serving = resolve(f"us-docker.pkg.dev/portico/prediction/{framework}-cpu.4-7:latest")
        assert (serving.kind, serving.framework, serving.artifacts) == ("native", framework, (file,))


def test_a_later_version_than_the_table_is_tried():
    assert (
        "scikit-learn==1.9.*"
        in resolve("us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-9").requirements
    )


@pytest.mark.parametrize(
    "prefix",
    [
        "us-docker.pkg.dev/vertex-ai/prediction",
        "us-docker.pkg.dev/cloud-aiplatform/prediction",
        "europe-docker.pkg.dev/cloud-aiplatform/prediction",
        "asia-docker.pkg.dev/vertex-ai/prediction",
        "gcr.io/vertex-ai/prediction",
        "gcr.io/cloud-aiplatform/prediction",
        "eu.gcr.io/cloud-aiplatform/prediction",
    ],
)
@pytest.mark.parametrize("tag", ["", ":latest", ":20230310_1200_RC00"])
def test_googles_images_have_many_names(prefix, tag):
    assert resolve(f"{prefix}/xgboost-cpu.1-7{tag}").image == "xgboost-cpu.1-7"


@pytest.mark.parametrize(
    ("uri", "error", "word"),
    [
        ("", InvalidArgument, "no image"),
        ("gcr.io/my-project/my-model:v3", Unimplemented, "not built here"),
        (
            "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.0-99:latest",
            InvalidArgument,
            "there are sklearn-cpu.0-20",
        ),
        (
            "us-docker.pkg.dev/vertex-ai/prediction/sklearn-gpu.1-5:latest",
            InvalidArgument,
            "no prebuilt image",
        ),
        (
            "us-docker.pkg.dev/vertex-ai/prediction/catboost-cpu.1-2:latest",
            InvalidArgument,
            "no prebuilt image",
        ),
        (
            "us-docker.pkg.dev/portico/prediction/sklearn-cpu.1-5:latest",
            InvalidArgument,
            "lightgbm-cpu and onnx-cpu",
        ),
    ],
)
def test_what_cannot_be_served_says_why(uri, error, word):
    with pytest.raises(error, match=word):
        resolve(uri)
