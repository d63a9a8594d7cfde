"""Sampled Shapley values, against what they must be."""

from __future__ import annotations

import itertools
import math

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented
from portico.prediction.replicas.shapley import Sampling, explain


def run(model, instances, sampling, names=None, classes=None, **more):
    """The explanation, by a model that is a function of one instance."""
    work = explain(orjson.dumps({"instances": instances, **more}), sampling)
    body = next(work)
    while True:
        rows = orjson.loads(body)["instances"]
        scores = [model(row) for row in rows]
        told = {"scores": scores, "predictions": scores, "names": names, "classes": classes}
        try:
            body = work.send((200, orjson.dumps(told)))
        except StopIteration as done:
            status, answer = done.value
            assert status == 200
            return orjson.loads(answer)


def attributions(*arguments, **more):
    return run(*arguments, **more)["explanations"][0]["attributions"]


def exactly(model, instance, baseline):
    """Shapley values by their definition: the mean over all orders."""
    size = len(instance)
    sums = [0.0] * size
    for order in itertools.permutations(range(size)):
        point = list(baseline)
        before = model(point)
        for at in order:
            point[at] = instance[at]
            after = model(point)
            sums[at] += after - before
            before = after
    return [total / math.factorial(size) for total in sums]


def twisted(row):
    return row[0] * row[1] + math.sin(row[2]) * row[0] + 3 * row[3]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_they_add_up_whatever_the_paths(instance, baseline):
    sampling = Sampling(path_count=3, baselines={"x": [baseline]}, whole="x", features="abcd")
    (told,) = attributions(twisted, [instance], sampling)
    assert told["baselineOutputValue"] == pytest.approx(twisted(baseline))
    assert told["instanceOutputValue"] == pytest.approx(twisted(instance))
    whole = told["baselineOutputValue"] + sum(told["featureAttributions"].values())
    assert whole == pytest.approx(told["instanceOutputValue"], abs=1e-9)


def test_many_paths_come_near_the_definition():
    instance, baseline = [1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 0.0, 1.0]
    spec = {"parameters": {"sampledShapleyAttribution": {"pathCount": 50}}}
    spec["metadata"] = {"inputs": {"x": {"inputBaselines": [baseline], "indexFeatureMapping": list("abcd")}}}
    (told,) = attributions(twisted, [instance], Sampling.from_spec(spec))
    expected = dict(zip("abcd", exactly(twisted, instance, baseline), strict=True))
    assert told["featureAttributions"] == pytest.approx(expected, abs=0.15)
    assert 0 < told["approximationError"] < 0.1


def test_a_linear_model_is_exact_and_its_baselines_are_averaged():
    baselines = {"x": [[0, 0], [2, 4]]}
    sampling = Sampling(path_count=2, baselines=baselines, whole="x", features=["a", "b"])
    (told,) = attributions(lambda row: 3 * row[0] + 5 * row[1], [[1, 1]], sampling)
    assert told["featureAttributions"] == pytest.approx({"a": 0, "b": -5})
    assert told["baselineOutputValue"] == 13


def test_names_of_the_features():
    model = sum
    assert set(attributions(model, [[1, 2]], Sampling())[0]["featureAttributions"]) == {"0", "1"}
    assert set(attributions(model, [[1, 2]], Sampling(), names=["p", "q"])[0]["featureAttributions"]) == {
        "p",
        "q",
    }
    whole = Sampling(whole="x")
    assert attributions(model, [[1, 2]], whole)[0]["featureAttributions"] == {"x": [1, 2]}
    # As Google's sample of scikit-learn declares it: one input, of which nothing is said, and instances that are lists.
    for baselines, start in (([[1, 0]], 1), ([1], 2), ([], 0)):
        spec = {"parameters": {"sampledShapleyAttribution": {}}}
        lone = Sampling.from_spec({**spec, "metadata": {"inputs": {"x": {"inputBaselines": baselines}}}})
        (told,) = attributions(model, [[1, 2]], lone, names=["p", "q"])
        assert told["baselineOutputValue"] == start and sum(told["featureAttributions"]["x"]) == 3 - start
    assert attributions(lambda row: row, [3], lone)[0]["featureAttributions"] == {"x": 3}
    assert attributions(lambda row: row["x"], [{"x": 3}], lone)[0]["featureAttributions"] == {"x": 3}
    told = attributions(lambda row: row["p"], [{"p": 2, "other": "text"}], Sampling(), names=["p"])
    assert told[0]["featureAttributions"] == {"p": 2}


