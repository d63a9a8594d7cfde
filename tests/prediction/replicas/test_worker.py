"""What a replica answers: real models of the image's scikit-learn, in its own environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portico.prediction.replicas import worker
from portico.prediction.replicas.client import BlockingReplicaClient
from portico.prediction.replicas.shapley import Sampling


class Asker:
    def __init__(self, path: Path) -> None:
        self.client = BlockingReplicaClient([str(path)], Sampling(path_count=6), patience=5)

    def __call__(self, instances, kind="predict"):
        status, body = self.client.predict(kind, json.dumps({"instances": instances}).encode())
        told = json.loads(body)
        if status != 200:
            assert told["error"]["code"] == status == 400 and told["error"]["status"] == "INVALID_ARGUMENT"
            return told["error"]["message"]
        return told if kind == "explain" else told["predictions"]


@pytest.fixture(scope="module", params=["linear.joblib", "labels.joblib", "named.joblib", "piped.pkl"])
def asked(request, replica, sklearn_python, models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("r")
    with replica(sklearn_python, models / request.param, folder) as made:
        assert made.ready, made.error or made.last_words()
        asker = Asker(folder / "0.sock")
        yield request.param.partition(".")[0], asker
        asker.client.close()


def test_answers(asked):
    name, ask = asked
    if name == "linear":
        assert ask([[0, 0, 0], [1, 1, 1]]) == pytest.approx([4, 10])
        assert ask([["1", 1.0, True]]) == ask([[1, 1, 1]])
    elif name == "labels":
        assert ask([[0, 0, 0], [1, 0, 0]]) == ["no", "yes"]
    elif name == "named":
        assert ask([{"c": 1, "a": "1.0", "b": 0, "other": "x"}]) == pytest.approx([4])
        assert ask([[1, 0, 1]]) == pytest.approx([4])
    else:
        row = {"a": 0.5, "b": 0.5, "c": 0.5, "city": "Rome"}
        assert ask([row]) == pytest.approx([1.5])
        assert ask([row | {"a": "0.5"}, row]) == pytest.approx([1.5, 1.5])
        assert ask([list(row.values())]) == pytest.approx([1.5])


def test_refusals_name_row_and_feature(asked):
    name, ask = asked
    if name in ("linear", "labels"):
        assert "instances[1] has 2 values; the model takes 3" in ask([[0, 0, 0], [1, 1]])
        assert 'instances[1], value 2: "x" is not a number' in ask([[0, 0, 0], [1, 1, "x"]])
        assert "instances[0], value 1: null: the model takes no missing value" in ask([[0, None, 0]])
        assert "instances[0], value 0: [1, 2] is no single value" in ask([[[1, 2], 0, 0]])
        assert "instances[0] is an object" in ask([{"a": 1}])
        assert "at least one instance" in ask([])
    elif name == "named":
        assert "instances[1] has no feature 'b'" in ask([{"a": 1, "b": 1, "c": 1}, {"a": 1, "c": 1}])
        assert "instances[0], feature 'b': \"?\" is not a number" in ask([{"a": 1, "b": "?", "c": 1}])
    else:
        row = {"a": 0.5, "b": 0.5, "c": 0.5, "city": "Oslo"}
        assert "instances[0], feature 'city': \"Oslo\" is a category that the model does not know" in ask(
            [row]
        )


def test_bodies_that_are_no_request(asked):
    _, ask = asked
    for body in (b"", b"[]", b"{}", b'{"instances": 3}', b'{"instances": {"a": 1}}', b"\xff"):
        status, told = ask.client.predict("predict", body)
        assert status == 400 and json.loads(told)["error"]["message"]


def test_a_message_of_tensorflow_servings_is_for_its_own_models(asked):
    _, ask = asked
    for body, words in (
        (
            b'{"methodName": "/tensorflow.serving.PredictionService/Predict", "input": "eA=="}',
            "SavedModels alone",
        ),
        (b'{"methodName": 3}', "methodName must be a string"),
        (b'{"methodName": "/x", "input": "?"}', "input must be base64"),
        (b"[]", "methodName must be a string"),
    ):
        status, told = ask.client.predict("directRawPredict", body)
        assert status == 400 and words in json.loads(told)["error"]["message"]
    status, told = ask.client.predict("directPredict", b'{"inputs": [{"dtype": "FLOAT", "floatVal": [1]}]}')
    assert status == 400 and "TensorFlow's SavedModels have alone" in json.loads(told)["error"]["message"]


def test_explanations_add_up(asked):
    name, ask = asked
    row = {"a": 0.9, "b": 0.8, "c": 0.7}
    instance = {"linear": [1, 2, 3], "labels": [0.9, 0.1, 0.1], "named": row, "piped": row}[name]
    if name == "piped":
        ask.client._explanation = Sampling(path_count=6, baselines={"city": ["Bern"]})
        instance = instance | {"city": "Rome"}
    told = ask([instance], "explain")
    (attribution,) = told["explanations"][0]["attributions"]
    parts = attribution["featureAttributions"]
    whole = attribution["baselineOutputValue"] + sum(parts.values())
    assert whole == pytest.approx(attribution["instanceOutputValue"])
    if name == "linear":
        assert parts == pytest.approx({"0": 1, "1": 4, "2": 9}) and "outputIndex" not in attribution
        assert attribution["instanceOutputValue"] == pytest.approx(told["predictions"][0])
    elif name == "labels":
        assert attribution["outputDisplayName"] == told["predictions"][0] == "yes"
        assert attribution["outputIndex"] == [1]
    elif name == "named":
        assert parts == pytest.approx({"a": 0.9, "b": 1.6, "c": 2.1})
    else:
        assert parts["city"] == pytest.approx(1, abs=1e-6)


def test_a_version_that_scikit_learn_warns_about_is_loaded_with_its_warning(
    replica, sklearn_python, models, tmp_path
):
    packed = (models / "linear.joblib").read_bytes()
    assert b"1.6.1" in packed
    (tmp_path / "model.joblib").write_bytes(packed.replace(b"1.6.1", b"1.6.0"))
    with replica(sklearn_python, tmp_path / "model.joblib", tmp_path / "r") as made:
        assert made.ready, made.error or made.last_words()
        assert (
            "InconsistentVersionWarning: Trying to unpickle estimator LinearRegression from version 1.6.0"
            in (made.last_words())
        )


def test_what_a_model_prints_goes_to_the_log(replica, sklearn_python, tmp_path):
    import pickle

    class Prints:
        def __reduce__(self):
            return print, ("hello from the pickle",)

    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Prints()))
    with replica(sklearn_python, tmp_path / "model.pkl", tmp_path / "r") as made:
        assert made.error == "the file holds NoneType, which has no predict()"
        assert made.last_words() == "hello from the pickle"


@pytest.mark.parametrize(
    ("file", "instances", "predictions"),
    [
        ("texts.joblib", ["so very good", "bad"], ["+", "-"]),
        ("dicts.joblib", [{"city": "Bern"}, {"city": "Rome"}], [2, 1]),
    ],
)
def test_what_is_one_dimensional_reaches_predict_so(
    replica, sklearn_python, models, tmp_path, file, instances, predictions
):
    with replica(sklearn_python, models / file, tmp_path) as made:
        assert made.ready, made.error or made.last_words()
        ask = Asker(tmp_path / "0.sock")
        told = ask(instances)
        assert told == (pytest.approx(predictions) if file == "dicts.joblib" else predictions)
        if file == "texts.joblib":
            # A list a text is what Vertex AI's container would choke on too.
            assert "The model raised" in ask([["so", "very"], ["good", "!"]])
            ask.client._explanation = Sampling(baselines={"0": ["bad"]})
            [attribution] = ask(["good"], "explain")["explanations"][0]["attributions"]
            assert attribution["featureAttributions"]["0"] > 0
        ask.client.close()


def test_a_matrix_model_says_that_it_takes_lists(replica, sklearn_python, models, tmp_path):
    with replica(sklearn_python, models / "linear.joblib", tmp_path) as made:
        assert made.ready, made.error or made.last_words()
        ask = Asker(tmp_path / "0.sock")
        assert "the model takes a list an instance" in ask([1.0, 2.0, 3.0])
        assert "instances[1] is no list, and others are" in ask([[1.0, 2.0, 3.0], 2.0])
        ask.client.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"learner": 1}', "Invalid cast, from Integer to Object"),
        ("nothing of the kind", "Check failed: str[0] == '{' (n vs. {) : Invalid model format in: `PATH`."),
    ],
)
def test_xgboost_says_why_without_its_stack(tmp_path, text, why):
    file = tmp_path / "model.json"
    file.write_text(text)
    with pytest.raises(worker.Refused) as refused:
        worker.load("xgboost", str(file))
    said = str(refused.value).replace(str(file), "PATH")
    assert said == f"xgboost {worker.version('xgboost')} cannot load it: XGBoostError: {why}"


def test_a_refusal_of_several_lines_that_is_no_stack_is_said_whole(tmp_path, monkeypatch):
    def fails(path):
        raise ValueError("[1:2] of this\nand that")

    monkeypatch.setattr(worker, "booster", fails)
    with pytest.raises(worker.Refused, match=r"ValueError: \[1:2\] of this\nand that$"):
        worker.load("xgboost", str(tmp_path / "model.bst"))
