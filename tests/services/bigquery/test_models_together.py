"""Models beside others: replaced while they predict, dropped with their data set, dry runs, names that are taken."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

LINE = """OPTIONS(model_type='linear_reg', input_label_cols=['y'])
    AS SELECT x, 2.0 * x AS y FROM UNNEST(GENERATE_ARRAY(1, 50)) AS x"""


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("together")
    made.query(
        """CREATE TABLE together.t AS SELECT x, MOD(x, 3) AS k, 2.0 * x AS y FROM UNNEST(GENERATE_ARRAY(1, 60)) AS x"""
    ).result()
    return made


def test_a_model_is_replaced_while_it_predicts(portico: Any, client: bigquery.Client) -> None:
    client.query(f"CREATE MODEL together.busy {LINE}").result()
    folders = portico.home / "bigquery" / "models"
    before = len(list(folders.iterdir()))
    failed: list[Exception] = []

    def work(text: str, times: int) -> None:
        try:
            for _ in range(times):
                client.query(text, job_retry=None).result(job_retry=None)
        except Exception as error:
            failed.append(error)

    asked = "SELECT * FROM ML.PREDICT(MODEL together.busy, (SELECT 3 AS x))"
    works = [(asked, 20), (asked, 20), *[(f"CREATE OR REPLACE MODEL together.busy {LINE}", 8)] * 2]
    threads = [threading.Thread(target=work, args=one) for one in works]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == [] and len(list(folders.iterdir())) == before
    assert answered(
        client, "SELECT ROUND(predicted_y) FROM ML.PREDICT(MODEL together.busy, (SELECT 3 AS x))"
    ) == [(6.0,)]


def test_of_two_that_make_a_model_one_is_told_that_it_is_there(client: bigquery.Client) -> None:
    jobs = [client.query(f"CREATE MODEL together.once {LINE}", job_retry=None) for _ in range(2)]
    told = []
    for job in jobs:
        try:
            job.result(job_retry=None)
            told.append("made")
        except exceptions.Conflict:
            told.append("there")
    assert sorted(told) == ["made", "there"]
    client.query(f"CREATE MODEL IF NOT EXISTS together.once {LINE}").result()


def test_a_data_set_with_a_model_is_in_use(client: bigquery.Client) -> None:
    client.create_dataset("together_gone")
    client.query(f"CREATE MODEL together_gone.m {LINE}").result()
    with pytest.raises(exceptions.BadRequest, match="still in use"):
        client.delete_dataset("together_gone")
    client.delete_dataset("together_gone", delete_contents=True)
    client.create_dataset("together_gone")
    with pytest.raises(exceptions.NotFound):
        client.query("SELECT * FROM ML.PREDICT(MODEL together_gone.m, (SELECT 1 AS x))").result()
    client.delete_dataset("together_gone")


def test_models_and_tables_have_names_of_their_own(client: bigquery.Client) -> None:
    client.query(f"CREATE MODEL together.mine {LINE}").result()
    for text in ("CREATE TABLE together.mine AS SELECT 1 AS a", "CREATE VIEW together.mine AS SELECT 1 AS a"):
        with pytest.raises(exceptions.Conflict, match="Already Exists: Model"):
            client.query(text).result()
    with pytest.raises(exceptions.Conflict, match="Already Exists: Table"):
        client.query(f"CREATE MODEL together.t {LINE}").result()
    with pytest.raises(exceptions.BadRequest, match="inside a transaction"):
        client.query("BEGIN TRANSACTION; DROP MODEL together.mine; ROLLBACK TRANSACTION;").result()
    assert client.get_model("together.mine").model_type == "LINEAR_REGRESSION"


def dry(client: bigquery.Client, text: str) -> list[str]:
    config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
    return [one.name for one in client.query(text, job_config=config).schema or ()]


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (
            "BOOSTED_TREE_CLASSIFIER', INPUT_LABEL_COLS=['k'], MAX_ITERATIONS=1, XGBOOST_VERSION='1.1",
            "EXPLAIN_PREDICT",
        ),
        ("KMEANS', NUM_CLUSTERS=2, DISTANCE_TYPE='EUCLIDEAN", "DETECT_ANOMALIES, 0.1 AS contamination"),
        ("PCA', NUM_PRINCIPAL_COMPONENTS=1, PCA_SOLVER='FULL", "DETECT_ANOMALIES, 0.1 AS contamination"),
        (
            "LINEAR_REG', INPUT_LABEL_COLS=['y'], DATA_SPLIT_METHOD='NO_SPLIT",
            "EXPLAIN_PREDICT, 1 AS top_k_features",
        ),
    ],
)
def test_a_dry_run_has_the_columns_of_the_answer(client: bigquery.Client, kind: str, call: str) -> None:
    text = f"CREATE OR REPLACE MODEL together.dried OPTIONS(MODEL_TYPE='{kind}') AS SELECT x, k, y FROM together.t"
    assert dry(client, text) == []
    client.query(text).result()
    name, _, settings = call.partition(", ")
    asked = f"SELECT * FROM ML.{name}(MODEL together.dried, TABLE together.t{f', STRUCT({settings})' * bool(settings)})"
    rows = client.query(asked).result()
    assert dry(client, asked) == [one.name for one in rows.schema] and rows.total_rows == 60


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM ML.PREDICT(MODEL together.nothing, TABLE together.t)",
        "CREATE MODEL together.x OPTIONS(MODEL_TYPE='TRANSFORM_ONLY') AS SELECT x FROM together.t",
        "CREATE MODEL together.x OPTIONS(MODEL_TYPE='LINEAR_REG', MAX_ITERATIONS=-1) AS SELECT x FROM together.t",
        "CREATE MODEL together.x OPTIONS(MODEL_TYPE='LINEAR_REG') AS SELECT nothing FROM together.t",
    ],
)
def test_a_dry_run_is_refused_where_the_statement_would_be(client: bigquery.Client, text: str) -> None:
    with pytest.raises(exceptions.ClientError):
        dry(client, text)
