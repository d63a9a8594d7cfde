"""Networks of BigQuery ML, by the official client."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import connected

from portico.ml.bqml.network import ACTIVATIONS, Network


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("nets")
    made.query(
        """CREATE TABLE nets.t AS SELECT x, y, colour, 10 + 3 * SIN(x * 2) + IF(colour = 'red', 4, 0) AS z,
        IF(x * x + y * y < 1.2, 'in', 'out') AS side FROM (SELECT MOD(n * 37, 400) / 100.0 - 2 AS x,
        MOD(n * 91, 400) / 100.0 - 2 AS y, IF(MOD(n, 3) = 0, 'red', 'blue') AS colour
        FROM UNNEST(GENERATE_ARRAY(1, 1500)) AS n)"""
    ).result()
    return made


@pytest.mark.parametrize("kind", ["DNN_REGRESSOR", "DNN_LINEAR_COMBINED_REGRESSOR"])
def test_a_network_learns_what_no_line_does(client: bigquery.Client, kind: str) -> None:
    text = """CREATE OR REPLACE MODEL nets.{} OPTIONS(model_type='{}', input_label_cols=['z'],
    enable_global_explain={}{}) AS SELECT x, colour, z FROM nets.t"""
    deep = ", hidden_units=[32, 16], learn_rate=0.01, max_iterations=60, min_rel_progress=0, batch_size=32"
    client.query(text.format("deep", kind, "TRUE", deep)).result()
    client.query(text.format("line", "LINEAR_REG", "FALSE", "")).result()
    errors = {
        name: next(
            iter(client.query(f"SELECT * FROM ML.EVALUATE(MODEL nets.{name})").result())
        ).mean_squared_error
        for name in ("deep", "line")
    }
    assert errors["deep"] < 0.2 * errors["line"]
    steps = list(client.query("SELECT * FROM ML.TRAINING_INFO(MODEL nets.deep) ORDER BY iteration").result())
    assert steps[-1].loss < 0.5 * steps[0].loss and steps[0].eval_loss is not None
    [row] = client.query(
        "SELECT * FROM ML.EXPLAIN_PREDICT(MODEL nets.deep, (SELECT 0.7 AS x, 'red' AS colour), "
        "STRUCT(200 AS integrated_gradients_num_steps))"
    ).result()
    told = sum(one["attribution"] for one in row.top_feature_attributions)
    assert row.baseline_prediction_value + told == pytest.approx(row.predicted_z, abs=0.05)
    whole = row.prediction_value - row.baseline_prediction_value
    assert row.approximation_error == pytest.approx(abs(whole - told) / abs(whole)) and whole != told
    assert {one.feature for one in client.query("SELECT * FROM ML.GLOBAL_EXPLAIN(MODEL nets.deep)").result()} == {
        "x", "colour",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["DNN_CLASSIFIER", "DNN_LINEAR_COMBINED_CLASSIFIER"])
def test_a_circle_is_learnt(client: bigquery.Client, kind: str) -> None:
    client.query(
        f"""CREATE OR REPLACE MODEL nets.circle OPTIONS(model_type='{kind}', input_label_cols=['side'],
        hidden_units=[24], learn_rate=0.02, max_iterations=40, early_stop=FALSE, activation_fn='TANH', dropout=0.05,
        tf_version='2.8.0', auto_class_weights=TRUE) AS SELECT x, y, side FROM nets.t"""
    ).result()
    [row] = client.query("SELECT * FROM ML.EVALUATE(MODEL nets.circle)").result()
    assert row.accuracy > 0.9 and row.roc_auc > 0.95
    [one] = client.query("SELECT * FROM ML.PREDICT(MODEL nets.circle, (SELECT 0.0 AS x, 0.0 AS y))").result()
    assert one.predicted_side == "in" and sum(
        each["prob"] for each in one.predicted_side_probs
    ) == pytest.approx(1)
    assert client.get_model("nets.circle").model_type == kind


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("hidden_units=[0]", "HIDDEN_UNITS"),
        ("activation_fn='SWISH'", "ACTIVATION_FN"),
        ("tf_version='3'", "TF_VERSION is '3'; it must be one of 1.15, 2.8.0, 2.17.0"),
        ("auto_class_weights=TRUE", "DNN_REGRESSOR"),
        ("learn_rate=[STRUCT('dnn', 0.1), STRUCT('linear', 0.1)]", "LEARN_RATE must be a number"),
        (
            "learn_rate=1.0, optimizer='SGD', max_iterations=50, early_stop=FALSE, hidden_units=[512, 512]",
            "LEARN_RATE",
        ),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, options: str, said: str) -> None:
    text = f"CREATE MODEL nets.x OPTIONS(model_type='DNN_REGRESSOR', input_label_cols=['z'], {options})"
    with pytest.raises(exceptions.GoogleAPICallError, match=said):
        client.query(f"{text} AS SELECT x * 1000 AS x, z FROM nets.t").result()


def test_each_part_may_learn_its_own_way(client: bigquery.Client) -> None:
    text = """CREATE OR REPLACE MODEL nets.parts OPTIONS(model_type='DNN_LINEAR_COMBINED_REGRESSOR', {},
    hidden_units=[8], input_label_cols=['z'], activation_fn='CRELU', max_iterations=2, early_stop=FALSE, batch_size=75)
    AS SELECT x, y, z FROM nets.t"""
    losses = []
    for said in (
        "learn_rate=[STRUCT('dnn', 0.001), STRUCT('linear', 0.5)], optimizer=[STRUCT('dnn', 'ADAGRAD'), "
        "STRUCT('linear', 'SGD')]",
        "learn_rate=[STRUCT('linear', 0.001), STRUCT('dnn', 0.002)], optimizer='SGD'",
        "learn_rate=0.001",
    ):
        client.query(text.format(said)).result()
        rows = list(
            client.query("SELECT * FROM ML.TRAINING_INFO(MODEL nets.parts) ORDER BY iteration").result()
        )
        losses.append((rows[-1].loss, rows[-1].learning_rate))
    assert losses[0][0] < 0.9 * losses[2][0] and [rate for _, rate in losses] == [0.001, 0.002, 0.001]
    for wrong, why in (
        ("learn_rate=[STRUCT('dnn', 0.1)]", "one STRUCT for each of dnn and linear"),
        (
            "optimizer=[STRUCT('dnn', 'ADAM'), STRUCT('linear', 'NEWTON')]",
            "OPTIMIZER is 'NEWTON'; it must be one of",
        ),
    ):
        with pytest.raises(exceptions.BadRequest, match=why):
            client.query(text.format(wrong)).result()


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_slopes_are_those_of_what_comes_out(activation: str) -> None:
    draw = np.random.default_rng(1)
    net = Network.drawn([3, 4, 3, 2], activation, draw)
    rows = draw.normal(size=(5, 3))
    [first, *_] = net.gradients(rows, lambda out: np.ones_like(out))
    slopes = net.input_slopes(rows, np.zeros(5, dtype=int))
    near = 1e-6
    net.weights[0][1, 2] += near
    more = net.output(rows).sum()
    net.weights[0][1, 2] -= 2 * near
    less = net.output(rows).sum()
    net.weights[0][1, 2] += near
    assert first[1, 2] == pytest.approx((more - less) / (2 * near), abs=1e-5)
    moved = rows + near * np.eye(3)[1]
    assert slopes[:, 1] == pytest.approx((net.output(moved) - net.output(rows))[:, 0] / near, abs=1e-4)