def test_the_likeliest_class_is_explained_or_those_asked_for():
    def model(row):
        return [0.2 * row[0], 0.5 * row[0], 0.3 * row[0]]

    def ask(**more):
        return attributions(model, [[1.0]], Sampling(**more), classes=["x", "y", "z"])

    (told,) = ask()
    assert (told["outputIndex"], told["outputDisplayName"]) == ([1], "y")
    assert [one["outputIndex"] for one in ask(top_k=2)] == [[1], [2]]
    assert [one["outputIndex"] for one in ask(top_k=-1)] == [[1], [2], [0]]
    assert [one["outputIndex"] for one in ask(output_indices=[0])] == [[0]]


def test_of_several_outputs_the_one_that_the_metadata_names_is_explained():
    def model(row):
        return {"probs": [1 - 0.2 * row["x"], 0.2 * row["x"]], "labels": ["no", "yes"], "best": "no"}

    def ask(output, **more):
        spec = {"parameters": {"sampledShapleyAttribution": {}, **more}, "metadata": {"outputs": output}}
        return attributions(model, [{"x": 1}], Sampling.from_spec(spec))

    (told,) = ask({"likely": {"outputTensorName": "probs", "displayNameMappingKey": "labels"}})
    assert (told["outputName"], told["outputIndex"], told["outputDisplayName"]) == ("likely", [0], "no")
    assert told["featureAttributions"] == {"x": pytest.approx(-0.2)}
    told = ask({"probs": {"indexDisplayNameMapping": ["stays", "goes"]}}, topK=2)
    assert [one["outputDisplayName"] for one in told] == ["stays", "goes"]
    assert "outputDisplayName" not in ask({"probs": {}})[0]
    for outputs in ({}, {"other": {}}):
        with pytest.raises(FailedPrecondition, match="answers with probs, labels, best: name one of them"):
            ask(outputs)


def test_a_request_can_say_it_otherwise():
    override = {
        "parameters": {"topK": -1},
        "metadata": {"inputs": {"x": {"inputBaselines": [[1]]}}},
    }
    sampling = Sampling(whole="x", features=["a"])
    told = attributions(lambda row: [row[0], -row[0]], [[3]], sampling, explanationSpecOverride=override)
    assert [one["featureAttributions"] for one in told] == [{"a": 2}, {"a": -2}]


def test_the_same_question_gets_the_same_answer():
    assert run(twisted, [[1, 2, 3, 4]], Sampling()) == run(twisted, [[1, 2, 3, 4]], Sampling())


def test_without_baselines_it_starts_from_zeros_and_empty_text():
    (told,) = attributions(lambda row: row[0] + len(row[1]) + sum(row[2]), [[2, "abc", [4, 5]]], Sampling())
    assert told["baselineOutputValue"] == 0
    assert told["featureAttributions"] == {"0": 2, "1": 3, "2": 9}
    (told,) = attributions(lambda row: sum(row["x"]), [{"x": [4, 5]}], Sampling(baselines={"x": [1]}))
    assert told["baselineOutputValue"] == 2  # a scalar has the shape of the value


def test_only_what_the_metadata_names_is_a_feature():
    inputs = {"age": {"inputTensorName": "serving_age"}, "pay": {"inputBaselines": [1]}}
    spec = {"parameters": {"sampledShapleyAttribution": {}}, "metadata": {"inputs": inputs}}
    instance = {"serving_age": 3, "pay": 5, "name": "Ann"}
    (told,) = attributions(
        lambda row: row["serving_age"] + row["pay"] + len(row["name"]), [instance], Sampling.from_spec(spec)
    )
    assert told["featureAttributions"] == {"age": 3, "pay": 4}
    assert told["baselineOutputValue"] == 4


