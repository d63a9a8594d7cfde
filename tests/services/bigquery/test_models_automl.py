"""AUTOML models by the official client: trained by Portico's own AutoML, in budgets of iterations."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

BUDGET = "BUDGET_HOURS=0.0006"


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("automls")
    made.query(
        """CREATE TABLE automls.flats AS SELECT id, MOD(id * 37, 100) AS size,
        ['north', 'south', 'west'][OFFSET(MOD(id, 3))] AS place, CAST(MOD(id, 7) AS NUMERIC) AS floor,
        TIMESTAMP_ADD(TIMESTAMP '2024-01-01', INTERVAL id HOUR) AS seen, 7 AS same, [1, 2] AS pair,
        3.0 * MOD(id * 37, 100) + IF(MOD(id, 3) = 0, 50, 0) AS price,
        MOD(id * 37, 100) > 50 AS large,
        CASE WHEN MOD(id, 10) < 7 THEN 'TRAIN' WHEN MOD(id, 10) = 7 THEN 'VALIDATE' WHEN MOD(id, 10) = 8 THEN 'TEST'
        ELSE 'UNASSIGNED' END AS part FROM UNNEST(GENERATE_ARRAY(1, 800)) AS id"""
    ).result()
    return made


@pytest.fixture(scope="module")
def trained(client: bigquery.Client) -> bigquery.Client:
    client.query(
        f"""CREATE MODEL automls.price OPTIONS(MODEL_TYPE='AUTOML_REGRESSOR', {BUDGET},
        OPTIMIZATION_OBJECTIVE='MINIMIZE_MAE', INPUT_LABEL_COLS=['price'], DATA_SPLIT_COL='part') AS
        SELECT size, place, floor, seen, same, pair, part, price FROM automls.flats"""
    ).result()
    client.query(
        f"""CREATE MODEL automls.large OPTIONS(MODEL_TYPE='AUTOML_CLASSIFIER', {BUDGET},
        OPTIMIZATION_OBJECTIVE=STRUCT('MAXIMIZE_PRECISION_AT_RECALL', 0.9), INPUT_LABEL_COLS=['large'],
        DATA_SPLIT_COL='seen', MODEL_REGISTRY='VERTEX_AI', VERTEX_AI_MODEL_ID='automl_large') AS
        SELECT size + MOD(id, 5) AS size, place, seen, large FROM automls.flats"""
    ).result()
    return client


def test_a_regression_is_found_and_measured(trained: bigquery.Client) -> None:
    [row] = trained.query("SELECT * FROM ML.EVALUATE(MODEL automls.price)").result()
    assert row.r2_score > 0.9 and row.mean_absolute_error < 20
    found = answered(
        trained,
        """SELECT predicted_price, price, note FROM ML.PREDICT(MODEL automls.price,
        (SELECT *, 'kept' AS note FROM automls.flats WHERE part = 'TEST'))""",
    )
    errors = [abs(one[0] - one[1]) for one in found]
    assert np.mean(errors) == pytest.approx(row.mean_absolute_error, rel=0.3) and found[0][2] == "kept"
    told = dict(answered(trained, "SELECT feature, attribution FROM ML.GLOBAL_EXPLAIN(MODEL automls.price)"))
    assert told["size"] > told["place"] > 0 and sum(told.values()) == pytest.approx(1.0)
    infos = {one[0]: one for one in answered(trained, "SELECT * FROM ML.FEATURE_INFO(MODEL automls.price)")}
    assert infos["place"][6] == 3 and (infos["size"][1], infos["size"][2]) == (0, 99)
    [(value, base, attributions, error)] = answered(
        trained,
        """SELECT prediction_value, baseline_prediction_value, ARRAY(SELECT attribution FROM
        UNNEST(top_feature_attributions)), approximation_error FROM ML.EXPLAIN_PREDICT(MODEL automls.price,
        (SELECT * FROM automls.flats WHERE id = 9), STRUCT(10 AS top_k_features))""",
    )
    assert base + sum(attributions) == pytest.approx(value, rel=0.01)
    assert error == pytest.approx(abs(value - base - sum(attributions)) / abs(value - base), abs=1e-6)
    shown = trained.get_model("automls.price")
    assert shown.model_type == "AUTOML_REGRESSOR"
    assert shown.training_runs[0]["trainingOptions"]["budgetHours"] == 0.0006
    assert answered(trained, "SELECT COUNT(*) FROM ML.TRAINING_INFO(MODEL automls.price)") == [(1,)]


def test_a_class_is_found_measured_and_served(trained: bigquery.Client, aiplatform: Any) -> None:
    [row] = trained.query("SELECT * FROM ML.EVALUATE(MODEL automls.large)").result()
    assert row.roc_auc > 0.9 and 0 <= row.precision <= 1
    [(label, probs)] = answered(
        trained,
        """SELECT predicted_large, predicted_large_probs FROM ML.PREDICT(MODEL automls.large,
        (SELECT 99 AS size, 'north' AS place, TIMESTAMP '2024-02-01' AS seen))""",
    )
    assert label is True and sum(one["prob"] for one in probs) == pytest.approx(1)
    [no, yes] = answered(trained, "SELECT * FROM ML.CONFUSION_MATRIX(MODEL automls.large)")
    assert (no[0], yes[0]) == (False, True) and sum(no[1:] + yes[1:]) == 80  # the last tenth
    curve = answered(
        trained, "SELECT recall FROM ML.ROC_CURVE(MODEL automls.large, GENERATE_ARRAY(0, 1, 0.5))"
    )
    assert len(curve) == 3
    endpoint = aiplatform.Model("automl_large").deploy()
    [told] = endpoint.predict([{"size": 99, "place": "north", "seen": "2024-02-01T00:00:00Z"}]).predictions
    assert told["predicted_large"] == ["true"] and told["large_probs"][0] == pytest.approx(probs[0]["prob"])
    [explained] = endpoint.explain([{"size": 99, "place": "north", "seen": None}]).explanations
    [one] = explained.attributions
    total = one.baseline_output_value + sum(dict(one.feature_attributions).values())
    assert total == pytest.approx(one.instance_output_value)
    endpoint.delete(force=True)


def test_warnings_say_what_was_left_out(client: bigquery.Client) -> None:
    job = client.query(
        f"""CREATE OR REPLACE MODEL automls.classes OPTIONS(MODEL_TYPE='AUTOML_CLASSIFIER', {BUDGET}) AS
        SELECT size, same, pair, NULLIF(place, 'west') AS label FROM automls.flats"""
    )
    job.result()
    told = " ".join(one["message"] for one in job.errors or job._properties["status"]["errors"])
    assert "same was left out: it is constant" in told and "pair was left out: it is unsupported" in told
    assert "rows without a label" in told


def create(kind: str, rest: str, query: str = "SELECT size, price AS label FROM automls.flats") -> str:
    return f"CREATE MODEL automls.x {{t}} OPTIONS(MODEL_TYPE='AUTOML_{kind}' {rest}) AS {query}".replace(
        "{t} ", ""
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (create("REGRESSOR", ", BUDGET_HOURS=100"), "BUDGET_HOURS must be"),
        (create("REGRESSOR", ", OPTIMIZATION_OBJECTIVE='MAXIMIZE_AU_ROC'"), "OPTIMIZATION_OBJECTIVE is"),
        (create("REGRESSOR", ", OPTIMIZATION_OBJECTIVE=STRUCT('MINIMIZE_MAE', 0.5)"), "takes no number"),
        (create("REGRESSOR", ", DATA_SPLIT_COL='label'"), "no column of the query beside"),
        (create("REGRESSOR", ", DATA_SPLIT_COL='size'"), "TIMESTAMP or STRING"),
        (create("REGRESSOR", ", MAX_ITERATIONS=3"), "MAX_ITERATIONS is not supported"),
        (create("REGRESSOR", ", KMS_KEY_NAME='k'"), "KMS_KEY_NAME is not built"),
        (create("REGRESSOR", "", "SELECT size, place AS label FROM automls.flats"), "must be a number"),
        (create("REGRESSOR", "", "SELECT 1 AS x, 2 AS label"), "holds only|too few"),
        (create("CLASSIFIER", "", "SELECT id, size AS s, CAST(id AS STRING) AS label FROM automls.flats"), "up to 500"),
        (
            create("CLASSIFIER", ", OPTIMIZATION_OBJECTIVE='MAXIMIZE_RECALL_AT_PRECISION'",
                   "SELECT size, large AS label FROM automls.flats"),
            "needs STRUCT",
        ),
        (
            create("CLASSIFIER", ", OPTIMIZATION_OBJECTIVE='MAXIMIZE_AU_PRC'",
                   "SELECT size, place AS label FROM automls.flats"),
            "only for two classes",
        ),
        (
            "CREATE MODEL automls.x TRANSFORM(size, price) OPTIONS(MODEL_TYPE='AUTOML_REGRESSOR', "
            "INPUT_LABEL_COLS=['price']) AS SELECT size, price FROM automls.flats",
            "TRANSFORM is not supported",
        ),
        ("SELECT * FROM ML.PREDICT(MODEL automls.price, (SELECT 1 AS size))", "Column place"),
        ("SELECT * FROM ML.FEATURE_IMPORTANCE(MODEL automls.price)", "not supported for model type AUTOML_REGRESSOR"),
        ("SELECT * FROM ML.CONFUSION_MATRIX(MODEL automls.price)", "not supported"),
        ("EXPORT MODEL automls.price OPTIONS(URI='gs://staging/x')", "EXPORT MODEL of AutoML models is not built"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(trained: bigquery.Client, text: str, said: str) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=said):
        trained.query(text).result()


def test_the_same_rows_give_the_same_model(trained: bigquery.Client) -> None:
    text = f"""CREATE OR REPLACE MODEL automls.again OPTIONS(MODEL_TYPE='AUTOML_REGRESSOR', {BUDGET},
        INPUT_LABEL_COLS=['price']) AS SELECT size, place, price, DATE(seen) AS day FROM automls.flats"""
    ask = """SELECT predicted_price FROM ML.PREDICT(MODEL automls.again,
        (SELECT size, place, DATE(seen) AS day FROM automls.flats)) ORDER BY 1"""
    found = []
    for _ in range(2):
        trained.query(text).result()
        found.append(answered(trained, ask))
    assert found[0] == found[1]
    [row] = trained.query(
        "SELECT * FROM ML.PREDICT(MODEL automls.again, (SELECT 5 AS SIZE, 'north' AS place, NULL AS day))"
    ).result()
    assert isinstance(row.predicted_price, float) and not isinstance(row.get("day"), datetime.date)
