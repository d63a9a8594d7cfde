"""A model from rows to answers: trained, saved, loaded, predicted and explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from portico.ml.errors import DataError
from portico.ml.explain.shapley import explain_instances
from portico.ml.learn.model import Model
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.split import SplitSpec
from portico.ml.learn.train import TrainedModel, train
from portico.ml.learn.transform import ColumnSpec


def people(rows: int = 1200, seed: int = 0) -> pa.Table:
    """Synthetic rows with a column of every kind, and targets of every type."""
    generator = np.random.default_rng(seed)
    age = generator.integers(18, 80, rows)
    colour = generator.choice(["red", "green", "blue"], rows)
    city = generator.choice([f"city {n}" for n in range(150)], rows)
    city_effect = np.array([hash_of(name) for name in city])
    minutes = generator.integers(0, 60 * 24 * 300, rows)
    time = [
        str(np.datetime64("2020-01-01T00:00") + np.timedelta64(int(m), "m")).replace("T", " ")
        for m in minutes
    ]
    hour = (minutes // 60) % 24
    words = generator.choice(["good", "bad", "fine", "awful", "house", "garden", "road"], (rows, 6))
    note = [" ".join(line) for line in words]
    pleasure = (words == "good").sum(axis=1) - (words == "awful").sum(axis=1)
    value = 0.1 * age + 3 * (colour == "red") + 2 * city_effect + 0.2 * hour + pleasure
    value = value + generator.normal(0, 0.5, rows)
    return pa.table(
        {
            "age": pa.array([None if generator.random() < 0.03 else int(a) for a in age]),
            "colour": colour,
            "city": city,
            "when": time,
            "note": note,
            "amount": value + 10,
            "kind": np.digitize(value, np.quantile(value, [0.4, 0.7])).astype(str),
            "yes": value > np.median(value),
            "weight": generator.uniform(0.5, 2, rows),
            "part": generator.choice(["training", "validation", "test"], rows, p=[0.7, 0.15, 0.15]),
        }
    )


def hash_of(name: str) -> float:
    return (int(name.split()[1]) * 7919 % 100) / 100


INPUTS = [ColumnSpec(name) for name in ("age", "colour", "city", "when", "note")]


def fit(target: str, prediction_type: str = "classification", **options: object) -> TrainedModel:
    spec = TrainSpec(prediction_type, target, columns=INPUTS, budget_seconds=1, threads=1, **options)  # type: ignore[arg-type]
    return train(people(), spec)


@pytest.fixture(scope="module")
def models() -> dict[str, TrainedModel]:
    return {"yes": fit("yes"), "kind": fit("kind"), "amount": fit("amount", "regression")}


@pytest.mark.parametrize("target", ["yes", "kind", "amount"])
def test_saved_and_loaded_models_answer_alike_online_and_in_batch(
    models: dict[str, TrainedModel], target: str, tmp_path: Path
) -> None:
    trained = models[target]
    trained.save(tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.p*kl"))
    model = Model.load(tmp_path / "model")
    rows = people(300, seed=1)
    batch = model.predict_table(rows)
    online = [model.predict_instances([row])[0] for row in rows.to_pylist()]
    assert online == model.predict_instances(rows.to_pylist())
    as_text = [{key: None if v is None else str(v) for key, v in row.items()} for row in rows.to_pylist()]
    assert online == [batch.instance(row) for row in range(300)]
    assert online == model.predict_instances(as_text)
    assert online == [trained.model.predict_table(rows).instance(row) for row in range(300)]


def test_every_kind_of_column_is_recognised_and_used(models: dict[str, TrainedModel]) -> None:
    trained = models["amount"]
    assert trained.model.manifest.kinds == {
        "age": "numeric",
        "colour": "categorical",
        "city": "high_cardinality",
        "when": "timestamp",
        "note": "text",
    }
    assert all(share > 0.01 for share in trained.feature_importance.values())
    assert sum(trained.feature_importance.values()) == pytest.approx(1)


def test_regression_learns_and_its_bounds_cover(models: dict[str, TrainedModel]) -> None:
    trained = models["amount"]
    fresh = people(4000, seed=2)
    true = fresh["amount"].to_numpy()
    made = trained.model.predict_table(fresh)
    assert made.values is not None and made.lower is not None and made.upper is not None
    assert np.sqrt(np.mean((made.values - true) ** 2)) < 0.6 * true.std()
    covered = np.mean((made.lower <= true) & (true <= made.upper))
    assert covered > 0.90
    assert np.mean(made.upper - made.lower) < 4 * true.std()


def test_classification_answers_in_googles_shape(models: dict[str, TrainedModel]) -> None:
    [answer] = models["kind"].model.predict_instances([{"age": 40}])
    assert answer["classes"] == ["0", "1", "2"]
    assert sum(answer["scores"]) == pytest.approx(1)
    trained = models["yes"]
    assert trained.model.labels == ["false", "true"]
    assert trained.test_predictions.scores is not None
    right = trained.test_predictions.scores.argmax(axis=1) == trained.test_true
    assert right.mean() > 0.75


@pytest.mark.parametrize("target", ["yes", "kind", "amount"])
def test_attributions_add_up(models: dict[str, TrainedModel], target: str) -> None:
    model = models[target].model
    instances = people(5, seed=3).to_pylist()
    for instance, explanation in zip(instances, explain_instances(model, instances), strict=True):
        [attribution] = explanation["attributions"]
        total = attribution["baselineOutputValue"] + sum(attribution["featureAttributions"].values())
        assert total == pytest.approx(attribution["instanceOutputValue"], abs=1e-9)
        [answer] = model.predict_instances([instance])
        expected = answer["value"] if target == "amount" else max(answer["scores"])
        assert attribution["instanceOutputValue"] == expected


def test_timestamp_split_trains_on_the_oldest() -> None:
    trained = fit("amount", "regression", split=SplitSpec("timestamp", "when"))
    times = trained.split.times
    assert times is not None
    assert times[trained.split.training].max() <= times[trained.split.validation].min()
    assert times[trained.split.validation].max() <= times[trained.split.test].min()


def test_attributions_are_shapley_values_of_an_additive_model() -> None:
    """For a sum of functions of one feature each, a Shapley value is that function's gain over its background mean."""
    generator = np.random.default_rng(0)
    for count in (3, 9):  # played exactly, and sampled
        matrix = generator.normal(size=(600, count))
        table = pa.table({f"x{column}": matrix[:, column] for column in range(count)})
        table = table.append_column("y", pa.array(matrix @ np.arange(count, dtype=float)))
        model = train(table, TrainSpec("regression", "y", budget_seconds=1)).model
        shapley_game(model, table)


