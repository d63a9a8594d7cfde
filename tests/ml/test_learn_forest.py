"""Trees of other libraries become LightGBM's without changing an answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.ml.learn.fastbooster import FastBooster
from portico.ml.learn.forest import join
from portico.ml.learn.oblivious import forest_text, threshold


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.floats(allow_nan=False))
def test_a_float64_threshold_branches_as_the_float32_border(border: float, value: float) -> None:
    with np.errstate(over="ignore"):
        assert (np.float32(value) > np.float32(border)) == (value > threshold(border))


@settings(deadline=None)
@given(st.floats(width=32, min_value=-(2.0**90), max_value=2.0**90), st.integers(-3, 3))
def test_also_right_beside_the_border(border: float, steps: int) -> None:
    value = threshold(border)
    for _ in range(abs(steps)):
        value = float(np.nextafter(value, np.inf if steps > 0 else -np.inf))
    assert (np.float32(value) > np.float32(border)) == (value > threshold(border))


@pytest.mark.parametrize("loss", ["RMSE", "Logloss", "MultiClass"])
def test_catboost_answers_the_same_as_a_forest(loss: str, tmp_path: Path) -> None:
    from catboost import CatBoost

    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(3000, 6))
    matrix[generator.random(matrix.shape) < 0.1] = np.nan
    matrix[:, 5] = generator.integers(0, 4, 3000)
    value = np.nan_to_num(matrix[:, 0]) * 3 + np.isnan(matrix[:, 1]) + matrix[:, 5] ** 2
    target = {
        "RMSE": value,
        "Logloss": value > 3,
        "MultiClass": np.digitize(value, [1, 5]),
    }[loss]
    params = {
        "loss_function": loss,
        "iterations": 60,
        "depth": 5,
        "verbose": False,
        "allow_writing_files": False,
    }
    model = CatBoost(params).fit(matrix, target)
    model.save_model(str(tmp_path / "m.json"), format="json")
    forest = FastBooster(forest_text(json.loads((tmp_path / "m.json").read_text()), 6), raw_score=True)
    expected = model.predict(matrix, prediction_type="RawFormulaVal")
    assert np.allclose(forest.predict_matrix(matrix), expected, atol=1e-10)
    contributions = forest.contributions(matrix[:50]).sum(axis=2)
    assert np.allclose(contributions, np.reshape(expected[:50], contributions.shape), atol=1e-6)


@pytest.mark.parametrize("classes", [1, 3])
def test_a_joined_forest_is_the_weighted_sum(classes: int) -> None:
    import lightgbm as lgb

    generator = np.random.default_rng(1)
    matrix = generator.normal(size=(1000, 4))
    matrix[:, 3] = generator.integers(0, 20, 1000)
    value = matrix[:, 0] + (matrix[:, 3] % 3) * matrix[:, 1]
    target = value if classes == 1 else np.digitize(value, [-1, 1])
    params = {"verbosity": -1} | ({} if classes == 1 else {"objective": "multiclass", "num_class": 3})
    boosters = [
        lgb.train(params | {"num_leaves": n}, lgb.Dataset(matrix, target, categorical_feature=[3]), rounds)
        for n, rounds in ((7, 10), (31, 25))
    ]
    texts = [booster.model_to_string() for booster in boosters]
    made = FastBooster(join([[(texts[0], 0.25), (texts[1], 0.75)]], 4), raw_score=True).predict_matrix(matrix)
    parts = [booster.predict(matrix, raw_score=True) for booster in boosters]
    assert np.allclose(made, 0.25 * parts[0] + 0.75 * parts[1], atol=1e-12)
    if classes == 1:
        made = FastBooster(join([[(texts[0], 1.0)], [(texts[1], 2.0)]], 4), raw_score=True).predict_matrix(
            matrix
        )
        assert np.allclose(made, np.stack([parts[0], 2 * parts[1]], axis=1), atol=1e-12)


def test_a_forest_that_learned_nothing_is_a_constant() -> None:
    import lightgbm as lgb

    matrix = np.zeros((100, 2))
    booster = lgb.train({"verbosity": -1}, lgb.Dataset(matrix, np.full(100, 3.0)), 2)
    forest = FastBooster(join([[(booster.model_to_string(), 1.0)]], 2), raw_score=True)
    assert np.allclose(forest.predict_matrix(np.ones((3, 2))), 3.0)
