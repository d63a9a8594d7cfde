"""The images that people use, with real models of the versions they name, from fitting to serving. Slow: each
makes an environment (kept between test runs)."""

from __future__ import annotations

import json
import subprocess

import pytest

from portico.errors import FailedPrecondition
from portico.prediction.replicas.artifacts import find
from portico.prediction.replicas.client import BlockingReplicaClient
from portico.prediction.replicas.shapley import Sampling
from portico.sandbox import environments
from portico.services.aiplatform.images import resolve

pytestmark = pytest.mark.slow

SKLEARN = """
import sys, numpy, joblib
from sklearn.ensemble import RandomForestClassifier
x = numpy.random.RandomState(0).rand(300, 4)
model = RandomForestClassifier(20, random_state=0).fit(x, (x[:, 0] > 0.5).astype(int))
joblib.dump(model, sys.argv[1] + "/model.joblib")
"""
XGBOOST = """
import sys, pickle, numpy, xgboost
x = numpy.random.RandomState(0).rand(300, 4)
y = (x[:, 0] > 0.5).astype(int)
names = ["a", "b", "c", "d"]
booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, label=y, feature_names=names), 20)
booster.save_model(sys.argv[1] + "/model.bst")
pickle.dump(xgboost.XGBClassifier(n_estimators=20).fit(x, y), open(sys.argv[1] + "/model.pkl", "wb"))
"""


@pytest.fixture
def python_of(environments_folder):
    return lambda image: resolved(image, environments_folder)


def resolved(image, folder):
    serving = resolve(f"us-docker.pkg.dev/vertex-ai/prediction/{image}:latest")
    try:
        interpreter = environments.find_python(serving.pythons)
    except FailedPrecondition as missing:
        pytest.skip(missing.message)
    return serving, environments.environment(serving.requirements, interpreter, folder)


def predictions(client, instances, kind="predict"):
    status, body = client.predict(kind, json.dumps({"instances": instances}).encode())
    assert status == 200, body
    return json.loads(body)["predictions" if kind == "predict" else "explanations"]


@pytest.mark.parametrize("version", ["0-24", "1-0", "1-2", "1-3", "1-4", "1-5", "1-6"])
def test_scikit_learn(version, python_of, replica, tmp_path):
    serving, python = python_of(f"sklearn-cpu.{version}")
    model = tmp_path / "model"
    model.mkdir()
    subprocess.run([str(python), "-W", "ignore", "-c", SKLEARN, str(model)], check=True)
    artifact = find(model, serving.artifacts, "sklearn")
    assert artifact.version.startswith(serving.version + ".")
    with replica(python, artifact.path, tmp_path / "r") as made:
        assert made.ready, made.error or made.last_words()
        client = BlockingReplicaClient([str(tmp_path / "r" / "0.sock")])
        assert predictions(client, [[0.9, 0, 0, 0], [0.1, 0, 0, "0"]]) == [1, 0]
        client.close()


@pytest.mark.parametrize("version", ["1-1", "1-6", "1-7", "2-0", "2-1"])
@pytest.mark.parametrize("file", ["model.bst", "model.pkl"])
def test_xgboost(version, file, python_of, replica, tmp_path):
    serving, python = python_of(f"xgboost-cpu.{version}")
    model = tmp_path / "model"
    model.mkdir()
    subprocess.run([str(python), "-W", "ignore", "-c", XGBOOST, str(model)], check=True)
    artifact = find(model, [file], "xgboost")
    assert artifact.version.startswith(serving.version)
    with replica(python, artifact.path, tmp_path / "r", "xgboost") as made:
        assert made.ready, made.error or made.last_words()
        client = BlockingReplicaClient([str(tmp_path / "r" / "0.sock")], Sampling(path_count=4))
        if file == "model.pkl":
            assert predictions(client, [[0.9, 0, 0, 0], ["0.1", 0, None, 0]]) == [1, 0]
        else:
            # The binary format, which save_model wrote before 2.1, keeps no feature names.
            named = {"d": 0, "c": 0, "b": 0, "a": 0.9}
            first = named if serving.version == "2.1" else [0.9, 0, 0, 0]
            likely, unlikely = predictions(client, [first, ["0.1", 0, None, 0]])
            assert likely > 0.9 and unlikely < 0.1
        (told,) = predictions(client, [[0.9, 0.5, 0.5, 0.5]], "explain")
        attribution = told["attributions"][0]
        whole = attribution["baselineOutputValue"] + sum(attribution["featureAttributions"].values())
        assert whole == pytest.approx(attribution["instanceOutputValue"])
        status, body = client.predict("predict", b'{"instances": [[1, 2, 3, 4], [1, 2, "x", 4]]}')
        message = json.loads(body)["error"]["message"]
        assert status == 400 and message.startswith("instances[1], ") and '"x" is not a number' in message
        client.close()
