"""Explanations of models with many features: the same values by leaves as by predicting each step."""

from __future__ import annotations

import lightgbm
import numpy as np
import pyarrow as pa
import pytest

from portico.ml import pace as pace_module
from portico.ml.explain import shapley as explain
from portico.ml.explain.leaves import read_leaves
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.train import train
from portico.ml.pace import Pace


@pytest.mark.parametrize("options", [{}, {"zero_as_missing": True}, {"use_missing": False}])
@pytest.mark.parametrize("classes", [1, 3])
def test_leaves_answer_as_lightgbm_does(options: dict[str, bool], classes: int) -> None:
    dice = np.random.default_rng(0)
    matrix = dice.normal(size=(600, 6)).round(1)
    matrix[:, 0] = dice.integers(0, 40, 600)
    matrix[dice.random((600, 6)) < 0.1] = np.nan
    target = np.nan_to_num(matrix[:, 0] % 3 + matrix[:, 1] * (matrix[:, 2] > 0))
    if classes > 1:
        target = (np.abs(target) % 3).astype(int)
    parameters = {"objective": "multiclass", "num_class": 3} if classes > 1 else {"objective": "regression"}
    parameters |= {"verbose": -1, "num_threads": 1, "seed": 0, "min_data_per_group": 5, **options}
    data = lightgbm.Dataset(matrix, target, categorical_feature=[0])
    booster = lightgbm.train(parameters, data, 15)
    leaves = read_leaves(booster.model_to_string())
    rows = np.vstack([matrix[:40], dice.normal(size=(40, 6)) * 50, np.zeros((1, 6)), np.full((1, 6), np.nan)])
    expected = booster.predict(rows, raw_score=True).reshape(len(rows), classes)
    steps = np.arange(1, 7)
    first = leaves.goes_left(rows[0])
    for row, margins in zip(rows, expected, strict=True):
        (walk,) = leaves.walks(first, leaves.goes_left(row), [steps], 6)
        assert walk[0] == pytest.approx(expected[0], abs=1e-9)
        assert walk[-1] == pytest.approx(margins, abs=1e-9)
        half = np.where(steps <= 3, row, rows[0])
        assert walk[3] == pytest.approx(booster.predict(half[None], raw_score=True).ravel(), abs=1e-9)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_many_features_are_explained_as_few_are(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = np.random.default_rng(1)
    columns: dict[str, object] = {f"x{n}": dice.normal(size=400) for n in range(20)}
    columns["colour"] = dice.choice(["red", "green", "blue"], 400)
    value = columns["x0"] + 2 * columns["x1"] * (columns["colour"] == "red")  # type: ignore[operator]
    columns["y"] = value if kind == "regression" else np.where(value > 0.2, "yes", "no")
    spec = TrainSpec(prediction_type=kind, target="y", budget_seconds=1.0, threads=1)  # type: ignore[arg-type]
    model = train(pa.table(columns), spec).model
    row = model.encode_instances([{"x0": 1.0, "x1": -2.0, "colour": "red"}])[0]
    monkeypatch.setattr(explain, "_MANY", 1000)
    expected = explain.shapley(model, row)
    monkeypatch.setattr(explain, "_MANY", 10)
    found = explain.shapley(model, row)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-9)
    assert found[0] + found[1].sum(axis=0) == pytest.approx(model.output(row[None])[0], abs=1e-9)


def test_a_long_step_says_how_long_it_will_take() -> None:
    told: list[tuple[float, str]] = []
    ticks = iter([0.0, 0.5, 1.2, 1.3, 240.0, 300.0])
    pace = Pace(lambda *about: told.append(about), "column", 10_000, 0.1, 0.3, clock=lambda: next(ticks))
    for done in (500, 1_200, 1_300, 2_500, 10_000):
        pace(done)
    assert told == [
        (pytest.approx(0.124), "column 1,200 of 10,000, about 9 s left"),
        (pytest.approx(0.15), "column 2,500 of 10,000, about 12 min left"),
    ]


def test_a_wide_table_is_learned_told_and_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and steps are counted: a step a column, and no matrix of columns by columns."""
    monkeypatch.setattr(pace_module, "_EVERY", 0.0)
    monkeypatch.setattr(explain, "_mix", lambda *_: pytest.fail("walks go by the leaves"))
    dice = np.random.default_rng(0)
    table = {f"x{n}": dice.normal(size=120) for n in range(800)}
    table["y"] = table["x3"] * 2 + table["x5"]
    told: list[str] = []
    spec = TrainSpec(prediction_type="regression", target="y", budget_seconds=0.1, threads=1)
    trained = train(pa.table(table), spec, progress=lambda _, words: told.append(words))
    assert any(words.startswith("reading column 400 of 800") for words in told)
    row = {name: float(cells[0]) for name, cells in table.items()}
    [explanation] = trained.model.explain_instances([row])
    [attribution] = explanation["attributions"]
    whole = attribution["baselineOutputValue"] + sum(attribution["featureAttributions"].values())
    assert whole == pytest.approx(attribution["instanceOutputValue"], abs=1e-6)
