"""Boosted trees and random forests of BigQuery ML by the official client, beside XGBoost on the same matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

ROWS = 900


def houses() -> pd.DataFrame:
    draw = np.random.default_rng(5)
    area, age = draw.normal(90, 25, ROWS).round(2), draw.integers(0, 80, ROWS)
    town = draw.choice(["bern", "basel", "chur"], ROWS, p=[0.5, 0.3, 0.2])
    price = 3 * area - 2 * age + 90 * (town == "bern") + draw.normal(0, 15, ROWS)
    dear = np.where(price > np.quantile(price, 0.7), "dear", "fair")
    size = np.select([area < 75, area < 105], ["small", "middle"], "large")
    return pd.DataFrame(
        {
            "number": np.arange(ROWS), "area": area, "age": age, "town": town, "price": price, "dear": dear,
            "size": size, "weight": draw.integers(1, 4, ROWS), "held": np.arange(ROWS) % 5 == 0,
        }
    )  # fmt: skip


def matrix(table: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Numbers as they are, categories as their places, the most frequent first."""
    places = {"bern": 0, "basel": 1, "chur": 2}
    return np.column_stack([table.area, table.age, table.town.map(places)]).astype(np.float32)


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("homes")
    made.load_table_from_dataframe(houses(), "homes.houses").result()
    return made


def trained(
    client: bigquery.Client, name: str, kind: str, label: str, options: str = "", more: str = ""
) -> str:
    client.query(
        f"""CREATE OR REPLACE MODEL homes.{name} OPTIONS(model_type='{kind}', input_label_cols=['{label}'] {options})
        AS SELECT area, age, town, {label} {more} FROM homes.houses ORDER BY number"""
    ).result()
    return f"homes.{name}"


def predicted(client: bigquery.Client, model: str) -> pd.DataFrame:
    rows = client.query(
        f"SELECT * FROM ML.PREDICT(MODEL {model}, (SELECT * FROM homes.houses)) ORDER BY number"
    ).result()
    return pd.DataFrame([dict(one.items()) for one in rows])


@pytest.fixture(scope="module")
def price(client: bigquery.Client) -> str:
    return trained(
        client, "price", "BOOSTED_TREE_REGRESSOR", "price",
        ", data_split_method='NO_SPLIT', early_stop=FALSE, max_iterations=12, enable_global_explain=TRUE",
    )  # fmt: skip


@pytest.fixture(scope="module")
def dear(client: bigquery.Client) -> str:
    return trained(
        client, "dear", "BOOSTED_TREE_CLASSIFIER", "dear",
        """, booster_type='DART', dart_normalize_type='FOREST', dropout=0.2, max_tree_depth=4, subsample=0.8,
        colsample_bytree=0.9, colsample_bylevel=0.9, colsample_bynode=0.9, min_split_loss=0.1, tree_method='APPROX',
        min_tree_child_weight=2, l1_reg=0.1, l2_reg=2, learn_rate=0.4, early_stop=FALSE, max_iterations=8,
        num_parallel_tree=2, data_split_method='CUSTOM', data_split_col='held', instance_weight_col='weight',
        class_weights=[STRUCT('dear', 3.0), STRUCT('fair', 1.0)]""",
        ", held, weight",
    )  # fmt: skip


def test_a_regressor_is_xgboosts_on_the_same_matrix(client: bigquery.Client, price: str) -> None:
    table = houses()
    data = xgboost.DMatrix(matrix(table), label=table.price)
    told: dict[str, Any] = {}
    reference = xgboost.train(
        {"objective": "reg:squarederror"},
        data,
        12,
        evals=[(data, "train")],
        evals_result=told,
        verbose_eval=False,
    )
    found = predicted(client, price)
    assert found.predicted_price.to_numpy() == pytest.approx(reference.predict(data), rel=1e-6)
    losses = answered(
        client,
        f"SELECT loss, learning_rate, iteration FROM ML.TRAINING_INFO(MODEL {price}) ORDER BY iteration",
    )
    assert [one for one, *_ in losses] == pytest.approx(told["train"]["rmse"])
    assert {one for _, one, _ in losses} == {0.3}
    assert [one for *_, one in losses] == list(range(1, 13))  # rounds are numbered from 1, as BigQuery's are
    [row] = client.query(f"SELECT * FROM ML.EVALUATE(MODEL {price})").result()
    assert row.mean_squared_error == pytest.approx(told["train"]["rmse"][-1] ** 2, rel=1e-5)
    important = client.query(f"SELECT * FROM ML.FEATURE_IMPORTANCE(MODEL {price})").result()
    assert [one.name for one in important.schema] == [
        "feature", "importance_weight", "importance_gain", "importance_cover",
    ]  # fmt: skip
    names = ["area", "age", "town"]
    for one in important:
        key = f"f{names.index(one.feature)}"
        for kind in ("weight", "gain", "cover"):
            assert one[f"importance_{kind}"] == pytest.approx(
                reference.get_score(importance_type=kind)[key], rel=1e-5
            )


