"""Every option of every model type: it changes what is trained, or is refused, or the model says that it is not used.

A row of `Tried` is the options that an option needs, and the values that it is given beside what it is by itself. What
a model type declares must be there, or be exempt by name with the test that has it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from portico.ml.bqml import kinds
from portico.ml.bqml.model import Given, Model, _plain
from portico.ml.bqml.options import COMMON, TUNING
from portico.ml.errors import DataError

DRAW = np.random.default_rng(0)
ROWS, DAYS = 240, 420
X, Z, C = DRAW.normal(size=ROWS), DRAW.normal(size=ROWS), DRAW.choice(list("abc"), ROWS)
Y = 2 * X - Z + (C == "a") * 1.5 + 0.3 * DRAW.normal(size=ROWS)
FEATURES = pa.table({"x": X, "z": Z, "c": C})
WEIGHED = FEATURES.append_column("w", pa.array(np.abs(Z) + 0.1))
NUMBER = WEIGHED.append_column("label", pa.array(Y))
CLASS = WEIGHED.append_column("label", pa.array(np.where(Y + DRAW.normal(size=ROWS) > 0, "hi", "lo")))
FIRST = FEATURES.append_column("first", pa.array(np.arange(ROWS) % 80 == 7))
TIME = np.arange(DAYS)
VALUE = 50 + 0.02 * TIME + 5 * np.sin(2 * np.pi * TIME / 7) + DRAW.normal(size=DAYS)
VALUE[150] += 60
VALUE[250:] += 25
SERIES = pa.table(
    {"day": pa.array([datetime.date(2021, 1, 1) + datetime.timedelta(int(one)) for one in TIME]), "v": VALUE}
)
RATINGS = pa.table(
    {name: DRAW.integers(1, most, ROWS) for name, most in (("user", 12), ("item", 9), ("rating", 6))}
)

Tried = dict[str, tuple[dict[str, Any], list[Any]]]


def alone(**options: Any) -> Tried:
    return {name: ({}, [value]) for name, value in options.items()}


RANDOM, DART = {"data_split_method": "RANDOM"}, {"booster_type": "DART", "dropout": 0.5}
SPLIT: Tried = {
    "data_split_method": (RANDOM, ["NO_SPLIT"]),
    "data_split_eval_fraction": (RANDOM, [0.4]),
    "data_split_test_fraction": (RANDOM, [0.3]),
}
BY_COLUMN: Tried = {"data_split_col": ({"data_split_method": "SEQ", "data_split_col": "x"}, ["z"])}
STOP: Tried = {"early_stop": ({"min_rel_progress": 0.9}, [False]), "min_rel_progress": ({}, [0.9])}
STEPS: Tried = {"max_iterations": ({}, [2])} | STOP
LEARNT: Tried = SPLIT | BY_COLUMN | alone(enable_global_explain=True, instance_weight_col="w")
CLASSES = alone(auto_class_weights=True, class_weights=[{"label": "hi", "w": 3.0}, {"label": "lo", "w": 1.0}])
DESCENT, FIXED = {"optimize_strategy": "BATCH_GRADIENT_DESCENT"}, {"learn_rate_strategy": "CONSTANT"}
DUMMY = {"category_encoding_method": "DUMMY_ENCODING"}
LINEAR: Tried = (
    LEARNT
    | alone(l1_reg=0.5, l2_reg=5.0, fit_intercept=False, optimize_strategy="BATCH_GRADIENT_DESCENT", **FIXED)
    | {
        "max_iterations": (DESCENT, [2]),
        "early_stop": ({**DESCENT, "min_rel_progress": 0.9}, [False]),
        "min_rel_progress": (DESCENT, [0.9]),
        "learn_rate": (FIXED, [0.05]),
        "ls_init_learn_rate": (DESCENT, [0.01]),
        "category_encoding_method": ({}, ["DUMMY_ENCODING"]),
        "calculate_p_values": (DUMMY, [True]),
    }
)
TREES: Tried = (
    LEARNT
    | alone(
        l1_reg=3.0, l2_reg=30.0, min_tree_child_weight=20, colsample_bytree=0.4, colsample_bylevel=0.4,
        colsample_bynode=0.4, min_split_loss=10.0, num_parallel_tree=3, max_tree_depth=2, subsample=0.4,
    )
    | {
        "category_encoding_method": ({}, ["ONE_HOT_ENCODING", "TARGET_ENCODING", "DUMMY_ENCODING"]),
        "tree_method": ({"colsample_bynode": 1.0}, ["EXACT"]),
        "approx_global_feature_contrib": ({"enable_global_explain": True}, [True]),
    }
)  # fmt: skip
BOOSTED: Tried = (
    TREES
    | STEPS
    | {
        "booster_type": ({}, [DART["booster_type"]]),
        "dropout": ({"booster_type": "DART"}, [0.5]),
        "dart_normalize_type": (DART, ["FOREST"]),
        "learn_rate": ({}, [0.05]),
    }
)
NETWORK: Tried = STEPS | {
    "hidden_units": ({}, [[8], [4, 3]]),
    "activation_fn": ({}, ["CRELU", "ELU", "SELU", "SIGMOID", "TANH"]),
    "optimizer": ({}, ["ADAGRAD", "FTRL", "RMSPROP", "SGD"]),
    "learn_rate": ({}, [0.01]), "batch_size": ({}, [7]), "dropout": ({}, [0.5]),
    "l1_reg": ({}, [0.5]), "l2_reg": ({}, [0.5]), "tf_version": ({}, ["2.8.0"]),
}  # fmt: skip
DEEP: Tried = NETWORK | LEARNT | {"integrated_gradients_num_steps": ({"enable_global_explain": True}, [3])}
PARTS: Tried = {
    "optimizer": ({}, ["SGD", [("dnn", "ADAM"), ("linear", "SGD")]]),
    "learn_rate": ({}, [0.01, [("dnn", 0.001), ("linear", 0.1)]]),
}
ORDER = {"auto_arima": False, "non_seasonal_order": [1, 1, 1]}
SHORT = {"max_time_series_length": 30}
ARIMA: Tried = {
    "horizon": (ORDER, [20]), "auto_arima": (SHORT, [False]),
    "auto_arima_max_order": (SHORT, [1]), "auto_arima_min_order": (SHORT, [1]),
    "non_seasonal_order": (ORDER, [[2, 1, 0]]), "include_drift": (ORDER, [True]),
    "data_frequency": (ORDER, ["WEEKLY"]), "holiday_region": (ORDER, ["US", ["GLOBAL", "US"], "FR"]),
    "clean_spikes_and_dips": (ORDER, [False]), "adjust_step_changes": (ORDER, [False]),
    "time_series_length_fraction": (ORDER, [0.3]), "max_time_series_length": (ORDER, [100]),
    "min_time_series_length": ({**ORDER, "time_series_length_fraction": 0.1}, [200]),
    "trend_smoothing_window_size": (ORDER, [9]), "decompose_time_series": (ORDER, [False]),
    "seasonalities": (ORDER, [["NO_SEASONALITY"], ["MONTHLY"]]),
}  # fmt: skip
TIMED = {"time_series_timestamp_col": "day", "time_series_data_col": "v", "horizon": 10}
KINDS: dict[str, tuple[pa.Table, dict[str, Any], Tried]] = {
    "LINEAR_REG": (NUMBER, {}, LINEAR),
    "LOGISTIC_REG": (CLASS, {}, LINEAR | CLASSES),
    "BOOSTED_TREE_REGRESSOR": (NUMBER, {}, BOOSTED | alone(xgboost_version="2.1") | CLASSES),
    "BOOSTED_TREE_CLASSIFIER": (CLASS, {}, BOOSTED | alone(xgboost_version="2.1") | CLASSES),
    "RANDOM_FOREST_REGRESSOR": (NUMBER, {"num_parallel_tree": 9}, TREES | alone(xgboost_version="2.1") | CLASSES),
    "RANDOM_FOREST_CLASSIFIER": (CLASS, {"num_parallel_tree": 9}, TREES | alone(xgboost_version="2.1") | CLASSES),
    "DNN_REGRESSOR": (NUMBER, {"max_iterations": 4}, DEEP | CLASSES),
    "DNN_CLASSIFIER": (CLASS, {"max_iterations": 4}, DEEP | CLASSES),
    "DNN_LINEAR_COMBINED_REGRESSOR": (NUMBER, {"max_iterations": 4}, DEEP | PARTS | CLASSES),
    "DNN_LINEAR_COMBINED_CLASSIFIER": (CLASS, {"max_iterations": 4}, DEEP | PARTS | CLASSES),
    "KMEANS": (
        FIRST.drop_columns(["first"]),
        {},
        STEPS
        | alone(num_clusters=5, kmeans_init_method="KMEANS++")
        | alone(distance_type="COSINE", standardize_features=False),
    ),
    "PCA": (
        FEATURES,
        {},
        {
            "num_principal_components": ({"num_principal_components": 2}, [3]),
            "pca_explained_variance_ratio": ({"pca_explained_variance_ratio": 0.3}, [0.99]),
            "scale_features": ({"num_principal_components": 2}, [False]),
            "pca_solver": ({"num_principal_components": 2}, ["FULL", "RANDOMIZED"]),
        },
    ),
    "AUTOENCODER": (
        FEATURES,
        {"max_iterations": 4},
        NETWORK | {"hidden_units": ({}, [[4, 2, 4]]), "l1_reg_activation": ({}, [0.5])},
    ),
    "ARIMA_PLUS": (
        SERIES,
        TIMED,
        {**ARIMA, "forecast_limit_lower_bound": (ORDER, [0.0]), "forecast_limit_upper_bound": (ORDER, [500.0])},
    ),
    "ARIMA_PLUS_XREG": (SERIES.append_column("f", pa.array(DRAW.normal(size=DAYS))), TIMED, ARIMA),
    "MATRIX_FACTORIZATION": (
        RATINGS,
        {},
        SPLIT | STEPS | {"wals_alpha": ({"feedback_type": "IMPLICIT"}, [5.0])}
        | alone(feedback_type="IMPLICIT", num_factors=2, l2_reg=50.0),
    ),
}  # fmt: skip
EXEMPT = {
    "input_label_cols", "user_col", "item_col", "rating_col",  # the names of columns, which all the tests give
    "time_series_timestamp_col", "time_series_data_col", "time_series_id_col", "hierarchical_time_series_cols",
    "warm_start",  # test_models_warm
    *TUNING,  # test_models_trials
}  # fmt: skip
OWN = {
    "RANDOM_FOREST_REGRESSOR": {"early_stop", "min_rel_progress"},  # of its one round
    "RANDOM_FOREST_CLASSIFIER": {"early_stop", "min_rel_progress"},
    "MATRIX_FACTORIZATION": {"data_split_col"},  # test_models_recommend
    "KMEANS": {"kmeans_init_col"},  # below
}


def trained(model_type: str, table: pa.Table, options: dict[str, Any]) -> Model:
    read = kinds.read_options({"model_type": model_type, **options})
    return kinds.train(Given(table, read, {}, read["model_type"]))


def told(model_type: str, table: pa.Table, options: dict[str, Any]) -> tuple[str, list[str]]:
    """What was trained, as a hash, or why it was refused; and what it warns of."""
    try:
        model = trained(model_type, table, options)
    except DataError as error:
        return f"refused: {error.message}", []
    steps = [{key: one for key, one in step.items() if key != "duration_ms"} for step in model.run.iterations]
    made = hashlib.sha256(json.dumps([model.state, steps], default=_plain, sort_keys=True).encode())
    for parts in ({name: one.tobytes() for name, one in model.arrays.items()}, model.files):
        for name in sorted(parts):
            made.update(name.encode() + parts[name])
    return made.hexdigest(), model.run.warnings


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", KINDS)
def test_an_option_changes_the_model_or_is_refused_or_said(model_type: str) -> None:
    table, given, tried = KINDS[model_type]
    declared = kinds.KINDS[model_type].OPTIONS
    assert (
        declared.keys() - COMMON.keys() - tried.keys()
        == (EXEMPT | OWN.get(model_type, set())) & declared.keys()
    )
    before: dict[str, str] = {}
    for name, (needed, values) in tried.items():
        options = {**given, **needed}
        key = json.dumps(options, sort_keys=True)
        if key not in before:
            before[key] = told(model_type, table, options)[0]
        assert not before[key].startswith("refused"), (name, before[key])
        for value in values:
            now, warnings = told(model_type, table, options | {name: value})
            assert now != before[key] or any(name.upper() in one for one in warnings), (name, value)
            if now.startswith("refused"):
                assert name.upper() in now.upper(), (name, now)


def test_a_column_says_where_clusters_begin() -> None:
    options = {
        "num_clusters": 3,
        "kmeans_init_method": "CUSTOM",
        "kmeans_init_col": "first",
        "max_iterations": 1,
    }
    model = trained("KMEANS", FIRST, options)
    assert len(model.arrays["centroids"]) == 3


def test_a_descent_steps_by_its_rate_and_ends_at_the_optimum() -> None:
    table = pa.table({"x": X, "z": Z, "label": Y})
    scaled = np.column_stack([(one - one.mean()) / one.std() for one in (X, Z)])
    own = {"fit_intercept": False, "data_split_method": "NO_SPLIT"}
    one = trained("LINEAR_REG", table, {**own, **FIXED, "learn_rate": 0.05, "max_iterations": 1})
    assert one.arrays["weights"][0] == pytest.approx(0.05 * 2 / ROWS * scaled.T @ Y)
    assert [step["learning_rate"] for step in one.run.iterations] == [0.05]
    best, *_ = np.linalg.lstsq(scaled, Y, rcond=None)
    ended = trained("LINEAR_REG", table, {**own, **DESCENT, "max_iterations": 200, "min_rel_progress": 0.0})
    assert ended.arrays["weights"][0] == pytest.approx(best, abs=1e-6)
    wrong: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("LINEAR_REG", {"learn_rate": 0.1}, "LEARN_RATE needs LEARN_RATE_STRATEGY = 'CONSTANT'"),
        ("LINEAR_REG", {**FIXED, "ls_init_learn_rate": 0.1}, "needs LEARN_RATE_STRATEGY = 'LINE_SEARCH'"),
        ("LINEAR_REG", {**FIXED, "optimize_strategy": "NORMAL_EQUATION"}, "has no learn rate"),
        ("LOGISTIC_REG", {"optimize_strategy": "NORMAL_EQUATION"}, "only for model type LINEAR_REG"),
        ("LINEAR_REG", {**FIXED, **DUMMY, "calculate_p_values": True}, "CALCULATE_P_VALUES"),
        ("LINEAR_REG", {**FIXED, "learn_rate": 1e200, "max_iterations": 5}, "smaller LEARN_RATE"),
    )
    for model_type, options, said in wrong:
        with pytest.raises(DataError) as caught:
            trained(model_type, NUMBER if model_type == "LINEAR_REG" else CLASS, options)
        assert said in caught.value.message


def test_a_network_is_by_itself_as_wide_as_its_rows_allow() -> None:
    model = trained("DNN_REGRESSOR", NUMBER, {"max_iterations": 1})
    assert model.options["hidden_units"] == [
        ROWS // (10 * (6 + 1))
    ]  # of 3 numbers, 3 categories and the label
    alike = trained("DNN_REGRESSOR", NUMBER, {"max_iterations": 1, "batch_size": 32, "hidden_units": [3]})
    assert alike.run.iterations[0]["loss"] == model.run.iterations[0]["loss"]
    with pytest.raises(DataError, match="ENABLE_GLOBAL_EXPLAIN"):
        trained("DNN_REGRESSOR", NUMBER, {"integrated_gradients_num_steps": 9})