def test_what_cannot_be_explained():
    with pytest.raises(FailedPrecondition, match="explanationSpec"):
        run(sum, [[1]], None)
    with pytest.raises(FailedPrecondition, match="'yes', which is no number"):
        run(lambda row: "yes", [[1]], Sampling())
    with pytest.raises(FailedPrecondition, match="list of 2 values"):
        run(sum, [[1, 2]], Sampling(whole="x", baselines={"x": [[1]]}))
    with pytest.raises(InvalidArgument, match="sampledShapleyAttribution only"):
        Sampling.from_spec({"parameters": {"topK": 1}})
    with pytest.raises(Unimplemented, match="blurBaselineConfig of xraiAttribution"):
        Sampling.from_spec({"parameters": {"xraiAttribution": {"blurBaselineConfig": {"maxBlurSigma": 1}}}})
    with pytest.raises(InvalidArgument, match="from 1 to 50"):
        Sampling.from_spec({"parameters": {"sampledShapleyAttribution": {"pathCount": 51}}})


def test_a_refusal_of_the_model_is_passed_on():
    work = explain(b'{"instances": [[1]]}', Sampling())
    next(work)
    with pytest.raises(StopIteration) as done:
        work.send((400, b"no"))
    assert done.value.value == (400, b"no")


def test_a_refusal_of_a_baseline_names_the_instance_and_what_to_give():
    work = explain(b'{"instances": [[1, "red"], [2, "blue"]]}', Sampling())
    next(work)
    told = {"scores": [1, 2], "predictions": [1, 2], "names": None, "classes": None}
    assert orjson.loads(work.send((200, orjson.dumps(told))))["instances"][0] == [0, ""]
    refused = {"error": {"message": 'instances[0], value 1: "" is a category that the model does not know'}}
    with pytest.raises(StopIteration) as done:
        work.send((400, orjson.dumps(refused)))
    message = orjson.loads(done.value.value[1])["error"]["message"]
    assert message.startswith("instances[0] can't be explained") and "Give inputBaselines" in message


GRADIENTS = {
    "parameters": {"integratedGradientsAttribution": {"stepCount": 20}},
    "metadata": {
        "inputs": {"x": {"inputTensorName": "dense_input", "indexFeatureMapping": ["a", "b"]}},
        "outputs": {"y": {"outputTensorName": "dense_1"}},
    },
}


def test_by_integrated_gradients_the_model_explains_itself():
    work = explain(b'{"instances": [[1, 2]]}', Sampling.from_spec(GRADIENTS))
    asked = orjson.loads(next(work))["gradients"]
    assert asked["steps"] == 20 and asked["inputs"] == {"x": "dense_input"} and asked["output"] == "dense_1"
    told = {"explanations": [{"attributions": []}], "predictions": [3.0]}
    with pytest.raises(StopIteration) as done:
        work.send((200, orjson.dumps({**told, "scores": [3.0], "names": None, "classes": None})))
    assert orjson.loads(done.value.value[1]) == told


def test_integrated_gradients_need_a_model_that_knows_them():
    with pytest.raises(FailedPrecondition, match="sampledShapleyAttribution"):
        run(lambda row: sum(row), [[1, 2]], Sampling.from_spec(GRADIENTS))
    override = {"parameters": {"sampledShapleyAttribution": {"pathCount": 2}}}
    told = run(
        lambda row: sum(row), [[1, 2]], Sampling.from_spec(GRADIENTS), explanationSpecOverride=override
    )
    assert told["explanations"][0]["attributions"][0]["featureAttributions"] == {"a": 1, "b": 2}
    with pytest.raises(InvalidArgument, match="stepCount"):
        Sampling.from_spec({"parameters": {"integratedGradientsAttribution": {"stepCount": 101}}})