def shapley_game(model: Model, table: pa.Table) -> None:
    """Replaces the trees by a linear function and compares."""
    coefficients = np.arange(1.0, len(model.features) + 1)

    def output(matrix: np.ndarray) -> np.ndarray:
        return (matrix @ coefficients)[:, None]

    model.output = output  # type: ignore[method-assign]
    instances = table.slice(0, 3).to_pylist()
    for instance, explanation in zip(instances, explain_instances(model, instances), strict=True):
        [attribution] = explanation["attributions"]
        row = np.empty(model.transform.width)
        model.transform.pack_row(instance, row)
        expected = coefficients * (row - model.background.mean(axis=0))
        assert list(attribution["featureAttributions"].values()) == pytest.approx(expected.tolist(), abs=1e-9)
        assert attribution["approximationError"] >= 0


def test_chosen_classes_and_top_features_are_explained(models: dict[str, TrainedModel]) -> None:
    model = models["kind"].model
    [explanation] = explain_instances(model, [{"age": 30, "colour": "red"}], output_names=["2", "0"], top_k=2)
    assert [entry["outputDisplayName"] for entry in explanation["attributions"]] == ["2", "0"]
    assert [entry["outputIndex"] for entry in explanation["attributions"]] == [[2], [0]]
    assert all(len(entry["featureAttributions"]) == 2 for entry in explanation["attributions"])
    with pytest.raises(DataError, match="no class '9'"):
        explain_instances(model, [{}], output_names=["9"])


def test_models_are_safe_for_threads(models: dict[str, TrainedModel]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = models["kind"].model
    instances = people(200, seed=4).to_pylist()
    expected = [model.predict_instances([instance])[0] for instance in instances]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert (
                list(pool.map(lambda instance: model.predict_instances([instance])[0], instances)) == expected
            )


def test_a_bad_instance_is_named_with_its_position(models: dict[str, TrainedModel]) -> None:
    with pytest.raises(DataError, match=r"instances\[1\].*'age'.*'abc'") as caught:
        models["amount"].model.predict_instances([{}, {"age": "abc"}])
    assert (caught.value.row, caught.value.field) == (1, "age")
    batch = models["amount"].model.predict_table(pa.table({"age": ["30", "abc"]}))
    assert batch.bad.tolist() == [False, True]
    assert "'abc'" in batch.messages[1]


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no model"):
        Model.load(tmp_path)
