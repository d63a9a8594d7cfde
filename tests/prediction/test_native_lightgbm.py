"""LightGBM models served by the C functions: the same bits as the Python package gives."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from fronts import training_data

from portico.errors import FailedPrecondition, InvalidArgument
from portico.ml.learn.fastbooster import BoosterError, FastBooster
from portico.prediction.models.predictors import Predictor, load

OBJECTIVES = ["binary", "regression", "multiclass", "poisson"]


def instances(rows: int = 200) -> list[dict[str, Any]]:
    frame, _ = training_data(rows)
    return [
        {name: getattr(v, "item", lambda v=v: v)() for name, v in r.items()} for r in frame.to_dict("records")
    ]


def alone(booster: FastBooster, row: np.ndarray) -> np.ndarray:
    booster.row.view[:] = row.data
    booster.row.run()
    return np.array(booster.row.outputs)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_predictions_are_bit_equal(boosters: dict[str, Path], objective: str) -> None:
    rows = instances()
    expected = lightgbm.Booster(model_file=boosters[objective]).predict(training_data(200)[0]).tolist()
    model = load("lightgbm", boosters[objective].parent)
    assert [model.predict([row], None)[0] for row in rows] == expected  # one by one: the fast call
    assert model.predict(rows, None) == expected  # together: the call for a matrix
    assert model.predict([list(row.values()) for row in rows[:5]], None) == expected[:5]


def test_fast_booster_from_path_text_and_booster(boosters: dict[str, Path]) -> None:
    booster = lightgbm.Booster(model_file=boosters["multiclass"])
    matrix = np.random.default_rng(0).normal(size=(5, 6))
    expected = booster.predict(matrix)
    for source in (boosters["multiclass"], boosters["multiclass"].read_text(), booster):
        fast = FastBooster(source)
        assert (fast.predict_matrix(matrix) == expected).all()
        assert all((alone(fast, row) == wanted).all() for row, wanted in zip(matrix, expected, strict=True))
    assert FastBooster(booster).predict_matrix(np.empty((0, 6))).shape == (0, 3)
    raw = FastBooster(booster, raw_score=True)
    assert (alone(raw, matrix[0]) == booster.predict(matrix[:1], raw_score=True)[0]).all()


def test_threads_do_not_disturb_each_other(boosters: dict[str, Path]) -> None:
    model = load("lightgbm", boosters["binary"])
    rows = instances()
    expected = model.predict(rows, None)
    wrong: list[int] = []

    def work() -> None:
        for _ in range(5):
            got = [model.predict([row], None)[0] for row in rows]
            wrong.extend(i for i, value in enumerate(got) if value != expected[i])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def answers(model: Predictor, *rows: Any) -> list[Any]:
    return [model.predict([row], None)[0] for row in rows]


def test_spellings_of_one_value_are_one_value(boosters: dict[str, Path]) -> None:
    model = load("lightgbm", boosters["regression"])
    for feature in ("n0", "c1"):
        spelled = answers(model, *({"c0": "red", feature: value} for value in (1, 1.0, "1", "1.0")))
        assert len(set(spelled)) == 1, feature
    assert answers(model, {"c1": 1}) != answers(model, {"c1": 3})


def test_missing_values_are_missing(boosters: dict[str, Path]) -> None:
    model = load("lightgbm", boosters["regression"])
    spelled = [{"n0": 1.0}, {"n0": 1.0, "n1": None, "c0": None}, {"n0": 1.0, "n1": "", "c0": ""}]
    unseen = {"n0": 1.0, "c0": "purple", "c1": 9}
    assert len(set(answers(model, *spelled, unseen))) == 1
    booster = lightgbm.Booster(model_file=boosters["regression"])
    matrix = np.array([[1.0] + [np.nan] * 5])
    assert answers(model, spelled[0]) == booster.predict(matrix).tolist()


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        ({"n0": 1, "n1": "abc"}, ["instances[1].n1", "'abc'", "not a number"]),
        ({"n0": [1.0]}, ["instances[1].n0", "[1.0]"]),
        ({"n0": "1_000"}, ["instances[1].n0"]),
        ({"c0": {"a": 1}}, ["instances[1].c0", "single value"]),
        ([1, 2], ["instances[1]", "a list of 2", "6 features"]),
        ([1, "x", 3, 4, "red", 1], ["instances[1][1]", "'n1'"]),
        (5, ["instances[1]", "int"]),
        ({}, ["instances[1]", "none of the model's features"]),
        ({"age": 5}, ["instances[1]", "none of the model's features"]),
    ],
)
@pytest.mark.parametrize("count", [2, 20])
def test_bad_instances_are_named(
    boosters: dict[str, Path], instance: Any, words: list[str], count: int
) -> None:
    model = load("lightgbm", boosters["binary"])
    rows = [{"n0": 1.0}] * count
    rows[1] = instance
    with pytest.raises(InvalidArgument) as error:
        model.predict(rows, None)
    assert all(word in error.value.message for word in words), error.value.message
    assert error.value.violations[0].field.startswith("instances[1]")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_attributions_add_up_to_the_prediction(boosters: dict[str, Path], objective: str) -> None:
    model = load("lightgbm", boosters[objective])
    rows = instances(20)
    for explanation, prediction in zip(model.explain(rows, None), model.predict(rows, None), strict=True):
        (attribution,) = explanation["attributions"]
        if objective == "multiclass":
            (chosen,) = attribution["outputIndex"]
            assert prediction[chosen] == max(prediction)
            prediction = prediction[chosen]
        assert attribution["instanceOutputValue"] == prediction
        total = sum(attribution["featureAttributions"].values())
        assert attribution["baselineOutputValue"] + total == pytest.approx(prediction, abs=1e-9)
        assert list(attribution["featureAttributions"]) == ["n0", "n1", "n2", "n3", "c0", "c1"]


def test_attributions_are_tree_shap(boosters: dict[str, Path]) -> None:
    booster = lightgbm.Booster(model_file=boosters["regression"])
    expected = booster.predict(training_data(20)[0], pred_contrib=True)
    explained = load("lightgbm", boosters["regression"]).explain(instances(20), None)
    for row, explanation in zip(expected, explained, strict=True):
        values = list(explanation["attributions"][0]["featureAttributions"].values())
        assert values == pytest.approx(row[:-1], abs=1e-9)


def test_replaced_models_are_freed_at_once(boosters: dict[str, Path]) -> None:
    # Fronts freeze what is loaded: the collector would never find a cycle.
    gc.disable()
    try:
        model = load("lightgbm", boosters["binary"])
        model.predict([{"n0": 1.0}], None)
        gone = [weakref.ref(model), weakref.ref(model._booster), weakref.ref(model._encoder._by_name)]  # type: ignore[attr-defined]
        del model
        assert [reference() for reference in gone] == [None, None, None]
    finally:
        gc.enable()


def test_models_that_cannot_be_loaded_say_why(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match=r"model\.txt"):
        load("lightgbm", tmp_path)
    (tmp_path / "model.txt").write_text("not a model")
    with pytest.raises(FailedPrecondition, match="can't be loaded"):
        load("lightgbm", tmp_path)
    with pytest.raises(BoosterError):
        FastBooster("tree\nversion=v4\n")
    with pytest.raises(FailedPrecondition, match="tensorflow"):
        load("tensorflow", tmp_path)


def test_ordered_categories_are_refused(tmp_path: Path) -> None:
    frame, target = training_data()
    frame["c1"] = frame["c1"].cat.as_ordered()
    lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(frame, target), 2).save_model(
        tmp_path / "model.txt"
    )
    with pytest.raises(FailedPrecondition, match="unordered categories"):
        load("lightgbm", tmp_path)
