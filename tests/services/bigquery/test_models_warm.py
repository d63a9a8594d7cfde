"""WARM_START: a training that goes on where the one before ended, by the official client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

ROWS = "SELECT x, MOD(x, 3) AS z, {label} FROM UNNEST(GENERATE_ARRAY(1, 90)) AS x"
NUMBER, CLASS = "2.0 * x + 1 AS y", "IF(x > 40, 'high', 'low') AS y"
LABEL = "input_label_cols=['y'], data_split_method='NO_SPLIT', "


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("warm")
    return made


def trained(client: bigquery.Client, name: str, options: str, rows: str, how: str = "CREATE MODEL") -> None:
    client.query(f"{how} warm.{name} OPTIONS({options}) AS {rows}").result()


@pytest.mark.parametrize(
    ("kind", "own", "rows"),
    [
        ("LINEAR_REG", LABEL + "l2_reg=0.1, l1_reg=0.1, ", ROWS.format(label=NUMBER)),
        ("LOGISTIC_REG", LABEL, ROWS.format(label=CLASS)),
        ("KMEANS", "num_clusters=3, ", ROWS.format(label="1 AS y")),
        ("DNN_REGRESSOR", LABEL + "hidden_units=[4], ", ROWS.format(label=NUMBER)),
        ("DNN_LINEAR_COMBINED_CLASSIFIER", LABEL + "hidden_units=[4], ", ROWS.format(label=CLASS)),
        ("AUTOENCODER", "hidden_units=[2], ", ROWS.format(label=NUMBER)),
    ],
)
def test_a_training_goes_on(client: bigquery.Client, kind: str, own: str, rows: str) -> None:
    name = kind.lower()
    trained(client, name, f"model_type='{kind}', {own}max_iterations=2", rows)
    asked = f"SELECT training_run, iteration, loss FROM ML.TRAINING_INFO(MODEL warm.{name}) ORDER BY 1, 2"
    first = answered(client, asked)
    assert {row[0] for row in first} == {0}
    trained(
        client, name, "warm_start=TRUE, max_iterations=3, early_stop=FALSE", rows, "CREATE OR REPLACE MODEL"
    )
    both = answered(client, asked)
    assert both[: len(first)] == first
    second = both[len(first) :]
    assert {row[0] for row in second} == {1} and second[0][1] == first[0][1]
    assert second[0][2] <= first[-1][2]  # it begins where the other ended
    model = client.get_model(f"warm.{name}")
    runs = model.training_runs
    assert [len(run["results"]) for run in runs] == [len(first), len(second)]
    assert [run["trainingOptions"].get("warmStart") for run in runs] == [False, True]
    assert [run["trainingOptions"]["maxIterations"] for run in runs] == ["2", "3"]
    assert "evaluationMetrics" in runs[0] and "evaluationMetrics" in runs[1]
    assert answered(client, f"SELECT COUNT(*) FROM ML.PREDICT(MODEL warm.{name}, ({rows}))") == [(90,)]


def test_new_rows_move_what_was_learnt(client: bigquery.Client) -> None:
    options = f"model_type='LINEAR_REG', {LABEL}"
    trained(client, "moved", options.rstrip(", "), ROWS.format(label=NUMBER))
    weights = "SELECT weight FROM ML.WEIGHTS(MODEL warm.moved) WHERE processed_input = 'x'"
    assert answered(client, weights)[0][0] == pytest.approx(2)
    trained(client, "moved", "warm_start=TRUE", ROWS.format(label="3.0 * x AS y"), "CREATE OR REPLACE MODEL")
    assert answered(client, weights)[0][0] == pytest.approx(3, rel=1e-3)
    with pytest.raises(exceptions.BadRequest, match="WARM_START"):
        answered(client, "SELECT * FROM ML.VALIDATE_DATA_SKEW(MODEL warm.moved, (SELECT 1 AS x, 1 AS z))")


def test_a_transform_remains_with_what_it_saw(client: bigquery.Client) -> None:
    rows, more = (
        "SELECT x, 2.0 * x AS y FROM UNNEST([0.0, 10.0]) AS x",
        "SELECT x, 3.0 * x AS y FROM UNNEST([0.0, 90.0]) AS x",
    )
    made = "TRANSFORM(ML.MIN_MAX_SCALER(x) OVER () AS s, y)"
    client.query(
        f"CREATE MODEL warm.scaled {made} OPTIONS(model_type='LINEAR_REG', {LABEL}l2_reg=0.0) AS {rows}"
    ).result()
    again = "CREATE OR REPLACE MODEL warm.scaled {} OPTIONS(warm_start=TRUE) AS {}"
    scaled = "SELECT s FROM ML.TRANSFORM(MODEL warm.scaled, (SELECT 5.0 AS x)), UNNEST([1])"
    predicted = "SELECT predicted_y FROM ML.PREDICT(MODEL warm.scaled, (SELECT 10.0 AS x))"
    assert answered(client, scaled) == [(0.5,)] and answered(client, predicted)[0][0] == pytest.approx(20)
    for said in (made, ""):
        client.query(again.format(said, more.replace("90.0", "10.0"))).result()
        assert answered(client, scaled) == [(0.5,)]  # by the first training's least and greatest
        assert answered(client, predicted)[0][0] == pytest.approx(30, rel=1e-3)
    assert len(client.get_model("warm.scaled").training_runs) == 3
    for other in ("TRANSFORM(x, y)", "TRANSFORM(ML.MIN_MAX_SCALER(x) OVER () AS z, y)"):
        with pytest.raises(exceptions.BadRequest, match=r"TRANSFORM must remain \(ML.MIN_MAX_SCALER"):
            client.query(again.format(other, rows)).result()
    trained(client, "plain", f"model_type='LINEAR_REG', {LABEL.rstrip(', ')}", rows)
    with pytest.raises(exceptions.BadRequest, match="had no TRANSFORM"):
        client.query(again.replace("scaled", "plain").format(made, rows)).result()


def test_what_must_remain_is_said(client: bigquery.Client) -> None:
    rows = ROWS.format(label=CLASS)
    trained(client, "kept", f"model_type='DNN_CLASSIFIER', {LABEL}hidden_units=[3], max_iterations=1", rows)
    trained(client, "trees", f"model_type='BOOSTED_TREE_CLASSIFIER', {LABEL}max_iterations=1", rows)
    again = "CREATE OR REPLACE MODEL warm.kept OPTIONS(warm_start=TRUE{}) AS {}"
    for text, said in (
        (again.format(", model_type='LOGISTIC_REG'", rows), "MODEL_TYPE must remain DNN_CLASSIFIER"),
        (again.format(", hidden_units=[5]", rows), r"HIDDEN_UNITS must remain \[3\]"),
        (again.format(", labels=['z']", rows), r"INPUT_LABEL_COLS must remain \['y'\]"),
        (again.format(", num_trials=2", rows), "NUM_TRIALS"),
        (again.format("", rows.replace("MOD(x, 3)", "'a'")), "column z was int64, and is string"),
        (again.format("", rows.replace("MOD(x, 3) AS z, ", "")), "column z was int64, and is no column"),
        (again.format("", rows.replace("'low'", "'other'")), "label 'other' is no class"),
        (again.replace("kept", "none").format("", rows), "there is none: .*warm.none"),
        (
            again.replace("kept", "trees").format("", rows),
            "WARM_START is not supported for model type BOOSTED",
        ),
        (again.replace(" OR REPLACE", "").format("", rows), "Already Exists"),
    ):
        with pytest.raises((exceptions.BadRequest, exceptions.Conflict), match=said):
            client.query(text).result()
