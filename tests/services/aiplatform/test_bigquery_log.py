"""The log of an endpoint's predictions as a table of BigQuery, by the official clients."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected
from tests.waiting import until


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("lines")
    made.query("CREATE TABLE lines.own AS SELECT 1 AS a").result()
    return made


def test_predictions_are_rows_of_a_table(aiplatform: Any, upload: Any, client: bigquery.Client) -> None:
    endpoint = aiplatform.Endpoint.create(
        display_name="the log-ged one",
        enable_request_response_logging=True,
        request_response_logging_sampling_rate=1.0,
    )
    config = endpoint.gca_resource.predict_request_response_logging_config
    name = f"test-project.logging_the_log_ged_one_{endpoint.name}.request_response_logging"
    assert config.bigquery_destination.output_uri == f"bq://{name}"
    table = client.get_table(name)
    assert [(one.name, one.field_type, one.mode) for one in table.schema] == [
        ("endpoint", "STRING", "NULLABLE"), ("deployed_model_id", "STRING", "NULLABLE"),
        ("logging_time", "TIMESTAMP", "NULLABLE"), ("request_id", "NUMERIC", "NULLABLE"),
        ("request_payload", "STRING", "REPEATED"), ("response_payload", "STRING", "REPEATED"),
        ("model", "STRING", "NULLABLE"), ("model_version", "STRING", "NULLABLE"), ("api_method", "STRING", "NULLABLE"),
    ]  # fmt: skip
    assert answered(client, f"SELECT COUNT(*) FROM `{name}`") == [(0,)]
    model = upload()
    model.deploy(endpoint)
    told = endpoint.predict([{"a": 1, "b": 2, "c": 3}, {"a": 2, "b": 0, "c": 0}]).predictions
    endpoint.predict([[0.5, 0.5, 0.5]])
    until(lambda: answered(client, f"SELECT COUNT(*) FROM `{name}`") == [(2,)], "two rows")
    [row] = client.query(
        f"""SELECT *, EXTRACT(YEAR FROM logging_time) AS year FROM `{name}`
        WHERE ARRAY_LENGTH(request_payload) = 2 AND logging_time > TIMESTAMP '2020-01-01'"""
    ).result()
    assert [json.loads(one) for one in row.request_payload] == [
        {"a": 1, "b": 2, "c": 3},
        {"a": 2, "b": 0, "c": 0},
    ]
    assert [json.loads(one) for one in row.response_payload] == pytest.approx(told)
    assert row.endpoint == endpoint.resource_name and row.api_method == "predict" and row.year >= 2025
    assert row.model == model.resource_name and row.model_version == "1" and row.request_id > 0
    assert row.deployed_model_id == endpoint.list_models()[0].id
    client.query(f"CREATE VIEW lines.seen AS SELECT * FROM `{name}` WHERE api_method = 'predict'").result()
    assert answered(client, "SELECT COUNT(DISTINCT request_id) FROM lines.seen") == [(2,)]
    with pytest.raises(exceptions.GoogleAPICallError):
        client.query(f"DELETE FROM `{name}` WHERE TRUE").result()
    for text in (f"ALTER TABLE `{name}` ADD COLUMN z INT64", f"INSERT INTO `{name}` (endpoint) VALUES ('x')"):
        with pytest.raises(exceptions.BadRequest, match="EXTERNAL"):
            client.query(text).result()
    with pytest.raises(exceptions.BadRequest, match="no rows of its own"):
        client.insert_rows_json(table, [{"endpoint": "x"}])
    listed = list(client.list_rows(table))
    assert len(listed) == 2 and {one.request_id for one in listed} >= {row.request_id}
    client.query(f"CREATE TABLE lines.kept AS SELECT * FROM `{name}`").result()
    endpoint.delete(force=True)
    assert answered(client, "SELECT COUNT(*) FROM lines.kept") == [(2,)]


def test_a_table_is_named_and_shared(aiplatform: Any, client: bigquery.Client) -> None:
    first, second = (
        aiplatform.Endpoint.create(
            display_name="named",
            enable_request_response_logging=True,
            request_response_logging_sampling_rate=0.5,
            request_response_logging_bq_destination_table="bq://test-project.lines.shared",
        )
        for _ in range(2)
    )
    assert first.name != second.name and answered(client, "SELECT * FROM lines.shared") == []
    for uri, said in (
        ("bq://test-project.lines.own", "rows of its own"),
        ("bq://a.b.c.d", "Invalid BigQuery URI"),
    ):
        with pytest.raises(exceptions.BadRequest, match=said):
            aiplatform.Endpoint.create(
                display_name="wrong",
                enable_request_response_logging=True,
                request_response_logging_sampling_rate=0.5,
                request_response_logging_bq_destination_table=uri,
            )
    for one in (first, second):
        one.delete()
    client.delete_table("lines.shared")
    client.delete_dataset("lines", delete_contents=True)