def test_every_option_reaches_xgboost(client: bigquery.Client, dear: str) -> None:
    table = houses()
    train = ~table.held
    weights = table.weight * np.where(table.dear == "dear", 3.0, 1.0)
    reference = xgboost.train(
        {
            "objective": "binary:logistic", "booster": "dart", "normalize_type": "forest", "rate_drop": 0.2,
            "max_depth": 4, "subsample": 0.8, "colsample_bytree": 0.9, "colsample_bylevel": 0.9,
            "colsample_bynode": 0.9, "gamma": 0.1, "tree_method": "approx", "min_child_weight": 2, "alpha": 0.1,
            "lambda": 2, "eta": 0.4, "num_parallel_tree": 2, "seed": 0,
        },
        xgboost.DMatrix(matrix(table[train]), label=(table.dear == "fair")[train], weight=weights[train]),
        8,
    )  # fmt: skip
    fair = reference.inplace_predict(matrix(table))
    found = predicted(client, dear)
    assert [
        next(one["prob"] for one in row if one["label"] == "fair") for row in found.predicted_dear_probs
    ] == pytest.approx(fair, abs=1e-6)
    counted = answered(client, f"SELECT * FROM ML.CONFUSION_MATRIX(MODEL {dear})")
    assert sum(sum(row[1:]) for row in counted) == table.held.sum()
    told = answered(client, f"SELECT loss, eval_loss FROM ML.TRAINING_INFO(MODEL {dear})")
    assert len(told) == 8 and all(loss is not None and held is not None for loss, held in told)
    curve = answered(client, f"SELECT recall FROM ML.ROC_CURVE(MODEL {dear}) ORDER BY threshold")
    assert curve[0] == (1.0,)
    options = client.get_model(dear).training_runs[0]["trainingOptions"]
    assert options["boosterType"] == "DART" and options["maxTreeDepth"] == "4" and options["subsample"] == 0.8
    assert options["labelClassWeights"] == {"dear": 3.0, "fair": 1.0}


@pytest.mark.parametrize("kind", ["BOOSTED_TREE_CLASSIFIER", "RANDOM_FOREST_CLASSIFIER"])
def test_a_prediction_of_one_of_three_classes_adds_up(client: bigquery.Client, kind: str) -> None:
    forest = ", num_parallel_tree=9" if kind.startswith("R") else ""
    model = trained(
        client, "size", kind, "size", ", auto_class_weights=TRUE, enable_global_explain=TRUE" + forest
    )
    rows = list(
        client.query(
            f"""SELECT * FROM ML.EXPLAIN_PREDICT(MODEL {model}, (SELECT * FROM homes.houses),
            STRUCT(3 AS top_k_features))"""
        ).result()
    )
    for row in rows:
        told = sum(one["attribution"] for one in row.top_feature_attributions)
        assert row.baseline_prediction_value + told == pytest.approx(row.prediction_value, abs=1e-4)
        assert row.approximation_error == 0
    assert np.mean([row.predicted_size == row.size for row in rows]) > 0.9
    assert answered(client, f"SELECT feature FROM ML.GLOBAL_EXPLAIN(MODEL {model})")[0] == ("area",)
    by_class = answered(
        client,
        f"SELECT DISTINCT size FROM ML.GLOBAL_EXPLAIN(MODEL {model}, STRUCT(TRUE AS class_level_explain))",
    )
    assert sorted(by_class) == [("large",), ("middle",), ("small",)]
    [row] = client.query(f"SELECT * FROM ML.EVALUATE(MODEL {model})").result()
    assert row.accuracy > 0.9 and row.roc_auc > 0.95
    info = answered(client, f"SELECT input, category_count FROM ML.FEATURE_INFO(MODEL {model})")
    assert dict(info) == {"area": None, "age": None, "town": 3}


