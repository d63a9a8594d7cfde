"""REMOTE models: endpoints of this platform that ML.PREDICT asks, by the official clients."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.aiplatform.conftest import IMAGE, train_booster
from tests.services.bigquery.test_bigquery import answered, connected

URL = "https://us-central1-aiplatform.googleapis.com/v1/{}"


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("remotes")
    return made


@pytest.fixture(scope="module")
def trees(portico: Any, client: bigquery.Client) -> Any:
    """An endpoint whose predictions are numbers."""
    from google.cloud import aiplatform, storage

    aiplatform.init(
        project="test-project", location="us-central1", api_endpoint=portico.url, api_transport="rest"
    )
    bucket = storage.Client(project="test-project").create_bucket("remote-trees")
    booster = train_booster()
    bucket.blob("model/model.txt").upload_from_string(booster.model_to_string())
    model = aiplatform.Model.upload(
        display_name="trees", artifact_uri=f"gs://{bucket.name}/model", serving_container_image_uri=IMAGE
    )
    endpoint = model.deploy()
    client.query(
        f"""CREATE MODEL remotes.trees INPUT(a FLOAT64, b FLOAT64, c FLOAT64) OUTPUT(y FLOAT64)
        REMOTE WITH CONNECTION `test-project.us.models`
        OPTIONS(ENDPOINT='{URL.format(endpoint.resource_name)}', DESCRIPTION='far away')"""
    ).result()
    yield endpoint, booster
    endpoint.delete(force=True)


def test_rows_are_predicted_by_an_endpoint(client: bigquery.Client, trees: Any) -> None:
    _, booster = trees
    found = answered(
        client,
        """SELECT y, remote_model_status, id FROM ML.PREDICT(MODEL remotes.trees,
        (SELECT id, CAST(id AS NUMERIC) / 1000 AS a, 1 AS b, NULL AS C FROM UNNEST(GENERATE_ARRAY(1, 2500)) AS id))
        ORDER BY id""",
    )
    wanted = booster.predict([[number / 1000, 1, float("nan")] for number in range(1, 2501)])
    assert [one[0] for one in found] == pytest.approx(list(wanted))
    assert {one[1] for one in found} == {""} and [one[2] for one in found] == list(range(1, 2501))
    shown = client.get_model("remotes.trees")
    assert [one.name for one in shown.feature_columns] == ["a", "b", "c"]
    assert [one.name for one in shown.label_columns] == ["y"] and shown.description == "far away"
    told = shown.to_api_repr()["remoteModelInfo"]
    assert told["connection"] == "projects/test-project/locations/us/connections/models"
    job = client.query(
        "SELECT * FROM ML.PREDICT(MODEL remotes.trees, (SELECT 1.0 AS a, 1 AS b, 1 AS c))",
        job_config=bigquery.QueryJobConfig(dry_run=True, use_query_cache=False),
    )
    assert [one.name for one in job.schema] == ["y", "remote_model_status", "a", "b", "c"]


def test_fields_of_predictions_are_columns_and_wrong_rows_are_told(
    client: bigquery.Client, trees: Any
) -> None:
    from google.cloud import aiplatform

    client.query(
        """CREATE MODEL remotes.local OPTIONS(MODEL_TYPE='LOGISTIC_REG', INPUT_LABEL_COLS=['kind'],
        MODEL_REGISTRY='VERTEX_AI', VERTEX_AI_MODEL_ID='remote_kinds') AS
        SELECT x, IF(x > 3, 'yes', 'no') AS kind FROM UNNEST([1, 2, 3, 4, 5, 6]) AS x"""
    ).result()
    endpoint = aiplatform.Model("remote_kinds").deploy()
    client.query(
        f"""CREATE MODEL remotes.kinds INPUT(x STRING) OUTPUT(predicted_kind STRING, kind_probs ARRAY<FLOAT64>)
        REMOTE WITH CONNECTION DEFAULT OPTIONS(ENDPOINT='{endpoint.resource_name}')"""
    ).result()
    found = answered(
        client,
        """SELECT x, predicted_kind, ARRAY_LENGTH(kind_probs), remote_model_status
        FROM ML.PREDICT(MODEL remotes.kinds, (SELECT * FROM UNNEST(['1', 'none', '6']) AS x)) ORDER BY x""",
    )
    assert [one[:3] for one in found] == [("1", "no", 2), ("6", "yes", 2), ("none", None, None)]
    assert found[0][3] == found[1][3] == "" and found[2][3].startswith("INVALID_ARGUMENT")
    client.query(
        f"""CREATE OR REPLACE MODEL remotes.kinds INPUT(x STRING) OUTPUT(kind STRING, other INT64)
        REMOTE WITH CONNECTION us.models OPTIONS(ENDPOINT='{endpoint.resource_name}')"""
    ).result()
    [(status,)] = answered(
        client, "SELECT remote_model_status FROM ML.PREDICT(MODEL remotes.kinds, (SELECT '1' AS x))"
    )
    assert "has no field kind" in status
    endpoint.undeploy_all()
    with pytest.raises(exceptions.GoogleAPICallError, match="no deployed model"):
        client.query("SELECT * FROM ML.PREDICT(MODEL remotes.kinds, (SELECT '1' AS x))").result()
    endpoint.delete()
    with pytest.raises(exceptions.GoogleAPICallError, match="not found"):
        client.query("SELECT * FROM ML.PREDICT(MODEL remotes.kinds, (SELECT '1' AS x))").result()


def test_each_wrong_row_is_told_by_itself(client: bigquery.Client, trees: Any) -> None:
    endpoint, booster = trees
    client.query(
        f"""CREATE MODEL remotes.texts INPUT(a STRING, b FLOAT64) OUTPUT(y FLOAT64)
        REMOTE WITH CONNECTION DEFAULT OPTIONS(ENDPOINT='{endpoint.resource_name}')"""
    ).result()
    found = answered(
        client,
        """SELECT id, y, remote_model_status FROM ML.PREDICT(MODEL remotes.texts, (SELECT id, IF(MOD(id, 3) = 0, 'bad',
        CAST(id AS STRING)) AS a, 9007199254740993 AS b FROM UNNEST(GENERATE_ARRAY(1, 1500)) AS id)) ORDER BY id""",
    )
    assert len(found) == 1500
    for number, value, status in found:
        assert (value is None) == (number % 3 == 0) == status.startswith("INVALID_ARGUMENT")
    assert found[0][1] == pytest.approx(booster.predict([[1, 9007199254740993, float("nan")]])[0])


def made(rest: str, columns: str = "INPUT(a FLOAT64) OUTPUT(y FLOAT64)") -> str:
    return f"CREATE MODEL remotes.x {columns} REMOTE WITH CONNECTION DEFAULT {rest}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (made(""), "ENDPOINT"),
        (made("OPTIONS(ENDPOINT='gemini-2.5-flash')"), "model of Google's"),
        (made("OPTIONS(ENDPOINT='https://example.com/predict')"), "elsewhere"),
        (made("OPTIONS(ENDPOINT='https://evil.com/v1/projects/p/locations/l/endpoints/1')"), "elsewhere"),
        (made("OPTIONS(ENDPOINT='projects/p/locations/l/endpoints/../1')"), "no endpoint's address"),
        (made("OPTIONS(ENDPOINT='projects/p/locations/us-central1/endpoints/1')"), "Not found: ENDPOINT"),
        (made("OPTIONS(REMOTE_SERVICE_TYPE='CLOUD_AI_VISION_V1')"), "REMOTE_SERVICE_TYPE is not built"),
        (made("OPTIONS(ACCELERATOR_TYPE='GPU')"), "ACCELERATOR_TYPE is not built"),
        (made("OPTIONS(ENDPOINT='{here}')", ""), "needs INPUT"),
        (made("OPTIONS(ENDPOINT='{here}')", "INPUT(a FLOAT64) OUTPUT(y DATE)"), "not DATE"),
        (made("OPTIONS(ENDPOINT='{here}')", "INPUT(a FLOAT64, A INT64) OUTPUT(y INT64)"), "there already"),
        (made("OPTIONS(ENDPOINT='{here}', MODEL_TYPE='LINEAR_REG')"), "MODEL_TYPE"),
        (made("OPTIONS(ENDPOINT='{here}') AS SELECT 1 AS a"), "no query"),
        (made("OPTIONS(ENDPOINT='{here}')").replace("DEFAULT", "`a.b.c.d`"), "project.location.connection"),
        ("CREATE MODEL remotes.x OPTIONS(MODEL_TYPE='REMOTE', ENDPOINT='a') AS SELECT 1 AS a", "REMOTE WITH"),
        ("SELECT * FROM ML.PREDICT(MODEL remotes.trees, (SELECT 1 AS a, 1 AS b))", "needs the column c"),
        ("SELECT * FROM ML.PREDICT(MODEL remotes.trees, (SELECT 'x' AS a, 1 AS b, 1 AS c))", "needs FLOAT64"),
        ("SELECT * FROM ML.EVALUATE(MODEL remotes.trees)", "not supported"),
        ("SELECT * FROM ML.TRAINING_INFO(MODEL remotes.trees)", "not supported"),
    ],
)
def test_what_is_no_endpoint_of_this_platform_is_refused(
    client: bigquery.Client, trees: Any, text: str, said: str
) -> None:
    endpoint, _ = trees
    with pytest.raises(exceptions.GoogleAPICallError, match=said):
        client.query(text.replace("{here}", endpoint.resource_name)).result()
