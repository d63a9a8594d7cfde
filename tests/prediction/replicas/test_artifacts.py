"""The version that made a file, found in its bytes."""

from __future__ import annotations

import pickle

import joblib
import pytest
import sklearn
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from portico.errors import FailedPrecondition
from portico.prediction.replicas.artifacts import Artifact, exact, find, made_with

UBJSON = b"}}}L" + (7).to_bytes(8, "big") + b"version[#L" + (3).to_bytes(8, "big") + b"i\x02i\x01i\x04}"


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline(StandardScaler(), LinearRegression()).fit([[1.0], [2.0]], [1.0, 2.0])


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("compress", [0, 3, "gzip", "bz2", "xz", "lzma"])
def test_scikit_learn_in_joblib(pipeline, tmp_path, protocol, compress):
    joblib.dump(pipeline, tmp_path / "m.joblib", compress=compress, protocol=protocol)
    assert made_with(tmp_path / "m.joblib", "sklearn") == sklearn.__version__


@pytest.mark.parametrize("protocol", range(2, 6))
def test_scikit_learn_in_a_pickle(pipeline, tmp_path, protocol):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(pipeline, protocol))
    assert made_with(tmp_path / "m.pkl", "sklearn") == sklearn.__version__


@pytest.mark.parametrize(
    ("bytes_", "version"),
    [
        (b"{L" + b"y" * 3_000_000 + UBJSON, "2.1.4"),
        (b"y" * (1 << 20) + UBJSON, "2.1.4"),
        (b"y" * ((1 << 20) - 20) + UBJSON, "2.1.4"),  # cut between two pieces
        (b'{"learner":{},"version":[1,7,6]}', "1.7.6"),
        (b"", ""),
        (b"binf\x98N\x14?", ""),
        (b"binf" + b"x" * 20 + b"\x01\0\0\0\x05\0\0\0", "1.5"),
        (b"binf" + b"x" * 20 + b"\0\0\0\0\0\0\0\0", ""),  # before 1.0 it did not say
        (b"\x1f\x8b\x08 not really gzip", ""),
        (b"x\x9c not really zlib", ""),
    ],
)
def test_xgboost(tmp_path, bytes_, version):
    (tmp_path / "model.bst").write_bytes(bytes_)
    assert made_with(tmp_path / "model.bst", "xgboost") == version


def test_the_first_name_wins_and_a_missing_one_is_told(tmp_path):
    names = ["model.joblib", "model.pkl"]
    with pytest.raises(FailedPrecondition, match=r"no model\.joblib or model\.pkl.*they have no files"):
        find(tmp_path, names, "sklearn")
    (tmp_path / "model.pkl").touch()
    assert find(tmp_path, names, "sklearn").path.name == "model.pkl"
    (tmp_path / "model.joblib").touch()
    assert find(tmp_path, names, "sklearn").path.name == "model.joblib"


@pytest.mark.parametrize(
    ("framework", "made", "serves", "pinned"),
    [
        ("sklearn", "1.5.1", "1.5", True),
        ("sklearn", "1.5.1", "1.6", False),
        ("sklearn", "1.10.0", "1.1", False),
        ("sklearn", "", "1.5", False),
        ("xgboost", "2.1.4", "2.1", False),
    ],
)
def test_the_very_version_is_taken_where_the_image_has_it(tmp_path, framework, made, serves, pinned):
    artifact = Artifact(tmp_path / "model.pkl", made)
    library = "scikit-learn" if framework == "sklearn" else "xgboost-cpu"
    requirements = [f"{library}=={serves}.*", "numpy"]
    wanted = exact(requirements, framework, serves, artifact)
    assert wanted == ([f"scikit-learn=={made}", "numpy"] if pinned else requirements)