def test_a_random_forest_is_one_round_of_many_trees(client: bigquery.Client) -> None:
    model = trained(
        client,
        "forest",
        "RANDOM_FOREST_REGRESSOR",
        "price",
        ", num_parallel_tree=20, data_split_method='NO_SPLIT'",
    )
    table = houses()
    reference = xgboost.train(
        {
            "objective": "reg:squarederror", "num_parallel_tree": 20, "max_depth": 15, "subsample": 0.8,
            "colsample_bynode": 0.8, "eta": 1.0, "seed": 0,
        },
        xgboost.DMatrix(matrix(table), label=table.price),
        1,
    )  # fmt: skip
    assert predicted(client, model).predicted_price.to_numpy() == pytest.approx(
        reference.inplace_predict(matrix(table)), rel=1e-6
    )
    assert len(answered(client, f"SELECT * FROM ML.TRAINING_INFO(MODEL {model})")) == 1
    again = trained(
        client,
        "again",
        "RANDOM_FOREST_REGRESSOR",
        "price",
        ", num_parallel_tree=20, data_split_method='NO_SPLIT'",
    )
    assert (
        predicted(client, again).predicted_price.tolist() == predicted(client, model).predicted_price.tolist()
    )


@pytest.mark.parametrize("encoding", ["ONE_HOT_ENCODING", "TARGET_ENCODING", "DUMMY_ENCODING"])
def test_categories_may_be_encoded_otherwise(client: bigquery.Client, encoding: str) -> None:
    model = trained(
        client, "encoded", "BOOSTED_TREE_REGRESSOR", "price",
        f", category_encoding_method='{encoding}', xgboost_version='1.1', approx_global_feature_contrib=TRUE, "
        "enable_global_explain=TRUE",
    )  # fmt: skip
    [row] = client.query(f"SELECT * FROM ML.EVALUATE(MODEL {model})").result()
    assert row.r2_score > 0.9
    told = answered(client, f"SELECT feature FROM ML.FEATURE_IMPORTANCE(MODEL {model})")
    assert sorted(told) == [("age",), ("area",), ("town",)]
    [first] = client.query(
        f"SELECT * FROM ML.PREDICT(MODEL {model}, (SELECT 90.0 AS area, 10 AS age, 'nowhere' AS town))"
    ).result()
    assert np.isfinite(first.predicted_price)


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ("'AUTO_SPLIT'", 180), ("'RANDOM', data_split_eval_fraction=0.3", 270),
        ("'SEQ', data_split_col='number', data_split_eval_fraction=0.1", 90),
        ("'CUSTOM', data_split_col='held'", 180), ("'NO_SPLIT'", 900),
    ],
)  # fmt: skip
def test_rows_are_split_as_asked(client: bigquery.Client, options: str, held: int) -> None:
    given = f", max_iterations=2, data_split_method={options}"
    model = trained(client, "split", "BOOSTED_TREE_CLASSIFIER", "size", given, ", number, held")
    rows = answered(client, f"SELECT * FROM ML.CONFUSION_MATRIX(MODEL {model})")
    assert sum(sum(row[1:]) for row in rows) == held


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("dropout=0.1", "DROPOUT"),
        ("max_tree_depth=0", "MAX_TREE_DEPTH"),
        ("subsample=1.5", "SUBSAMPLE"),
        ("booster_type='GBLINEAR'", "BOOSTER_TYPE"),
        ("calculate_p_values=TRUE", "CALCULATE_P_VALUES"),
        ("approx_global_feature_contrib=TRUE", "ENABLE_GLOBAL_EXPLAIN"),
        ("auto_class_weights=TRUE, class_weights=[STRUCT('dear', 1.0)]", "CLASS_WEIGHTS"),
        ("class_weights=[STRUCT('huge', 1.0)]", "huge"),
        ("tree_method='EXACT', colsample_bynode=0.5", "this: column sample by node"),
    ],
)
def test_wrong_options_are_said(client: bigquery.Client, options: str, said: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        trained(client, "wrong", "BOOSTED_TREE_CLASSIFIER", "dear", f", {options}")


def test_what_trees_have_not_is_said(client: bigquery.Client, price: str) -> None:
    for text, said in (
        (f"SELECT * FROM ML.WEIGHTS(MODEL {price})", "BOOSTED_TREE_REGRESSOR"),
        (f"SELECT * FROM ML.ROC_CURVE(MODEL {price})", "ROC_CURVE"),
        (f"SELECT * FROM ML.PREDICT(MODEL {price}, (SELECT 1 AS area))", "age"),
    ):
        with pytest.raises(exceptions.BadRequest, match=said):
            client.query(text).result()


def test_a_forest_has_one_iteration_of_full_steps(client: bigquery.Client) -> None:
    model = trained(
        client, "wood", "RANDOM_FOREST_REGRESSOR", "price", ", num_parallel_tree=5, xgboost_version='2.1'"
    )
    [told] = answered(client, f"SELECT iteration, learning_rate FROM ML.TRAINING_INFO(MODEL {model})")
    assert told == (1, 1.0)
