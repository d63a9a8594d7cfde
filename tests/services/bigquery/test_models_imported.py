"""ONNX and XGBoost models that others made, by the official clients: imported from Cloud Storage, then asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost
from google.api_core import exceptions
from google.cloud import bigquery, storage
from tests.services.bigquery.test_bigquery import answered, connected

DRAW = np.random.default_rng(2)
ROWS = DRAW.normal(size=(200, 3))
LABELS = (ROWS[:, 0] - ROWS[:, 1] > 0).astype(int)


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("imports")
    return made


def put(bucket: storage.Bucket, name: str, data: bytes) -> str:
    bucket.blob(name).upload_from_string(data)
    return f"gs://{bucket.name}/{name}"


def onnx(model: Any, *types: Any, **options: Any) -> bytes:
    from skl2onnx import to_onnx

    return bytes(to_onnx(model, initial_types=list(types), options=options or None).SerializeToString())


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_an_xgboost_model_predicts_what_it_did(
    client: bigquery.Client, bucket: storage.Bucket, form: str
) -> None:
    booster = xgboost.train(
        {"objective": "multi:softprob", "num_class": 2, "max_depth": 3},
        xgboost.DMatrix(ROWS, LABELS, feature_names=["a", "b", "c"]),
        5,
    )
    uri = put(bucket, f"trees/model.{form}", bytes(booster.save_raw(form)))
    client.query(
        f"""CREATE OR REPLACE MODEL imports.trees INPUT(a FLOAT64, b FLOAT64, c FLOAT64) OUTPUT(probs ARRAY<FLOAT64>)
        OPTIONS(MODEL_TYPE='XGBOOST', MODEL_PATH='{uri.rsplit("/", 1)[0]}/*')"""
    ).result()
    [row] = client.query(
        "SELECT * FROM ML.PREDICT(MODEL imports.trees, (SELECT 7 AS id, 1.5 AS b, 0.5 AS a, NULL AS c))"
    ).result()
    wanted = booster.predict(xgboost.DMatrix([[0.5, 1.5, np.nan]], feature_names=["a", "b", "c"]))[0]
    assert row.probs == pytest.approx(list(wanted)) and row.id == 7
    shown = client.get_model("imports.trees")
    assert shown.model_type == "XGBOOST" and [one.name for one in shown.feature_columns] == ["a", "b", "c"]


def test_an_onnx_model_takes_columns_and_arrays(client: bigquery.Client, bucket: storage.Bucket) -> None:
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.linear_model import LinearRegression, LogisticRegression

    logistic = LogisticRegression().fit(ROWS, LABELS)
    whole = onnx(logistic, ("x", FloatTensorType([None, 3])), zipmap=False)
    uri = put(bucket, "whole.onnx", whole)
    client.query(f"CREATE MODEL imports.whole OPTIONS(MODEL_TYPE='ONNX', MODEL_PATH=\"{uri}\")").result()
    [row] = client.query(
        "SELECT * FROM ML.PREDICT(MODEL imports.whole, (SELECT [0.5, -1.0, 0.1] AS x, 'kept' AS note))"
    ).result()
    assert row.label == 1 and row.note == "kept"
    assert row.probabilities == pytest.approx(list(logistic.predict_proba([[0.5, -1.0, 0.1]])[0]), abs=1e-5)
    linear = LinearRegression().fit(ROWS[:, :1], ROWS[:, 1])
    uri = put(bucket, "one.onnx", onnx(linear, ("a", FloatTensorType([None, 1]))))
    client.query(f"CREATE MODEL imports.one OPTIONS(MODEL_TYPE='ONNX', MODEL_PATH='{uri}')").result()
    [(told,)] = answered(
        client, "SELECT variable[OFFSET(0)] FROM ML.PREDICT(MODEL imports.one, (SELECT 2.0 AS a))"
    )
    assert told == pytest.approx(linear.predict([[2.0]])[0], abs=1e-5)


def endless() -> bytes:
    """A model that never answers."""
    from onnx import TensorProto as Kind
    from onnx import helper

    def value(name: str, kind: int, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    steps = [helper.make_node("Identity", ["on"], ["going"]), helper.make_node("Neg", ["x"], ["less"])]
    body = helper.make_graph(
        steps,
        "body",
        [value("at", Kind.INT64, []), value("on", Kind.BOOL, []), value("x", Kind.FLOAT, [None, 1])],
        [value("going", Kind.BOOL, []), value("less", Kind.FLOAT, [None, 1])],
    )
    always = helper.make_tensor("always", Kind.BOOL, [], [True])
    loop = helper.make_node("Loop", ["", "always", "a"], ["y"], body=body)
    column = [value("a", Kind.FLOAT, [None, 1])]
    graph = helper.make_graph([loop], "g", column, [value("y", Kind.FLOAT, [None, 1])], [always])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def test_a_model_that_never_answers_is_cancelled(client: bigquery.Client, bucket: storage.Bucket) -> None:
    uri = put(bucket, "endless.onnx", endless())
    client.query(f"CREATE MODEL imports.endless OPTIONS(MODEL_TYPE='ONNX', MODEL_PATH='{uri}')").result()
    job = client.query("SELECT * FROM ML.PREDICT(MODEL imports.endless, (SELECT 1.0 AS a))")
    assert not job.done()
    job.cancel()
    with pytest.raises(exceptions.GoogleAPICallError, match="cancelled"):
        job.result(timeout=240)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "CREATE MODEL imports.x OPTIONS(MODEL_TYPE='ONNX', MODEL_PATH='gs://{bucket}/bad.onnx')",
            "no ONNX model",
        ),
        (
            "CREATE MODEL imports.x OPTIONS(MODEL_TYPE='XGBOOST', MODEL_PATH='gs://{bucket}/bad.onnx')",
            "no XGBoost",
        ),
        (
            "CREATE MODEL imports.x OPTIONS(MODEL_TYPE='ONNX', MODEL_PATH='gs://{bucket}/none.onnx')",
            "none.onnx",
        ),
        ("CREATE MODEL imports.x OPTIONS(MODEL_TYPE='ONNX')", "MODEL_PATH"),
        (
            "CREATE MODEL imports.x OPTIONS(MODEL_TYPE='ONNX', MODEL_PATH=CONCAT('gs://', 'a/b'))",
            "MODEL_PATH",
        ),
        (
            "CREATE MODEL imports.x OPTIONS(MODEL_TYPE='TENSORFLOW', MODEL_PATH='gs://{bucket}/*.onnx')",
            "no SavedModel",
        ),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, bucket: storage.Bucket, text: str, said: str) -> None:
    put(bucket, "bad.onnx", b"nothing of the kind")
    with pytest.raises(
        (exceptions.BadRequest, exceptions.NotFound, exceptions.MethodNotImplemented), match=said
    ):
        client.query(text.replace("{bucket}", bucket.name)).result()
